//! The only reader of time. Tests hold a manual clock.
//!
//! The machine's wall clock can be set while the server runs: by a second, or by years. What is
//! stored must not become older or younger by that. So all that counts how much time has passed
//! reads `now`, which is the wall clock as it was at the start and goes on by itself from there;
//! only what is compared with dates of others, or shown, reads `wall`.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Where the time comes from. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's clocks.
    #[default]
    Real,
    /// Time that passes only when told to.
    Manual(Arc<Manual>),
}

/// A clock for tests, in milliseconds since the Unix epoch.
#[derive(Debug)]
pub struct Manual {
    now_ms: AtomicU64,
    /// How much the wall clock was set.
    set_ms: AtomicI64,
}

impl Clock {
    /// A manual clock that stands at `start`.
    pub fn manual(start: SystemTime) -> Self {
        let now = start.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (now_ms, set_ms) = (AtomicU64::new(now.as_millis() as u64), AtomicI64::new(0));
        Self::Manual(Arc::new(Manual { now_ms, set_ms }))
    }

    /// For everything that has to do with freshness. Never steps back: it is what the wall clock
    /// said when the process first asked, and what has passed since, the time that the machine
    /// slept included.
    #[expect(clippy::disallowed_methods, reason = "this is the one reader")]
    pub fn now(&self) -> SystemTime {
        match self {
            Self::Real => {
                let up = since_boot();
                let (wall, at) = *STARTED.get_or_init(|| (SystemTime::now(), up));
                wall + up.saturating_sub(at)
            }
            Self::Manual(manual) => {
                UNIX_EPOCH + Duration::from_millis(manual.now_ms.load(Ordering::SeqCst))
            }
        }
    }

    /// What the machine's wall clock says, for what is shown and for dates of others. It may be set
    /// to anything at any moment.
    #[expect(clippy::disallowed_methods, reason = "this is the one reader")]
    pub fn wall(&self) -> SystemTime {
        match self {
            Self::Real => SystemTime::now(),
            Self::Manual(manual) => {
                let now_ms = manual.now_ms.load(Ordering::SeqCst);
                let wall_ms = now_ms.saturating_add_signed(manual.set_ms.load(Ordering::SeqCst));
                UNIX_EPOCH + Duration::from_millis(wall_ms)
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

    /// Sets the wall clock of a manual clock by so much, on or back, while no time passes; a real
    /// clock ignores it.
    pub fn set_by_s(&self, seconds: i64) {
        if let Self::Manual(manual) = self {
            manual.set_ms.fetch_add(seconds * 1000, Ordering::SeqCst);
        }
    }

    /// The clock that a process has which starts now; the same for a real one.
    #[must_use]
    pub fn restarted(&self) -> Self {
        match self {
            Self::Real => Self::Real,
            Self::Manual(_) => Self::manual(self.wall()),
        }
    }
}

/// Goes on while the machine sleeps, and nobody can set it.
fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// What the wall clock said when it was first read, and how long the machine had been up.
static STARTED: OnceLock<(SystemTime, Duration)> = OnceLock::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_clock_goes_on_from_the_wall_clock() {
        let clock = Clock::Real;
        let (first, wall) = (clock.now(), clock.wall());
        let apart = wall.duration_since(first).unwrap_or_else(|error| error.duration());
        assert!(apart < Duration::from_secs(5), "{apart:?}");
        assert!(clock.now() >= first);
    }

    #[test]
    fn setting_the_wall_clock_lets_no_time_pass() {
        let clock = Clock::manual(UNIX_EPOCH + Duration::from_secs(1000));
        clock.set_by_s(-400);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), UNIX_EPOCH + Duration::from_secs(1001));
        assert_eq!(clock.wall(), UNIX_EPOCH + Duration::from_secs(601));
        assert_eq!(clock.restarted().now(), UNIX_EPOCH + Duration::from_secs(601));
    }
}
