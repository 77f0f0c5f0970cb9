//! How long a response is fresh, and how old it is. (RFC 9111 section 4.2)

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::date::{Timestamp, parse_http_date};
use super::directives::{CacheControl, SaidBy, delta_seconds, members};
use super::rules::Rules;
use super::stored::{LifetimeFrom, Stored};

/// When a response was asked for and when its head arrived.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// request_time of RFC 9111 section 4.2.3.
    pub requested: Timestamp,
    /// response_time of RFC 9111 section 4.2.3.
    pub received: Timestamp,
    /// What the wall clock said when it was received, which is what the origin's dates are compared
    /// with. Another than `received` once the wall clock was set.
    pub dated: Timestamp,
}

/// How long a response is fresh, and who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Counted like its age; zero is stale from the beginning.
    Given(Duration, LifetimeFrom),
    /// `X-Accel-Expires: 0`: not to be stored, whatever else is said.
    Forbidden,
    /// Nothing was said.
    Unknown,
}

/// nginx's own field for the lifetime of a response.
pub const X_ACCEL_EXPIRES: HeaderName = HeaderName::from_static("x-accel-expires");

/// The lifetime of a response (RFC 9111 section 4.2.1): the origin's word first, then the
/// operator's `valid` table, then, where the operator asks for it, a guess.
pub fn lifetime(
    status: StatusCode,
    fields: &HeaderMap,
    cache_control: &CacheControl,
    rules: &Rules,
    received: Timestamp,
) -> Lifetime {
    let found = accel_lifetime(fields, rules, received)
        .or_else(|| origin_lifetime(fields, cache_control, rules, received))
        .or_else(|| {
            let lifetime = rules.valid_for(status.as_u16())?;
            Some(Lifetime::Given(lifetime, LifetimeFrom::Valid))
        })
        .or_else(|| heuristic_lifetime(status, fields, cache_control, rules, received))
        .unwrap_or(Lifetime::Unknown);
    match found {
        Lifetime::Given(lifetime, from) => {
            Lifetime::Given(to_the_seconds_end(lifetime, rules), from)
        }
        found => found,
    }
}

/// A lifetime in whole seconds as long as it lasts where the second in which it ends still counts.
pub(super) fn to_the_seconds_end(lifetime: Duration, rules: &Rules) -> Duration {
    match rules.whole_seconds && !lifetime.is_zero() {
        true => lifetime.saturating_add(REST_OF_THE_SECOND),
        false => lifetime,
    }
}

/// Whether `X-Accel-Expires` gives a lifetime, so that nothing else is asked for one.
pub fn accel_gives_lifetime(fields: &HeaderMap, rules: &Rules) -> bool {
    matches!(accel_lifetime(fields, rules, Timestamp::default()), Some(Lifetime::Given(..)))
}

/// How old a response already was when it arrived: corrected_initial_age (RFC 9111 section 4.2.3).
/// Zero where ages do not count.
pub fn initial_age(fields: &HeaderMap, rules: &Rules, times: Times) -> Duration {
    if !rules.count_age {
        return Duration::ZERO;
    }
    let apparent_age = times.dated.since(date_of(fields, rules, times.dated));
    let response_delay = times.received.since(times.requested);
    let corrected_age = Duration::from_secs(age_value(fields)).saturating_add(response_delay);
    apparent_age.max(corrected_age)
}

impl Stored {
    /// Its age at `now` (RFC 9111 section 4.2.3). Never negative. What was received in the future,
    /// by a clock that was set back since, may have any age: it counts as no longer fresh, so that
    /// it is validated.
    pub fn age(&self, now: Timestamp) -> Duration {
        let age = self.initial_age.saturating_add(now.since(self.received));
        let unknown = self.received.since(now) > FUTURE_MAX;
        if unknown { age.max(self.lifetime) } else { age }
    }

    /// How long it stays fresh after `now`; zero when it is stale.
    pub fn fresh_for(&self, now: Timestamp) -> Duration {
        self.lifetime.saturating_sub(self.age(now))
    }

    /// How long it has been stale at `now`; zero when it is fresh.
    pub fn stale_for(&self, now: Timestamp) -> Duration {
        self.age(now).saturating_sub(self.lifetime)
    }
}

