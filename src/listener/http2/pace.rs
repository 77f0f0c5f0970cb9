//! For how long an HTTP/2 connection may do what it does.
//!
//! ```text
//!   no request yet: header_timeout       none under way: keepalive_timeout, then GOAWAY
//!   a frame or the fields of a request have begun: header_timeout
//!   the client takes no bytes: send_timeout      told to go, none under way: a moment
//!   after keepalive_requests or keepalive_time: GOAWAY
//! ```
//!
//! What one request may take is not said here: its body has a limit of its own, and so has a
//! response that the client does not take.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::watch::Watch;
use crate::clock::Clock;
use crate::config::Limits;

/// What a connection is doing. Shared by its task and those of its requests.
pub(super) struct Pace {
    pub(super) clock: Clock,
    limits: Arc<Limits>,
    begun: Instant,
    /// Says to whoever looks for room whether the connection is idle.
    pub(super) watch: Arc<Watch>,
    /// Guards what has begun; held for a few lines.
    state: Mutex<State>,
}

struct State {
    under_way: usize,
    /// How many have come.
    requests: u64,
    /// When the last request ended, or bytes of its response last went out.
    since: Instant,
    amid: Option<Instant>,
    blocked: Option<Instant>,
    told_to_go: Option<Instant>,
    /// The timer is set too late for what has just begun.
    is_urgent: bool,
}

/// What to do when the timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Look again then.
    Check(Instant),
    /// Tell the client to begin no more requests.
    GoAway,
    /// Its time is up.
    Cut,
}

impl Pace {
    pub(super) fn new(clock: Clock, limits: Arc<Limits>, watch: Arc<Watch>) -> Self {
        let begun = clock.instant();
        let state = State {
            under_way: 0,
            requests: 0,
            since: begun,
            amid: None,
            blocked: None,
            told_to_go: None,
            is_urgent: false,
        };
        Self { clock, limits, begun, watch, state: Mutex::new(state) }
    }

    /// A request is under way until what is returned is dropped.
    pub(super) fn request(self: &Arc<Self>) -> UnderWay {
        let mut state = self.state();
        state.under_way += 1;
        self.watch.carries(true);
        state.requests += 1;
        state.is_urgent |= state.requests == self.limits.keepalive_requests;
        UnderWay(Arc::clone(self))
    }

    /// Whether the client is amid a frame or the fields of a request.
    pub(super) fn amid(&self, is_amid: bool) {
        let mut state = self.state();
        if is_amid != state.amid.is_some() {
            state.amid = is_amid.then(|| self.clock.instant());
        }
    }

    /// The client took bytes, or none, and takes no more for now, or all there were.
    pub(super) fn took(&self, some: bool, is_blocked: bool) {
        let mut state = self.state();
        if some || !is_blocked {
            state.blocked = None;
        }
        if is_blocked && state.blocked.is_none() {
            state.blocked = Some(self.clock.instant());
        }
    }

    /// Bytes of a response go out.
    pub(super) fn answered(&self) {
        let mut state = self.state();
        if state.under_way == 0 {
            state.since = self.clock.instant();
        }
    }

    /// The client has been told to begin no more requests.
    pub(super) fn told_to_go(&self) {
        let mut state = self.state();
        if state.told_to_go.is_none() {
            state.told_to_go = Some(self.clock.instant());
            state.is_urgent = true;
        }
    }

    pub(super) fn is_urgent(&self) -> bool {
        std::mem::take(&mut self.state().is_urgent)
    }

    /// What is due now.
    pub(super) fn verdict(&self) -> Verdict {
        let now = self.clock.instant();
        let next = now + self.step();
        match self.due() {
            Some((due, verdict)) if due <= now => verdict,
            Some((due, _)) => Verdict::Check(due.min(next)),
            None => Verdict::Check(next),
        }
    }

