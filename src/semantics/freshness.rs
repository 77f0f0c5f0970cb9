//! How long a response is fresh, and how old it is. (RFC 9111 section 4.2)

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::date::{Timestamp, parse_http_date};
use super::directives::{CacheControl, delta_seconds, members};
use super::rules::Rules;
use super::stored::{LifetimeFrom, Stored};

/// When a response was asked for and when its head arrived.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// request_time of RFC 9111 section 4.2.3.
    pub requested: Timestamp,
    /// response_time of RFC 9111 section 4.2.3.
    pub received: Timestamp,
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
    accel_lifetime(fields, rules, received)
        .or_else(|| origin_lifetime(fields, cache_control, rules, received))
        .or_else(|| {
            let lifetime = rules.valid_for(status.as_u16())?;
            Some(Lifetime::Given(lifetime, LifetimeFrom::Valid))
        })
        .or_else(|| heuristic_lifetime(status, fields, cache_control, rules, received))
        .unwrap_or(Lifetime::Unknown)
}

/// How old a response already was when it arrived: corrected_initial_age (RFC 9111 section 4.2.3).
pub fn initial_age(fields: &HeaderMap, times: Times) -> Duration {
    let apparent_age = times.received.since(date_of(fields, times.received));
    let response_delay = times.received.since(times.requested);
    let corrected_age = Duration::from_secs(age_value(fields)).saturating_add(response_delay);
    apparent_age.max(corrected_age)
}

impl Stored {
    /// Its age at `now` (RFC 9111 section 4.2.3). Never negative: a clock that steps back makes a
    /// response younger, not invalid.
    pub fn age(&self, now: Timestamp) -> Duration {
        self.initial_age.saturating_add(now.since(self.received))
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
    let given = |seconds, from| Some(Lifetime::Given(Duration::from_secs(seconds), from));
    if !rules.ignore.cache_control {
        if let Some(seconds) = cache_control.s_maxage {
            return given(seconds, LifetimeFrom::SMaxAge);
        }
        if let Some(seconds) = cache_control.max_age {
            return given(seconds, LifetimeFrom::MaxAge);
        }
    }
    if !rules.ignore.expires
        && let Some(expires) = fields.get(header::EXPIRES)
    {
        // An invalid date, especially `0`, is a time in the past (RFC 9111 section 5.3).
        let expires = parse_http_date(expires.as_bytes(), received).unwrap_or_default();
        let lifetime = expires.since(date_of(fields, received));
        return Some(Lifetime::Given(lifetime, LifetimeFrom::Expires));
    }
    // `no-cache` alone says how long it is fresh: not at all.
    if cache_control.no_cache && !rules.ignore.cache_control {
        return given(0, LifetimeFrom::MaxAge);
    }
    None
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
    let tenth = date_of(fields, received).since(modified) / 10;
    let lifetime = tenth.max(bounds.min).min(bounds.max);
    Some(Lifetime::Given(lifetime, LifetimeFrom::Heuristic))
}

/// When the origin says that it wrote the response; when it arrived, if it does not say.
fn date_of(fields: &HeaderMap, received: Timestamp) -> Timestamp {
    fields
        .get(header::DATE)
        .and_then(|date| parse_http_date(date.as_bytes(), received))
        .unwrap_or(received)
}

/// `Age` as caches before us counted it: the first member of the first line, if it is a number.
fn age_value(fields: &HeaderMap) -> u64 {
    let first = fields.get(header::AGE).and_then(|line| members(line.as_bytes()).next());
    first.and_then(delta_seconds).unwrap_or(0)
}

/// Statuses that may be stored without being told how long (RFC 9110 section 15.1), less 206.
pub const HEURISTIC_STATUSES: [u16; 12] =
    [200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::rules::{Heuristic, IgnoredFields, Valid};
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
            _ => rules.ignore = IgnoredFields { cache_control: true, ..Default::default() },
        });
        let cache_control = CacheControl::of(&fields);
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
        let times = Times { requested: Timestamp(NOW.0 - 2000), received: NOW };
        assert_eq!(initial_age(&fields, times).as_secs(), expected_s, "{response}: {why}");
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
