//! Pieces of files on their way to a client, which the kernel sends by itself. (nginx: sendfile)
//!
//! ```text
//!   body -> Ledger::stand_in -> hyper -> listener/wire.rs, Ledger::next -> sendfile
//!                   '------------ pieces ------------^
//! ```
//!
//! hyper takes bytes only, so a body that rests in a file gives it *stand-ins*: slices of one
//! buffer, as long as the pieces of the file that they stand for. The pieces wait in the ledger of
//! the connection; the wire below hyper knows a stand-in by its address and sends the piece.
//!
//! No byte of a stand-in may ever be sent, nor a piece in the place of another. hyper queues what
//! it is given without looking at it, but does not promise to; so nothing is sent unless
//!
//! * a stand-in lies where, and is as long as, what is left of the piece that is next;
//! * no other bytes come while a piece is sent in part;
//! * other bytes, while pieces wait, hold no run of a stand-in's: somebody would have copied it;
//! * no piece waits when hyper has nothing left to write.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use memchr::memmem;
use tracing::error;

/// What a connection's client gets from files. One for each connection, whose task alone uses it.
#[derive(Default)]
pub struct Ledger {
    /// Pieces wait, or something was wrong.
    in_use: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// Pieces so far: neighbours have different places in the buffer.
    count: usize,
    is_broken: bool,
}

struct Waiting {
    piece: Piece,
    /// Where in the buffer the stand-in for what is left begins.
    place: usize,
    is_begun: bool,
}

/// Some bytes of a file. They must not change before they are sent.
#[derive(Clone)]
pub struct Piece {
    /// Whose bytes they are.
    pub source: Arc<dyn Source>,
    /// Where in the file they begin.
    pub offset: u64,
    /// How many they are: `PIECE_BYTES_MIN` to `PIECE_BYTES_MAX`.
    pub length: usize,
}

/// Who has a file, and wants to know what becomes of it.
pub trait Source: Send + Sync {
    /// The file.
    fn file(&self) -> &File;

    /// A piece of it was not sent as it should.
    fn failed(&self, failure: Failure);
}

/// Why a piece of a file was not sent.
#[derive(Debug)]
pub enum Failure {
    /// The kernel does not send from such files; the bytes were copied. Nothing is wrong.
    Refused,
    /// The file ends before the piece does.
    CutShort,
    /// It cannot be read.
    Io(io::Error),
}

/// What is to be written next.
pub struct Next {
    /// So many slices are bytes to be written as they are.
    pub slices: usize,
    /// What is left of the piece behind them.
    pub piece: Option<Piece>,
}

