//! What a fill holds of its body in memory: the newest bytes, and those that are nowhere else.
//!
//! They are copied into blocks of our own: what comes from the network are slices of buffers many
//! times as large, which one stalled reader of one slice would keep.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::sync::scaled;

/// The bytes of a body from `first()` to `arrived()`.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Where each begins, and its bytes; none of them is empty.
    pieces: VecDeque<(u64, Bytes)>,
    /// What arrived behind the last piece, and room for more.
    open: BytesMut,
    /// Where that begins.
    open_at: u64,
    /// How long the body will be, where that is known: a short one is not given a whole block.
    length: Option<u64>,
}

impl Window {
    pub(super) fn new(length: Option<u64>) -> Self {
        Self { length, ..Self::default() }
    }

    /// The first byte that is held.
    pub(super) fn first(&self) -> u64 {
        self.pieces.front().map_or(self.open_at, |(start, _)| *start)
    }

    /// Behind the last byte that is held.
    pub(super) fn arrived(&self) -> u64 {
        self.open_at + self.open.len() as u64
    }

    /// Bytes that are held.
    pub(super) fn bytes(&self) -> u64 {
        self.arrived() - self.first()
    }

    /// Adds the next bytes.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.open.len() == self.open.capacity() {
                self.settle();
                self.open = BytesMut::with_capacity(self.room_for(bytes.len()));
            }
            let taken = bytes.len().min(self.open.capacity() - self.open.len());
            self.open.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
        }
        if self.open.len() >= PIECE_BYTES_MIN || self.open.len() == self.open.capacity() {
            self.settle();
        }
    }

    /// The bytes from `at` on that lie in one piece; nothing where they are not held.
    pub(super) fn at(&self, at: u64) -> Option<Bytes> {
        if at >= self.open_at {
            let rest = self.open.get(usize::try_from(at - self.open_at).ok()?..)?;
            // Few, so a copy is cheaper than a piece of its own for each handful that trickles in.
            return (!rest.is_empty()).then(|| Bytes::copy_from_slice(rest));
        }
        let behind = self.pieces.partition_point(|(start, _)| *start <= at);
        let (start, piece) = self.pieces.get(behind.checked_sub(1)?)?;
        Some(piece.slice((at - start) as usize..))
    }

    /// All pieces from `at` on; a piece begins there, or nothing is held of what is before it.
    pub(super) fn pieces_from(&mut self, at: u64) -> Vec<Bytes> {
        self.settle();
        let from = self.pieces.partition_point(|(start, _)| *start < at);
        self.pieces.range(from..).map(|(_, piece)| piece.clone()).collect()
    }

    /// The whole body in an allocation that is not larger than it, if nothing was forgotten; it is
    /// held as that from now on.
    pub(super) fn whole(&mut self) -> Option<Bytes> {
        let is_exact = self.length == Some(self.arrived());
        self.settle();
        if self.first() > 0 {
            return None;
        }
        if let ([(_, only)], true) = (self.pieces.make_contiguous(), is_exact) {
            return Some(only.clone());
        }
        let mut body = BytesMut::with_capacity(self.arrived() as usize);
        self.pieces.iter().for_each(|(_, piece)| body.extend_from_slice(piece));
        let body = body.freeze();
        self.pieces.clear();
        if !body.is_empty() {
            self.pieces.push_back((0, body.clone()));
        }
        Some(body)
    }

    /// Lets go of pieces that lie wholly before `reach`, but keeps the newest.
    pub(super) fn forget_before(&mut self, reach: u64) {
        while self.bytes() > WINDOW_BYTES
            && self.pieces.front().is_some_and(|(at, piece)| at + piece.len() as u64 <= reach)
        {
            self.pieces.pop_front();
        }
    }

    /// Closes the piece that is open; the room behind it is used for the next one.
    fn settle(&mut self) {
        if !self.open.is_empty() {
            let piece = self.open.split().freeze();
            let start = self.open_at;
            self.open_at += piece.len() as u64;
            self.pieces.push_back((start, piece));
        }
    }

    fn room_for(&self, coming: usize) -> usize {
        match self.length.and_then(|length| length.checked_sub(self.arrived())) {
            Some(left @ 1..) => usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK_BYTES),
            _ => {
                let so_far = usize::try_from(self.arrived()).unwrap_or(usize::MAX);
                coming.max(so_far).clamp(ROOM_BYTES_MIN, BLOCK_BYTES)
            }
        }
    }
}

/// Kept of a body that is spooled or passed on: 1 MiB for each fill under way.
pub(super) const WINDOW_BYTES: u64 = scaled(1 << 20);
/// Allocated at once. Whoever stalls with a piece of a block keeps all of it.
pub(super) const BLOCK_BYTES: usize = scaled(64 << 10) as usize;
/// At least, for a body of which nobody knows how much more there is.
const ROOM_BYTES_MIN: usize = scaled(1 << 10) as usize;
/// Shorter ones wait for more, so that a body that trickles in is not a list of handfuls.
const PIECE_BYTES_MIN: usize = scaled(16 << 10) as usize;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n / 7 + n / 251) as u8).collect()
    }

    proptest! {
        #[test]
        fn gives_back_what_was_pushed_wherever_it_is_asked(
            chunks in proptest::collection::vec(prop_oneof![1..9usize, 1..100_000usize], 1..8),
            known in any::<bool>(),
            from in 0..500_000usize,
        ) {
            let body = pattern(chunks.iter().sum());
            let mut window = Window::new(known.then_some(body.len() as u64));
            let mut pushed = 0;
            for chunk in chunks {
                window.push(&body[pushed..pushed + chunk]);
                pushed += chunk;
                prop_assert_eq!(window.arrived(), pushed as u64);
            }
            let mut at = from % body.len();
            while let Some(bytes) = window.at(at as u64) {
                prop_assert!(!bytes.is_empty() && bytes.len() <= BLOCK_BYTES);
                prop_assert_eq!(&bytes[..], &body[at..at + bytes.len()]);
                at += bytes.len();
            }
            prop_assert_eq!(at, body.len());
            prop_assert_eq!(window.pieces_from(0).concat(), body.clone());
            prop_assert_eq!(&window.whole().unwrap()[..], &body[..]);
            prop_assert_eq!(&window.at(0).unwrap()[..], &body[..]);
        }

        #[test]
        fn forgets_no_more_than_it_may_and_keeps_the_newest(
            chunks in proptest::collection::vec(1..200_000usize, 1..25),
            reach in 0..3_000_000u64,
        ) {
            let mut window = Window::new(None);
            chunks.iter().for_each(|chunk| window.push(&vec![0; *chunk]));
            window.forget_before(reach);
            let (first, arrived) = (window.first(), window.arrived());
            let newest = WINDOW_BYTES - BLOCK_BYTES as u64;
            prop_assert!(first <= reach.min(arrived.saturating_sub(newest)));
            let may_go = reach.min(arrived.saturating_sub(WINDOW_BYTES));
            prop_assert!(first + BLOCK_BYTES as u64 >= may_go, "what may go is gone");
            prop_assert_eq!(window.whole().is_some(), first == 0);
        }
    }

    #[test]
    fn a_trickle_is_no_list_of_handfuls() {
        let mut window = Window::new(None);
        for _ in 0..100_000 {
            window.push(b"x");
        }
        assert!(window.pieces.len() < 16, "{}", window.pieces.len());
    }
}
