//! One request fetches what is not stored; the rest wait and are woken at once.
//! (nginx: proxy_cache_lock, without its polling)

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::fill::Fill;
use super::lookup::Found;
use crate::semantics::key::KeyHash;
use crate::semantics::stale::Failure;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard, RandomState, timeout, watch};

/// The fetches under way in a zone, by where their responses will rest.
#[derive(Default)]
pub struct Flights {
    /// Guards which flight answers for which place. Held for a moment, never across a wait.
    flying: Mutex<Flying>,
    /// How many there were.
    begun: AtomicUsize,
    /// Permits that are held.
    permits: AtomicUsize,
    none_left: Notify,
}

#[derive(Default)]
struct Flying {
    by_place: HashMap<KeyHash, Arc<Flight>, RandomState>,
    /// Those that nobody joins; a purge has to reach them all the same, and each purge, also those
    /// that one has reached. By their numbers.
    beside: BTreeMap<usize, Arc<Flight>>,
}

/// What a request for something that is not stored may do.
pub enum Turn {
    /// Fetch it.
    Fetch(Permit),
    /// Somebody does already: wait for them.
    Wait(Waiter),
}

/// How a fetch turned out for those who wait for it.
#[derive(Clone)]
pub enum Outcome {
    /// A response that may be shared is coming: follow it.
    Stream(Arc<Fill>),
    /// The stored response is good again: serve it.
    Freshened(Found),
    /// The response is for nobody but who fetched it: each fetch for yourself.
    Alone,
    /// The fetch failed like this; asking again at once would not help.
    Failed(Failure),
    /// Who fetched went away before there was an answer: the next may try.
    Abandoned,
}

/// The right to fetch. Dropping it unsettled *is* abandonment; dropping it settled ends the flight,
/// so it is kept until the response is stored.
pub struct Permit {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    places: Vec<KeyHash>,
}

/// The right to wait for somebody else's fetch.
pub struct Waiter {
    flight: Arc<Flight>,
    outcome: watch::Receiver<Option<Outcome>>,
}

/// One fetch under way.
pub(super) struct Flight {
    /// How many began before it.
    number: usize,
    /// The key under which it was asked for, for purges.
    primary: KeyHash,
    /// The key under which it will be stored, if that is another one.
    stored_under: OnceLock<KeyHash>,
    /// When it began, or was held no longer. Guards nothing else.
    begun: Mutex<Instant>,
    /// It waits for an origin to come back, and so do those who wait for it.
    held: AtomicBool,
    outcome: watch::Sender<Option<Outcome>>,
    /// Set by a purge: what comes of this fetch must not be stored.
    purged: Mutex<bool>,
    /// Set by a purge that may be about it: nobody joins it any more. Changes under the lock of
    /// the flights.
    parted: AtomicBool,
    /// There was a purge since it began; changes under the lock of the flights.
    doubtful: AtomicBool,
}

impl Flights {
    /// Joins the fetch for `at`, or begins one: where there is none, or where the one there is has
    /// brought nothing for as long as `age_max`. The older one goes on for those who wait for it.
    pub fn join(
        self: &Arc<Self>,
        primary: KeyHash,
        at: KeyHash,
        now: Instant,
        age_max: Duration,
    ) -> Turn {
        let mut flying = self.flying();
        if let Some(flight) = flying.by_place.get(&at).filter(|f| !f.is_over_age(now, age_max)) {
            let (flight, outcome) = (Arc::clone(flight), flight.outcome.subscribe());
            return Turn::Wait(Waiter { flight, outcome });
        }
        let flight = self.flight(primary, now);
        if let Some(older) = flying.by_place.insert(at, Arc::clone(&flight)) {
            // A purge has to reach it all the same.
            older.parted.store(true, Ordering::Relaxed);
            flying.beside.insert(older.number, older);
        }
        Turn::Fetch(Permit::new(self, flight, vec![at]))
    }

