//! What a second reading of RFC 9111 says: `http-cache-semantics` as an oracle.
//!
//! The two must agree on whether a response may be served from the cache without asking, at any
//! time after it came. Where the oracle is known to be wrong, or where the RFC leaves a choice that
//! we made otherwise, the response is skipped; `EXCEPTIONS` says which and why.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_cache_semantics::{CacheOptions, CachePolicy};
use larder::semantics::date::{Timestamp, http_date};
use larder::semantics::demand::Demand;
use larder::semantics::freshness::Times;
use larder::semantics::reuse::{Reuse, decide};
use larder::semantics::rules::Rules;
use larder::semantics::storable::{Asked, Storable, storable};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_assert_eq, proptest};
use proptest::{option, sample};

/// Why the two need not agree, and on which responses.
type Exception = (&'static str, fn(&Case) -> bool);

#[rustfmt::skip]
const EXCEPTIONS: &[Exception] = &[
    ("it never stores 403, 418, 429 or 5xx; RFC 9111 section 3 allows these if told how long",
     |case| matches!(case.status, 403 | 418 | 429 | 500 | 503)),
    ("it takes `proxy-revalidate` for a lifetime of zero; it only forbids serving stale",
     |case| case.says("proxy-revalidate")),
    ("it takes differing repeated directives for `must-revalidate`, which lets it store more",
     |case| case.authorized && case.repeats()),
    ("it takes `max-age` without a number for not there; we take it for zero",
     |case| case.directives.iter().any(|text| text == "max-age" || text == "s-maxage")),
    ("it knows no apparent age: a `Date` that lies behind our clock",
     |case| case.date_s.is_some_and(|date_s| date_s < 0)),
    ("it gives `immutable` a lifetime of a day where none is given; RFC 8246 does not",
     |case| case.says("immutable") && !case.says("max-age") && !case.says("s-maxage")),
    ("it stores what sets a cookie if it is `public`; we leave that to the operator",
     |case| case.set_cookie),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_readings_of_the_rfc_agree_on_what_may_be_served_without_asking(case in case()) {
        if EXCEPTIONS.iter().any(|(_, skips)| skips(&case)) {
            return Ok(());
        }
        let (ours, theirs) = (case.ours(), case.theirs());
        for later_s in LATER_S {
            let found = ours.as_ref().is_some_and(|stored| {
                decide(stored, &Rules::default(), &Demand::NONE, at(later_s)) == Reuse::Fresh
            });
            let expected = theirs.is_storable() && !theirs.is_stale(system(later_s));
            prop_assert_eq!(found, expected, "{} s later: {:?}", later_s, case.fields());
        }
    }

    #[test]
    fn what_one_forbids_to_store_the_other_does_not_store(case in case()) {
        if EXCEPTIONS.iter().any(|(_, skips)| skips(&case)) {
            return Ok(());
        }
        // We also do not store what is of no use, so only one direction holds.
        if !case.theirs().is_storable() {
            prop_assert_eq!(case.ours(), None, "{:?}", case.fields());
        }
    }
}

#[test]
fn every_exception_is_one_that_is_still_needed() {
    let plain = Case { status: 200, ..Case::default() };
    let with = |directives: &[&str]| Case {
        directives: directives.iter().map(|text| (*text).to_owned()).collect(),
        ..plain.clone()
    };
    #[rustfmt::skip]
    let cases = [
        Case { status: 503, ..with(&["max-age=100"]) },
        with(&["proxy-revalidate", "max-age=100"]),
        Case { authorized: true, ..with(&["max-age=100", "max-age=10"]) },
        Case { expires: Some(Expires::At(10)), ..with(&["max-age"]) },
        Case { date_s: Some(-50), ..with(&["max-age=40"]) },
        with(&["immutable"]),
        Case { set_cookie: true, ..with(&["public", "max-age=100"]) },
    ];
    assert_eq!(cases.len(), EXCEPTIONS.len());
    for (case, (why, skips)) in cases.iter().zip(EXCEPTIONS) {
        assert!(skips(case), "{why}");
        let ours = case.ours().is_some_and(|stored| {
            decide(&stored, &Rules::default(), &Demand::NONE, at(0)) == Reuse::Fresh
        });
        let theirs = case.theirs();
        let theirs = theirs.is_storable() && !theirs.is_stale(system(0));
        assert_ne!(ours, theirs, "they agree now: {why}");
    }
}

/// A response.
#[derive(Clone, Debug, Default)]
struct Case {
    status: u16,
    directives: Vec<String>,
    /// One line for all directives, or one for each.
    in_lines: bool,
    authorized: bool,
    set_cookie: bool,
    etag: bool,
    age_s: Option<u64>,
    /// From when it arrives.
    date_s: Option<i64>,
    expires: Option<Expires>,
}

#[derive(Clone, Debug)]
enum Expires {
    /// From when it arrives.
    At(i64),
    Invalid(&'static str),
}

impl Case {
    fn says(&self, name: &str) -> bool {
        self.directives.iter().any(|text| text.split('=').next() == Some(name))
    }

    fn repeats(&self) -> bool {
        let name = |text: &String| text.split('=').next().map(str::to_owned);
        let repeated = |(at, text): (usize, &String)| {
            self.directives[..at].iter().any(|other| name(other) == name(text) && other != text)
        };
        self.directives.iter().enumerate().any(repeated)
    }

    fn fields(&self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        let mut add = |name: &'static str, value: String| {
            let value = HeaderValue::from_str(&value).unwrap();
            fields.append(HeaderName::from_static(name), value);
        };
        if self.in_lines {
            for directive in &self.directives {
                add("cache-control", directive.clone());
            }
        } else if !self.directives.is_empty() {
            add("cache-control", self.directives.join(", "));
        }
        if let Some(age_s) = self.age_s {
            add("age", age_s.to_string());
        }
        if let Some(date_s) = self.date_s {
            add("date", date(date_s));
        }
        match &self.expires {
            Some(Expires::At(expires_s)) => add("expires", date(*expires_s)),
            Some(Expires::Invalid(text)) => add("expires", (*text).to_owned()),
            None => {}
        }
        if self.set_cookie {
            add("set-cookie", "a=1".to_owned());
        }
        if self.etag {
            add("etag", "\"1\"".to_owned());
        }
        fields
    }

    fn ours(&self) -> Option<larder::semantics::stored::Stored> {
        let times = Times { requested: at(0), received: at(0), dated: at(0) };
        let status = StatusCode::from_u16(self.status).unwrap();
        let asked = Asked { authorized: self.authorized, partitioned: false, host: "a.example" };
        match storable(asked, status, &self.fields(), &Rules::default(), times) {
            Storable::Yes(stored) => Some(*stored),
            Storable::No(_) => None,
        }
    }

    fn theirs(&self) -> CachePolicy {
        let mut request = Request::get("http://a.example/").body(()).unwrap();
        if self.authorized {
            let value = HeaderValue::from_static("Basic YTpi");
            request.headers_mut().insert("authorization", value);
        }
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap();
        *response.headers_mut() = self.fields();
        CachePolicy::new_options(&request, &response, system(0), CacheOptions::default())
    }
}

fn case() -> impl Strategy<Value = Case> {
    let expires = option::of(prop_oneof(
        (-200..2000i64).prop_map(Expires::At),
        sample::select(vec!["0", "-1", "tomorrow"]).prop_map(Expires::Invalid),
    ));
    let statuses = vec![200u16, 203, 204, 300, 301, 302, 307, 308, 403, 404, 410, 418, 501, 503];
    (
        sample::select(statuses),
        prop::collection::vec(directive(), 0..4),
        any::<bool>(),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.1),
        any::<bool>(),
        option::of(0..1000u64),
        option::of(-100..100i64),
        expires,
    )
        .prop_map(
            |(
                status,
                directives,
                in_lines,
                authorized,
                set_cookie,
                etag,
                age_s,
                date_s,
                expires,
            )| {
                Case {
                    status,
                    directives,
                    in_lines,
                    authorized,
                    set_cookie,
                    etag,
                    age_s,
                    date_s,
                    expires,
                }
            },
        )
}

