//! What a client's connection is doing, and for how long it may.
//!
//! ```text
//!                 first byte            head complete
//!   New, Idle ----------------> Head ----------------> Busy
//!      ^                                                |
//!      '------------------------------------------------'
//!                  all of the response was taken
//!
//!   New, Head: header_timeout   Idle: keepalive_timeout   Busy: none of its own
//!   and in every state, while the client takes no bytes: send_timeout
//!   Closing: the client may read what we said before the connection goes
//!   Tunnel: no HTTP any more; who runs it has limits of its own
//! ```
//!
//! Every step notes its time; one timer a connection compares when it fires. hyper's own timer
//! would be set up for every request, and would end idle connections too.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::head::HeadScan;
use super::limits::Holding;
use crate::clock::Clock;
use crate::config::{ClientLimits, Limits};
use crate::spelling::Spelling;

/// The state of one connection. Only its own task touches it, but for who
/// looks for connections that are idle.
pub(super) struct Watch {
    clock: Clock,
    limits: Arc<Limits>,
    of_client: Holding,
    begun: Instant,
    state: AtomicU8,
    /// Microseconds after `begun` when the state began.
    since_us: AtomicU64,
    /// Microseconds after `begun` when bytes began to wait.
    wrote_us: AtomicU64,
    /// The client takes no bytes for now.
    blocked: AtomicBool,
    /// The client may still be sending when we close: its last request has a body.
    has_body: AtomicBool,
    /// The client has sent all it will.
    eof: AtomicBool,
    /// The end of the connection is the end of the response, and all that tells it.
    ends_response: AtomicBool,
    /// Nothing comes after the response that is under way, or was the last one.
    is_ending: AtomicBool,
    /// The timer is set too late for the state that has just begun.
    urgent: AtomicBool,
    /// Others want its place.
    unwanted: AtomicBool,
    /// All that hyper wrote is out.
    flushed: AtomicBool,
    /// Requests so far.
    requests: Arc<AtomicU64>,
    /// Guards the scan of heads; only the connection's own task takes it.
    scan: Mutex<HeadScan>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Idle,
    Head,
    Busy,
    Closing,
    Tunnel,
}

/// What to do when the timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Look again then.
    Check(Instant),
    /// The time is up.
    Cut(Cut),
}

/// Which time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Nothing is under way: close.
    Idle,
    /// A head has begun and does not end: 408.
    Head,
    /// The client does not take its response: reset, so that the kernel keeps no bytes for it.
    Send,
}

/// After our last byte, how long a client that is still sending may take to notice. (nginx:
/// lingering_timeout)
const LINGER: Duration = Duration::from_secs(5);

impl Watch {
    /// `requests` are those that came on the connection; who else looks at them only reads.
    pub(super) fn new(clock: Clock, limits: Arc<Limits>, requests: Arc<AtomicU64>) -> Self {
        let begun = clock.instant();
        Self {
            clock,
            of_client: Holding::new(limits.of_clients()),
            limits,
            begun,
            state: AtomicU8::new(State::New as u8),
            since_us: AtomicU64::new(0),
            wrote_us: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
            has_body: AtomicBool::new(false),
            eof: AtomicBool::new(false),
            ends_response: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
            urgent: AtomicBool::new(false),
            unwanted: AtomicBool::new(false),
            flushed: AtomicBool::new(false),
            requests,
            scan: Mutex::default(),
        }
    }

    /// Whether what comes next are bytes of a head, which are looked at.
    pub(super) fn reads_head(&self) -> bool {
        !matches!(self.state(), State::Busy | State::Closing | State::Tunnel)
    }

    /// These bytes of a head came in.
    pub(super) fn read_head(&self, bytes: &[u8]) {
        let mut scan = self.scan.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(self.state(), State::New | State::Idle) {
            scan.at_head();
        }
        scan.feed(bytes);
        let is_complete = scan.is_complete();
        drop(scan);
        if is_complete {
            // hyper has the request at once, so there is nothing to time.
            self.state.store(State::Head as u8, Relaxed);
        } else {
            self.read(bytes.len());
        }
    }

    /// These bytes came in, of a head and what is behind it, and are the first that hyper gets.
    /// Whether names of fields are not spelled as usual is remembered where that is asked.
    pub(super) fn read_anew(&self, bytes: &[u8], keeps_spelling: bool) {
        *self.scan.lock().unwrap_or_else(PoisonError::into_inner) = HeadScan::new(keeps_spelling);
        self.read_head(bytes);
    }

