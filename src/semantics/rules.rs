//! What the operator may bend. (nginx: proxy_cache_valid, proxy_ignore_headers, ...)

use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderName;

/// The rules of one route. Plain values, made once when the configuration is loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Whose reading of HTTP caching counts.
    pub semantics: Semantics,
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
    /// Answer ranges only from what came with `Accept-Ranges: bytes` (nginx).
    pub ranges_need_accept_ranges: bool,
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
    /// The peer answered with one of these statuses, sorted.
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

impl Default for Rules {
    fn default() -> Self {
        Self {
            semantics: Semantics::default(),
            targeted: Vec::new(),
            request_directives: false,
            normalize_vary: true,
            ranges_need_accept_ranges: false,
            valid: Vec::new(),
            heuristic: None,
            ignore: IgnoredFields::default(),
            use_stale: UseStale::default(),
            revalidate: true,
            background_update: false,
        }
    }
}
