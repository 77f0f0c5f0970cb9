//! A stored response as the rules read it. (RFC 9111 section 3)

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::date::Timestamp;
use crate::spelling::Spelling;

/// Everything about a stored response but its body. All that a hit has to know is worked out when
/// it is stored, so that a hit compares numbers and parses nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The final status the origin gave.
    pub status: StatusCode,
    /// The fields as they are sent on: what concerns one connection only is already gone, and
    /// `Age` is not among them.
    pub fields: HeaderMap,
    /// When the response's head arrived (response_time of RFC 9111 section 4.2.3).
    pub received: Timestamp,
    /// How old it already was then (corrected_initial_age of RFC 9111 section 4.2.3).
    pub initial_age: Duration,
    /// How long it is fresh, counted like its age (RFC 9111 section 4.2.1).
    pub lifetime: Duration,
    /// What gave it that lifetime.
    pub lifetime_from: LifetimeFrom,
    /// How long past its lifetime it may be served while it is validated (RFC 5861 section 3).
    pub stale_while_revalidate: Duration,
    /// How long past its lifetime it may be served when the origin fails (RFC 5861 section 4).
    pub stale_if_error: Duration,
    /// Must be validated before every use (RFC 9111 section 5.2.2.4).
    pub no_cache: bool,
    /// Must never be served stale (RFC 9111 sections 5.2.2.2, 5.2.2.8 and 5.2.2.10).
    pub must_revalidate: bool,
    /// Does not change while it is fresh: a client that reloads does not make it validated
    /// (RFC 8246).
    pub immutable: bool,
    /// Last sequence of the zone's invalidation log when it was asked for: records after it count
    /// for it, those before do not.
    pub generation: u64,
    /// What it can be purged by, hashed, sorted, without repetition.
    pub tags: Box<[u64]>,
    /// The body was compressed on its way in: what the origin says of its entity tag and its bytes
    /// is about the body as it was before.
    pub coded_here: bool,
    /// Names of its fields that are not spelled as usual, where that is remembered.
    pub spelling: Option<Spelling>,
    /// Which part of a representation the body is, for a 206 (RFC 9111 section 3.3). Rare, so that
    /// the others are spared its room.
    pub part: Option<Box<Part>>,
}

/// The place of a body within the whole representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its first byte.
    pub first: u64,
    /// Bytes of the whole, if the origin said.
    pub total: Option<u64>,
}

/// Which rule said how long a response is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LifetimeFrom {
    /// Nothing gave it one: it is stored only to be validated.
    Nothing = 0,
    /// nginx's `X-Accel-Expires`.
    XAccelExpires = 1,
    /// `Cache-Control: s-maxage`.
    SMaxAge = 2,
    /// `Cache-Control: max-age`.
    MaxAge = 3,
    /// `Expires`.
    Expires = 4,
    /// The operator's `valid` table.
    Valid = 5,
    /// A guess from `Last-Modified`.
    Heuristic = 6,
    /// A targeted field (RFC 9213).
    Targeted = 7,
    /// `Surrogate-Control: max-age`.
    Surrogate = 8,
}

impl Stored {
    /// A response of ours that is not stored, as conditions and ranges look at it.
    pub fn as_it_is(status: StatusCode, fields: HeaderMap, now: Timestamp) -> Self {
        Self {
            status,
            fields,
            received: now,
            initial_age: Duration::ZERO,
            lifetime: Duration::ZERO,
            lifetime_from: LifetimeFrom::Nothing,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            no_cache: false,
            must_revalidate: false,
            immutable: false,
            generation: 0,
            tags: Box::default(),
            coded_here: false,
            spelling: None,
            part: None,
        }
    }

    /// The entity tag to validate with, byte for byte as the origin wrote it.
    pub fn etag(&self) -> Option<&HeaderValue> {
        self.fields.get(header::ETAG)
    }

    /// The date to validate with, byte for byte as the origin wrote it.
    pub fn last_modified(&self) -> Option<&HeaderValue> {
        self.fields.get(header::LAST_MODIFIED)
    }

    /// Bytes of memory that the fields take, roughly; the body is not counted.
    pub fn fields_bytes(&self) -> usize {
        let field = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
        let spelling = self.spelling.as_ref().map_or(0, Spelling::bytes);
        self.fields.iter().map(field).sum::<usize>()
            + self.fields.len() * FIELD_OVERHEAD_BYTES
            + spelling
    }
}

impl LifetimeFrom {
    /// Whether the response itself says how long it is fresh.
    pub fn is_explicit(self) -> bool {
        !matches!(self, Self::Nothing | Self::Valid | Self::Heuristic)
    }

    /// Reads back the number this was stored as.
    pub fn from_u8(number: u8) -> Option<Self> {
        let all = [
            Self::Nothing,
            Self::XAccelExpires,
            Self::SMaxAge,
            Self::MaxAge,
            Self::Expires,
            Self::Valid,
            Self::Heuristic,
            Self::Targeted,
            Self::Surrogate,
        ];
        all.into_iter().find(|from| *from as u8 == number)
    }
}

/// What one place in a `HeaderMap` costs beside its text: name, value, links, index.
const FIELD_OVERHEAD_BYTES: usize = 112;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A 200 that arrived at second 1000 and is fresh for `lifetime_s`.
    pub(crate) fn stored(lifetime_s: u64) -> Stored {
        Stored {
            status: StatusCode::OK,
            fields: HeaderMap::new(),
            received: Timestamp::from_secs(1000),
            initial_age: Duration::ZERO,
            lifetime: Duration::from_secs(lifetime_s),
            lifetime_from: LifetimeFrom::MaxAge,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            no_cache: false,
            must_revalidate: false,
            immutable: false,
            generation: 0,
            tags: Box::default(),
            coded_here: false,
            spelling: None,
            part: None,
        }
    }

    #[test]
    fn lifetime_sources_read_back() {
        let read: Vec<_> = (0..=8).map(LifetimeFrom::from_u8).collect();
        assert!(read.iter().all(Option::is_some));
        assert_eq!(LifetimeFrom::from_u8(9), None);
    }
}
