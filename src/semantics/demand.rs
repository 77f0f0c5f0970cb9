//! What a request asks of what is stored. (RFC 9111 section 5.2.1)

use http::{HeaderMap, header};

use super::directives::{delta_seconds, directives};
use super::rules::Rules;

/// `Cache-Control` of a request, as far as the route obeys it. Seconds saturate; an argument that
/// is no number counts as the strictest there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// `max-age`: no older than this many seconds.
    pub max_age_s: Option<u64>,
    /// `min-fresh`: still fresh for this many seconds.
    pub min_fresh_s: Option<u64>,
    /// `max-stale`: stale for no longer than this many seconds; without a number any time.
    pub max_stale_s: Option<u64>,
    /// `no-cache`: not without asking the origin.
    pub no_cache: bool,
    /// `no-store`: nothing of the answer may be stored.
    pub no_store: bool,
    /// `only-if-cached`: nothing but what is stored.
    pub only_if_cached: bool,
}

impl Demand {
    /// Asks for nothing in particular.
    pub const NONE: Self = Self {
        max_age_s: None,
        min_fresh_s: None,
        max_stale_s: None,
        no_cache: false,
        no_store: false,
        only_if_cached: false,
    };

    /// What a request asks. Reads nothing where the route does not obey it. The first of a
    /// repeated directive counts. `Pragma: no-cache` counts where there is no `Cache-Control`
    /// (RFC 9111 section 5.4).
    pub fn of(request: &HeaderMap, rules: &Rules) -> Self {
        if !rules.request_directives {
            return Self::NONE;
        }
        let mut found = Self::NONE;
        if !request.contains_key(header::CACHE_CONTROL) {
            let mut pragmas = directives(request, &header::PRAGMA);
            found.no_cache = pragmas.any(|(name, _)| name.eq_ignore_ascii_case(b"no-cache"));
            return found;
        }
        for (name, argument) in directives(request, &header::CACHE_CONTROL) {
            found.add(name, argument);
        }
        found
    }

    /// Whether it takes a stale response within a window that others allow.
    pub fn takes_stale(&self) -> bool {
        !self.no_cache && self.max_age_s.is_none() && self.min_fresh_s.is_none()
    }

    fn add(&mut self, name: &[u8], argument: Option<&[u8]>) {
        let is = |expected: &str| name.eq_ignore_ascii_case(expected.as_bytes());
        let seconds = |strictest| argument.map(|text| delta_seconds(text).unwrap_or(strictest));
        if is("max-age") {
            self.max_age_s.get_or_insert(seconds(0).unwrap_or(0));
        } else if is("min-fresh") {
            self.min_fresh_s.get_or_insert(seconds(u64::MAX).unwrap_or(u64::MAX));
        } else if is("max-stale") {
            self.max_stale_s.get_or_insert(seconds(0).unwrap_or(u64::MAX));
        } else {
            self.no_cache |= is("no-cache");
            self.no_store |= is("no-store");
            self.only_if_cached |= is("only-if-cached");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::fields::tests::fields;

    #[rustfmt::skip]
    #[test]
    fn reads_what_the_route_obeys() {
        let age = |max_age_s| Demand { max_age_s: Some(max_age_s), ..Demand::NONE };
        let stale = |max_stale_s| Demand { max_stale_s: Some(max_stale_s), ..Demand::NONE };
        let fresh = |min_fresh_s| Demand { min_fresh_s: Some(min_fresh_s), ..Demand::NONE };
        let no_cache = Demand { no_cache: true, ..Demand::NONE };
        check("cache-control: max-age=5",                     age(5),            "seconds");
        check("cache-control: max-age=x",                     age(0),            "no number");
        check("cache-control: max-age=5, max-age=9",          age(5),            "the first");
        check("cache-control: Max-Stale",                     stale(u64::MAX),   "any time");
        check("cache-control: max-stale=\"7\"",               stale(7),          "quoted");
        check("cache-control: max-stale=x",                   stale(0),          "no number");
        check("cache-control: min-fresh=3",                   fresh(3),          "seconds");
        check("cache-control: min-fresh",                     fresh(u64::MAX),   "no number");
        check("cache-control: no-cache",                      no_cache,          "flag");
        check("cache-control: no-store, only-if-cached",
              Demand { no_store: true, only_if_cached: true, ..Demand::NONE },   "flags");
        check("pragma: no-cache",                             no_cache,          "of HTTP/1.0");
        check("pragma: no-cache | cache-control: x",          Demand::NONE,      "no longer");
        check("pragma: foo | cache-control: nothing-to-see-here", Demand::NONE,  "others");
    }

    #[track_caller]
    fn check(request: &str, expected: Demand, why: &str) {
        let fields = fields(request);
        let rules = Rules { request_directives: true, ..Rules::default() };
        assert_eq!(Demand::of(&fields, &rules), expected, "{request}: {why}");
        assert_eq!(Demand::of(&fields, &Rules::default()), Demand::NONE, "not obeyed");
    }
}
