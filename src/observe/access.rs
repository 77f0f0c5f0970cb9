//! The access log: lines gathered per worker, written by one thread.
//!
//! Nothing here makes a request wait for a disk: a worker hands over full buffers without
//! blocking, and when the writer cannot keep up the lines are dropped and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::clock::Clock;
use crate::config;
use crate::observe::exchange::Exchange;
use crate::observe::line::{self, Ending};
use crate::observe::logs::To;

/// An access log that is open. Dropping it writes what was handed over and closes it; the
/// workers' writers are dropped or flushed before.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
    sender: SyncSender<Message>,
    done: Mutex<Receiver<()>>,
    path: Option<PathBuf>,
    /// Its last writer closes it.
    left: AtomicBool,
}

impl AccessLog {
    /// Opens the file, or takes standard output, and starts the thread that writes.
    ///
    /// # Errors
    ///
    /// The file cannot be opened or the thread not started; the message names the file. The
    /// caller decides whether to go on without a log.
    pub fn open(settings: &config::AccessLog, clock: Clock) -> io::Result<Self> {
        let file = open_target(settings.path.as_ref())?;
        let shared = Arc::new(Shared {
            buffer_bytes: settings.buffer_bytes,
            clock,
            replacement: Mutex::new(None),
            lines_dropped: AtomicU64::new(0),
            write_errors: AtomicU64::new(0),
        });
        let (sender, receiver) = mpsc::sync_channel(BUFFERS_WAITING_MAX);
        let (done_sender, done) = mpsc::channel();
        let output = Output { shared: Arc::clone(&shared), file, torn: false, warned: None };
        thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            output.run(&receiver);
            let _ = done_sender.send(());
        })?;
        let path = settings.path.clone();
        Ok(Self { shared, sender, done: Mutex::new(done), path, left: AtomicBool::new(false) })
    }

    /// A buffer of lines for one worker.
    pub fn for_worker(&self) -> Writer {
        Writer::new(Arc::clone(&self.shared), self.sender.clone())
    }

    /// Opens the file anew, after it was renamed by whoever rotates logs. Buffers written from now
    /// on go to the new file.
    ///
    /// # Errors
    ///
    /// The file cannot be opened; the old one stays in use.
    pub fn reopen(&self) -> io::Result<()> {
        let file = open_target(self.path.as_ref())?;
        *lock(&self.shared.replacement) = Some(file);
        Ok(())
    }

    /// Another log takes its place: it is closed when the last of its writers is dropped, which may
    /// be long after.
    pub fn leave(&self) {
        self.left.store(true, Relaxed);
    }

    /// What went wrong since the start.
    pub fn losses(&self) -> Losses {
        self.loss_counter().get()
    }

    /// Tells what goes wrong, to whoever reports it.
    pub fn loss_counter(&self) -> LossCounter {
        LossCounter(Arc::clone(&self.shared))
    }
}

/// Reads the losses of a log without holding the log open.
#[derive(Clone, Debug)]
pub struct LossCounter(Arc<Shared>);

impl LossCounter {
    /// What went wrong since the start.
    pub fn get(&self) -> Losses {
        Losses {
            lines_dropped: self.0.lines_dropped.load(Relaxed),
            write_errors: self.0.write_errors.load(Relaxed),
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        if *self.left.get_mut() {
            return;
        }
        // A writer that is stuck, in a pipe that nobody reads, must not keep the process alive.
        let done = self.done.get_mut().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..CLOSE_TRIES {
            if self.sender.try_send(Message::Close).is_ok() {
                break;
            }
            let _ = done.recv_timeout(CLOSE_WAIT / CLOSE_TRIES);
        }
        let _ = done.recv_timeout(CLOSE_WAIT);
    }
}

/// Lines that were not written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Lines lost, because the writer could not keep up or a write failed.
    pub lines_dropped: u64,
    /// Writes that failed.
    pub write_errors: u64,
}

/// Where one worker puts its lines. Dropping it hands over what is left.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    sender: SyncSender<Message>,
    /// Only its own worker takes it, so it is never contended. Guards the lines and the time text.
    buffer: Mutex<Buffer>,
}

#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    lines: u64,
    second: u64,
    time_local: String,
}

impl Writer {
    fn new(shared: Arc<Shared>, sender: SyncSender<Message>) -> Self {
        let bytes = Vec::with_capacity(shared.buffer_bytes);
        let buffer = Buffer { bytes, lines: 0, second: u64::MAX, time_local: String::new() };
        Self { shared, sender, buffer: Mutex::new(buffer) }
    }

