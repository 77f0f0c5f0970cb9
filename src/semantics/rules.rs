//! What the operator may bend. (nginx: proxy_cache_valid, proxy_ignore_headers, ...)

use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderName;

/// The rules of one route. Plain values, made once when the configuration is loaded: what the
/// operator set, and what `Semantics` stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// What the rest was made from; only shown, no rule asks for it.
    pub semantics: Semantics,
    /// How `Cache-Control` of responses is read.
    pub cache_control: CacheControlReading,
    /// `Age`, `Date` and the time an answer took count for its age, and `Age` is sent
    /// (RFC 9111 section 4.2.3).
    pub count_age: bool,
    /// A response is fresh to the end of the second in which its lifetime ends, and its age counts
    /// from the beginning of the second in which it came, as on nginx's clock.
    pub whole_seconds: bool,
    /// A response that is not fresh is stored if it can be validated or served stale
    /// (RFC 9111 section 4.3).
    pub store_stale: bool,
    /// A response whose `X-Accel-Expires: @T` has passed is stored, to stand in for errors.
    pub store_past_accel: bool,
    /// Responses to requests with `Authorization` are stored only if they say that they are for
    /// all (RFC 9111 section 3.5).
    pub authorization_forbids: bool,
    /// How `Vary` is read.
    pub vary: VaryReading,
    /// Which stored responses are validated.
    pub validators: Validators,
    /// A 304 replaces stored fields (RFC 9111 section 3.2), instead of only their lifetime.
    pub update_fields: bool,
    /// The origin's `stale-if-error` also covers answers with 5xx (RFC 5861 section 4).
    pub stale_if_error_on_status: bool,
    /// The origin's `stale-while-revalidate` lets stale be served at once by itself, without
    /// `background_update`.
    pub stale_while_revalidate_alone: bool,
    /// Responses may say which parts of the query they do not depend on.
    pub no_vary_search: bool,
    /// Unsafe methods that were carried out invalidate (RFC 9111 section 4.4).
    pub invalidate: bool,
    /// The answer to a `POST` is stored for `GET` if it says that it is that resource's
    /// (RFC 9110 section 9.3.3).
    pub store_post: bool,
    /// The answer to a `HEAD` updates what is stored (RFC 9111 section 4.3.5).
    pub update_from_head: bool,
    /// How conditions of requests are answered from what is stored.
    pub preconditions: Preconditions,
    /// A 206 that was not asked for as a slice is stored as the part that it is (RFC 9111 section
    /// 3.3).
    pub store_parts: bool,
    /// A range is answered from what is stored only if that says `Accept-Ranges: bytes`.
    pub ranges_need_accept_ranges: bool,
    /// How `Range` of requests is read.
    pub ranges: RangeReading,
    /// Lifetimes for answers that bring none of their own, in the order they are written; the
    /// first that matches a status counts.
    pub valid: Vec<Valid>,
    /// Guess a lifetime for answers that bring none but say when they were last changed.
    pub heuristic: Option<Heuristic>,
    /// Response fields that are not obeyed.
    pub ignore: IgnoredFields,
    /// Response fields that say how this cache, and no other, is to handle a response; the first
    /// that is there stands above `Cache-Control` and `Expires` (RFC 9213).
    pub targeted: Vec<HeaderName>,
    /// Obey `Cache-Control` of requests (RFC 9111 section 5.2.1).
    pub request_directives: bool,
    /// Compare what `Vary` names by what it means instead of byte by byte (RFC 9111 section 4.1).
    pub normalize_vary: bool,
    /// When an entry that is no longer fresh may still be served.
    pub use_stale: UseStale,
    /// Ask the origin with validators for what is no longer fresh, instead of fetching it anew.
    pub revalidate: bool,
    /// Serve a stale entry that may be served stale at once, and validate it behind the answer.
    pub background_update: bool,
}

/// Whose reading of HTTP caching counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Semantics {
    /// RFC 9111 and those that go with it.
    #[default]
    Rfc9111,
    /// nginx's, as its documentation and its source have it.
    Nginx,
}

/// How `Cache-Control` of responses is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheControlReading {
    /// As a list of directives (RFC 9111 section 5.2).
    Directives,
    /// As text in which some words are searched (nginx).
    Substrings,
}

/// How `Vary` is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VaryReading {
    /// As a list of names; `*` anywhere in it matches nothing (RFC 9110 section 12.5.5).
    List,
    /// As nginx does: only `*` alone matches nothing, and more than 128 bytes are not followed.
    Text,
}

/// Which stored responses are validated, by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validators {
    /// All that have a validator (RFC 9111 section 4.3.1).
    All,
    /// 200 and 206 only, and entity tags up to 128 bytes (nginx).
    Of200And206,
}

/// How conditions of requests are answered from what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preconditions {
    /// As RFC 9110 section 13.2.2 orders them; what would fail is for the origin to say.
    Forward,
    /// As nginx's not_modified filter: 412 from here; dates must be equal, and a tag and a date
    /// must both hold.
    Answer,
}

/// How `Range` of requests is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeReading {
    /// A set that is malformed is as none, and what overlaps is sent once (RFC 9110 section 14.2).
    Lenient,
    /// As nginx does: one that is malformed is answered 416, what overlaps is sent as it is asked
    /// for, and `HEAD` is told of a part what `GET` would be.
    Strict,
}

