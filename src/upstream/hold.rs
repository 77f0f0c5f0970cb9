//! Requests that wait while no peer of a group can be asked.
//!
//! ```text
//!   open --- a request finds nobody ---> down --- a peer can be reached ---> back
//!    ^                                    ^  |                                |
//!    |                                    |  '--- nobody waits any more ----. |
//!    |                                    '------ one that went out fails --|-'
//!    '-------- all went out and an answer came, or nobody waits ------------'
//! ```
//!
//! While it is not open, requests join the end of the line. When somebody is back the first goes
//! out alone; with each answer one more may be under way at a time, and no more than `pace` go out
//! in a second beside one for each that joins: so the line gets shorter however many come.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::clock::Clock;
use crate::config;

/// The requests of a group that wait, of all workers.
pub(super) struct Hold {
    config: config::Hold,
    clock: Clock,
    /// It is not open: the one thing that requests look at while all is well.
    engaged: AtomicBool,
    /// Guards the line and how it moves; held for a step.
    state: Mutex<State>,
    /// Something happened that may let the next one go.
    changed: Notify,
    held: AtomicU64,
    given_up: AtomicU64,
}

/// How many requests wait, and have waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldStats {
    /// Requests that wait now.
    pub now: u64,
    /// As many may.
    pub max: u64,
    /// Requests that waited, since the start.
    pub total: u64,
    /// Of these and of those that found no place, requests that failed for it.
    pub given_up: u64,
}

/// What a request does while it is held; asked by those who hold it.
pub trait Held: Send + Sync {
    /// It waits now, or no longer.
    fn held(&self, waits: bool);

    /// Whether anybody still wants its answer.
    fn is_wanted(&self) -> bool;
}

#[derive(Default)]
struct State {
    /// By number, so that one that failed gets its place again.
    waiting: BTreeMap<u64, Arc<Notify>>,
    /// The number of the next that joins.
    next: u64,
    /// Returns so far.
    returns: u64,
    phase: Phase,
}

#[derive(Default)]
enum Phase {
    #[default]
    Open,
    Down,
    Back(Return),
}

/// How those who waited go out.
struct Return {
    /// Which one it is.
    number: u64,
    /// As many may be under way at a time.
    window: u64,
    under_way: u64,
    /// An answer has come.
    answered: bool,
    /// Requests that joined since, each of which lets one more go.
    joined: u64,
    /// When the next may go.
    next_at: Instant,
}

/// A request's place in the line, also while it is out; dropping it leaves.
pub(super) struct Place<'a> {
    hold: &'a Hold,
    number: u64,
    turn: Arc<Notify>,
    since: Instant,
    /// The return with which it is out.
    out: Option<u64>,
}

/// What became of joining.
pub(super) enum Joined<'a> {
    /// A place; with it, whether somebody has to be found who tends the line.
    Place(Place<'a>, Tend),
    /// Nobody waits: go.
    Open,
    /// The line is as long as it may be.
    Full,
}

/// Whether the line needs somebody who tends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tend {
    /// It does.
    Needed,
    /// Somebody does.
    Under,
}

/// What whoever tends the line does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// One went out: ask again.
    Went,
    /// Wait for a change, at most until then.
    Wait(Option<Instant>),
    /// Nobody can be asked any more.
    Down,
    /// It is open.
    Open,
}

impl Hold {
    pub(super) fn new(config: config::Hold, clock: Clock) -> Self {
        Self {
            config,
            clock,
            engaged: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Notify::new(),
            held: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
        }
    }

    /// Whether requests have to join.
    pub(super) fn is_engaged(&self) -> bool {
        self.engaged.load(Ordering::Acquire)
    }

