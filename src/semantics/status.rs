//! How the cache handled a request: nginx's word, and `Cache-Status`. (RFC 9211)

use std::fmt;

use http::HeaderValue;

use super::reason::Reason;

/// nginx's word for how an answer came about (nginx: $upstream_cache_status).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CacheStatus {
    /// Served from the cache, fresh.
    Hit,
    /// Served stale: the origin failed, the request takes it, or it is validated behind this very
    /// answer.
    Stale,
    /// Served stale, while it is validated for another request.
    Updating,
    /// Served from the cache after the origin said that it is still good.
    Revalidated,
    /// Fetched, since nothing was stored.
    Miss,
    /// Fetched, since what was stored was no longer fresh.
    Expired,
    /// Fetched, since the request may not be answered from the cache.
    Bypass,
}

impl CacheStatus {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Hit,
        Self::Stale,
        Self::Updating,
        Self::Revalidated,
        Self::Miss,
        Self::Expired,
        Self::Bypass,
    ];

    /// The word in logs and `X-Cache-Status`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hit => "HIT",
            Self::Stale => "STALE",
            Self::Updating => "UPDATING",
            Self::Revalidated => "REVALIDATED",
            Self::Miss => "MISS",
            Self::Expired => "EXPIRED",
            Self::Bypass => "BYPASS",
        }
    }
}

impl fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Why a request went upstream, in the words of RFC 9211 section 2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    /// A rule said not to use the cache, or the route has none.
    Bypass,
    /// The method is not answered from the cache.
    Method,
    /// Something in the request says that the cache cannot answer it.
    Request,
    /// Nothing was stored under the key.
    UriMiss,
    /// Something was stored, but for other request fields.
    VaryMiss,
    /// What was stored was stale.
    Stale,
    /// Only a part was stored, and not the one that was asked for.
    Partial,
}

impl Forwarded {
    /// Its token in `Cache-Status`.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::Request => "request",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

/// How one answer came about, as `Cache-Status` tells it (RFC 9211).
#[derive(Clone, Copy, Debug)]
pub struct Handling {
    /// Why it went upstream; `None` is a hit.
    pub forwarded: Option<Forwarded>,
    /// What the upstream answered, if that is known.
    pub forwarded_status: Option<u16>,
    /// The upstream's response was stored.
    pub stored: bool,
    /// Another request's fetch was used.
    pub collapsed: bool,
    /// Seconds that it stays fresh; below zero when it is served stale.
    pub ttl_s: Option<i64>,
    /// Why.
    pub reason: Reason,
}

impl Handling {
    /// A request that went upstream.
    pub const fn forwarded(forwarded: Forwarded, reason: Reason) -> Self {
        Self {
            forwarded: Some(forwarded),
            forwarded_status: None,
            stored: false,
            collapsed: false,
            ttl_s: None,
            reason,
        }
    }
}

impl Handling {
    /// The value of `Cache-Status`.
    pub fn value(&self) -> Option<HeaderValue> {
        match *self {
            Self {
                forwarded: None,
                forwarded_status: None,
                stored: false,
                collapsed: false,
                ttl_s: Some(ttl_s @ 0..),
                reason: Reason::Fresh,
            } => fresh(ttl_s.unsigned_abs()),
            _ => HeaderValue::from_bytes(&self.text()).ok(),
        }
    }
}

/// What nearly every answer says, without the detour over formatting.
fn fresh(ttl_s: u64) -> Option<HeaderValue> {
    let mut room = [0; DIGITS_MAX];
    let digits = decimal(ttl_s, &mut room);
    let mut text = [0; FRESH.len() + DIGITS_MAX];
    text[..FRESH.len()].copy_from_slice(FRESH);
    text[FRESH.len()..][..digits.len()].copy_from_slice(digits);
    HeaderValue::from_bytes(&text[..FRESH.len() + digits.len()]).ok()
}

/// The digits of a number.
pub fn decimal(number: u64, room: &mut [u8; DIGITS_MAX]) -> &[u8] {
    let (mut start, mut rest) = (room.len(), number);
    loop {
        start -= 1;
        room[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return &room[start..];
        }
    }
}

/// `Cache-Status` of a fresh hit; the seconds that it stays fresh come behind it.
pub const FRESH: &[u8] = b"larder; hit; ttl=";
/// Of the largest `u64`.
pub const DIGITS_MAX: usize = 20;

impl Handling {
    /// Without the detour as well: every answer that is no hit has one.
    fn text(&self) -> Vec<u8> {
        let (mut text, mut room) = (Vec::with_capacity(TEXT_CAPACITY), [0; DIGITS_MAX]);
        text.extend_from_slice(b"larder; ");
        match self.forwarded {
            None => text.extend_from_slice(b"hit"),
            Some(forwarded) => {
                text.extend_from_slice(b"fwd=");
                text.extend_from_slice(forwarded.token().as_bytes());
            }
        }
        if let Some(status) = self.forwarded_status {
            text.extend_from_slice(b"; fwd-status=");
            text.extend_from_slice(decimal(status.into(), &mut room));
        }
        if let Some(ttl_s) = self.ttl_s {
            text.extend_from_slice(if ttl_s < 0 { b"; ttl=-" } else { b"; ttl=" });
            text.extend_from_slice(decimal(ttl_s.unsigned_abs(), &mut room));
        }
        if self.stored {
            text.extend_from_slice(b"; stored");
        }
        if self.collapsed {
            text.extend_from_slice(b"; collapsed");
        }
        // A fresh hit says everything already.
        if self.reason != Reason::Fresh {
            text.extend_from_slice(b"; detail=");
            text.extend_from_slice(self.reason.name().as_bytes());
        }
        text
    }
}

impl fmt::Display for Handling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.text()).unwrap_or_default())
    }
}

/// Most texts fit without growing.
const TEXT_CAPACITY: usize = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_hits_and_forwards_in_the_words_of_rfc_9211() {
        let hit = Handling {
            forwarded: None,
            forwarded_status: None,
            stored: false,
            collapsed: false,
            ttl_s: Some(30),
            reason: Reason::Fresh,
        };
        assert_eq!(hit.to_string(), "larder; hit; ttl=30");
        let miss = Handling {
            forwarded: Some(Forwarded::UriMiss),
            forwarded_status: Some(200),
            stored: true,
            ttl_s: None,
            reason: Reason::Absent,
            ..hit
        };
        let expected = "larder; fwd=uri-miss; fwd-status=200; stored; detail=absent";
        assert_eq!(miss.to_string(), expected);
        let ttls = [0, 9, 10, 3599, i64::MAX, -1, i64::MIN].map(Some).into_iter().chain([None]);
        for handling in ttls.map(|ttl_s| Handling { ttl_s, ..hit }).chain([miss]) {
            assert_eq!(handling.value().unwrap(), handling.to_string());
        }
    }
}