    /// A permit that nobody waits for, for a fetch beside others.
    pub fn beside(self: &Arc<Self>, primary: KeyHash, now: Instant) -> Permit {
        let flight = self.flight(primary, now);
        self.flying().beside.insert(flight.number, Arc::clone(&flight));
        Permit::new(self, flight, Vec::new())
    }

    /// To be called before it is worked out which keys a purge is about: a fetch that turns out to be
    /// for another key than it was begun for may be one that the purge knows nothing of.
    pub fn doubt(&self, spared: Option<&Permit>) {
        let flying = self.flying();
        for flight in flying.by_place.values().chain(flying.beside.values()) {
            if spared.is_none_or(|permit| !Arc::ptr_eq(&permit.flight, flight)) {
                flight.doubtful.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Forgets every fetch under a key but the `spared` one: what was asked for before a purge is
    /// not stored after it, and who asks from now on fetches anew.
    pub(super) fn purge(&self, primary: KeyHash, spared: Option<&Arc<Flight>>) {
        let is_meant = |flight: &Arc<Flight>| {
            spared.is_none_or(|spared| !Arc::ptr_eq(spared, flight))
                && (flight.primary == primary || flight.stored_under.get() == Some(&primary))
        };
        let mut flying = self.flying();
        flying.part(is_meant);
        let purged: Vec<_> =
            flying.beside.values().filter(|f| is_meant(f)).map(Arc::clone).collect();
        drop(flying);
        // They stay where another purge finds them: it has to wait for them as well.
        for flight in purged {
            *lock(&flight.purged) = true;
        }
    }

    /// Lets nobody join what is under way: who asks from now on fetches anew. Those who wait
    /// already get what they wait for.
    pub fn part(&self) {
        self.flying().part(|_| true);
    }

    /// Waits until nobody fetches: all that came is stored or given up. Bound it.
    pub async fn ended(&self) {
        loop {
            let mut none_left = std::pin::pin!(self.none_left.notified());
            none_left.as_mut().enable();
            if self.permits.load(Ordering::Acquire) == 0 {
                return;
            }
            none_left.await;
        }
    }

    fn flight(&self, primary: KeyHash, now: Instant) -> Arc<Flight> {
        Flight::new(self.begun.fetch_add(1, Ordering::Relaxed), primary, now)
    }

    fn flying(&self) -> MutexGuard<'_, Flying> {
        lock(&self.flying)
    }
}

impl Flying {
    /// Lets nobody join those any more; who looks for them finds them beside the others.
    fn part(&mut self, is_meant: impl Fn(&Arc<Flight>) -> bool) {
        for (_, flight) in self.by_place.extract_if(|_, flight| is_meant(flight)) {
            flight.parted.store(true, Ordering::Relaxed);
            // One flight may answer for several places.
            self.beside.insert(flight.number, flight);
        }
    }
}

impl Flight {
    fn new(number: usize, primary: KeyHash, begun: Instant) -> Arc<Self> {
        let (outcome, purged) = (watch::Sender::new(None), Mutex::new(false));
        let (stored_under, parted) = (OnceLock::new(), AtomicBool::new(false));
        let (doubtful, held) = (AtomicBool::new(false), AtomicBool::new(false));
        let begun = Mutex::new(begun);
        Arc::new(Self {
            number,
            primary,
            stored_under,
            begun,
            held,
            outcome,
            purged,
            parted,
            doubtful,
        })
    }

    fn is_over_age(&self, now: Instant, age_max: Duration) -> bool {
        let waits = self.outcome.borrow().is_none();
        waits && !self.is_held() && self.age(now) >= age_max
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(*lock(&self.begun))
    }

    fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }
}

impl Permit {
    fn new(flights: &Arc<Flights>, flight: Arc<Flight>, places: Vec<KeyHash>) -> Self {
        flights.permits.fetch_add(1, Ordering::AcqRel);
        Self { flights: Arc::clone(flights), flight, places }
    }