/// One line of the `valid` table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Valid {
    /// The statuses it is for; `any` is 100 to 999.
    pub statuses: RangeInclusive<u16>,
    /// How long they are fresh; zero says that they are not stored.
    pub lifetime: Duration,
}

/// Bounds of a guessed lifetime (RFC 9111 section 4.2.2): a tenth of the time since
/// `Last-Modified`, but never less than `min` nor more than `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heuristic {
    /// The least; what was changed a moment ago is fresh this long.
    pub min: Duration,
    /// The most.
    pub max: Duration,
}

/// Response fields that the operator told us not to obey (nginx: proxy_ignore_headers).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IgnoredFields {
    /// `Cache-Control` neither gives nor takes a lifetime.
    pub cache_control: bool,
    /// `Expires` gives no lifetime.
    pub expires: bool,
    /// `X-Accel-Expires` gives no lifetime.
    pub x_accel_expires: bool,
    /// A response with `Set-Cookie` is stored all the same.
    pub set_cookie: bool,
    /// All requests get the same variant.
    pub vary: bool,
    /// `Surrogate-Control` says nothing.
    pub surrogate_control: bool,
}

/// What lets a stale entry stand in (nginx: proxy_cache_use_stale).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UseStale {
    /// No connection, or it broke.
    pub error: bool,
    /// The peer took too long.
    pub timeout: bool,
    /// The peer's answer was no HTTP.
    pub invalid_header: bool,
    /// Somebody else is fetching it already.
    pub updating: bool,
    /// The peer answered with one of these statuses.
    pub statuses: StatusSet,
}

/// Some of the statuses that nginx lets stand for a failure, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusSet(u8);

impl StatusSet {
    /// The statuses that can be in a set: 403, 404, 429, 500, 502, 503, 504.
    pub const ALL: [u16; 7] = [403, 404, 429, 500, 502, 503, 504];

    /// Adds a status; `false` if it is none that can be in a set.
    pub fn insert(&mut self, status: u16) -> bool {
        let at = Self::ALL.iter().position(|known| *known == status);
        self.0 |= at.map_or(0, |at| 1 << at);
        at.is_some()
    }

    /// Whether `status` is in the set.
    pub fn contains(self, status: u16) -> bool {
        Self::ALL.iter().position(|known| *known == status).is_some_and(|at| self.0 >> at & 1 == 1)
    }
}

impl Rules {
    /// The operator's lifetime for a status: the first line that names it.
    pub fn valid_for(&self, status: u16) -> Option<Duration> {
        self.valid.iter().find(|valid| valid.statuses.contains(&status)).map(|valid| valid.lifetime)
    }
}

impl Rules {
    /// What a semantics stands for where the operator says nothing.
    pub fn of(semantics: Semantics) -> Self {
        match semantics {
            Semantics::Rfc9111 => Self::rfc9111(),
            Semantics::Nginx => Self::nginx(),
        }
    }

    /// RFC 9111 as a shared cache.
    pub fn rfc9111() -> Self {
        Self {
            semantics: Semantics::Rfc9111,
            cache_control: CacheControlReading::Directives,
            count_age: true,
            whole_seconds: false,
            store_stale: true,
            store_past_accel: false,
            authorization_forbids: true,
            vary: VaryReading::List,
            validators: Validators::All,
            update_fields: true,
            stale_if_error_on_status: true,
            stale_while_revalidate_alone: true,
            no_vary_search: true,
            invalidate: true,
            store_post: true,
            update_from_head: true,
            preconditions: Preconditions::Forward,
            store_parts: true,
            ranges_need_accept_ranges: false,
            ranges: RangeReading::Lenient,
            valid: Vec::new(),
            heuristic: None,
            ignore: IgnoredFields::default(),
            targeted: TARGETED.to_vec(),
            request_directives: false,
            normalize_vary: true,
            use_stale: UseStale::default(),
            revalidate: true,
            background_update: false,
        }
    }

    /// nginx's proxy_cache, as its source reads.
    pub fn nginx() -> Self {
        Self {
            semantics: Semantics::Nginx,
            cache_control: CacheControlReading::Substrings,
            count_age: false,
            whole_seconds: true,
            store_stale: false,
            store_past_accel: true,
            authorization_forbids: false,
            vary: VaryReading::Text,
            validators: Validators::Of200And206,
            update_fields: false,
            stale_if_error_on_status: false,
            stale_while_revalidate_alone: false,
            no_vary_search: false,
            invalidate: false,
            store_post: false,
            update_from_head: false,
            preconditions: Preconditions::Answer,
            store_parts: false,
            ranges_need_accept_ranges: true,
            ranges: RangeReading::Strict,
            ignore: IgnoredFields { surrogate_control: true, ..IgnoredFields::default() },
            targeted: Vec::new(),
            revalidate: false,
            ..Self::rfc9111()
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::rfc9111()
    }
}

/// Our own target and the one for all caches of a content delivery network (RFC 9213).
const TARGETED: [HeaderName; 2] =
    [HeaderName::from_static("larder-cache-control"), HeaderName::from_static("cdn-cache-control")];