/// What hyper wants to write is not what the ledger says. Nothing more may be sent.
#[derive(Debug)]
pub struct Mismatch(&'static str);

impl Ledger {
    /// Notes a piece; what stands for it must be written once, whole, and behind all earlier ones.
    /// `None` if no more may wait, or for its length: the bytes themselves must be written then.
    pub fn stand_in(&self, piece: Piece) -> Option<Bytes> {
        let buffer = *BUFFER.get_or_init(buffer);
        let mut state = self.lock();
        let fits = (PIECE_BYTES_MIN..=PIECE_BYTES_MAX).contains(&piece.length);
        if !fits || state.waiting.len() >= WAITING_MAX || state.is_broken {
            return None;
        }
        let place = state.count % PLACES;
        let stand_in = Bytes::from_static(&buffer[place..place + piece.length]);
        state.count = state.count.wrapping_add(1);
        state.waiting.push_back(Waiting { piece, place, is_begun: false });
        self.in_use.store(true, Relaxed);
        Some(stand_in)
    }

    /// Whether pieces wait, or something was wrong.
    pub fn is_in_use(&self) -> bool {
        self.in_use.load(Relaxed)
    }

    /// What is to be done with what hyper wants to write.
    ///
    /// # Errors
    /// Close the connection; every later call fails as well.
    pub fn next(&self, slices: &[IoSlice<'_>]) -> Result<Next, Mismatch> {
        if !self.is_in_use() && slices.iter().all(|slice| place_of(slice).is_none()) {
            return Ok(Next { slices: slices.len(), piece: None });
        }
        let mut state = self.lock();
        if state.is_broken {
            return Err(Mismatch("nothing more is sent"));
        }
        let next = state.next(slices);
        next.map_err(|why| self.mismatch(&mut state, why))
    }

    /// So many bytes of the next piece are on their way.
    pub fn sent(&self, bytes: usize) {
        let mut state = self.lock();
        let Some(next) = state.waiting.front_mut() else { return };
        let bytes = bytes.min(next.piece.length);
        next.piece.offset += bytes as u64;
        next.piece.length -= bytes;
        next.place += bytes;
        next.is_begun = true;
        if next.piece.length == 0 {
            state.waiting.pop_front();
            self.in_use.store(!state.waiting.is_empty() || state.is_broken, Relaxed);
        }
    }

    /// Lets nothing be sent any more.
    pub fn fail(&self) {
        self.end(&mut self.lock());
    }

    /// hyper says that it has nothing left to write.
    ///
    /// # Errors
    /// As `next`.
    pub fn expect_none(&self) -> Result<(), Mismatch> {
        if !self.is_in_use() {
            return Ok(());
        }
        let why = "what stands for a piece of a file was lost";
        Err(self.mismatch(&mut self.lock(), why))
    }

    fn mismatch(&self, state: &mut State, why: &'static str) -> Mismatch {
        if !state.is_broken {
            error!(why, "a connection is closed before wrong bytes go over it");
        }
        self.end(state);
        Mismatch(why)
    }

    fn end(&self, state: &mut State) {
        state.waiting.clear();
        state.is_broken = true;
        self.in_use.store(true, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next(&self, slices: &[IoSlice<'_>]) -> Result<Next, &'static str> {
        let before = slices.iter().take_while(|slice| place_of(slice).is_none()).count();
        let (bytes, rest) = slices.split_at(before);
        let next = self.waiting.front();
        if next.is_some_and(|next| next.is_begun) && bytes.iter().any(|slice| !slice.is_empty()) {
            return Err("other bytes amid a piece of a file");
        }
        if bytes.iter().any(|slice| is_copied(slice)) {
            return Err("what stands for a piece of a file was copied");
        }
        let Some(stand_in) = rest.first() else { return Ok(Next { slices: before, piece: None }) };
        let next = next.filter(|next| {
            Some(next.place) == place_of(stand_in) && next.piece.length == stand_in.len()
        });
        let next = next.ok_or("not what stands for the next piece of a file")?;
        Ok(Next { slices: before, piece: Some(next.piece.clone()) })
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Mismatch {}

/// Where in the buffer a slice lies, if it does.
fn place_of(slice: &[u8]) -> Option<usize> {
    let buffer = BUFFER.get()?;
    let place = slice.as_ptr().addr().wrapping_sub(buffer.as_ptr().addr());
    (place < buffer.len() && !slice.is_empty()).then_some(place)
}

/// Whether bytes from elsewhere hold a run of the buffer's.
fn is_copied(slice: &[u8]) -> bool {
    BUFFER.get().is_some_and(|buffer| memmem::find(slice, &buffer[..MARK_BYTES]).is_some())
}

/// One mark again and again. It never leaves the process, so nobody can send it to us.
fn buffer() -> &'static [u8] {
    let mark = fastrand::u64(1..).to_ne_bytes();
    Vec::leak(mark.repeat((PIECE_BYTES_MAX + PLACES).div_ceil(MARK_BYTES)))
}

/// What all stand-ins are slices of.
static BUFFER: OnceLock<&'static [u8]> = OnceLock::new();

/// A longer piece costs the kernel no less for a byte, and others wait longer for their turn.
pub const PIECE_BYTES_MAX: usize = 512 * 1024;
/// A copy of a shorter one might not be known as one.
pub const PIECE_BYTES_MIN: usize = 2 * MARK_BYTES;
/// More than hyper queues.
const WAITING_MAX: usize = 32;
/// Stand-ins for so many pieces in a row lie at different places.
const PLACES: usize = 4096;
const MARK_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use bytes::Buf;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    struct Nowhere(File);

    impl Source for Nowhere {
        fn file(&self) -> &File {
            &self.0
        }

        fn failed(&self, _: Failure) {}
    }

    fn piece(offset: u64, length: usize) -> Piece {
        let source = Arc::new(Nowhere(File::open("/dev/null").unwrap()));
        Piece { source, offset, length }
    }

    fn next(ledger: &Ledger, bytes: &[Bytes]) -> Result<(usize, Option<(u64, usize)>), Mismatch> {
        let slices: Vec<_> = bytes.iter().map(|bytes| IoSlice::new(bytes)).collect();
        let next = ledger.next(&slices)?;
        Ok((next.slices, next.piece.map(|piece| (piece.offset, piece.length))))
    }

    fn head() -> Bytes {
        Bytes::from_static(b"HTTP/1.1 200 OK\r\n\r\n")
    }

    #[test]
    fn a_stand_in_is_known_by_its_address_and_by_what_is_left_of_it() {
        let ledger = Ledger::default();
        assert_eq!(next(&ledger, &[head()]).unwrap(), (1, None));
        let first = ledger.stand_in(piece(100, 1000)).unwrap();
        let second = ledger.stand_in(piece(1100, 50)).unwrap();
        let all = [head(), first.clone(), second.clone()];
        assert_eq!(next(&ledger, &all).unwrap(), (1, Some((100, 1000))));
        assert_eq!(next(&ledger, &all[1..]).unwrap(), (0, Some((100, 1000))));
        ledger.sent(400);
        let rest = [first.slice(400..), second.clone()];
        assert_eq!(next(&ledger, &rest).unwrap(), (0, Some((500, 600))));
        ledger.sent(600);
        assert_eq!(next(&ledger, &[second]).unwrap(), (0, Some((1100, 50))));
        ledger.sent(50);
        assert!(ledger.expect_none().is_ok());
        assert_eq!(next(&ledger, &[head()]).unwrap(), (1, None));
    }

    #[test]
    fn whatever_does_not_fit_ends_it() {
        type Writes = fn(&Ledger, Bytes, Bytes) -> Vec<Bytes>;
        let wrong: [(&str, Writes); 9] = [
            ("a later one first", |_, _, second| vec![second]),
            ("a part of it", |_, first, _| vec![first.slice(..999)]),
            ("without its beginning", |_, first, _| vec![first.slice(1..)]),
            ("a copy", |_, first, _| vec![Bytes::copy_from_slice(&first)]),
            ("a copy behind a head", |_, first, _| vec![[&head()[..], &first].concat().into()]),
            ("a short copy", |_, first, _| {
                vec![Bytes::copy_from_slice(&first[3..3 + PIECE_BYTES_MIN])]
            }),
            ("again what was sent", |ledger, first, _| {
                ledger.sent(10);
                vec![first]
            }),
            ("other bytes amid it", |ledger, first, _| {
                ledger.sent(10);
                vec![head(), first.slice(10..)]
            }),
            ("once more", |ledger, first, _| {
                ledger.sent(1000);
                ledger.sent(1000);
                vec![first]
            }),
        ];
        for (what, writes) in wrong {
            let ledger = Ledger::default();
            let first = ledger.stand_in(piece(0, 1000)).unwrap();
            let second = ledger.stand_in(piece(1000, 1000)).unwrap();
            let writes = writes(&ledger, first, second);
            assert!(next(&ledger, &writes).is_err(), "{what}");
            assert!(next(&ledger, &[head()]).is_err(), "{what}: it stays so");
            assert!(ledger.stand_in(piece(0, 1000)).is_none(), "{what}");
        }
        let ledger = Ledger::default();
        ledger.stand_in(piece(0, PIECE_BYTES_MIN)).unwrap();
        assert!(ledger.expect_none().is_err(), "one that is never written");
        let other = Ledger::default();
        let elsewhere = Ledger::default().stand_in(piece(0, 90)).unwrap();
        assert!(next(&other, &[elsewhere]).is_err(), "one of another connection");
    }

    #[test]
    fn neither_their_number_nor_their_length_is_without_limit() {
        let ledger = Ledger::default();
        assert!(ledger.stand_in(piece(0, PIECE_BYTES_MIN - 1)).is_none());
        assert!(ledger.stand_in(piece(0, PIECE_BYTES_MAX + 1)).is_none());
        let count = (0..100).filter_map(|_| ledger.stand_in(piece(0, PIECE_BYTES_MAX))).count();
        assert_eq!(count, WAITING_MAX);
    }

    proptest! {
        /// As hyper does it: bytes and stand-ins in a queue, of which any number is taken at a time.
        #[test]
        fn what_is_sent_is_what_was_queued(
            items in vec((any::<bool>(), 1usize..2000), 1..60),
            takes in vec(1usize..3000, 1..40),
            rounds in 1usize..4,
        ) {
            let ledger = Ledger::default();
            for _ in 0..rounds {
                let (mut expected, mut sent) = (Vec::new(), Vec::new());
                let mut queue = VecDeque::new();
                for (number, (is_piece, length)) in items.iter().enumerate() {
                    let offset = number as u64 * 10_000;
                    let stand_in = is_piece.then(|| ledger.stand_in(piece(offset, *length)));
                    match stand_in.flatten() {
                        Some(stand_in) => {
                            queue.push_back(stand_in);
                            expected.extend((0..*length as u64).map(|at| offset + at));
                        }
                        None => {
                            queue.push_back(vec![b'.'; *length].into());
                            expected.extend(vec![u64::MAX; *length]);
                        }
                    }
                }
                for take in takes.iter().cycle() {
                    let window: Vec<_> = queue.iter().take(16).cloned().collect();
                    if window.is_empty() {
                        break;
                    }
                    let (slices, piece) = next(&ledger, &window).unwrap();
                    let mut taken = 0;
                    for bytes in &window[..slices] {
                        let bytes = bytes.len().min(take - taken);
                        sent.extend(vec![u64::MAX; bytes]);
                        taken += bytes;
                    }
                    if let Some((offset, length)) = piece && taken < *take {
                        let length = length.min(take - taken);
                        let all: usize = window[..slices].iter().map(Bytes::len).sum();
                        if taken == all {
                            ledger.sent(length);
                            sent.extend((0..length as u64).map(|at| offset + at));
                            taken += length;
                        }
                    }
                    while taken > 0 {
                        let bytes = taken.min(queue[0].len());
                        queue[0].advance(bytes);
                        taken -= bytes;
                        if queue[0].is_empty() {
                            queue.pop_front();
                        }
                    }
                }
                prop_assert!(sent == expected);
                prop_assert!(ledger.expect_none().is_ok());
            }
        }
    }
}
