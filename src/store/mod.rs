//! Where responses rest. A store may forget anything and fail no request.

pub mod memory;
pub mod large;
pub mod tiered;
pub mod keeper;
pub mod disk;
mod disks;
pub mod patience;
pub(crate) mod secret;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

use bytes::Bytes;

use crate::body;
use crate::semantics::fields::Names;
use crate::semantics::stored::Stored;
use crate::semantics::variants::Variants;

/// What rests under one hash: shared by everybody who reads it, never changed.
#[derive(Debug)]
pub struct Entry {
    /// The whole key, compared when it is read from disk.
    pub key: Box<[u8]>,
    /// What it is.
    pub content: Content,
    /// The last sequence of the zone's invalidation log that was found not to cover it; a note of
    /// readers for each other.
    pub checked: AtomicU64,
    /// When somebody last asked for it in memory, in seconds; the memory tier's own note.
    used_s: AtomicU32,
    /// Those of a response's fields.
    pub names: Names,
}

impl Entry {
    /// An entry that nobody has looked at.
    pub fn new(key: &[u8], content: Content) -> Self {
        let names = match &content {
            Content::Response(stored, _) => Names::of(&stored.fields),
            Content::Variants(_) => Names::ANY,
        };
        let (checked, used_s) = (AtomicU64::new(0), AtomicU32::new(0));
        Self { key: key.into(), content, checked, used_s, names }
    }

    /// The same response with this body.
    fn with_body(&self, body: Body) -> Self {
        let content = match &self.content {
            Content::Response(stored, _) => Content::Response(Arc::clone(stored), body),
            Content::Variants(list) => Content::Variants(Arc::clone(list)),
        };
        let (checked, used_s) = (AtomicU64::new(0), AtomicU32::new(0));
        Self { key: self.key.clone(), content, checked, used_s, names: self.names }
    }

    /// Bytes of its body that are in memory.
    fn body_bytes(&self) -> usize {
        match &self.content {
            Content::Response(_, Body::Memory(body)) => body.len(),
            Content::Response(_, Body::Large(body)) => body.len(),
            _ => 0,
        }
    }
}

/// The two things that can rest under a hash.
#[derive(Clone, Debug)]
pub enum Content {
    /// A response.
    Response(Arc<Stored>, Body),
    /// The key's responses vary: where they rest.
    Variants(Arc<Variants>),
}

/// The body of a stored response.
#[derive(Clone, Debug)]
pub enum Body {
    /// All of it.
    Memory(Bytes),
    /// All of it as well, in memory.
    Large(Arc<large::Large>),
    /// In a file, to be read and verified as it is sent.
    Disk(Arc<disk::stored_body::StoredBody>),
}

impl Body {
    /// One that is all here.
    pub fn of(bytes: Bytes) -> Self {
        if bytes.len() < large::LARGE_BYTES_MIN {
            return Self::Memory(bytes);
        }
        Self::Large(Arc::new(large::Large::new(bytes)))
    }

    /// Whether it is all in memory.
    pub fn is_in_memory(&self) -> bool {
        !matches!(self, Self::Disk(_))
    }

    /// Its length.
    pub fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Large(body) => body.len() as u64,
            Self::Disk(body) => body.len(),
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of `range`, which lies within it.
    pub fn stream(&self, range: Range<u64>) -> body::Body {
        match self {
            Self::Memory(bytes) => {
                body::Body::full(bytes.slice(range.start as usize..range.end as usize))
            }
            Self::Large(body) => body.stream(range),
            Self::Disk(body) => body.stream(range),
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod restart_tests;
