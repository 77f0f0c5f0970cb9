//! May a stale response stand in when the origin fails? (RFC 9111 section 4.2.4, RFC 5861)

use super::date::Timestamp;
use super::rules::Rules;
use super::stored::Stored;

/// How the origin failed to give an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection, or it broke.
    Error,
    /// It took too long.
    Timeout,
    /// What came was no HTTP.
    InvalidHeader,
    /// It answered with this status.
    Status(u16),
}

/// Whether `stored` may be served at `now` instead of the failure. The origin's `must-revalidate`
/// and `no-cache` stand above the operator's wish; its `stale-if-error` window covers every
/// failure that RFC 5861 section 4 names.
pub fn may_stand_in(stored: &Stored, rules: &Rules, failure: Failure, now: Timestamp) -> bool {
    if stored.no_cache || stored.must_revalidate {
        return false;
    }
    let use_stale = &rules.use_stale;
    let operator = match failure {
        Failure::Error => use_stale.error,
        Failure::Timeout => use_stale.timeout,
        Failure::InvalidHeader => use_stale.invalid_header,
        Failure::Status(status) => use_stale.statuses.contains(status),
    };
    let is_error = match failure {
        Failure::Status(status) => status >= 500 && rules.stale_if_error_on_status,
        Failure::Error | Failure::Timeout | Failure::InvalidHeader => true,
    };
    let origin = is_error && stored.stale_for(now) < stored.stale_if_error;
    operator || origin
}

/// Whether any answer of the origin but the one that was asked for would let `stored` stand in:
/// then the answer is looked at before it is passed on.
pub fn is_failure(status: u16, rules: &Rules) -> bool {
    status >= 500 || rules.use_stale.statuses.contains(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::stored::tests::stored;
    use std::time::Duration;

    #[rustfmt::skip]
    #[test]
    fn stands_in_where_origin_or_operator_allow() {
        //    stale_s  fields            use_stale  failure                  expected
        check(5,  "sie=10",              "",        Failure::Error,          true);
        check(5,  "sie=10",              "",        Failure::Status(503),    true);
        check(5,  "sie=10",              "",        Failure::Status(404),    false);
        check(10, "sie=10",              "",        Failure::Error,          false);
        check(5,  "",                    "",        Failure::Error,          false);
        check(5,  "",                    "error",   Failure::Error,          true);
        check(5,  "",                    "error",   Failure::Timeout,        false);
        check(5,  "",                    "404",     Failure::Status(404),    true);
        check(5,  "must",                "error",   Failure::Error,          false);
        check(5,  "must sie=10",         "error",   Failure::Error,          false);
        check(5,  "sie=10",              "nginx",   Failure::Error,          true);
        check(5,  "sie=10",              "nginx",   Failure::Status(503),    false);
    }

    #[track_caller]
    fn check(stale_s: u64, fields: &str, use_stale: &str, failure: Failure, expected: bool) {
        let mut stored = stored(10);
        let on_status = use_stale != "nginx";
        let mut rules = Rules { stale_if_error_on_status: on_status, ..Rules::default() };
        if fields.contains("sie") {
            stored.stale_if_error = Duration::from_secs(10);
        }
        stored.must_revalidate = fields.contains("must");
        rules.use_stale.error = use_stale == "error";
        if use_stale == "404" {
            assert!(rules.use_stale.statuses.insert(404));
        }
        let now = stored.received.plus(Duration::from_secs(10 + stale_s));
        let found = may_stand_in(&stored, &rules, failure, now);
        assert_eq!(found, expected, "{stale_s} {fields} {use_stale} {failure:?}");
    }
}
