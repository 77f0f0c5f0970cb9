//! May a response be stored? (RFC 9111 section 3)

use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::date::{Timestamp, http_date};
use super::directives::CacheControl;
use super::freshness::{
    HEURISTIC_STATUSES, Lifetime, Times, initial_age, lifetime, to_the_seconds_end,
};
use super::reason::Reason;
use super::rules::Rules;
use super::said::said;
use super::stored::{LifetimeFrom, Part, Stored};
use super::{tags, vary};

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Storable {
    /// Store this.
    Yes(Box<Stored>),
    /// Pass it on, and tell those who wait for it to fetch for themselves.
    No(Reason),
}

/// What matters of the request that a response answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// It carried `Authorization`.
    pub authorized: bool,
    /// Whose resource it was for, in lower case: `Cache-Groups` are the host's own.
    pub host: &'a str,
    /// Its key is that of one client, so that nobody else gets what is stored under it.
    pub partitioned: bool,
}

/// Decides whether a response to a GET may be stored, and works out all that a later hit has to
/// know. `fields` must already be without what concerns one connection only.
pub fn storable(
    asked: Asked<'_>,
    status: StatusCode,
    fields: &HeaderMap,
    rules: &Rules,
    times: Times,
) -> Storable {
    if status == StatusCode::PARTIAL_CONTENT {
        return Storable::No(Reason::Partial);
    }
    of_any_status(asked, status, fields, rules, times)
}

/// The same for a 206 that is this part of a representation (RFC 9111 section 3.3).
pub fn storable_part(
    asked: Asked<'_>,
    fields: &HeaderMap,
    rules: &Rules,
    times: Times,
    part: Part,
) -> Storable {
    match of_any_status(asked, StatusCode::PARTIAL_CONTENT, fields, rules, times) {
        Storable::Yes(mut stored) => {
            stored.part = Some(Box::new(part));
            Storable::Yes(stored)
        }
        no => no,
    }
}

fn of_any_status(
    asked: Asked<'_>,
    status: StatusCode,
    fields: &HeaderMap,
    rules: &Rules,
    times: Times,
) -> Storable {
    let cache_control = said(fields, rules);
    let times = if rules.whole_seconds { in_whole_seconds(times) } else { times };
    if let Some(reason) = forbidden(asked, status, fields, &cache_control, rules) {
        return Storable::No(reason);
    }
    let given = match lifetime(status, fields, &cache_control, rules, times.dated) {
        Lifetime::Given(lifetime, from) => (lifetime, from),
        Lifetime::Forbidden => return Storable::No(Reason::XAccelExpires),
        Lifetime::Unknown => (Duration::ZERO, LifetimeFrom::Nothing),
    };
    let stored = as_said(asked, (status, fields), &cache_control, rules, times, given);
    let waited = times.received.since(times.requested);
    match useless(&stored, cache_control.public, rules, waited) {
        Some(reason) => Storable::No(reason),
        None => Storable::Yes(Box::new(stored)),
    }
}

/// How long another cache would still have used a response, counted from when it was received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// It is fresh.
    pub lifetime: Duration,
    /// Then it may be served while it is validated.
    pub stale_while_revalidate: Duration,
    /// Then it may be served when the origin fails.
    pub stale_if_error: Duration,
}

/// What another cache stored, as it rests here: for as long as that cache granted, whatever the
/// response would be granted here. What forbids storing here still does.
///
/// # Errors
/// Leave it out: it must not be stored here.
pub fn stored_elsewhere(
    asked: Asked<'_>,
    (status, fields): (StatusCode, &HeaderMap),
    rules: &Rules,
    received: Timestamp,
    granted: Granted,
) -> Result<Stored, Reason> {
    let cache_control = said(fields, rules);
    if let Some(reason) = forbidden(asked, status, fields, &cache_control, rules) {
        return Err(reason);
    }
    let times = Times { requested: received, received, dated: received };
    let from = match lifetime(status, fields, &cache_control, rules, received) {
        Lifetime::Given(_, from) => from,
        // It had a `valid` table of its own.
        Lifetime::Forbidden | Lifetime::Unknown => LifetimeFrom::Valid,
    };
    // A lifetime is counted like the age.
    let lifetime = granted.lifetime.saturating_add(initial_age(fields, rules, times));
    let given = (to_the_seconds_end(lifetime, rules), from);
    let stored = as_said(asked, (status, fields), &cache_control, rules, times, given);
    let Granted { stale_while_revalidate, stale_if_error, .. } = granted;
    Ok(Stored { stale_while_revalidate, stale_if_error, ..stored })
}

