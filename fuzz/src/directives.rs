//! `Cache-Control` and what becomes of it: lifetimes, ages, what is stored, what is reused.
//!
//! For any fields, times and rules: parsing is bounded and idempotent, what it finds is there to be
//! read, seconds stay within 32 bits, no arithmetic overflows; what is stored holds nothing that
//! concerns one connection only; and a stored response never gets better with time.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use larder::semantics::date::Timestamp;
use larder::semantics::demand::Demand;
use larder::semantics::directives::{CacheControl, delta_seconds, directives, members};
use larder::semantics::fields::remove_hop_by_hop;
use larder::semantics::freshness::{Lifetime, Times, initial_age, lifetime};
use larder::semantics::reason::Reason;
use larder::semantics::reuse::{Reuse, decide};
use larder::semantics::rules::{Heuristic, IgnoredFields, Rules, Semantics, UseStale, Valid};
use larder::semantics::said::said;
use larder::semantics::stale::{Failure, may_stand_in};
use larder::semantics::storable::{Asked, Storable, storable, storable_part};
use larder::semantics::stored::{Part, Stored};
use larder::semantics::validation::freshen;

use crate::message::Message;

/// Holds `data`, a message, to the invariants of this file.
pub fn check(data: &[u8]) {
    members_are_bounded(data);
    let message = Message::of(data);
    let found = parsed_is_there_to_be_read(&message.fields);
    parsing_is_idempotent(&message.fields, &found);

    let times = Times {
        requested: Timestamp(message.number("requested").unwrap_or(NOW.0)),
        received: Timestamp(message.number("received").unwrap_or(NOW.0)),
        dated: Timestamp(message.number("received").unwrap_or(NOW.0)),
    };
    let rules = rules(&message);
    let status = message.number("status").and_then(|status| u16::try_from(status).ok());
    let status = status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or_default();
    lifetimes_do_not_overflow(status, &message.fields, &rules, times);
    what_is_stored_is_sound(&message, status, &rules, times);
}

fn members_are_bounded(line: &[u8]) {
    let all: Vec<_> = members(line).collect();
    assert!(all.len() <= line.len() + 1);
    assert!(all.iter().map(|member| member.len()).sum::<usize>() <= line.len());
    assert!(all.iter().all(|member| !member.is_empty() && member.trim_ascii() == *member));
    let joined = all.join(&b", "[..]);
    assert_eq!(members(&joined).collect::<Vec<_>>(), all, "read again");
    if let Some(seconds) = delta_seconds(line) {
        assert!(seconds <= SECONDS_MAX && line.iter().all(u8::is_ascii_digit));
    }
}

/// Whatever was found stands in a line, and numbers are no greater than they may be.
fn parsed_is_there_to_be_read(fields: &HeaderMap) -> CacheControl {
    let found = CacheControl::of(fields);
    let numbers = [
        ("max-age", found.max_age),
        ("s-maxage", found.s_maxage),
        ("stale-while-revalidate", found.stale_while_revalidate),
        ("stale-if-error", found.stale_if_error),
    ];
    for (name, seconds) in numbers {
        assert!(seconds.is_none() || is_written(fields, name), "{name} from nothing");
        assert!(seconds.is_none_or(|seconds| seconds <= SECONDS_MAX), "{name} too great");
    }
    let flags = [
        ("no-store", found.no_store),
        ("no-cache", found.no_cache),
        ("private", found.private),
        ("public", found.public),
        ("revalidate", found.must_revalidate),
    ];
    for (name, set) in flags {
        assert!(!set || is_written(fields, name), "{name} from nothing");
    }
    found
}

fn is_written(fields: &HeaderMap, name: &str) -> bool {
    fields.get_all(header::CACHE_CONTROL).iter().any(|line| {
        line.as_bytes().windows(name.len()).any(|part| part.eq_ignore_ascii_case(name.as_bytes()))
    })
}

