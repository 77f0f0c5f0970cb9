//! A large body in memory, and how it goes out without being copied. (nginx: sendfile)
//!
//! It begins as bytes, as it came. When plain HTTP/1 clients ask for it more than once, a job
//! copies it into a file that lies in memory, has no name and is sealed: nobody can change it any
//! more, so what the kernel sends of it needs no check, and no operator has to allow that. The bytes
//! go with their last reader. Who cannot take pieces of files, as over TLS or HTTP/2, has them read
//! from the file; below a length bytes stay bytes.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::body::ledger::{Failure, Ledger, PIECE_BYTES_MAX, Piece, Source};
use crate::body::{self, Error, FileBody};

/// A body of `LARGE_BYTES_MIN` or more.
pub struct Large {
    length: usize,
    /// Guards what holds it.
    state: Mutex<State>,
}

struct State {
    held: Held,
    /// Answers that the kernel could have sent, until it is worth a copy.
    wanted: u32,
}

#[derive(Clone)]
enum Held {
    Bytes(Bytes),
    File(Arc<MemFile>),
}

/// A sealed file in memory.
struct MemFile {
    file: File,
    _place: Place,
}

/// One of the files that may be open for this.
struct Place;

impl Large {
    /// A body that is all here.
    pub fn new(bytes: Bytes) -> Self {
        let length = bytes.len();
        Self { length, state: Mutex::new(State { held: Held::Bytes(bytes), wanted: 0 }) }
    }

    /// Its length.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Bytes of memory that it takes in the end: a file has whole pages.
    pub fn held_bytes(&self) -> usize {
        self.length.next_multiple_of(PAGE_BYTES)
    }

    /// All of it, read from the file if it is in one. For a job: a copy takes a while.
    ///
    /// # Errors
    /// The file cannot be read, which a kernel in good order does not say.
    pub fn bytes(&self) -> io::Result<Bytes> {
        match self.held() {
            Held::Bytes(bytes) => Ok(bytes),
            Held::File(file) => file.read(0..self.length, BytesMut::new()),
        }
    }

    /// The bytes of `range`, which lies within the body.
    pub fn stream(self: &Arc<Self>, range: Range<u64>) -> body::Body {
        let end = usize::try_from(range.end).unwrap_or(usize::MAX).min(self.length);
        let next = usize::try_from(range.start).unwrap_or(usize::MAX).min(end)..end;
        match self.held() {
            Held::Bytes(bytes) if next.len() < PIECE_BYTES => body::Body::full(bytes.slice(next)),
            held => body::Body::file(Sending {
                large: Arc::clone(self),
                held,
                next,
                ledger: None,
                sent: Bytes::new(),
                without_pause: 0,
            }),
        }
    }

    fn held(&self) -> Held {
        self.lock().held.clone()
    }

    /// The file, for somebody whom the kernel could send it to. There is one from some time after
    /// the second time on.
    fn file(self: &Arc<Self>) -> Option<Arc<MemFile>> {
        let mut state = self.lock();
        let bytes = match &state.held {
            Held::File(file) => return Some(Arc::clone(file)),
            Held::Bytes(bytes) => bytes.clone(),
        };
        state.wanted = state.wanted.saturating_add(1);
        // Once: if it could not be had, it stays bytes.
        if state.wanted == WORTH_A_COPY && !IS_REFUSED.load(Relaxed) {
            let large = Arc::clone(self);
            tokio::task::spawn_blocking(move || large.copy(&bytes));
        }
        None
    }

    fn copy(&self, bytes: &[u8]) {
        match MemFile::of(bytes) {
            Ok(file) => self.lock().held = Held::File(Arc::new(file)),
            Err(error) => tracing::debug!(%error, "a body in memory stays as it is"),
        }
    }

    /// A poisoned lock guards plain values that are whole at any moment.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Large {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Large").field("length", &self.length).finish_non_exhaustive()
    }
}

impl MemFile {
    fn of(bytes: &[u8]) -> io::Result<Self> {
        let place = Place::take().ok_or_else(|| io::Error::other("too many files are open"))?;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let created = match memfd_create(c"larder", flags | MemfdFlags::NOEXEC_SEAL) {
            // The flag is newer than the call.
            Err(Errno::INVAL) => memfd_create(c"larder", flags),
            created => created,
        };
        let mut file = File::from(created?);
        file.write_all(bytes)?;
        let all = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&file, all)?;
        Ok(Self { file, _place: place })
    }

    /// The bytes of `range`, in the room of `buffer`. Memory does not let anybody wait.
    fn read(&self, range: Range<usize>, mut buffer: BytesMut) -> io::Result<Bytes> {
        buffer.resize(range.len(), 0);
        self.file.read_exact_at(&mut buffer, range.start as u64)?;
        Ok(buffer.freeze())
    }
}

impl Source for MemFile {
    fn file(&self) -> &File {
        &self.file
    }

    fn failed(&self, failure: Failure) {
        match failure {
            Failure::Refused => IS_REFUSED.store(true, Relaxed),
            failure => tracing::error!(?failure, "a body in memory cannot be sent"),
        }
    }
}