/// What forbids storing outright, the strictest first.
fn forbidden(
    asked: Asked<'_>,
    status: StatusCode,
    fields: &HeaderMap,
    cache_control: &CacheControl,
    rules: &Rules,
) -> Option<Reason> {
    if status.is_informational() || status == StatusCode::NOT_MODIFIED {
        return Some(Reason::Status);
    }
    if cache_control.must_understand {
        if !UNDERSTOOD.contains(&status.as_u16()) {
            return Some(Reason::NotUnderstood);
        }
    } else if cache_control.no_store {
        return Some(Reason::NoStore);
    }
    if cache_control.malformed {
        return Some(Reason::Malformed);
    }
    if cache_control.private && !asked.partitioned {
        return Some(Reason::Private);
    }
    // RFC 9111 section 3.5.
    let for_all =
        cache_control.public || cache_control.must_revalidate || cache_control.s_maxage.is_some();
    if rules.authorization_forbids && asked.authorized && !for_all && !asked.partitioned {
        return Some(Reason::Authorization);
    }
    let sets_cookie = fields.contains_key(header::SET_COOKIE)
        && !cache_control.without.contains(&header::SET_COOKIE);
    if sets_cookie && !rules.ignore.set_cookie {
        return Some(Reason::SetCookie);
    }
    if rules.ignore.vary {
        return None;
    }
    vary::names(fields, rules.vary).err()
}

/// A response with all that its fields say of it.
fn as_said(
    asked: Asked<'_>,
    (status, fields): (StatusCode, &HeaderMap),
    cache_control: &CacheControl,
    rules: &Rules,
    times: Times,
    (lifetime, lifetime_from): (Duration, LifetimeFrom),
) -> Stored {
    let seconds = |value: Option<u64>| Duration::from_secs(value.unwrap_or(0));
    Stored {
        status,
        fields: as_stored(fields, cache_control, rules, times),
        received: times.received,
        initial_age: initial_age(fields, rules, times),
        lifetime,
        lifetime_from,
        stale_while_revalidate: seconds(cache_control.stale_while_revalidate),
        stale_if_error: seconds(cache_control.stale_if_error),
        no_cache: cache_control.no_cache,
        must_revalidate: cache_control.never_stale(),
        immutable: cache_control.immutable,
        generation: 0,
        tags: tags::of(fields, asked.host),
        coded_here: false,
        spelling: None,
        part: None,
    }
}

/// A response that would have to be fetched whole before every use needs no place. Nor does one
/// whose status has to be told how long, and was not: a stale window alone is no lifetime.
fn useless(stored: &Stored, public: bool, rules: &Rules, waited: Duration) -> Option<Reason> {
    let heuristic = HEURISTIC_STATUSES.contains(&stored.status.as_u16());
    if stored.lifetime_from == LifetimeFrom::Nothing && !heuristic && !public {
        return Some(Reason::NoLifetime);
    }
    let kept = if rules.store_stale {
        let may_validate = rules.revalidate
            && (stored.etag().is_some() || stored.last_modified().is_some())
            && heuristic
            && stored.lifetime_from != LifetimeFrom::Valid;
        let window = stored.stale_while_revalidate.max(stored.stale_if_error);
        // What only our own wait made stale is of use to those who waited too, and may stand in.
        let age_when_sent = stored.initial_age.saturating_sub(waited);
        let of_use = stored.lifetime.saturating_add(window) > age_when_sent;
        may_validate || (of_use && !stored.no_cache)
    } else {
        let past_accel =
            rules.store_past_accel && stored.lifetime_from == LifetimeFrom::XAccelExpires;
        past_accel || (!stored.lifetime.is_zero() && !stored.no_cache)
    };
    if kept {
        return None;
    }
    Some(match stored.lifetime_from {
        LifetimeFrom::Nothing => Reason::NoLifetime,
        _ if stored.no_cache => Reason::NoCache,
        _ => Reason::StaleOnArrival,
    })
}

/// The fields of a response that are not stored, because `no-cache` or `private` names them. They
/// are for the client that asked, and for nobody else.
pub fn withheld(fields: &HeaderMap, rules: &Rules) -> HeaderMap {
    let mut withheld = HeaderMap::new();
    for name in said(fields, rules).without {
        if withheld.contains_key(&name) {
            continue;
        }
        for value in fields.get_all(&name) {
            withheld.append(name.clone(), value.clone());
        }
    }
    withheld
}

/// As a clock that ticks once a second reads them.
fn in_whole_seconds(times: Times) -> Times {
    let whole = |time: Timestamp| Timestamp::from_secs(time.secs());
    Times {
        requested: whole(times.requested),
        received: whole(times.received),
        dated: whole(times.dated),
    }
}

