//! May a stored response answer this request as it is? (RFC 9111 section 4)

use super::date::Timestamp;
use super::rules::Rules;
use super::stored::Stored;

/// What to do with a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Serve it.
    Fresh,
    /// Serve it, and validate it behind the answer.
    StaleWhileRevalidate,
    /// Ask the origin first.
    Validate,
}

/// Decides whether `stored` may be used at `now` without asking the origin.
pub fn decide(stored: &Stored, rules: &Rules, now: Timestamp) -> Reuse {
    let age = stored.age(now);
    if stored.no_cache {
        return Reuse::Validate;
    }
    if stored.lifetime > age {
        return Reuse::Fresh;
    }
    if stored.must_revalidate {
        return Reuse::Validate;
    }
    // nginx: proxy_cache_background_update needs proxy_cache_use_stale updating, or the origin's
    // stale-while-revalidate.
    let operator = rules.background_update && rules.use_stale.updating;
    if operator || age - stored.lifetime < stored.stale_while_revalidate {
        return Reuse::StaleWhileRevalidate;
    }
    Reuse::Validate
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::stored::{Stored, tests::stored};
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
        assert_eq!(decide(&stored, &Rules::default(), now), expected, "{why}");
    }

    #[test]
    fn a_clock_that_steps_back_makes_a_response_younger() {
        let stored = stored(10);
        let now = Timestamp(stored.received.0 - 50_000);
        assert_eq!(decide(&stored, &Rules::default(), now), Reuse::Fresh);
        assert_eq!(stored.age(now), Duration::ZERO);
    }

    #[test]
    fn the_operator_lets_stale_be_served_while_updating() {
        let mut rules = Rules { background_update: true, ..Rules::default() };
        let now = stored(10).received.plus(Duration::from_secs(99));
        assert_eq!(decide(&stored(10), &rules, now), Reuse::Validate);
        rules.use_stale.updating = true;
        assert_eq!(decide(&stored(10), &rules, now), Reuse::StaleWhileRevalidate);
    }
}