impl Place {
    /// One, if no more than an eighth of the files that may be open are taken by these.
    fn take() -> Option<Self> {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / 8;
        let most = usize::try_from(limit).unwrap_or(usize::MAX).min(FILES_MAX);
        let taken = TAKEN.fetch_update(Relaxed, Relaxed, |taken| (taken < most).then(|| taken + 1));
        taken.is_ok().then_some(Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        TAKEN.fetch_sub(1, Relaxed);
    }
}

/// Some of a large body, in its order.
struct Sending {
    large: Arc<Large>,
    held: Held,
    next: Range<usize>,
    /// Of the connection that takes stand-ins for it.
    ledger: Option<Arc<Ledger>>,
    /// What was read last: its room is used again once the connection has let go of it.
    sent: Bytes,
    /// Bytes given here since others had their turn on this worker.
    without_pause: usize,
}

impl Sending {
    /// What stands for the next bytes.
    fn piece(&self, file: &Arc<MemFile>) -> Option<Bytes> {
        let ledger = self.ledger.as_ref()?;
        let (offset, length) = (self.next.start as u64, self.next.len().min(PIECE_BYTES_MAX));
        ledger.stand_in(Piece { source: Arc::clone(file) as Arc<dyn Source>, offset, length })
    }

    fn read(&mut self, file: &MemFile) -> Result<Bytes, Error> {
        let range = self.next.start..self.next.end.min(self.next.start + READ_BYTES);
        let buffer = std::mem::take(&mut self.sent).try_into_mut().unwrap_or_default();
        self.sent = file.read(range, buffer).map_err(|error| Error::Transfer(Box::new(error)))?;
        Ok(self.sent.clone())
    }
}

impl FileBody for Sending {
    fn splice(mut self: Pin<&mut Self>, ledger: &Arc<Ledger>) {
        if self.next.len() < PIECE_BYTES {
            return;
        }
        if let Some(file) = self.large.file() {
            self.held = Held::File(file);
            self.ledger = Some(Arc::clone(ledger));
        }
    }

    fn is_sealed(&self) -> bool {
        true
    }
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if this.next.is_empty() {
            return Poll::Ready(None);
        }
        if this.without_pause >= WITHOUT_PAUSE_BYTES {
            this.without_pause = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let bytes = match this.held.clone() {
            Held::Bytes(bytes) => Ok(bytes.slice(this.next.clone())),
            Held::File(file) => match this.piece(&file) {
                Some(stand_in) => Ok(stand_in),
                None => this.read(&file),
            },
        };
        match &bytes {
            Ok(bytes) => {
                this.next.start += bytes.len();
                this.without_pause += bytes.len();
            }
            Err(_) => this.next.start = this.next.end,
        }
        Poll::Ready(Some(bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.next.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.next.len() as u64)
    }
}

/// Files of this kind that are open.
static TAKEN: AtomicUsize = AtomicUsize::new(0);
/// The kernel does not send them.
static IS_REFUSED: AtomicBool = AtomicBool::new(false);
/// Each takes a descriptor: for less than this a copy is as good.
pub const LARGE_BYTES_MIN: usize = 128 * 1024;
const FILES_MAX: usize = 16 * 1024;
/// A copy costs as much as the kernel saves with two or three answers.
const WORTH_A_COPY: u32 = 2;
/// What is shorter goes out by the kernel for no less.
const PIECE_BYTES: usize = 64 * 1024;
const PAGE_BYTES: usize = 4096;
/// Read at a time: what a core's cache holds from the read to the send.
const READ_BYTES: usize = 64 * 1024;
/// Some hundred microseconds of sending to a fast client.
const WITHOUT_PAUSE_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn content(length: usize) -> Bytes {
        (0..length).map(|n| (n / 7) as u8).collect::<Vec<_>>().into()
    }

    async fn read(mut body: body::Body) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            all.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        all
    }

    /// As a plain connection does; whether stand-ins were given.
    async fn is_spliced(large: &Arc<Large>) -> bool {
        let ledger = Arc::new(Ledger::default());
        let mut body = large.stream(0..large.len() as u64);
        body.splice(&ledger, false);
        let before = read(body).await == large.bytes().unwrap();
        !before
    }

    async fn until_in_a_file(large: &Arc<Large>) {
        while matches!(large.held(), Held::Bytes(_)) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_is_asked_for_again_comes_to_lie_in_a_file_and_is_the_same() {
        let bytes = content(300_001);
        let large = Arc::new(Large::new(bytes.clone()));
        assert!(!is_spliced(&large).await, "once is no reason");
        assert!(matches!(large.held(), Held::Bytes(_)));
        assert!(!is_spliced(&large).await, "it is copied behind this one");
        until_in_a_file(&large).await;
        assert!(is_spliced(&large).await);
        assert_eq!(large.bytes().unwrap(), bytes);
        for range in [0..300_001, 0..1, 299_999..300_001, 5..5, 70_000..200_000, 0..400_000] {
            let expected = &bytes[range.start as usize..(range.end as usize).min(bytes.len())];
            assert!(read(large.stream(range.clone())).await == expected, "{range:?}");
        }
    }

    #[tokio::test]
    async fn nobody_can_change_the_file() {
        let file = MemFile::of(&content(200_000)).unwrap();
        assert!(file.file.write_all_at(b"x", 0).is_err());
        assert!(file.file.set_len(1).is_err());
        assert!(file.file.set_len(300_000).is_err());
        assert!(fcntl_add_seals(&file.file, SealFlags::WRITE).is_err());
    }

    #[tokio::test]
    async fn parts_that_are_short_are_no_reason_for_a_file() {
        let large = Arc::new(Large::new(content(200_000)));
        for _ in 0..9 {
            let mut body = large.stream(0..1000);
            body.splice(&Arc::default(), true);
            assert_eq!(read(body).await, content(200_000)[..1000]);
        }
        assert_eq!(large.lock().wanted, 0);
    }
}