    /// Adds the line of a finished exchange that sent `sent_bytes` of body, if it has one here. Never
    /// waits.
    pub fn record(&self, to: &To, exchange: &Exchange, (sent_bytes, complete): (u64, bool)) {
        let clock = &self.shared.clock;
        let Some(request) = &exchange.request else { return };
        let request_time = clock.instant().saturating_duration_since(request.started);
        let time = clock.wall();
        let mut buffer = lock(&self.buffer);
        buffer.set_time(time);
        let Buffer { bytes, time_local, .. } = &mut *buffer;
        let before = bytes.len();
        let end = Ending { time, time_local, request_time, sent_bytes, complete };
        to.write(bytes, exchange, end);
        let added = bytes.len() > before;
        buffer.lines += u64::from(added);
        if buffer.bytes.len() >= self.shared.buffer_bytes {
            self.hand_over(&mut buffer);
        }
    }

    /// Hands over the lines gathered so far; the worker calls this every `flush` of the
    /// configuration. Never waits.
    pub fn flush(&self) {
        self.hand_over(&mut lock(&self.buffer));
    }

    fn hand_over(&self, buffer: &mut Buffer) {
        if buffer.lines == 0 {
            return;
        }
        let bytes = std::mem::take(&mut buffer.bytes);
        let lines = std::mem::take(&mut buffer.lines);
        buffer.bytes = match self.sender.try_send(Message::Lines { bytes, lines }) {
            Ok(()) => Vec::with_capacity(self.shared.buffer_bytes),
            Err(error) => {
                self.shared.lines_dropped.fetch_add(lines, Relaxed);
                reuse(error)
            }
        };
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Buffer {
    fn set_time(&mut self, now: SystemTime) {
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if second != self.second {
            self.second = second;
            self.time_local = line::time_local(now);
        }
    }
}

#[derive(Debug)]
struct Shared {
    buffer_bytes: usize,
    clock: Clock,
    /// The file opened by `reopen`, until the writer takes it.
    replacement: Mutex<Option<File>>,
    lines_dropped: AtomicU64,
    write_errors: AtomicU64,
}

enum Message {
    Lines { bytes: Vec<u8>, lines: u64 },
    Close,
}

/// What the writing thread owns.
struct Output {
    shared: Arc<Shared>,
    file: File,
    /// The last write ended within a line.
    torn: bool,
    warned: Option<Instant>,
}

impl Output {
    fn run(mut self, receiver: &Receiver<Message>) {
        while let Ok(Message::Lines { bytes, lines }) = receiver.recv() {
            if let Some(file) = lock(&self.shared.replacement).take() {
                self.file = file;
                self.torn = false;
            }
            if let Err(error) = self.write(&bytes) {
                self.shared.lines_dropped.fetch_add(lines, Relaxed);
                self.shared.write_errors.fetch_add(1, Relaxed);
                self.warn(&error);
            }
        }
    }

    /// Writes all of `bytes`, or gives up on them: the next buffer tries again.
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if self.torn {
            // Ends the line that a failed write cut off, so that only that one is spoilt.
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        while !bytes.is_empty() {
            let written = match self.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.torn = bytes[written - 1] != b'\n';
            bytes = &bytes[written..];
        }
        Ok(())
    }

    fn warn(&mut self, error: &io::Error) {
        let now = self.shared.clock.instant();
        if self.warned.is_some_and(|warned| now.saturating_duration_since(warned) < WARN_EVERY) {
            return;
        }
        self.warned = Some(now);
        let lines_dropped = self.shared.lines_dropped.load(Relaxed);
        tracing::warn!(%error, lines_dropped, "access log cannot be written");
    }
}

fn open_target(path: Option<&PathBuf>) -> io::Result<File> {
    let Some(path) = path else {
        return Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?));
    };
    OpenOptions::new().append(true).create(true).open(path).map_err(|error| {
        io::Error::new(error.kind(), format!("access log `{}`: {error}", path.display()))
    })
}