/// The fields as every later answer sends them. `Age` is counted anew for each, the length is the
/// body's, what is for the first client only is left out, and a response without `Date` gets the
/// time it arrived (RFC 9110 section 6.6.1).
fn as_stored(
    fields: &HeaderMap,
    cache_control: &CacheControl,
    rules: &Rules,
    times: Times,
) -> HeaderMap {
    let kept = |name: &HeaderName| {
        *name != header::CONTENT_LENGTH
            && !OF_A_PROXY.contains(name)
            && (*name != header::AGE || !rules.count_age)
            && !cache_control.without.contains(name)
    };
    let mut kept = compact(fields, kept);
    if !kept.contains_key(header::DATE)
        && let Ok(date) = HeaderValue::from_str(&http_date(times.dated).to_string())
    {
        kept.insert(header::DATE, date);
    }
    // A clone has room for what is there and no more; a map that grew has up to twice that.
    kept.clone()
}

/// A copy of some fields whose values lie in one allocation of their own. Values as they came hold
/// on to the whole buffer they were read into, many times their size.
fn compact(fields: &HeaderMap, keep: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let kept = || fields.iter().filter(|(name, _)| keep(name));
    let bytes = kept().map(|(_, value)| value.len()).sum();
    let mut values = BytesMut::with_capacity(bytes);
    kept().for_each(|(_, value)| values.extend_from_slice(value.as_bytes()));
    let mut values = values.freeze();
    let mut compact = HeaderMap::with_capacity(kept().count() + 1);
    for (name, value) in kept() {
        // What was a value still is one.
        if let Ok(value) = HeaderValue::from_maybe_shared(values.split_to(value.len())) {
            compact.append(name.clone(), value);
        }
    }
    compact
}

/// Between a client and the proxy it chose; not for whoever asks next (RFC 9111 section 3.1).
const OF_A_PROXY: [HeaderName; 3] = [
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    header::PROXY_AUTHORIZATION,
];