    /// Answers for `at` as well, now that it is known that the response will rest there.
    pub fn also_at(&mut self, at: KeyHash) {
        if !self.places.is_empty() && !self.places.contains(&at) {
            let mut flying = self.flights.flying();
            if !self.flight.parted.load(Ordering::Relaxed) {
                flying.by_place.entry(at).or_insert_with(|| Arc::clone(&self.flight));
                self.places.push(at);
            }
        }
    }

    /// Answers to purges of this key as well: the response will be stored under it, unless one of
    /// those since the fetch began may have missed it for not knowing that. The rule that says so
    /// is known by now.
    pub fn stored_under(&mut self, primary: KeyHash) {
        if primary == self.flight.primary {
            return;
        }
        // A fetch stores one response, so this is said once.
        let _ = self.flight.stored_under.set(primary);
        let flying = self.flights.flying();
        let doubtful = self.flight.doubtful.load(Ordering::Relaxed);
        drop(flying);
        if doubtful {
            *lock(&self.flight.purged) = true;
        }
        self.also_at(primary);
    }

    /// The fetch that it is for.
    pub(super) fn flight(&self) -> Arc<Flight> {
        Arc::clone(&self.flight)
    }

    /// It waits for the origin to come back, or no longer. Meanwhile those who wait for it go on
    /// waiting: a fetch of their own would wait as well. Then its time begins anew.
    pub fn hold(&self, waits: bool, now: Instant) {
        *lock(&self.flight.begun) = now;
        self.flight.held.store(waits, Ordering::Relaxed);
    }

    /// Whether anybody waits for it.
    pub fn is_awaited(&self) -> bool {
        self.flight.outcome.receiver_count() > 0
    }

    /// Tells everybody who waits, and everybody who comes before this is dropped.
    pub fn settle(&self, outcome: Outcome) {
        self.flight.outcome.send_replace(Some(outcome));
    }

    /// Runs `store` unless the key was purged since the fetch began; a purge waits for it.
    pub fn unless_purged<T>(&self, store: impl FnOnce() -> T) -> Option<T> {
        let purged = lock(&self.flight.purged);
        (!*purged).then(store)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut flying = self.flights.flying();
        for at in &self.places {
            // After a purge another flight may be in our place: leave it alone.
            if flying.by_place.get(at).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
                flying.by_place.remove(at);
            }
        }
        if self.places.is_empty() || self.flight.parted.load(Ordering::Relaxed) {
            flying.beside.remove(&self.flight.number);
        }
        drop(flying);
        self.flight.outcome.send_if_modified(|outcome| {
            let abandoned = outcome.is_none();
            if abandoned {
                *outcome = Some(Outcome::Abandoned);
            }
            abandoned
        });
        if self.flights.permits.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.flights.none_left.notify_waiters();
        }
    }
}

impl Waiter {
    /// How long it is until the fetch has taken `age_max`; zero when it has.
    pub fn over_age_in(&self, now: Instant, age_max: Duration) -> Duration {
        age_max.saturating_sub(self.flight.age(now))
    }

    /// How the fetch turned out; `None` when that took longer than `limit`, which counts only while
    /// the fetch is not held.
    pub async fn outcome(mut self, mut limit: Duration) -> Option<Outcome> {
        loop {
            let was_held = self.flight.is_held();
            let settled = self.outcome.wait_for(Option::is_some);
            match timeout(limit, settled).await {
                Ok(Ok(outcome)) => return outcome.clone(),
                // The flight is gone without a word: as good as abandoned.
                Ok(Err(_)) => return Some(Outcome::Abandoned),
                Err(_) if !was_held && !self.flight.is_held() => return None,
                Err(_) => limit = limit.max(HELD_STEP),
            }
        }
    }
}

/// Who waits for a fetch that was held gives it at least this long after that.
const HELD_STEP: Duration = Duration::from_secs(1);

