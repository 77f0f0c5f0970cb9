//! The only reader of time. Tests hold a manual clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where the time comes from. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's clocks.
    #[default]
    Real,
    /// Wall time that moves only when told to.
    Manual(Arc<Manual>),
}

/// A wall clock for tests, in milliseconds since the Unix epoch.
#[derive(Debug)]
pub struct Manual {
    now_ms: AtomicU64,
}

impl Clock {
    /// A manual clock that stands at `start`.
    pub fn manual(start: SystemTime) -> Self {
        let now = start.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::Manual(Arc::new(Manual { now_ms: AtomicU64::new(now.as_millis() as u64) }))
    }

    /// Wall time, for everything that has to do with freshness. It may step back.
    #[expect(clippy::disallowed_methods, reason = "this is the one reader")]
    pub fn now(&self) -> SystemTime {
        match self {
            Self::Real => SystemTime::now(),
            Self::Manual(manual) => {
                UNIX_EPOCH + Duration::from_millis(manual.now_ms.load(Ordering::SeqCst))
            }
        }
    }

    /// Monotonic time, for durations and timeouts. Always the machine's: a manual wall clock does
    /// not stop the network.
    #[expect(clippy::disallowed_methods, reason = "this is the one reader")]
    pub fn instant(&self) -> Instant {
        Instant::now()
    }

    /// Moves a manual clock on; a real clock cannot be moved and ignores it.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(manual) = self {
            manual.now_ms.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
        }
    }

    /// Moves a manual clock back, as a clock step does; a real clock ignores it.
    pub fn step_back(&self, by: Duration) {
        if let Self::Manual(manual) = self {
            manual.now_ms.fetch_sub(by.as_millis() as u64, Ordering::SeqCst);
        }
    }
}