/// nginx: X-Accel-Expires. `N` seconds from now, `@T` an absolute time, `0` forbids storing; what
/// is no number is not there. The first of several lines counts.
fn accel_lifetime(fields: &HeaderMap, rules: &Rules, received: Timestamp) -> Option<Lifetime> {
    if rules.ignore.x_accel_expires {
        return None;
    }
    let value = fields.get(&X_ACCEL_EXPIRES)?.as_bytes().trim_ascii();
    let given = |from_now| Lifetime::Given(from_now, LifetimeFrom::XAccelExpires);
    if let Some(absolute) = value.strip_prefix(b"@") {
        return Some(given(Timestamp::from_secs(delta_seconds(absolute)?).since(received)));
    }
    Some(match delta_seconds(value)? {
        0 => Lifetime::Forbidden,
        seconds => given(Duration::from_secs(seconds)),
    })
}

fn origin_lifetime(
    fields: &HeaderMap,
    cache_control: &CacheControl,
    rules: &Rules,
    received: Timestamp,
) -> Option<Lifetime> {
    let by = |from| match cache_control.by {
        SaidBy::CacheControl => from,
        SaidBy::Targeted => LifetimeFrom::Targeted,
        SaidBy::Surrogate => LifetimeFrom::Surrogate,
    };
    let given = |seconds, from| Some(Lifetime::Given(Duration::from_secs(seconds), by(from)));
    if let Some(seconds) = cache_control.s_maxage {
        return given(seconds, LifetimeFrom::SMaxAge);
    }
    if let Some(seconds) = cache_control.max_age {
        return given(seconds, LifetimeFrom::MaxAge);
    }
    if !rules.ignore.expires
        && cache_control.by == SaidBy::CacheControl
        && let Some(expires) = fields.get(header::EXPIRES)
    {
        return Some(expires_lifetime(fields, expires.as_bytes(), rules, received));
    }
    // `no-cache` alone says how long it is fresh: not at all.
    if cache_control.no_cache { given(0, LifetimeFrom::MaxAge) } else { None }
}

/// `Expires` less `Date`. An invalid date, especially `0`, is a time in the past (RFC 9111
/// section 5.3).
fn expires_lifetime(
    fields: &HeaderMap,
    expires: &[u8],
    rules: &Rules,
    received: Timestamp,
) -> Lifetime {
    let expires = parse_http_date(expires, received).unwrap_or_default();
    let lifetime = expires.since(date_of(fields, rules, received));
    // nginx: what expires in this very second is fresh until the second ends.
    let this_second = rules.whole_seconds && expires.secs() == received.secs();
    let least = if this_second { Duration::from_nanos(1) } else { Duration::ZERO };
    Lifetime::Given(lifetime.max(least), LifetimeFrom::Expires)
}

/// A tenth of the time since the last change (RFC 9111 section 4.2.2), within the operator's
/// bounds.
fn heuristic_lifetime(
    status: StatusCode,
    fields: &HeaderMap,
    cache_control: &CacheControl,
    rules: &Rules,
    received: Timestamp,
) -> Option<Lifetime> {
    let bounds = rules.heuristic?;
    if !(HEURISTIC_STATUSES.contains(&status.as_u16()) || cache_control.public) {
        return None;
    }
    let modified = fields.get(header::LAST_MODIFIED)?;
    let modified = parse_http_date(modified.as_bytes(), received)?;
    let tenth = date_of(fields, rules, received).since(modified) / 10;
    let lifetime = tenth.max(bounds.min).min(bounds.max);
    Some(Lifetime::Given(lifetime, LifetimeFrom::Heuristic))
}

/// When the origin says that it wrote the response; when it arrived, if it does not say or if its
/// clock does not count.
fn date_of(fields: &HeaderMap, rules: &Rules, received: Timestamp) -> Timestamp {
    fields
        .get(header::DATE)
        .filter(|_| rules.count_age)
        .and_then(|date| parse_http_date(date.as_bytes(), received))
        .unwrap_or(received)
}