/// The directives one by one, each in a line of its own, mean what all together meant.
fn parsing_is_idempotent(fields: &HeaderMap, found: &CacheControl) {
    let mut again = HeaderMap::new();
    for line in fields.get_all(header::CACHE_CONTROL) {
        for member in members(line.as_bytes()) {
            let value = HeaderValue::from_bytes(member);
            again.append(header::CACHE_CONTROL, value.expect("a part of a value is a value"));
        }
    }
    assert_eq!(CacheControl::of(&again), *found);
    let count = directives(fields, &header::CACHE_CONTROL).count();
    assert_eq!(directives(&again, &header::CACHE_CONTROL).count(), count);
}

fn lifetimes_do_not_overflow(status: StatusCode, fields: &HeaderMap, rules: &Rules, times: Times) {
    let cache_control = said(fields, rules);
    let _ = initial_age(fields, rules, times);
    match lifetime(status, fields, &cache_control, rules, times.received) {
        Lifetime::Given(lifetime, _) => assert!(lifetime <= Duration::from_millis(u64::MAX)),
        Lifetime::Forbidden | Lifetime::Unknown => {}
    }
}

fn what_is_stored_is_sound(message: &Message<'_>, status: StatusCode, rules: &Rules, times: Times) {
    let fields = cleaned(message.fields.clone());
    let asked = Asked {
        authorized: message.has("authorized"),
        host: "a.example",
        partitioned: message.has("partitioned"),
    };
    let found = match status {
        StatusCode::PARTIAL_CONTENT => {
            let refused = storable(asked, status, &fields, rules, times);
            assert_eq!(refused, Storable::No(Reason::Partial));
            storable_part(asked, &fields, rules, times, Part { first: 0, total: None })
        }
        _ => storable(asked, status, &fields, rules, times),
    };
    let Storable::Yes(stored) = found else { return };
    let is_stored = |name: &HeaderName| stored.fields.contains_key(name);
    let ages = |name: &HeaderName| *name == header::AGE && !rules.count_age;
    let remains = |fields: &HeaderMap| {
        CONNECTION_ONLY.iter().any(|name| fields.contains_key(name) && !ages(name))
    };
    assert!(!remains(&stored.fields), "{:?}", stored.fields);
    assert!(
        said(&fields, rules).without.iter().all(|name| *name == header::DATE || !is_stored(name))
    );
    assert!(is_stored(&header::DATE));
    assert!(rules.ignore.set_cookie || !is_stored(&header::SET_COOKIE));
    assert_ne!(status, StatusCode::NOT_MODIFIED);
    let demand = demand(message, rules);
    never_gets_better(&stored, rules, &demand);
    never_gets_better(&stored, rules, &Demand::NONE);

    // A 304 with the same fields, later: what it leaves is as sound as what was stored at first.
    let later = Timestamp(times.received.0.saturating_add(1000));
    let times = Times { requested: times.received, received: later, dated: later };
    if let Storable::Yes(freshened) = freshen(&stored, &fields, asked, rules, times) {
        assert!(!remains(&freshened.fields));
        assert_eq!(freshened.status, stored.status);
        never_gets_better(&freshened, rules, &demand);
    }
}

/// As `proxy/fetch.rs` makes a response ready.
fn cleaned(mut fields: HeaderMap) -> HeaderMap {
    if remove_hop_by_hop(&mut fields).is_err() {
        fields.remove(header::CONNECTION);
        assert_eq!(remove_hop_by_hop(&mut fields), Ok(()), "without Connection nothing is named");
    }
    fields
}

