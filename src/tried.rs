//! What became of a request at each peer that was asked, as logs tell of it.
//! (nginx: `$upstream_addr`, `$upstream_status`, `$upstream_response_time` and their like)

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::clock::Clock;

/// One peer's chance.
#[derive(Clone, Debug)]
pub struct Tried {
    /// Its address; the name of its upstream, if there was no peer to ask.
    pub peer: Arc<str>,
    /// There was one.
    pub was_asked: bool,
    /// The status of its answer; of a peer that gave none 504 if it took too long, else 502.
    pub status: u16,
    /// How long it took to connect, nothing over a connection that was there; `None` if that failed.
    pub connect: Option<Duration>,
    /// Until the head of its answer was there, connecting included; `None` if it gave none.
    pub header: Option<Duration>,
    /// How far the exchange is.
    pub progress: Arc<Progress>,
}

impl Tried {
    /// It begins now.
    pub fn begin(peer: &Arc<str>) -> Self {
        let (peer, progress) = (Arc::clone(peer), Progress::new());
        Self { peer, was_asked: true, status: 502, connect: None, header: None, progress }
    }

    /// Of this upstream nobody can be asked.
    pub fn nobody(upstream: &str) -> Self {
        let nobody = Self { was_asked: false, ..Self::begin(&Arc::from(upstream)) };
        nobody.progress.end();
        nobody
    }

    /// The head of an answer is there.
    pub fn answered(&mut self, status: u16) {
        (self.status, self.header) = (status, Some(self.progress.elapsed()));
    }

    /// There will be no answer.
    pub fn failed(&mut self, took_too_long: bool) {
        self.status = if took_too_long { 504 } else { 502 };
    }
}

/// An exchange with a peer, from its begin to the end of the response's body.
#[derive(Debug)]
pub struct Progress {
    begun: Instant,
    /// How long it took.
    took_us: AtomicU64,
    body_bytes: AtomicU64,
}

impl Progress {
    /// Begins now.
    fn new() -> Arc<Self> {
        let (took_us, body_bytes) = (AtomicU64::new(UNDER_WAY), AtomicU64::new(0));
        Arc::new(Self { begun: Clock::Real.instant(), took_us, body_bytes })
    }

    /// One that took so long.
    #[cfg(test)]
    pub(crate) fn over(took: Duration) -> Arc<Self> {
        let progress = Self::new();
        progress.took_us.store(took.as_micros() as u64, Relaxed);
        progress
    }

    /// Since it began.
    pub fn elapsed(&self) -> Duration {
        Clock::Real.instant().saturating_duration_since(self.begun)
    }

    /// So much of the body has come.
    pub fn count(&self, bytes: usize) {
        self.body_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Ends now.
    pub fn end(&self) {
        self.took_us.store(self.elapsed().as_micros() as u64, Relaxed);
    }

    /// How long it took, or has taken so far.
    pub fn time(&self) -> Duration {
        match self.took_us.load(Relaxed) {
            UNDER_WAY => self.elapsed(),
            took_us => Duration::from_micros(took_us),
        }
    }

    /// Bytes of the body that came, without what frames them.
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes.load(Relaxed)
    }
}

const UNDER_WAY: u64 = u64::MAX;
