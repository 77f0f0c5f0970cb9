//! May this peer be asked? Passive health, as nginx keeps it; pure.
//!
//! ```text
//!            max_fails failures
//!   up ------------------------------> out
//!    ^                                  | fail_timeout passed
//!    |  it succeeded                    v
//!    '------------------------------ probed by one request; if that fails: out again
//! ```

use std::time::{Duration, SystemTime};

/// What a peer's last answers say about it.
#[derive(Clone, Debug)]
pub(super) struct Health {
    max_fails: u32,
    fail_timeout: Duration,
    /// Failures that still count.
    pub(super) fails: u32,
    /// The last failure.
    failed_at: Option<SystemTime>,
    /// The last failure, or the begin of the last request after it that tells whether it passed.
    checked_at: Option<SystemTime>,
    /// When it came back after it was out.
    back_at: Option<SystemTime>,
}

impl Health {
    pub(super) fn new(max_fails: u32, fail_timeout: Duration) -> Self {
        Self { max_fails, fail_timeout, fails: 0, failed_at: None, checked_at: None, back_at: None }
    }

    /// Whether a request may go there now.
    pub(super) fn usable(&self, now: SystemTime) -> bool {
        !self.is_out() || self.due(now)
    }

    /// Whether it failed so often that only probes go there.
    pub(super) fn is_out(&self) -> bool {
        self.max_fails > 0 && self.fails >= self.max_fails
    }

    /// A request goes there. If it is the first for `fail_timeout`, it is the one that tells;
    /// until then a peer that is out gets no other.
    pub(super) fn picked(&mut self, now: SystemTime) {
        if self.fails > 0 && self.due(now) {
            self.checked_at = Some(now);
        }
    }

    /// A request failed there. Returns whether this took the peer out.
    pub(super) fn failed(&mut self, now: SystemTime) -> bool {
        let before = self.is_out();
        self.fails = self.fails.saturating_add(1);
        self.failed_at = Some(now);
        self.checked_at = Some(now);
        self.is_out() && !before
    }

    /// A request went well. Earlier failures are forgotten only if they are `fail_timeout` ago.
    /// Only then is `now` asked for.
    pub(super) fn succeeded(&mut self, now: impl FnOnce() -> SystemTime) {
        if self.failed_at != self.checked_at {
            if self.is_out() {
                self.back_at = Some(now());
            }
            self.forget();
        }
    }

    /// Somebody else found it well, who knows better than its failures.
    pub(super) fn back(&mut self, now: SystemTime) {
        self.back_at = Some(now);
        self.forget();
    }

    /// How much of its weight counts, in thousandths: it grows over `slow_start` after a return.
    pub(super) fn part(&self, now: SystemTime, slow_start: Duration) -> i64 {
        let Some(back_at) = self.back_at.filter(|_| !slow_start.is_zero()) else { return 1000 };
        // A clock that stepped back gives it all its weight early rather than late.
        let passed = now.duration_since(back_at).unwrap_or(slow_start).min(slow_start);
        let part = passed.as_millis() * 1000 / slow_start.as_millis().max(1);
        i64::try_from(part).unwrap_or(1000).clamp(1, 1000)
    }

    /// Forgets all failures.
    pub(super) fn forget(&mut self) {
        self.fails = 0;
        self.failed_at = None;
        self.checked_at = None;
    }

    /// A clock that stepped back brings a peer back early rather than late.
    fn due(&self, now: SystemTime) -> bool {
        let Some(checked_at) = self.checked_at else { return true };
        now.duration_since(checked_at).map_or(true, |passed| passed > self.fail_timeout)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    /// One step at a second: `F`ailed, `S`ucceeded, `P`icked; then whether it is usable.
    #[test]
    #[rustfmt::skip]
    fn goes_out_and_comes_back() {
        check(1, "0F",                 5,  false, "one failure is enough");
        check(1, "0F",                 10, false, "the last second counts");
        check(1, "0F",                 11, true,  "its time is over");
        check(1, "0F 11P",             11, false, "one probe at a time");
        check(1, "0F 11P",             22, true,  "a probe that never ended does not lock it out");
        check(1, "0F 11P 12F",         13, false, "the probe failed");
        check(1, "0F 11P 12S",         12, true,  "the probe went well");
        check(2, "0F",                 0,  true,  "one of two");
        check(2, "0F 5S 6F",           6,  false, "success within the time forgets nothing");
        check(2, "0F 11P 11S 12F",     12, true,  "failures too far apart");
        check(0, "0F 0F 0F",           0,  true,  "0 never takes it out");
    }

    #[track_caller]
    fn check(max_fails: u32, steps: &str, at_s: u64, usable: bool, why: &str) {
        let mut health = Health::new(max_fails, Duration::from_secs(10));
        let at = |second: u64| UNIX_EPOCH + Duration::from_secs(1_000_000 + second);
        for step in steps.split(' ') {
            let (second, what) = step.split_at(step.len() - 1);
            let now = at(second.parse().unwrap());
            match what {
                "F" => drop(health.failed(now)),
                "S" => health.succeeded(|| now),
                _ => health.picked(now),
            }
        }
        assert_eq!(health.usable(at(at_s)), usable, "{why}");
    }

    #[test]
    fn weight_grows_after_a_return_and_only_then() {
        let at = |second: u64| UNIX_EPOCH + Duration::from_secs(1_000_000 + second);
        let mut health = Health::new(1, Duration::from_secs(10));
        let slow = Duration::from_secs(20);
        assert_eq!(health.part(at(0), slow), 1000, "nothing happened yet");
        health.failed(at(0));
        health.picked(at(11));
        health.succeeded(|| at(12));
        let parts = [12, 13, 22, 32, 99].map(|second| health.part(at(second), slow));
        assert_eq!(parts, [1, 50, 500, 1000, 1000]);
        assert_eq!(health.part(at(13), Duration::ZERO), 1000, "where it is off");
    }

    #[test]
    fn a_clock_that_steps_back_brings_it_back() {
        let mut health = Health::new(1, Duration::from_secs(10));
        health.failed(UNIX_EPOCH + Duration::from_secs(5000));
        assert!(health.usable(UNIX_EPOCH + Duration::from_secs(1000)));
    }
}