/// A poisoned lock guards plain values that are whole at any moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyHash = KeyHash(1);

    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn now() -> Instant {
        Instant::now()
    }

    fn join(flights: &Arc<Flights>) -> Turn {
        flights.join(KEY, KEY, now(), Duration::MAX)
    }

    fn fetch(turn: Turn) -> Permit {
        match turn {
            Turn::Fetch(permit) => permit,
            Turn::Wait(_) => panic!("somebody fetches already"),
        }
    }

    fn wait(turn: Turn) -> Waiter {
        match turn {
            Turn::Wait(waiter) => waiter,
            Turn::Fetch(_) => panic!("nobody fetches"),
        }
    }

    #[tokio::test]
    async fn one_fetches_and_the_others_are_told() {
        let flights = Arc::new(Flights::default());
        let permit = fetch(join(&flights));
        let waiter = wait(join(&flights));
        permit.settle(Outcome::Alone);
        assert!(matches!(waiter.outcome(Duration::MAX).await, Some(Outcome::Alone)));
        let late = wait(join(&flights));
        assert!(matches!(late.outcome(Duration::MAX).await, Some(Outcome::Alone)));
        drop(permit);
        fetch(join(&flights));
    }

    #[tokio::test]
    async fn dropping_a_permit_lets_the_next_try() {
        let flights = Arc::new(Flights::default());
        let permit = fetch(join(&flights));
        let waiter = wait(join(&flights));
        drop(permit);
        assert!(matches!(waiter.outcome(Duration::MAX).await, Some(Outcome::Abandoned)));
    }

    #[tokio::test]
    async fn the_end_of_all_fetches_is_waited_for() {
        let flights = Arc::new(Flights::default());
        flights.ended().await;
        let (one, other) = (fetch(join(&flights)), flights.beside(KEY, now()));
        let mut ended = std::pin::pin!(flights.ended());
        drop(one);
        let waited = tokio::time::timeout(Duration::from_millis(1), &mut ended).await;
        assert!(waited.is_err(), "one is left");
        drop(other);
        ended.await;
    }

    #[tokio::test]
    async fn waiting_ends_in_time() {
        let flights = Arc::new(Flights::default());
        let _permit = fetch(join(&flights));
        let waiter = wait(join(&flights));
        assert!(waiter.outcome(Duration::from_millis(1)).await.is_none());
    }

    #[tokio::test]
    async fn who_waits_for_a_held_fetch_goes_on_waiting_and_nobody_overtakes_it() {
        let flights = Arc::new(Flights::default());
        let permit = fetch(join(&flights));
        assert!(!permit.is_awaited());
        permit.hold(true, now());
        let waiter = wait(flights.join(KEY, KEY, now(), Duration::ZERO));
        assert!(permit.is_awaited());
        let mut outcome = std::pin::pin!(waiter.outcome(Duration::from_millis(1)));
        let waited = tokio::time::timeout(Duration::from_millis(20), &mut outcome).await;
        assert!(waited.is_err(), "it still waits");
        permit.hold(false, now());
        permit.settle(Outcome::Alone);
        assert!(matches!(outcome.await, Some(Outcome::Alone)));
    }

    #[test]
    fn a_purge_reaches_a_fetch_beside_others() {
        let flights = Arc::new(Flights::default());
        let beside = flights.beside(KEY, now());
        let other = flights.beside(KeyHash(9), now());
        flights.purge(KEY, None);
        assert!(beside.unless_purged(|| ()).is_none());
        assert!(other.unless_purged(|| ()).is_some());
    }

    #[test]
    fn a_purge_may_be_about_a_fetch_that_turns_out_to_be_for_another_key() {
        let flights = Arc::new(Flights::default());
        let [mut begun, mut same, mut spared] =
            [KEY, KEY, KEY].map(|key| flights.beside(key, now()));
        flights.doubt(Some(&spared));
        let mut later = flights.beside(KEY, now());
        same.stored_under(KEY);
        for permit in [&mut begun, &mut spared, &mut later] {
            permit.stored_under(KeyHash(9));
        }
        assert!(begun.unless_purged(|| ()).is_none());
        assert!(same.unless_purged(|| ()).is_some(), "a purge of its own key reaches it");
        assert!(spared.unless_purged(|| ()).is_some());
        assert!(later.unless_purged(|| ()).is_some());
    }

    #[test]
    fn what_a_purge_has_reached_is_found_by_the_next_one_until_it_ends() {
        let flights = Arc::new(Flights::default());
        let mut permit = fetch(join(&flights));
        permit.also_at(KeyHash(2));
        for _ in 0..2 {
            flights.purge(KEY, None);
            assert_eq!(flights.flying().beside.len(), 1);
        }
        drop(permit);
        assert!(flights.flying().beside.is_empty());
    }

    #[test]
    fn a_purge_spares_the_fetch_that_it_comes_of() {
        let flights = Arc::new(Flights::default());
        let (spared, other) = (flights.beside(KEY, now()), flights.beside(KEY, now()));
        flights.purge(KEY, Some(&spared.flight()));
        assert!(spared.unless_purged(|| ()).is_some());
        assert!(other.unless_purged(|| ()).is_none());
        flights.purge(KEY, None);
        assert!(spared.unless_purged(|| ()).is_none());
    }

    #[test]
    fn a_purge_reaches_a_fetch_that_was_overtaken() {
        let flights = Arc::new(Flights::default());
        let older = fetch(join(&flights));
        let newer = fetch(flights.join(KEY, KEY, now(), Duration::ZERO));
        flights.purge(KEY, None);
        assert!(older.unless_purged(|| ()).is_none());
        assert!(newer.unless_purged(|| ()).is_none());
        drop((older, newer));
        assert!(flights.flying().beside.is_empty());
    }

    #[test]
    fn who_comes_after_a_parting_fetches_anew_and_a_purge_reaches_both() {
        let flights = Arc::new(Flights::default());
        let mut old = fetch(flights.join(KEY, KEY, now(), Duration::MAX));
        old.also_at(KeyHash(2));
        flights.part();
        old.also_at(KeyHash(3));
        fetch(flights.join(KEY, KeyHash(3), now(), Duration::MAX));
        let new = fetch(flights.join(KEY, KEY, now(), Duration::MAX));
        fetch(flights.join(KEY, KeyHash(2), now(), Duration::MAX));
        wait(flights.join(KEY, KEY, now(), Duration::MAX));
        assert!(old.unless_purged(|| ()).is_some());
        flights.purge(KEY, None);
        assert!(old.unless_purged(|| ()).is_none());
        assert!(new.unless_purged(|| ()).is_none());
        drop((old, new));
        assert!(flights.flying().beside.is_empty());
    }

    #[test]
    fn a_purge_forgets_what_is_under_way() {
        let flights = Arc::new(Flights::default());
        let mut old = fetch(join(&flights));
        old.also_at(KeyHash(2));
        flights.purge(KEY, None);
        assert!(old.unless_purged(|| ()).is_none());
        let new = fetch(join(&flights));
        drop(old);
        assert!(new.unless_purged(|| ()).is_some());
        wait(join(&flights));
    }

    #[tokio::test]
    async fn a_fetch_that_brings_nothing_for_too_long_is_overtaken_once() {
        let flights = Arc::new(Flights::default());
        let (age_max, start) = (Duration::from_secs(5), now());
        let join_at = |second| flights.join(KEY, KEY, start + Duration::from_secs(second), age_max);
        let slow = fetch(join_at(0));
        let waiter = wait(join_at(4));
        assert_eq!(waiter.over_age_in(start + Duration::from_secs(4), age_max).as_secs(), 1);
        let second = fetch(join_at(5));
        let later = wait(join_at(6));
        slow.settle(Outcome::Alone);
        assert!(matches!(waiter.outcome(Duration::MAX).await, Some(Outcome::Alone)));
        drop(slow);
        assert!(later.outcome(Duration::from_millis(1)).await.is_none(), "it waits for the second");
        second.settle(Outcome::Alone);
        // What has brought its answer is not too old, however long that streams.
        wait(join_at(60));
    }
}