    /// Whether a head of this connection could be read in two ways.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.scan.lock().unwrap_or_else(PoisonError::into_inner).is_ambiguous()
    }

    /// How the head is spelled that came last, where that is remembered.
    pub(super) fn spelling(&self) -> Option<Spelling> {
        self.scan.lock().unwrap_or_else(PoisonError::into_inner).spelling()
    }

    /// So many bytes came in; 0 is the end.
    pub(super) fn read(&self, bytes: usize) {
        if bytes == 0 {
            self.eof.store(true, Relaxed);
        } else if matches!(self.state(), State::New | State::Idle) {
            self.enter(State::Head);
        }
    }

    /// An attempt to write ended like this.
    pub(super) fn wrote(&self, written: &Poll<io::Result<usize>>) {
        let blocked = match written {
            Poll::Ready(Ok(_)) => false,
            Poll::Ready(Err(_)) => return,
            Poll::Pending if self.blocked.load(Relaxed) => return,
            Poll::Pending => true,
        };
        if blocked {
            self.wrote_us.store(self.now_us(), Relaxed);
        }
        self.blocked.store(blocked, Relaxed);
    }

    /// A head is complete. The request is under way until what is returned is dropped.
    pub(super) fn request(self: &Arc<Self>, has_body: bool) -> Busy {
        self.has_body.store(has_body, Relaxed);
        self.requests.store(self.requests.load(Relaxed) + 1, Relaxed);
        // Busy has no limit of its own and so needs no time.
        self.state.store(State::Busy as u8, Relaxed);
        Busy(self.clone())
    }

    /// Whether all is out that hyper wrote so far.
    pub(super) fn flushed(&self, all: bool) {
        self.flushed.store(all, Relaxed);
    }

    /// Whether hyper has answered all that it was asked, so that nothing is lost when it goes. Of a
    /// request with a body it may still be reading some.
    pub(super) fn is_at_rest(&self) -> bool {
        self.state() == State::Idle && self.flushed.load(Relaxed) && !self.has_body.load(Relaxed)
    }

    /// Whether the next request is the last one of the connection.
    pub(super) fn is_next_last(&self) -> bool {
        let requests = self.requests.load(Relaxed);
        self.ends_after(requests.saturating_add(1), self.of_client.began_with())
    }

    /// A request came, and what answers it was at hand.
    pub(super) fn answered(&self) {
        self.turn_to(None);
        self.requests.store(self.requests.load(Relaxed) + 1, Relaxed);
        self.enter(State::Idle);
    }

    /// What follows the response is no HTTP.
    pub(super) fn tunnel(&self) {
        self.state.store(State::Tunnel as u8, Relaxed);
    }

    /// Whether the request that is under way is the last one of the connection.
    pub(super) fn is_last(&self) -> bool {
        self.ends_after(self.requests.load(Relaxed), &self.of_client.now())
    }

    /// The connection's age is that which it had when it last began to wait, so that no clock is
    /// read for this.
    fn ends_after(&self, requests: u64, limits: &ClientLimits) -> bool {
        requests >= limits.keepalive_requests
            || Duration::from_micros(self.since_us.load(Relaxed)) >= limits.keepalive_time
            || limits.keepalive_timeout.is_zero()
    }

    /// The route of the last request says this of its connection.
    pub(super) fn turn_to(&self, own: Option<&ClientLimits>) {
        if self.of_client.turn_to(own) {
            self.urgent.store(true, Relaxed);
        }
    }

    /// The client takes the end of the connection for the end of the response.
    pub(super) fn ends_response(&self) {
        self.ends_response.store(true, Relaxed);
    }

    /// The response that is under way is the last one.
    pub(super) fn responds_last(&self) {
        self.is_ending.store(true, Relaxed);
    }

    pub(super) fn has_responded_last(&self) -> bool {
        self.is_ending.load(Relaxed)
    }

    /// Whether a client would take a cut-short response for a whole one, were the connection just
    /// closed.
    pub(super) fn must_reset(&self) -> bool {
        self.ends_response.load(Relaxed)
    }

    /// Our side is closed. Whether the client may still be sending, so that closing the rest at
    /// once could cost it our last response (the kernel resets a connection with unread bytes).
    pub(super) fn close(&self) -> bool {
        let state = self.state();
        if state == State::Closing {
            return true;
        }
        let sending = self.has_body.load(Relaxed) || state == State::Head;
        if self.eof.load(Relaxed) || !sending {
            return false;
        }
        self.enter(State::Closing);
        self.urgent.store(true, Relaxed);
        true
    }

    /// Since when nothing has been under way; `None` if something is, or if it is about to go.
    /// Asked from elsewhere: by the time of the answer it may be otherwise.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.is_waiting() && !self.unwanted.load(Relaxed))
            .then(|| self.begun + Duration::from_micros(self.since_us.load(Relaxed)))
    }

    /// A head has begun and is not whole yet. Asked from elsewhere, as the next one.
    pub(super) fn is_reading(&self) -> bool {
        self.state() == State::Head
    }

    /// No request is under way.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.state(), State::New | State::Idle)
    }

    /// Lets the connection's task close it if it is still idle; the task must be woken.
    pub(super) fn make_room(&self) {
        self.unwanted.store(true, Relaxed);
        self.urgent.store(true, Relaxed);
    }

    /// Whether requests are under way over a connection that carries several at a time.
    pub(super) fn carries(&self, some: bool) {
        if some {
            self.state.store(State::Busy as u8, Relaxed);
        } else {
            self.enter(State::Idle);
        }
    }

    /// Whether such a connection is idle and has to make room; says so once.
    pub(super) fn is_unwanted(&self) -> bool {
        self.unwanted.load(Relaxed)
            && self.unwanted.swap(false, Relaxed)
            && self.state() != State::Busy
    }

    /// What is due now.
    pub(super) fn verdict(&self) -> Verdict {
        if self.unwanted.load(Relaxed) && self.unwanted.swap(false, Relaxed) {
            let is_idle = matches!(self.state(), State::New | State::Idle);
            if is_idle && !self.blocked.load(Relaxed) {
                return Verdict::Cut(Cut::Idle);
            }
        }
        let now = self.clock.instant();
        let next = now + self.step();
        match self.due() {
            Some((due, cut)) if due <= now => Verdict::Cut(cut),
            Some((due, _)) => Verdict::Check(due.min(next)),
            None => Verdict::Check(next),
        }
    }

    /// Whether the timer must be set anew before it fires; says so once.
    pub(super) fn is_urgent(&self) -> bool {
        self.urgent.load(Relaxed) && self.urgent.swap(false, Relaxed)
    }

    /// States change without touching the timer, so it fires as often as the shortest limit could
    /// run out: a limit then fires no later than it should.
    pub(super) fn step(&self) -> Duration {
        let own = self.of_client.now();
        let all = [self.limits.header_timeout, own.keepalive_timeout, own.send_timeout];
        all.into_iter().filter(|limit| !limit.is_zero()).min().unwrap_or(LINGER)
    }

    fn due(&self) -> Option<(Instant, Cut)> {
        let after =
            |us: &AtomicU64, limit| self.begun + Duration::from_micros(us.load(Relaxed)) + limit;
        let own = self.of_client.now();
        if self.blocked.load(Relaxed) {
            return Some((after(&self.wrote_us, own.send_timeout), Cut::Send));
        }
        let (limit, cut) = match self.state() {
            State::New => (self.limits.header_timeout, Cut::Idle),
            State::Idle => (own.keepalive_timeout, Cut::Idle),
            State::Head => (self.limits.header_timeout, Cut::Head),
            State::Closing => (LINGER, Cut::Idle),
            State::Busy | State::Tunnel => return None,
        };
        Some((after(&self.since_us, limit), cut))
    }

    fn state(&self) -> State {
        const STATES: [State; 6] =
            [State::New, State::Idle, State::Head, State::Busy, State::Closing, State::Tunnel];
        STATES[usize::from(self.state.load(Relaxed)) % STATES.len()]
    }

    fn enter(&self, state: State) {
        self.state.store(state as u8, Relaxed);
        self.since_us.store(self.now_us(), Relaxed);
    }

    fn now_us(&self) -> u64 {
        self.clock.instant().duration_since(self.begun).as_micros() as u64
    }
}

/// A request under way. Lies in the response body, which is dropped when all of it was taken;
/// bytes that are not written by then fall under `send_timeout`.
pub(super) struct Busy(Arc<Watch>);

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.state() == State::Busy {
            self.0.enter(State::Idle);
        }
    }
}
