//! What is stored for a request, told to the operator. The key is that of a live request; nothing
//! is fetched, and nothing decided.

use std::sync::Arc;

use http::request::Parts;

use super::Worker;
use super::call::OwnedCall;
use super::explain::shown;
use super::serve;
use super::slice;
use crate::body::Body;
use crate::cache::inspect::Inspected;
use crate::semantics::date::Timestamp;
use crate::semantics::key::KeyHash;

/// What is stored for a request.
pub struct Inspection {
    /// The zone's name.
    pub zone: String,
    /// The key; what is secret in it is hashed.
    pub key: String,
    /// Its hash.
    pub hash: KeyHash,
    /// When it was asked.
    pub asked: Timestamp,
    /// What rests there.
    pub inspected: Inspected,
}

/// Looks at what is stored for `request`.
///
/// # Errors
/// Why there is nothing to look at, in words for the operator.
pub(super) async fn inspect(worker: &Arc<Worker>, request: Parts) -> Result<Inspection, String> {
    let owned = OwnedCall::of_operator(worker, request).await?;
    let call = owned.view();
    let cache = serve::cacheable(&call, &Body::empty())
        .map_err(|uncached| format!("not answered from a cache: {}", uncached.reason.name()))?;
    let whole = call.key(cache);
    let slice = slice::first(&call, cache, &whole).await;
    let key = slice.map_or(whole, |(key, _)| key);
    Ok(Inspection {
        zone: cache.zone.name.clone(),
        key: shown(&key),
        hash: key.hash,
        asked: call.now,
        inspected: cache.zone.inspect(&key, &call.request.headers).await,
    })
}
