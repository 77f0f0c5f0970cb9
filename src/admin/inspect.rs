//! The document of `/v1/inspect`: what is stored for a request, in memory and on disk. It is asked
//! like `/v1/explain`.

use serde::{Deserialize, Serialize};

use super::explain::Stored;

/// What `/v1/inspect` answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// The zone.
    pub zone: String,
    /// The key; what is secret in it is hashed.
    pub key: String,
    /// Its hash.
    pub hash: String,
    /// The list of variants, where responses under the key vary.
    pub list: Option<List>,
    /// What a request like this finds; all of its file was checked.
    pub selected: Place,
    /// The other variants; of their files only the head was checked.
    pub others: Vec<Place>,
}

/// What tells the variants of a key apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// The request fields.
    pub by: Vec<String>,
    /// How many variants are known.
    pub variants: usize,
    /// It is in memory.
    pub in_memory: bool,
    /// Its own file, where the zone has a folder.
    pub file: Option<StoredFile>,
}

/// What rests under one hash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The hash: the name of the file.
    pub hash: String,
    /// `fresh`, `stale`, `purged` or `absent`.
    pub state: String,
    /// It is in memory.
    pub in_memory: bool,
    /// The response, as the rules read it.
    pub response: Option<Response>,
    /// Its file, where the zone has a folder.
    pub file: Option<StoredFile>,
}

/// A stored response with its head.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// What `/v1/explain` says of it as well.
    #[serde(flatten)]
    pub stored: Stored,
    /// It was made stale by a soft purge at this time, an HTTP date.
    pub soft_purged: Option<String>,
    /// Its fields, without the values of those that hold secrets.
    pub fields: Vec<(String, String)>,
    /// What it can be purged by, hashed.
    pub tags: Vec<String>,
    /// The last purge in the zone before it was asked for; later ones count for it.
    pub generation: u64,
    /// Which part of a representation it is: its first byte, and bytes of the whole if known.
    pub part: Option<(u64, Option<u64>)>,
}

/// A file in a zone's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Where it is, or would be.
    pub path: String,
    /// Which of the zone's folders that is in.
    pub folder: String,
    /// `ok`, `absent`, `waiting` (to be written), `damaged`, `other version` or `unreadable`.
    pub state: String,
    /// Where it is damaged, or why it cannot be read. A damaged file was put aside.
    pub problem: Option<String>,
    /// What is known of one that is ok.
    pub parts: Option<Parts>,
}

/// What a whole file consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// Its length.
    pub file_bytes: u64,
    /// Length of the body in it.
    pub body_bytes: u64,
    /// `A` or `B`: the slot with the head that counts.
    pub slot: String,
    /// Grows with each head that is written.
    pub sequence: u64,
    /// `empty`, `older` or `torn`; `null` where it was not looked at.
    pub other_slot: Option<String>,
    /// Chunks of 64 KiB that the body has.
    pub chunks: u64,
    /// Those that were read and match their checksum; `null` where the body was not read.
    pub chunks_ok: Option<u64>,
    /// All were read, and the hash of the whole body matches as well.
    pub verified: bool,
}
