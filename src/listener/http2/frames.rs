//! The heads of HTTP/2 frames, found in the bytes as they go by, and how many of them a client may
//! send that ask for nothing. (RFC 9113 sections 4.1 and 10.5)
//!
//! The h2 crate bounds resets before a request is taken up, `CONTINUATION` and empty `DATA`, but
//! answers any number of `PING` and `SETTINGS`, and reads any number of `PRIORITY`,
//! `WINDOW_UPDATE`, late resets and frames of unknown kinds.

use std::time::Instant;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) length: u32,
}

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const GOAWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Follows the bytes of one direction of a connection.
#[derive(Debug)]
pub(super) struct Frames {
    head: [u8; HEAD_BYTES],
    /// Bytes of the head that are there.
    filled: usize,
    /// Bytes to come that are no head.
    skip: u64,
    /// The fields of a message have begun and go on in the next frame.
    is_amid_fields: bool,
    /// The kind of the last frame that began.
    kind: u8,
}

impl Frames {
    /// Of a direction that begins with so many bytes that are no frame.
    pub(super) fn behind(bytes: u64) -> Self {
        let head = [0; HEAD_BYTES];
        Self { head, filled: 0, skip: bytes, is_amid_fields: false, kind: DATA }
    }

    /// Looks at bytes that went by, and tells `each` of the frames whose head is complete.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len() as u64);
            self.skip -= skipped;
            bytes = &bytes[skipped as usize..];
            let taken = bytes.len().min(HEAD_BYTES - self.filled);
            self.head[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEAD_BYTES {
                let frame = Frame::of(self.head);
                (self.filled, self.skip, self.kind) = (0, frame.length.into(), frame.kind);
                if matches!(frame.kind, HEADERS | CONTINUATION) {
                    self.is_amid_fields = frame.flags & END_HEADERS == 0;
                }
                each(frame);
            }
        }
    }

    /// Whether the bytes so far end with a frame.
    pub(super) fn is_between(&self) -> bool {
        self.skip == 0 && self.filled == 0
    }

    /// Whether something has begun that must not take long: a frame, but for one with bytes of a
    /// body, or the fields of a message.
    pub(super) fn is_amid_something(&self) -> bool {
        self.is_amid_fields || self.filled > 0 || (self.skip > 0 && self.kind != DATA)
    }
}

impl Frame {
    fn of(head: [u8; HEAD_BYTES]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = head;
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        Self { kind, flags, stream, length: u32::from_be_bytes([0, a, b, c]) }
    }
}

/// The frames that a client may still send without asking for anything.
#[derive(Debug)]
pub(super) struct Budget {
    left: u32,
    max: u32,
    /// When it last grew with time.
    grown: Instant,
}

impl Budget {
    pub(super) fn new(max: u32, now: Instant) -> Self {
        Self { left: max, max, grown: now }
    }

    /// Counts a frame of the client. Whether it was one too many.
    pub(super) fn is_spent(&mut self, frame: Frame, now: impl Fn() -> Instant) -> bool {
        // These have limits of their own.
        if matches!(frame.kind, DATA | HEADERS | CONTINUATION) {
            return false;
        }
        if self.left == 0 {
            let now = now();
            let passed = now.saturating_duration_since(self.grown);
            let grown = passed.as_millis() * u128::from(PER_SECOND) / 1000;
            if grown == 0 {
                return true;
            }
            self.left = self.max.min(u32::try_from(grown).unwrap_or(u32::MAX));
            self.grown = now;
        }
        self.left -= 1;
        false
    }

    /// Counts a frame of ours. What a client takes it answers with window updates, and it may
    /// cancel what has begun.
    pub(super) fn sent(&mut self, frame: Frame) {
        let worth = match frame.kind {
            HEADERS => PER_ANSWER,
            DATA => 1 + frame.length / BYTES_PER_UPDATE,
            _ => 0,
        };
        self.left = self.left.saturating_add(worth).min(self.max);
    }
}

const HEAD_BYTES: usize = 9;
/// What an idle client may send for ever.
const PER_SECOND: u32 = 20;
/// For an answer: priorities, a reset, updates of two windows.
const PER_ANSWER: u32 = 4;
/// Clients are known to tell of every kilobyte that they took.
const BYTES_PER_UPDATE: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn frame(kind: u8, flags: u8, stream: u32, length: usize) -> Vec<u8> {
        let mut bytes = (length as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(vec![b'x'; length]);
        bytes
    }

    #[test]
    fn heads_are_found_however_the_bytes_are_cut() {
        let mut bytes = b"preface!".to_vec();
        for (kind, length) in [(4, 0), (HEADERS, 20), (DATA, 300), (6, 8)] {
            bytes.extend(frame(kind, 5, 0x8000_0003, length));
        }
        for step in [1, 2, 7, 9, 10, bytes.len()] {
            let (mut frames, mut seen) = (Frames::behind(8), Vec::new());
            for part in bytes.chunks(step) {
                frames.feed(part, |frame| seen.push((frame.kind, frame.stream, frame.length)));
            }
            let expected = [(4, 3, 0), (HEADERS, 3, 20), (DATA, 3, 300), (6, 3, 8)];
            assert_eq!(seen, expected, "{step} bytes at a time");
            assert!(frames.is_between());
        }
    }

    #[test]
    fn what_has_begun_and_must_end_soon_is_told_from_a_body() {
        let amid = |bytes: &[u8]| {
            let mut frames = Frames::behind(0);
            frames.feed(bytes, |_| ());
            frames.is_amid_something()
        };
        assert!(!amid(b""));
        assert!(amid(&[0]), "the head of a frame");
        assert!(!amid(&frame(DATA, 0, 1, 9)[..12]), "a body takes its time");
        assert!(amid(&frame(HEADERS, 4, 1, 9)[..12]));
        assert!(!amid(&frame(HEADERS, 4, 1, 9)));
        assert!(amid(&frame(HEADERS, 0, 1, 9)), "the fields go on");
        let whole = [frame(HEADERS, 0, 1, 9), frame(CONTINUATION, 4, 1, 0)].concat();
        assert!(!amid(&whole));
    }

    #[test]
    fn a_budget_ends_and_grows_with_answers_and_with_time() {
        let begun = Clock::Real.instant();
        let ping = Frame { kind: 6, flags: 0, stream: 0, length: 8 };
        let answer = Frame { kind: HEADERS, ..ping };
        let mut budget = Budget::new(10, begun);
        assert!((0..10).all(|_| !budget.is_spent(ping, || begun)));
        assert!((0..99).all(|_| !budget.is_spent(answer, || begun)), "requests are no control");
        assert!(budget.is_spent(ping, || begun));
        budget.sent(answer);
        assert!((0..PER_ANSWER).all(|_| !budget.is_spent(ping, || begun)));
        assert!(budget.is_spent(ping, || begun));
        // A little more than one of those of a second.
        let later = begun + std::time::Duration::from_millis(1000 / u64::from(PER_SECOND) + 1);
        assert!(!budget.is_spent(ping, || later));
        assert!(budget.is_spent(ping, || later));
        budget.sent(Frame { kind: DATA, length: 1 << 20, ..ping });
        assert!((0..10).all(|_| !budget.is_spent(ping, || later)));
        assert!(budget.is_spent(ping, || later), "never more than its most");
    }
}