/// The buffer of a message that was not taken, empty again.
fn reuse(error: mpsc::TrySendError<Message>) -> Vec<u8> {
    let (mpsc::TrySendError::Full(message) | mpsc::TrySendError::Disconnected(message)) = error;
    let Message::Lines { mut bytes, .. } = message else { return Vec::new() };
    bytes.clear();
    bytes
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Buffers between the workers and the writer: 4 MiB with buffers of 64 KiB.
const BUFFERS_WAITING_MAX: usize = 64;
const WARN_EVERY: Duration = Duration::from_secs(1);
/// How long a close waits for the writer, once to be heard and once for it to end.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
const CLOSE_TRIES: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::path::Path;

    use http::{Method, Version};

    use crate::observe::exchange::RequestFacts;
    use crate::semantics::reason::Reason;

    fn settings(path: &Path, buffer_bytes: usize) -> config::AccessLog {
        let (name, format) = (String::new(), config::AccessFormat::Combined);
        let flush = Duration::from_secs(1);
        config::AccessLog { name, path: Some(path.to_owned()), format, buffer_bytes, flush }
    }

    fn record(writer: &Writer, target: &'static str, bytes: u64) {
        let log = settings(Path::new("a"), 0);
        let to = config::LogTo { number: 0, when: None };
        let logs = crate::observe::logs::Logs::new(&[to], &[log]).unwrap();
        writer.record(&logs.to[0], &exchange(target), (bytes, true));
    }

    fn exchange(target: &'static str) -> Exchange {
        Exchange {
            request: Some(Box::new(RequestFacts {
                started: Clock::Real.instant(),
                client: "127.0.0.1:1".parse::<SocketAddr>().unwrap().into(),
                method: Method::GET,
                target: http::Uri::from_static(target),
                version: Version::HTTP_11,
                authorization: None,
                referer: None,
                user_agent: None,
            })),
            status: 200,
            cache: None,
            reason: Reason::CacheOff,
            zone: None,
            tried: Vec::new(),
            logged: None,
        }
    }

    /// Waits until the writer thread has done what was handed to it.
    fn eventually(what: impl Fn() -> bool) {
        for _ in 0..500 {
            if what() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("did not happen");
    }

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn lines_are_held_back_until_a_flush() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(784_111_777));
        let log = AccessLog::open(&settings(&path, 65536), clock.clone()).unwrap();
        let writer = log.for_worker();
        record(&writer, "/a", 1);
        clock.advance(Duration::from_secs(1));
        record(&writer, "/b", 2);
        assert_eq!(text(&path), "");
        writer.flush();
        let expected = "127.0.0.1 - - [06/Nov/1994:08:49:37 +0000] \"GET /a HTTP/1.1\" 200 1 \"-\" \"-\"\n\
                        127.0.0.1 - - [06/Nov/1994:08:49:38 +0000] \"GET /b HTTP/1.1\" 200 2 \"-\" \"-\"\n";
        eventually(|| text(&path) == expected);
        assert_eq!(log.losses(), Losses::default());
    }

    #[test]
    fn everything_is_written_at_close_and_appended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        std::fs::write(&path, "old\n").unwrap();
        let log = AccessLog::open(&settings(&path, 65536), Clock::Real).unwrap();
        let (one, two) = (log.for_worker(), log.for_worker());
        record(&one, "/a", 1);
        record(&two, "/b", 1);
        drop((one, two));
        drop(log);
        let text = text(&path);
        assert!(text.starts_with("old\n") && text.contains("/a") && text.contains("/b"), "{text}");
    }

    #[test]
    fn a_log_that_is_left_takes_lines_until_its_last_writer_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = AccessLog::open(&settings(&path, 65536), Clock::Real).unwrap();
        let writer = log.for_worker();
        log.leave();
        drop(log);
        record(&writer, "/late", 1);
        drop(writer);
        eventually(|| text(&path).contains("/late"));
    }

    #[test]
    fn a_full_buffer_is_handed_over_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = AccessLog::open(&settings(&path, 0), Clock::Real).unwrap();
        record(&log.for_worker(), "/a", 1);
        eventually(|| text(&path).contains("/a"));
    }

    #[test]
    fn a_full_channel_drops_and_counts_and_never_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = AccessLog::open(&settings(&path, 0), Clock::Real).unwrap();
        let (sender, receiver) = mpsc::sync_channel(2);
        let writer = Writer::new(Arc::clone(&log.shared), sender);
        for _ in 0..5 {
            record(&writer, "/a", 1);
        }
        assert_eq!(log.losses(), Losses { lines_dropped: 3, write_errors: 0 });
        drop(receiver);
        record(&writer, "/a", 1);
        assert_eq!(log.losses().lines_dropped, 4);
    }

    #[test]
    fn a_full_disk_loses_lines_and_nothing_else() {
        let log = AccessLog::open(&settings(Path::new("/dev/full"), 0), Clock::Real).unwrap();
        let writer = log.for_worker();
        record(&writer, "/a", 1);
        eventually(|| log.losses() == Losses { lines_dropped: 1, write_errors: 1 });
        record(&writer, "/b", 1);
        eventually(|| log.losses() == Losses { lines_dropped: 2, write_errors: 2 });
    }

    #[test]
    fn reopens_after_a_rename() {
        let folder = tempfile::tempdir().unwrap();
        let (path, rotated) = (folder.path().join("a.log"), folder.path().join("a.log.1"));
        let log = AccessLog::open(&settings(&path, 0), Clock::Real).unwrap();
        let writer = log.for_worker();
        record(&writer, "/first", 1);
        eventually(|| text(&path).contains("/first"));
        std::fs::rename(&path, &rotated).unwrap();
        log.reopen().unwrap();
        record(&writer, "/second", 1);
        eventually(|| text(&path).contains("/second"));
        assert!(!text(&rotated).contains("/second"));
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let error = AccessLog::open(&settings(Path::new("/nowhere/a.log"), 0), Clock::Real);
        assert!(error.unwrap_err().to_string().contains("/nowhere/a.log"));
    }
}
