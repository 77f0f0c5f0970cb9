//! Why an answer was or was not served from the cache, in one word.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal,)+) => {
        /// Why an answer was or was not served from the cache. The names are stable: they appear
        /// in `Cache-Status; detail=`, in the access log and in the statistics.
        ///
        /// An answer has one reason, the one that explains most: why it was served from the
        /// cache; else why the fetched response could not be stored; else why it was fetched.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])+ $variant,)+
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its stable name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

reasons! {
    /// Served: the entry is fresh.
    Fresh = "fresh",
    /// Served: the origin said that the stale entry is still good.
    Revalidated = "revalidated",
    /// Served stale while it is being validated.
    Updating = "updating",
    /// Served stale because the origin failed.
    OriginFailed = "origin-failed",
    /// Served stale because the request takes it (`max-stale`).
    MaxStale = "max-stale",
    /// Served stale because the origin failed a moment ago and is left alone until `hold_down` is
    /// over.
    HeldDown = "held-down",

    /// Fetched and stored: nothing was stored under the key.
    Absent = "absent",
    /// Fetched and stored: something was stored under the key, but for other request fields.
    OtherVariant = "other-variant",
    /// Fetched and stored: the entry was no longer fresh.
    Expired = "expired",
    /// Fetched and stored: the entry asks to be validated every time.
    NoCache = "no-cache",
    /// Fetched and stored: the entry is fresh, but the request asks for more (`no-cache`,
    /// `max-age`, `min-fresh`).
    RequestDirective = "request-directive",
    /// Fetched and stored: only a part was stored, and not the one that was asked for.
    Incomplete = "incomplete",
    /// Another request was fetching it already, and this one got what that one fetched.
    Collapsed = "collapsed",

    /// Passed on: the request asks to switch protocols.
    Upgrade = "upgrade",
    /// The route has no cache, or none for this request.
    CacheOff = "cache-off",
    /// The request names a zone that there is not.
    UnknownZone = "unknown-zone",
    /// The method is none that the route caches.
    Method = "method",
    /// A `bypass` rule matched.
    BypassRule = "bypass-rule",
    /// The request carries a body, which the key does not cover.
    RequestBody = "request-body",
    /// What is stored does not meet the request's `If-Match` or `If-Unmodified-Since`: that is for
    /// the origin to say.
    Precondition = "precondition",
    /// Passed on: the range begins at or behind `max_range_offset`.
    RangeOffset = "range-offset",
    /// Passed on: what another request fetches will be long in coming to the range.
    RangeAhead = "range-ahead",
    /// Waited for another request's fetch as long as `lock_timeout` allows.
    LockTimeout = "lock-timeout",

    /// Not stored: the key was asked for fewer times than `min_uses`.
    MinUses = "min-uses",
    /// Not stored: a `no_cache` rule matched.
    NoCacheRule = "no-cache-rule",
    /// Not stored: the request says `no-store`.
    RequestNoStore = "request-no-store",
    /// Not stored: `Cache-Control: no-store`.
    NoStore = "no-store",
    /// Not stored: `Cache-Control: private`.
    Private = "private",
    /// Not stored: `must-understand`, with a status that is none of RFC 9110's.
    NotUnderstood = "not-understood",
    /// Not stored: a number in `Cache-Control` is none, as nginx reads it.
    Malformed = "malformed",
    /// Not stored: it sets a cookie.
    SetCookie = "set-cookie",
    /// Not stored: the request was authorised, and the response does not say that it is for all.
    Authorization = "authorization",
    /// Not stored: `Vary: *`.
    VaryStar = "vary-star",
    /// Not stored: `Vary` names more fields than we follow.
    VaryTooLong = "vary-too-long",
    /// Not stored: `Vary` names a field that `set_header` sets to what may differ from client to
    /// client, so that the client's own field does not tell the variants apart.
    VarySetHeader = "vary-set-header",
    /// Not stored: `X-Accel-Redirect` says what answers in its place.
    SentOn = "sent-on",
    /// Not stored: nothing says how long it is fresh, and it has no validator.
    NoLifetime = "no-lifetime",
    /// Not stored: `X-Accel-Expires: 0`.
    XAccelExpires = "x-accel-expires",
    /// Not stored: it was stale when it came, and it has no validator.
    StaleOnArrival = "stale-on-arrival",
    /// Not stored: a part of something, and none that can be kept.
    Partial = "partial",
    /// Not stored: an answer to a failed precondition or with a status that says nothing of the
    /// resource.
    Status = "status",
    /// Not stored: larger than the zone takes.
    TooLarge = "too-large",
    /// Not stored: no valid answer came.
    UpstreamFailed = "upstream-failed",

    /// Answered here: the request takes nothing but what is stored (`only-if-cached`).
    OnlyIfCached = "only-if-cached",
    /// Answered here: the request was refused.
    Refused = "refused",
    /// Answered here: from a file.
    File = "file",
    /// Answered here: the route says what.
    Respond = "respond",
    /// Answered here: there were too many requests (`limit_req`, `limit_conn`).
    Limited = "limited",
    /// Answered here: who asks may not (`access`, `auth_request`).
    Denied = "denied",
    /// Answered here: who asks has not said who that is (`auth_basic`, `auth_request`).
    Unauthorised = "unauthorised",
    /// Answered here: a purge.
    Purge = "purge",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_are_tokens() {
        let mut seen = std::collections::HashSet::new();
        for reason in Reason::ALL {
            assert!(seen.insert(reason.name()), "{reason}");
            assert!(reason.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
        }
    }
}