/// `Age` as caches before us counted it: the first member of the first line, if it is a number.
fn age_value(fields: &HeaderMap) -> u64 {
    let first = fields.get(header::AGE).and_then(|line| members(line.as_bytes()).next());
    first.and_then(delta_seconds).unwrap_or(0)
}

/// nginx compares whole seconds, and the second in which a lifetime ends still counts. This much
/// more than the lifetime says the same on a clock of milliseconds.
const REST_OF_THE_SECOND: Duration = Duration::from_nanos(999_500_000);

/// Statuses that may be stored without being told how long (RFC 9110 section 15.1).
pub const HEURISTIC_STATUSES: [u16; 12] =
    [200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501];

/// Machines that share a folder one after the other agree on the time no better than this.
const FUTURE_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::rules::{Heuristic, IgnoredFields, Valid};
    use crate::semantics::said::said;
    use http::HeaderValue;

    /// Sun, 06 Nov 1994 08:49:37 GMT, when every response of these tables arrives.
    const NOW: Timestamp = Timestamp::from_secs(784_111_777);

    #[rustfmt::skip]
    #[test]
    fn lifetime_is_the_origins_word_then_the_operators() {
        check("Cache-Control: max-age=10", "10 MaxAge");
        check("Cache-Control: max-age=10 | Cache-Control: s-maxage=20", "20 SMaxAge");
        check("Cache-Control: max-age=0, s-maxage=20 | Expires: 0", "20 SMaxAge");
        check("Expires: Sun, 06 Nov 1994 08:50:37 GMT", "60 Expires");
        check("Expires: Sun, 06 Nov 1994 08:50:37 GMT | Date: Sun, 06 Nov 1994 08:49:07 GMT", "90 Expires");
        check("Expires: 0", "0 Expires");
        check("Expires: Sun, 06 Nov 1994 08:48:37 GMT | Cache-Control: max-age=5", "5 MaxAge");
        check("X-Accel-Expires: 30 | Cache-Control: max-age=5", "30 XAccelExpires");
        check("X-Accel-Expires: @784111877", "100 XAccelExpires");
        check("X-Accel-Expires: @1", "0 XAccelExpires");
        check("X-Accel-Expires: 0 | Cache-Control: max-age=5", "forbidden");
        check("X-Accel-Expires: soon | Cache-Control: max-age=5", "5 MaxAge");
        check("Cache-Control: no-cache", "0 MaxAge");
        check("", "unknown");
        check("Last-Modified: Sun, 06 Nov 1994 07:49:37 GMT", "unknown");
        check("heuristic | Last-Modified: Sun, 06 Nov 1994 07:49:37 GMT", "360 Heuristic");
        check("heuristic | Last-Modified: Sun, 06 Nov 1994 08:49:30 GMT", "60 Heuristic");
        check("heuristic | Last-Modified: Sun, 06 Nov 1904 08:49:30 GMT", "86400 Heuristic");
        check("valid | ", "600 Valid");
        check("valid | Cache-Control: max-age=5", "5 MaxAge");
        check("valid ignore-cache-control | Cache-Control: max-age=5", "600 Valid");
        check("CDN-Cache-Control: max-age=5 | Cache-Control: max-age=9", "5 Targeted");
        check("CDN-Cache-Control: public | Expires: Sun, 06 Nov 1994 08:50:37 GMT", "unknown");
        check("Surrogate-Control: max-age=5 | Cache-Control: max-age=9", "5 Surrogate");
        check("X-Accel-Expires: 30 | CDN-Cache-Control: max-age=5", "30 XAccelExpires");
    }

    #[rustfmt::skip]
    #[test]
    fn nginx_knows_neither_age_nor_the_origins_clock() {
        check("nginx | Expires: Sun, 06 Nov 1994 08:50:37 GMT | Date: Sun, 06 Nov 1994 08:49:07 GMT", "60 Expires");
        check("nginx | Expires: Sun, 06 Nov 1994 08:49:37 GMT", "0 Expires");
        check("nginx | Expires: Sun, 06 Nov 1994 08:49:36 GMT", "0 Expires");
        check("nginx | Cache-Control: max-age=1, s-maxage=5 | Expires: 0", "5 MaxAge");
        check("nginx | Cache-Control: max-age=0", "0 MaxAge");
        check("nginx | X-Accel-Expires: 30 | Cache-Control: no-store", "30 XAccelExpires");
        check("nginx | X-Accel-Expires: 0 | Cache-Control: max-age=9", "forbidden");
        check("nginx | CDN-Cache-Control: max-age=5 | Cache-Control: max-age=9", "9 MaxAge");
        let ends = |response| {
            let fields = fields_of(response, |_| {});
            let said = said(&fields, &Rules::nginx());
            lifetime(StatusCode::OK, &fields, &said, &Rules::nginx(), NOW)
        };
        let Lifetime::Given(second, _) = ends("Cache-Control: max-age=1") else { panic!() };
        assert!(second > Duration::from_millis(1999) && second < Duration::from_secs(2));
        let Lifetime::Given(now, _) = ends("Expires: Sun, 06 Nov 1994 08:49:37 GMT") else { panic!() };
        assert!(now > Duration::from_millis(999), "to the end of this second");
        let Lifetime::Given(past, _) = ends("Expires: Sun, 06 Nov 1994 08:49:36 GMT") else { panic!() };
        assert_eq!(past, Duration::ZERO);
        let fields = fields_of("Age: 100", |_| {});
        let times = Times { requested: NOW, received: NOW, dated: NOW };
        assert_eq!(initial_age(&fields, &Rules::nginx(), times), Duration::ZERO);
    }

    #[track_caller]
    fn check(response: &str, expected: &str) {
        let mut rules = Rules::default();
        let fields = fields_of(response, |word| match word {
            "heuristic" => {
                let day = Duration::from_secs(86_400);
                rules.heuristic = Some(Heuristic { min: Duration::from_secs(60), max: day });
            }
            "valid" => {
                rules.valid.push(Valid { statuses: 200..=200, lifetime: Duration::from_secs(600) })
            }
            "nginx" => rules = Rules::nginx(),
            _ => rules.ignore = IgnoredFields { cache_control: true, ..Default::default() },
        });
        let cache_control = said(&fields, &rules);
        let found = match lifetime(StatusCode::OK, &fields, &cache_control, &rules, NOW) {
            Lifetime::Given(lifetime, from) => format!("{} {from:?}", lifetime.as_secs()),
            Lifetime::Forbidden => "forbidden".to_owned(),
            Lifetime::Unknown => "unknown".to_owned(),
        };
        assert_eq!(found, expected, "{response}");
    }

    #[rustfmt::skip]
    #[test]
    fn initial_age_is_the_greatest_anyone_can_tell() {
        check_age("", 2, "the delay of the answer itself");
        check_age("Age: 10", 12, "Age and the delay");
        check_age("Age: 7200, 0", 7202, "the first member");
        check_age("Age: 0 | Age: 7200", 2, "of the first line");
        check_age("Age: -5", 2, "no number");
        check_age("Age: 7200.0", 2, "no number");
        check_age("Age: 99999999999999999999", 4_294_967_297, "saturates");
        check_age("Date: Sun, 06 Nov 1994 08:48:37 GMT", 60, "apparent age");
        check_age("Date: Sun, 06 Nov 1994 08:48:37 GMT | Age: 100", 102, "the greater");
        check_age("Date: Sun, 06 Nov 1994 08:59:37 GMT", 2, "a date ahead of us is no age");
    }

    #[track_caller]
    fn check_age(response: &str, expected_s: u64, why: &str) {
        let fields = fields_of(response, |_| {});
        let times = Times { requested: Timestamp(NOW.0 - 2000), received: NOW, dated: NOW };
        assert_eq!(
            initial_age(&fields, &Rules::default(), times).as_secs(),
            expected_s,
            "{response}: {why}"
        );
    }

    fn fields_of(response: &str, mut word: impl FnMut(&str)) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for part in response.split('|').map(str::trim) {
            match part.split_once(": ") {
                Some((name, value)) => {
                    let name: HeaderName = name.parse().unwrap();
                    fields.append(name, HeaderValue::from_str(value).unwrap());
                }
                None => part.split_whitespace().for_each(&mut word),
            }
        }
        fields
    }
}