/// With a clock that goes on, what is to be done with a stored response only gets stricter, and so
/// does what may stand in for a failure.
fn never_gets_better(stored: &Stored, rules: &Rules, demand: &Demand) {
    let mut strictest = 0;
    let mut may_stand = true;
    let mut age = Duration::ZERO;
    for now in clock(stored) {
        assert!(stored.age(now) >= age, "an age that shrinks");
        age = stored.age(now);
        let decision = decide(stored, rules, demand, now);
        let rank = match decision {
            Reuse::Fresh => 0,
            Reuse::StaleWhileRevalidate | Reuse::MaxStale => 1,
            Reuse::Validate => 2,
        };
        assert!(rank >= strictest, "{decision:?} again at {now:?}: {stored:?}");
        strictest = rank;
        let is_fresh = !stored.fresh_for(now).is_zero() && !stored.no_cache;
        assert!(decision != Reuse::Fresh || is_fresh, "{decision:?} at {now:?}: {stored:?}");
        assert!(decision == Reuse::Fresh || !is_fresh || *demand != Demand::NONE);
        assert!(stored.fresh_for(now).is_zero() || stored.stale_for(now).is_zero());
        let stands = may_stand_in(stored, rules, Failure::Error, now);
        assert!(may_stand || !stands, "may stand in again at {now:?}: {stored:?}");
        may_stand = stands;
    }
}

/// Moments in order: a moment before it came, and around everything that may change a decision.
fn clock(stored: &Stored) -> Vec<Timestamp> {
    let start = stored.received;
    let turns = [
        Duration::ZERO,
        stored.lifetime.saturating_sub(stored.initial_age),
        stored
            .lifetime
            .saturating_add(stored.stale_while_revalidate)
            .saturating_sub(stored.initial_age),
        stored.lifetime.saturating_add(stored.stale_if_error).saturating_sub(stored.initial_age),
        Duration::MAX,
    ];
    let mut moments = vec![Timestamp(u64::MAX)];
    for turn in turns {
        let at = start.plus(turn);
        moments.extend([Timestamp(at.0.saturating_sub(1)), at, Timestamp(at.0.saturating_add(1))]);
    }
    moments.sort_unstable();
    moments
}

/// What a request asks that has a `Cache-Control` of its own.
fn demand(message: &Message<'_>, rules: &Rules) -> Demand {
    let value = message.text("asked").and_then(|text| HeaderValue::from_bytes(text).ok());
    let request = value.map(|value| (header::CACHE_CONTROL, value));
    Demand::of(&request.into_iter().collect(), rules)
}

/// The operator's side, as a configuration could have it.
fn rules(message: &Message<'_>) -> Rules {
    let seconds = |name: &str| Some(Duration::from_secs(message.number(name)?.min(CENTURY_S)));
    Rules {
        valid: seconds("valid")
            .map(|lifetime| Valid { statuses: 100..=999, lifetime })
            .into_iter()
            .collect(),
        heuristic: seconds("heuristic")
            .map(|max| Heuristic { min: Duration::from_secs(60).min(max), max }),
        ignore: IgnoredFields {
            cache_control: message.has("ignore-cache-control"),
            expires: message.has("ignore-expires"),
            x_accel_expires: message.has("ignore-x-accel-expires"),
            set_cookie: message.has("ignore-set-cookie"),
            vary: message.has("ignore-vary"),
            surrogate_control: message.has("ignore-surrogate-control"),
        },
        use_stale: UseStale {
            error: message.has("use-stale"),
            updating: message.has("use-stale"),
            ..UseStale::default()
        },
        revalidate: !message.has("no-revalidate"),
        background_update: message.has("background-update"),
        request_directives: message.has("request-directives"),
        targeted: vec![HeaderName::from_static("cdn-cache-control")],
        ..Rules::of(if message.has("nginx") { Semantics::Nginx } else { Semantics::Rfc9111 })
    }
}

/// Sun, 06 Nov 1994 08:49:37 GMT.
const NOW: Timestamp = Timestamp::from_secs(784_111_777);
/// RFC 9111 section 1.2.2, as `delta_seconds` has it.
const SECONDS_MAX: u64 = u32::MAX as u64;
/// No duration of a configuration is longer.
const CENTURY_S: u64 = 100 * 365 * 86_400;
/// What no stored response may hold.
const CONNECTION_ONLY: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::CONTENT_LENGTH,
    header::AGE,
];
