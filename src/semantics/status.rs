//! How the cache handled a request: nginx's word, and `Cache-Status`. (RFC 9211)

use std::fmt;

/// nginx's word for how an answer came about (nginx: $upstream_cache_status).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CacheStatus {
    /// Served from the cache, fresh.
    Hit,
    /// Served stale, because the origin failed.
    Stale,
    /// Served stale, while it is being validated.
    Updating,
    /// Served from the cache after the origin said that it is still good.
    Revalidated,
    /// Fetched, since nothing was stored.
    Miss,
    /// Fetched, since what was stored was no longer fresh.
    Expired,
    /// Fetched, since a rule said not to look.
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
