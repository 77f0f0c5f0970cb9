//! Several responses under one key, told apart by the request fields that `Vary` names.
//! (RFC 9111 section 4.1)
//!
//! The place of a key whose responses vary holds this list; each response rests at a place of its
//! own. The names are the union of all `Vary` fields seen under the key, so that an origin that
//! varies by different fields from one answer to the next cannot make a wrong match.

use http::HeaderName;

use super::key::KeyHash;

/// The variants known under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variants {
    /// The request fields that select among them, sorted, without repetition.
    pub names: Vec<HeaderName>,
    /// Part of every variant's hash: a list that is made anew never finds what an older one left.
    pub nonce: u64,
    /// Where each one rests, the newest last.
    pub hashes: Vec<KeyHash>,
}
