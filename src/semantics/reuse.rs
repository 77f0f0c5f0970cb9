//! May a stored response answer this request as it is? (RFC 9111 section 4)

use std::time::Duration;

use super::date::Timestamp;
use super::demand::Demand;
use super::freshness::Times;
use super::rules::Rules;
use super::stored::Stored;

/// What to do with a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Serve it.
    Fresh,
    /// Serve it, and validate it behind the answer.
    StaleWhileRevalidate,
    /// Serve it: it is stale, and the request takes that.
    MaxStale,
    /// Ask the origin first.
    Validate,
}

/// Whether those who waited for `stored` while it was fetched may have it as well. What became
/// stale only while we waited was fresh when the origin sent it, and who waited asked before that.
pub fn may_share(stored: &Stored, times: Times) -> bool {
    let waited = times.received.since(times.requested);
    !stored.no_cache && stored.lifetime > stored.initial_age.saturating_sub(waited)
}

/// Decides whether `stored` may be used at `now` without asking the origin, for a request with
/// these demands.
pub fn decide(stored: &Stored, rules: &Rules, demand: &Demand, now: Timestamp) -> Reuse {
    let age = stored.age(now);
    if stored.no_cache || !meets(stored, demand, age) {
        return Reuse::Validate;
    }
    if stored.lifetime > age {
        return Reuse::Fresh;
    }
    if stored.must_revalidate {
        return Reuse::Validate;
    }
    let stale_for = age - stored.lifetime;
    if demand.max_stale_s.is_some_and(|most_s| stale_for <= Duration::from_secs(most_s)) {
        return Reuse::MaxStale;
    }
    let leave = while_revalidating(stored, rules, stale_for);
    let at_once = rules.background_update || rules.stale_while_revalidate_alone;
    // nginx: proxy_cache_background_update needs proxy_cache_use_stale updating, or the origin's
    // stale-while-revalidate.
    let at_once = match leave {
        Leave::Origin => at_once,
        Leave::Operator => rules.background_update,
        Leave::No => false,
    };
    if at_once && demand.takes_stale() { Reuse::StaleWhileRevalidate } else { Reuse::Validate }
}

/// Whether `stored`, no longer fresh, may be served at `now` while another request validates it
/// (nginx: proxy_cache_use_stale updating; RFC 5861 section 3).
pub fn may_serve_while_updating(
    stored: &Stored,
    rules: &Rules,
    demand: &Demand,
    now: Timestamp,
) -> bool {
    !stored.no_cache
        && !stored.must_revalidate
        && demand.takes_stale()
        && while_revalidating(stored, rules, stored.stale_for(now)) != Leave::No
}

/// Who lets a stale response be served while it is validated.
#[derive(PartialEq)]
enum Leave {
    Origin,
    Operator,
    No,
}

fn while_revalidating(stored: &Stored, rules: &Rules, stale_for: Duration) -> Leave {
    if stale_for < stored.stale_while_revalidate {
        Leave::Origin
    } else if rules.use_stale.updating {
        Leave::Operator
    } else {
        Leave::No
    }
}