/// Either, but the first much more often.
fn prop_oneof<T: std::fmt::Debug>(
    often: impl Strategy<Value = T> + 'static,
    seldom: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = T> {
    proptest::strategy::Union::new_weighted(vec![(5, often.boxed()), (1, seldom.boxed())])
}

/// Directives in lower case: the oracle knows no other.
fn directive() -> impl Strategy<Value = String> {
    let bare = vec![
        "public",
        "private",
        "no-store",
        "no-cache",
        "must-revalidate",
        "proxy-revalidate",
        "no-transform",
        "immutable",
        "x-unknown",
        "max-age",
        "s-maxage",
    ];
    let seconds = prop_oneof(0..2000u64, Just(4_294_967_295));
    let given =
        (sample::select(vec!["max-age", "s-maxage", "stale-if-error", "x-unknown"]), seconds)
            .prop_map(|(name, seconds)| format!("{name}={seconds}"));
    proptest::strategy::Union::new(vec![
        sample::select(bare).prop_map(str::to_owned).boxed(),
        given.boxed(),
    ])
}

/// A reading of the clock so many seconds after the response came.
fn at(later_s: u64) -> Timestamp {
    Timestamp::from_secs(START_S + later_s)
}

fn system(later_s: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(START_S + later_s)
}

fn date(from_start_s: i64) -> String {
    http_date(Timestamp::from_secs(START_S.saturating_add_signed(from_start_s))).to_string()
}

const START_S: u64 = 1_790_000_000;
const LATER_S: [u64; 9] = [0, 1, 9, 99, 500, 999, 1000, 1999, 100_000];