    /// What begins sets no timer, so the timer fires as often as the shortest limit could run out.
    pub(super) fn step(&self) -> Duration {
        let Limits { header_timeout, keepalive_timeout, send_timeout, .. } = &*self.limits;
        let all = [header_timeout, keepalive_timeout, send_timeout];
        all.into_iter().copied().filter(|limit| !limit.is_zero()).min().unwrap_or(LINGER)
    }

    fn due(&self) -> Option<(Instant, Verdict)> {
        let state = self.state();
        let limits = &self.limits;
        let idle = match (state.under_way, state.told_to_go) {
            (0, Some(told)) => Some((told.max(state.since) + LINGER, Verdict::Cut)),
            (0, None) if state.requests == 0 => {
                Some((state.since + limits.header_timeout, Verdict::Cut))
            }
            (0, None) => Some((state.since + limits.keepalive_timeout, Verdict::GoAway)),
            _ => None,
        };
        let worn = state.told_to_go.is_none().then(|| {
            let is_last = state.requests >= limits.keepalive_requests;
            let age = if is_last { Duration::ZERO } else { limits.keepalive_time };
            (self.begun + age, Verdict::GoAway)
        });
        let blocked = state.blocked.map(|since| (since + limits.send_timeout, Verdict::Cut));
        let amid = state.amid.map(|since| (since + limits.header_timeout, Verdict::Cut));
        [idle, worn, blocked, amid].into_iter().flatten().min_by_key(|(due, _)| *due)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each step leaves it sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way.
pub(super) struct UnderWay(Arc<Pace>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.under_way -= 1;
        if state.under_way == 0 {
            self.0.watch.carries(false);
            state.since = self.0.clock.instant();
            state.is_urgent |= self.0.limits.keepalive_timeout.is_zero();
        }
    }
}

/// How long a client that has been told to go may take to do so.
pub(super) const LINGER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::tests::limits;

    #[test]
    fn each_state_has_the_limit_that_it_should() {
        let [second, minute, hour] = [1, 60, 3600].map(Duration::from_secs);
        let limits = Limits {
            header_timeout: second,
            send_timeout: minute,
            keepalive_timeout: hour,
            keepalive_time: hour * 24,
            keepalive_requests: 3,
            ..limits()
        };
        let limits = Arc::new(limits);
        let watch = Arc::new(Watch::new(Clock::Real, Arc::clone(&limits), Arc::default()));
        let pace = Arc::new(Pace::new(Clock::Real, limits, watch));
        let due = |pace: &Pace| {
            let (due, verdict) = pace.due()?;
            // Rounded up: the clock is a real one.
            let left = due.saturating_duration_since(Clock::Real.instant()).as_secs() + 1;
            Some((left, verdict))
        };
        assert_eq!(due(&pace), Some((1, Verdict::Cut)), "new");
        let first = pace.request();
        assert_eq!(due(&pace), Some((24 * 3600, Verdict::GoAway)), "under way");
        pace.amid(true);
        assert_eq!(due(&pace), Some((1, Verdict::Cut)), "the next one has begun");
        pace.amid(false);
        pace.took(false, true);
        assert_eq!(due(&pace), Some((60, Verdict::Cut)), "the client takes nothing");
        let since = |pace: &Pace| pace.state().blocked;
        let begun = since(&pace);
        pace.took(false, true);
        assert_eq!(since(&pace), begun, "it still does not");
        pace.took(true, true);
        assert!(since(&pace) > begun, "it takes some");
        pace.took(false, false);
        drop(first);
        assert_eq!(due(&pace), Some((3600, Verdict::GoAway)), "idle");
        let others = [pace.request(), pace.request()];
        assert_eq!(due(&pace), Some((1, Verdict::GoAway)), "the last one");
        drop(others);
        pace.told_to_go();
        assert_eq!(due(&pace), Some((LINGER.as_secs(), Verdict::Cut)), "told to go");
        let last = pace.request();
        assert_eq!(due(&pace), None, "what came meanwhile is answered");
        drop(last);
        assert!(due(&pace).is_some());
    }
}