/// Whether a response of this age is what the request asks for. A client that reloads asks for
/// `max-age=0`; what does not change while it is fresh need not be validated for that (RFC 8246
/// section 2).
fn meets(stored: &Stored, demand: &Demand, age: Duration) -> bool {
    if *demand == Demand::NONE {
        return true;
    }
    let immutable = stored.immutable && stored.lifetime > age;
    let too_old = demand.max_age_s.is_some_and(|most_s| age > Duration::from_secs(most_s))
        // A client that reloads wants to be sure, however young the response is.
        || demand.max_age_s == Some(0);
    let fresh_for = stored.lifetime.saturating_sub(age);
    let too_short = demand.min_fresh_s.is_some_and(|s| fresh_for < Duration::from_secs(s));
    !demand.no_cache && (!too_old || immutable) && !too_short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::stored::{Stored, tests::stored};
    use http::{HeaderMap, HeaderValue, header};
    use std::time::Duration;

    #[rustfmt::skip]
    #[test]
    fn decides_by_age_and_stale_windows() {
        //    age_s stored                                 expected                     why
        check( 0, |_| {},                                  Reuse::Fresh,                "new");
        check( 9, |_| {},                                  Reuse::Fresh,                "last second");
        check(10, |_| {},                                  Reuse::Validate,             "lifetime is exclusive");
        check(39, |s| s.stale_while_revalidate = S30,      Reuse::StaleWhileRevalidate, "last stale second");
        check(40, |s| s.stale_while_revalidate = S30,      Reuse::Validate,             "window over");
        check(11, |s| { s.stale_while_revalidate = S30; s.must_revalidate = true; },
                                                           Reuse::Validate,             "5.2.2.2 forbids stale");
        check( 0, |s| s.no_cache = true,                   Reuse::Validate,             "never without asking");
        check( 5, |s| s.initial_age = Duration::from_secs(5), Reuse::Validate,          "came with age");
    }

    const S30: Duration = Duration::from_secs(30);

    #[track_caller]
    fn check(age_s: u64, change: fn(&mut Stored), expected: Reuse, why: &str) {
        let mut stored = stored(10);
        change(&mut stored);
        let now = stored.received.plus(Duration::from_secs(age_s));
        assert_eq!(decide(&stored, &Rules::default(), &Demand::NONE, now), expected, "{why}");
    }

    #[rustfmt::skip]
    #[test]
    fn a_request_may_ask_for_more_and_take_less() {
        //         age_s demand                stored              expected          why
        demands( 5, "max-age=5",               "",                 Reuse::Fresh,     "as old as it may be");
        demands( 6, "max-age=5",               "",                 Reuse::Validate,  "too old");
        demands( 0, "max-age=0",               "",                 Reuse::Validate,  "a reload");
        demands( 0, "max-age=0",               "immutable",        Reuse::Fresh,     "RFC 8246");
        demands(10, "max-age=0",               "immutable",        Reuse::Validate,  "no longer fresh");
        demands( 0, "no-cache",                "immutable",        Reuse::Validate,  "a reload that means it");
        demands( 5, "min-fresh=5",             "",                 Reuse::Fresh,     "fresh for long enough");
        demands( 6, "min-fresh=5",             "",                 Reuse::Validate,  "not long enough");
        demands(15, "max-stale=5",             "",                 Reuse::MaxStale,  "as stale as it may be");
        demands(16, "max-stale=5",             "",                 Reuse::Validate,  "too stale");
        demands(99, "max-stale",               "",                 Reuse::MaxStale,  "however stale");
        demands(99, "max-stale",               "must-revalidate",  Reuse::Validate,  "the origin forbids it");
        demands(99, "max-stale",               "no-cache",         Reuse::Validate,  "the origin forbids it");
        demands(15, "max-stale, max-age=12",   "",                 Reuse::Validate,  "both count");
        demands(11, "max-age=12",              "window",           Reuse::Validate,  "takes nothing stale");
        demands(11, "no-store",                "window",           Reuse::StaleWhileRevalidate, "takes all");
    }

    #[track_caller]
    fn demands(age_s: u64, demand: &'static str, change: &str, expected: Reuse, why: &str) {
        let mut stored = stored(10);
        stored.immutable = change == "immutable";
        stored.must_revalidate = change == "must-revalidate";
        stored.no_cache = change == "no-cache";
        stored.stale_while_revalidate = if change == "window" { S30 } else { Duration::ZERO };
        let rules = Rules { request_directives: true, ..Rules::default() };
        let value = HeaderValue::from_static(demand);
        let request = HeaderMap::from_iter([(header::CACHE_CONTROL, value)]);
        let now = stored.received.plus(Duration::from_secs(age_s));
        let found = decide(&stored, &rules, &Demand::of(&request, &rules), now);
        assert_eq!(found, expected, "{demand} {change}: {why}");
    }

    #[test]
    fn nginx_needs_background_update_for_the_origins_window() {
        let mut rules = Rules::nginx();
        let mut stored = stored(10);
        stored.stale_while_revalidate = S30;
        let now = stored.received.plus(Duration::from_secs(11));
        assert_eq!(decide(&stored, &rules, &Demand::NONE, now), Reuse::Validate);
        assert!(may_serve_while_updating(&stored, &rules, &Demand::NONE, now));
        rules.background_update = true;
        assert_eq!(decide(&stored, &rules, &Demand::NONE, now), Reuse::StaleWhileRevalidate);
    }

    #[test]
    fn a_clock_that_steps_back_makes_a_response_younger() {
        let stored = stored(10);
        let now = Timestamp(stored.received.0 - 50_000);
        assert_eq!(decide(&stored, &Rules::default(), &Demand::NONE, now), Reuse::Fresh);
        assert_eq!(stored.age(now), Duration::ZERO);
    }

    #[test]
    fn the_operator_lets_stale_be_served_while_updating() {
        let mut rules = Rules { background_update: true, ..Rules::default() };
        let now = stored(10).received.plus(Duration::from_secs(99));
        assert_eq!(decide(&stored(10), &rules, &Demand::NONE, now), Reuse::Validate);
        rules.use_stale.updating = true;
        assert_eq!(decide(&stored(10), &rules, &Demand::NONE, now), Reuse::StaleWhileRevalidate);
    }
}