    /// Joins the end, if there is a line.
    pub(super) fn join_others(&self) -> Joined<'_> {
        if !self.is_engaged() {
            return Joined::Open;
        }
        let state = self.state();
        if matches!(state.phase, Phase::Open) { Joined::Open } else { self.join_at_end(state) }
    }

    /// Joins the end, and begins a line if there is none: this request found nobody.
    pub(super) fn join(&self) -> Joined<'_> {
        self.join_at_end(self.state())
    }

    fn join_at_end(&self, mut state: MutexGuard<'_, State>) -> Joined<'_> {
        if state.waiting.len() >= self.config.requests {
            self.given_up.fetch_add(1, Ordering::Relaxed);
            return Joined::Full;
        }
        self.held.fetch_add(1, Ordering::Relaxed);
        let (number, turn) = (state.next, Arc::new(Notify::new()));
        state.next += 1;
        state.waiting.insert(number, Arc::clone(&turn));
        if let Phase::Back(back) = &mut state.phase {
            back.joined += 1;
        }
        let tend = self.engage(&mut state);
        drop(state);
        self.changed.notify_one();
        let since = self.clock.instant();
        Joined::Place(Place { hold: self, number, turn, since, out: None }, tend)
    }

    fn engage(&self, state: &mut State) -> Tend {
        if matches!(state.phase, Phase::Open) {
            state.phase = Phase::Down;
            self.engaged.store(true, Ordering::Release);
            return Tend::Needed;
        }
        Tend::Under
    }

    /// Opens if nobody waits; whether that is so.
    pub(super) fn open_if_empty(&self) -> bool {
        let mut state = self.state();
        let empty = state.waiting.is_empty();
        if empty {
            self.open(&mut state);
        }
        empty
    }

    fn open(&self, state: &mut State) {
        state.phase = Phase::Open;
        self.engaged.store(false, Ordering::Release);
    }

    /// Somebody can be asked again.
    pub(super) fn back(&self) {
        let mut state = self.state();
        state.returns += 1;
        state.phase = Phase::Back(Return {
            number: state.returns,
            window: 1,
            under_way: 0,
            answered: false,
            joined: 0,
            next_at: self.clock.instant(),
        });
    }

    /// Lets the next one go if it may.
    pub(super) fn step(&self, now: Instant) -> Step {
        let mut state = self.state();
        let State { waiting, phase, .. } = &mut *state;
        let Phase::Back(back) = phase else { return Step::Down };
        if waiting.is_empty() && (back.answered || back.under_way == 0) {
            self.open(&mut state);
            return Step::Open;
        }
        if waiting.is_empty() || back.under_way >= back.window {
            return Step::Wait(None);
        }
        if back.joined > 0 {
            back.joined -= 1;
        } else if now >= back.next_at {
            back.next_at = now + Duration::from_secs(1) / self.config.pace.max(1);
        } else {
            return Step::Wait(Some(back.next_at));
        }
        if let Some((_, turn)) = waiting.pop_first() {
            back.under_way += 1;
            turn.notify_one();
        }
        Step::Went
    }

    /// Waits for a change.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn stats(&self) -> HoldStats {
        HoldStats {
            now: self.state().waiting.len() as u64,
            max: self.config.requests as u64,
            total: self.held.load(Ordering::Relaxed),
            given_up: self.given_up.load(Ordering::Relaxed),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The line is sound after every single step, also one that panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Waits for the turn; `false` where it did not come in time, or nobody wants it any more. The
    /// time counts as long as nobody is back: then the turn is sure to come.
    pub(super) async fn wait(&mut self, held: &dyn Held) -> bool {
        held.held(true);
        let came = self.wait_in_line(held).await;
        held.held(false);
        if !came {
            self.hold.given_up.fetch_add(1, Ordering::Relaxed);
        }
        came
    }

    async fn wait_in_line(&mut self, held: &dyn Held) -> bool {
        let hold = self.hold;
        loop {
            let waited = hold.clock.instant().saturating_duration_since(self.since);
            let left = hold.config.time.saturating_sub(waited);
            let look_again = if left.is_zero() { LOOK_EVERY } else { left.min(LOOK_EVERY) };
            tokio::select! {
                () = self.turn.notified() => {}
                () = sleep(look_again) => {}
            }
            let mut state = hold.state();
            if !state.waiting.contains_key(&self.number) {
                self.out = Some(state.returns);
                return true;
            }
            let waited = hold.clock.instant().saturating_duration_since(self.since);
            let is_down = !matches!(state.phase, Phase::Back(_));
            if !held.is_wanted() || (is_down && waited >= hold.config.time) {
                state.waiting.remove(&self.number);
                drop(state);
                hold.changed.notify_one();
                return false;
            }
        }
    }

    /// Nobody could be asked after all: back to its place in the line.
    pub(super) fn failed(&mut self) -> Tend {
        let mut state = self.hold.state();
        let tend = self.hold.engage(&mut state);
        if matches!(&state.phase, Phase::Back(back) if Some(back.number) == self.out) {
            state.phase = Phase::Down;
        }
        self.out = None;
        state.waiting.insert(self.number, Arc::clone(&self.turn));
        drop(state);
        self.hold.changed.notify_one();
        tend
    }

    /// A peer answered: one more may be under way.
    pub(super) fn answered(mut self) {
        self.came_back(true);
    }

    fn came_back(&mut self, answered: bool) {
        let mut state = self.hold.state();
        state.waiting.remove(&self.number);
        let out = self.out.take();
        if let Phase::Back(back) = &mut state.phase
            && Some(back.number) == out
        {
            back.under_way = back.under_way.saturating_sub(1);
            back.answered |= answered;
            back.window += u64::from(answered);
        }
        drop(state);
        self.hold.changed.notify_one();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.came_back(false);
    }
}

/// A request that waits looks this often whether anybody still wants its answer.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    struct Client(AtomicBool);

    impl Held for Client {
        fn held(&self, _waits: bool) {}

        fn is_wanted(&self) -> bool {
            self.0.load(Ordering::SeqCst)
        }
    }

    static CLIENT: Client = Client(AtomicBool::new(true));

    fn hold(requests: usize, pace: u32) -> Hold {
        let config = config::Hold { requests, time: Duration::from_secs(60), pace };
        Hold::new(config, Clock::Real)
    }

    fn place(joined: Joined<'_>) -> Place<'_> {
        match joined {
            Joined::Place(place, _) => place,
            Joined::Open => panic!("open"),
            Joined::Full => panic!("full"),
        }
    }

    #[tokio::test]
    async fn the_first_goes_alone_and_each_answer_lets_one_more_go() {
        let hold = hold(100, 1000);
        assert!(matches!(hold.join_others(), Joined::Open));
        let mut places: Vec<_> = (0..8).map(|_| place(hold.join())).collect();
        assert!(matches!(hold.join_others(), Joined::Place(..)), "and leaves at once");
        hold.back();
        // So far in the future that the pace does not matter.
        let mut now = Clock::Real.instant();
        let mut round = |hold: &Hold| {
            let mut went = 0;
            loop {
                now += Duration::from_secs(1);
                match hold.step(now) {
                    Step::Went => went += 1,
                    other => return (went, other),
                }
            }
        };
        for expected in [1, 2, 4] {
            assert_eq!(round(&hold), (expected, Step::Wait(None)));
            for mut place in places.drain(..expected) {
                assert!(place.wait(&CLIENT).await);
                place.answered();
            }
        }
        assert_eq!(round(&hold), (1, Step::Open), "the last one need not come back");
        assert!(!hold.is_engaged());
        assert_eq!((hold.stats().total, hold.stats().given_up), (9, 0));
    }

    #[tokio::test]
    async fn the_pace_is_kept_beside_one_for_each_that_joins() {
        let hold = hold(100, 10);
        let mut first: Vec<_> = (0..9).map(|_| place(hold.join())).collect();
        hold.back();
        let start = Clock::Real.instant();
        let step = |after_ms: u64| hold.step(start + Duration::from_millis(1000 + after_ms));
        for number in 0..4 {
            assert_eq!(step(number * 100), Step::Went);
            let mut place = first.remove(0);
            assert!(place.wait(&CLIENT).await);
            place.answered();
            assert!(matches!(step(number * 100 + 90), Step::Wait(Some(_))), "{number}");
        }
        let _joined = [place(hold.join_others()), place(hold.join_others())];
        assert_eq!((step(350), step(350)), (Step::Went, Step::Went));
        assert!(matches!(step(350), Step::Wait(Some(_))));
    }

    #[tokio::test]
    async fn one_that_fails_gets_its_place_again() {
        let hold = hold(100, 1000);
        let (mut one, mut two) = (place(hold.join()), place(hold.join()));
        hold.back();
        let now = Clock::Real.instant();
        assert_eq!(hold.step(now), Step::Went);
        assert!(one.wait(&CLIENT).await);
        assert_eq!(one.failed(), Tend::Under);
        assert_eq!(hold.step(now), Step::Down);
        hold.back();
        assert_eq!(hold.step(now + Duration::from_secs(1)), Step::Went);
        assert!(one.wait(&CLIENT).await, "before the other");
        one.answered();
        assert_eq!(hold.step(now + Duration::from_secs(2)), Step::Went);
        assert!(two.wait(&CLIENT).await);
        drop(two);
        assert_eq!(hold.step(now + Duration::from_secs(3)), Step::Open);
        // What fails after that begins a new line.
        assert!(matches!(hold.join(), Joined::Place(_, Tend::Needed)));
        assert!(hold.open_if_empty());
    }

    #[tokio::test]
    async fn the_line_has_a_length_and_a_time_and_nobody_waits_for_nothing() {
        let short = config::Hold { requests: 2, time: Duration::from_millis(1), pace: 10 };
        let short = Hold::new(short, Clock::Real);
        let (mut one, _two) = (place(short.join()), place(short.join()));
        assert!(matches!(short.join(), Joined::Full));
        assert!(!one.wait(&CLIENT).await, "too late");
        assert_eq!((short.stats().now, short.stats().given_up), (1, 2));
        let long = hold(2, 10);
        let mut three = place(long.join());
        assert!(!three.wait(&Client(AtomicBool::new(false))).await, "its client left");
        assert!(long.open_if_empty());
    }
}