/// The final statuses of RFC 9110 section 15, which `must-understand` asks about.
const UNDERSTOOD: [u16; 42] = [
    200, 201, 202, 203, 204, 205, 206, 300, 301, 302, 303, 304, 305, 307, 308, 400, 401, 402, 403,
    404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 426, 500, 501,
    502, 503, 504, 505,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::rules::{IgnoredFields, Valid};

    #[test]
    fn what_another_cache_granted_counts_and_what_forbids_storing_still_does() {
        let mut fields = HeaderMap::new();
        fields.insert("cache-control", HeaderValue::from_static("max-age=5, must-revalidate"));
        fields.insert("age", HeaderValue::from_static("40"));
        fields.insert("content-length", HeaderValue::from_static("7"));
        let received = Timestamp::from_secs(784_111_777);
        let seconds = Duration::from_secs;
        let granted = Granted {
            lifetime: seconds(600),
            stale_while_revalidate: seconds(3),
            stale_if_error: seconds(9),
        };
        let elsewhere = |fields: &HeaderMap, rules: &Rules| {
            let what = (StatusCode::NOT_FOUND, fields);
            stored_elsewhere(Asked::default(), what, rules, received, granted)
        };
        let stored = elsewhere(&fields, &Rules::default()).unwrap();
        assert_eq!(stored.fresh_for(received), seconds(600), "{stored:?}");
        assert_eq!(stored.initial_age, seconds(40));
        assert_eq!(stored.lifetime_from, LifetimeFrom::MaxAge);
        assert!(stored.must_revalidate && !stored.fields.contains_key("content-length"));
        let windows = (stored.stale_while_revalidate, stored.stale_if_error);
        assert_eq!(windows, (seconds(3), seconds(9)));

        let nginx = Rules::of(crate::semantics::rules::Semantics::Nginx);
        let last = Timestamp::from_secs(received.secs() + 600);
        let stored = elsewhere(&fields, &nginx).unwrap();
        assert!(!stored.fresh_for(last).is_zero(), "to the end of that second");
        assert!(stored.fresh_for(last.plus(seconds(1))).is_zero());
        fields.insert("set-cookie", HeaderValue::from_static("a=b"));
        assert_eq!(elsewhere(&fields, &nginx), Err(Reason::SetCookie));
    }

    #[rustfmt::skip]
    #[test]
    fn decides_by_status_fields_and_rules() {
        //    status  fields and words                                            expected
        check(200, "cache-control: max-age=9",                                    "fresh 9");
        check(599, "cache-control: max-age=9",                                    "fresh 9");
        check(206, "cache-control: max-age=9",                                    "partial");
        check(304, "cache-control: max-age=9",                                    "status");
        check(200, "cache-control: max-age=9, no-store",                          "no-store");
        check(200, "cache-control: max-age=9, Private",                           "private");
        check(200, "cache-control: max-age=9, private=\"x\"",                     "fresh 9");
        check(200, "cache-control: max-age=9, private=\"x\", private",            "private");
        check(200, "cache-control: max-age=9, no-cache=\"set-cookie\" | set-cookie: a=b", "fresh 9");
        check(200, "cache-control: max-age=9, no-store, must-understand",         "fresh 9");
        check(599, "cache-control: max-age=9, no-store, must-understand",         "not-understood");
        check(599, "cache-control: max-age=9, must-understand",                   "not-understood");
        check(200, "cdn-cache-control: max-age=9 | cache-control: no-store",      "fresh 9");
        check(200, "cdn-cache-control: no-store | cache-control: max-age=9",      "no-store");
        check(200, "cache-control: max-age=9 | set-cookie: a=b",                  "set-cookie");
        check(200, "cache-control: max-age=9 | set-cookie: a=b | IGNORE-COOKIE",  "fresh 9");
        check(200, "cache-control: max-age=9 | vary: *",                          "vary-star");
        check(200, "cache-control: max-age=9 | vary: accept, *",                  "vary-star");
        check(200, "cache-control: max-age=9 | AUTHORIZED",                       "authorization");
        check(200, "cache-control: max-age=9, public | AUTHORIZED",               "fresh 9");
        check(200, "cache-control: s-maxage=9 | AUTHORIZED",                      "fresh 9");
        check(200, "cache-control: max-age=9, must-revalidate | AUTHORIZED",      "fresh 9");
        check(200, "",                                                            "no-lifetime");
        check(200, "etag: \"x\"",                                                 "to validate");
        check(500, "etag: \"x\"",                                                 "no-lifetime");
        check(302, "cache-control: stale-if-error=9",                             "no-lifetime");
        check(302, "cache-control: stale-while-revalidate=9, public",             "to validate");
        check(200, "cache-control: stale-while-revalidate=9",                     "to validate");
        check(200, "cache-control: max-age=0",                                    "stale-on-arrival");
        check(200, "cache-control: max-age=0 | etag: \"x\"",                      "to validate");
        check(200, "cache-control: max-age=9 | age: 9",                           "stale-on-arrival");
        check(200, "cache-control: no-cache",                                     "no-cache");
        check(200, "cache-control: no-cache | etag: \"x\"",                       "to validate");
        check(200, "cache-control: max-age=0, stale-while-revalidate=5",          "to validate");
        check(200, "x-accel-expires: 0 | cache-control: max-age=9",               "x-accel-expires");
        check(404, "VALID-404",                                                   "fresh 60");
        check(404, "VALID-404-0",                                                 "stale-on-arrival");
        check(404, "VALID-404-0 | etag: \"x\"",                                   "stale-on-arrival");
    }

    #[track_caller]
    fn check(status: u16, response: &str, expected: &str) {
        let (mut rules, mut asked, mut fields) =
            (Rules::default(), Asked::default(), HeaderMap::new());
        let valid = |s| Valid { statuses: 404..=404, lifetime: Duration::from_secs(s) };
        for part in response.split('|').map(str::trim) {
            match part {
                "" => {}
                "AUTHORIZED" => asked.authorized = true,
                "VALID-404" => rules.valid = vec![valid(60)],
                "VALID-404-0" => rules.valid = vec![valid(0)],
                "IGNORE-COOKIE" => {
                    rules.ignore = IgnoredFields { set_cookie: true, ..Default::default() };
                }
                field => {
                    let (name, value) = field.split_once(": ").unwrap();
                    let name: HeaderName = name.parse().unwrap();
                    fields.append(name, HeaderValue::from_str(value).unwrap());
                }
            }
        }
        let now = Timestamp::from_secs(784_111_777);
        let times = Times { requested: now, received: now, dated: now };
        let status = StatusCode::from_u16(status).unwrap();
        let found = match storable(asked, status, &fields, &rules, times) {
            Storable::No(reason) => reason.to_string(),
            Storable::Yes(stored) if stored.lifetime.is_zero() => "to validate".to_owned(),
            Storable::Yes(stored) => format!("fresh {}", stored.lifetime.as_secs()),
        };
        assert_eq!(found, expected, "{status} {response}");
    }

    #[test]
    fn a_response_without_date_gets_the_time_it_arrived() {
        let mut fields = HeaderMap::new();
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=9"));
        fields.insert(header::AGE, HeaderValue::from_static("3"));
        let now = Timestamp::from_secs(784_111_777);
        let times = Times { requested: now, received: now, dated: now };
        let found = storable(Asked::default(), StatusCode::OK, &fields, &Rules::default(), times);
        let Storable::Yes(stored) = found else { panic!("{found:?}") };
        assert_eq!(stored.fields[header::DATE], "Sun, 06 Nov 1994 08:49:37 GMT");
        assert!(!stored.fields.contains_key(header::AGE));
    }
}
