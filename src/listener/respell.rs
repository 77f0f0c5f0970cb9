//! Heads of responses as hyper writes them, with their names spelled: case is all that changes, so
//! every byte stays in its place. (RFC 9110 section 5.1)
//!
//! hyper writes the whole head of a response into its buffer when it gets the response, behind heads
//! that are not out yet and before any byte of the body. So the next bytes that it gives begin with
//! that head.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use memchr::memmem;

use crate::spelling::Spelled;

/// How the heads are spelled that hyper is about to write, in their order.
#[derive(Clone, Default)]
pub(super) struct Heads {
    /// Only the connection's own task takes it.
    due: Arc<Mutex<VecDeque<Option<Spelled>>>>,
    /// hyper has given us a request.
    asked: Arc<AtomicBool>,
}

/// What is spelled of the bytes that hyper still has to write.
#[derive(Default)]
pub(super) struct Respelled {
    heads: Heads,
    /// In place of as many of hyper's.
    begin: Vec<u8>,
}

impl Heads {
    /// hyper writes one like this next.
    pub(super) fn push(&self, spelled: Option<Spelled>) {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).push_back(spelled);
    }

    /// hyper has given us a request: what it writes from now on need not be its own.
    pub(super) fn asked(&self) {
        self.asked.store(true, Relaxed);
    }

    /// Whether what hyper writes now is a refusal of its own.
    pub(super) fn is_refusal(&self) -> bool {
        !self.asked.load(Relaxed)
    }

    fn is_due(&self) -> bool {
        !self.due.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn next(&self) -> Option<Spelled> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).pop_front().flatten()
    }
}

impl Respelled {
    pub(super) fn new(heads: Heads) -> Self {
        Self { heads, begin: Vec::new() }
    }

    /// What goes out in place of `first`, which hyper gives before all else, and of the rest of it.
    pub(super) fn parts<'a>(&'a mut self, first: &'a [u8]) -> Option<[IoSlice<'a>; 2]> {
        if self.begin.is_empty() && !self.heads.is_due() {
            return None;
        }
        self.begin.truncate(first.len());
        while self.heads.is_due() {
            let rest = &first[self.begin.len()..];
            let Some(end) = memmem::find(rest, b"\r\n\r\n") else { break };
            let at = self.begin.len();
            self.begin.extend_from_slice(&rest[..end + 4]);
            // It is hyper's own, and the response follows.
            if rest.starts_with(b"HTTP/1.1 100 ") {
                continue;
            }
            if let Some(spelled) = self.heads.next() {
                respell(&mut self.begin[at..], &spelled);
            }
        }
        Some([IoSlice::new(&self.begin), IoSlice::new(&first[self.begin.len()..])])
    }

    /// So many bytes are out.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.begin.drain(..bytes.min(self.begin.len()));
    }
}

fn respell(head: &mut [u8], spelled: &Spelled) {
    let lines = head.split_mut(|byte| *byte == b'\n').skip(1);
    for line in lines {
        if let Some(end) = line.iter().position(|byte| *byte == b':') {
            spelled.respell(&mut line[..end]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spelling::Spelling;

    const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
    const HEAD: &str = "HTTP/1.1 200 OK\r\nx-foo: a: b\r\netag: x-foo\r\n\r\n";
    const SPELLED: &str = "HTTP/1.1 200 OK\r\nX-FOO: a: b\r\nETag: x-foo\r\n\r\n";

    #[test]
    fn heads_are_spelled_and_nothing_else_however_little_goes_out_at_a_time() {
        let body = "HTTP/1.1 200\r\nx-foo: 1\r\n\r\n";
        for (heads, own, expected) in [
            (1, format!("{HEAD}{body}"), format!("{SPELLED}{body}")),
            (1, format!("{CONTINUE}{HEAD}{body}"), format!("{CONTINUE}{SPELLED}{body}")),
            (2, format!("{HEAD}{HEAD}{body}"), format!("{SPELLED}{SPELLED}{body}")),
            (0, body.to_owned(), body.to_owned()),
        ] {
            for step in [1, 3, 20, 1000] {
                assert_eq!(out(heads, own.as_bytes(), step), expected, "{step}");
            }
        }
    }

    #[test]
    fn one_that_is_not_spelled_leaves_its_place_to_no_other() {
        let heads = Heads::default();
        heads.push(None);
        heads.push(Some(spelled()));
        let mut respelled = Respelled::new(heads);
        let own = format!("{HEAD}{HEAD}");
        let [begin, rest] = respelled.parts(own.as_bytes()).unwrap();
        assert_eq!((&*begin, &*rest), (format!("{HEAD}{SPELLED}").as_bytes(), &b""[..]));
    }

    fn spelled() -> Spelled {
        Spelled { own: Spelling::of([&b"X-FOO"[..]].into_iter()).unwrap(), sent: None }
    }

    fn out(heads: usize, own: &[u8], step: usize) -> String {
        let mut respelled = Respelled::new(Heads::default());
        (0..heads).for_each(|_| respelled.heads.push(Some(spelled())));
        let (mut out, mut at) = (Vec::new(), 0);
        while at < own.len() {
            let bytes = match respelled.parts(&own[at..]) {
                Some([begin, rest]) => [&*begin, &*rest].concat(),
                None => own[at..].to_vec(),
            };
            let written = step.min(bytes.len());
            out.extend_from_slice(&bytes[..written]);
            respelled.wrote(written);
            at += written;
        }
        String::from_utf8(out).unwrap()
    }
}
