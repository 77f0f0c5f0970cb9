//! Bytes that go out one behind the other: text that was written for them, a body's own, and what
//! ends those.

use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// What is left to be sent of such bytes.
#[derive(Default)]
pub(super) struct Unit {
    pub(super) text: Vec<u8>,
    /// So many bytes of the text are out.
    at: usize,
    pub(super) data: Bytes,
    pub(super) tail: &'static [u8],
}

impl Unit {
    pub(super) fn new(text: Vec<u8>, data: Bytes) -> Self {
        Self { text, at: 0, data, tail: b"" }
    }

    fn parts(&self) -> [&[u8]; 3] {
        [&self.text[self.at..], &self.data, self.tail]
    }
}

impl Buf for Unit {
    fn remaining(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.parts().into_iter().find(|part| !part.is_empty()).unwrap_or(b"")
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let parts = self.parts().into_iter().filter(|part| !part.is_empty());
        let filled = slices.iter_mut().zip(parts).map(|(slice, part)| *slice = IoSlice::new(part));
        filled.count()
    }

    fn advance(&mut self, bytes: usize) {
        let of_text = bytes.min(self.text.len() - self.at);
        self.at += of_text;
        if self.at == self.text.len() {
            (self.at, _) = (0, self.text.clear());
        }
        let of_data = (bytes - of_text).min(self.data.len());
        self.data.advance(of_data);
        self.tail = &self.tail[bytes - of_text - of_data..];
    }
}
