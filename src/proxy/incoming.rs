//! A response as it comes from an upstream: made ready, and written into a fill.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, header};
use http_body::Body as HttpBody;

use crate::body::{self, Body};
use crate::cache::fill::Writer;
use crate::observe::exchange::UpstreamFacts;
use crate::semantics::fields;

/// Writes a body into a fill as it comes; how long it was.
pub(super) async fn pump(body: &mut Body, writer: &mut Writer) -> Result<u64, String> {
    let mut bytes = 0;
    while let Some(chunk) = next_chunk(body).await {
        let chunk = chunk.map_err(|error| error.to_string())?;
        bytes += chunk.len() as u64;
        writer.append(chunk).await.map_err(|_| "nobody wanted the rest".to_owned())?;
    }
    Ok(bytes)
}

/// The next bytes of a body; trailers are not stored and end it.
async fn next_chunk(body: &mut Body) -> Option<Result<Bytes, body::Error>> {
    let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
    frame.map(|frame| frame.into_data().ok()).transpose()
}

/// Makes a response to a request with this method ready to be stored or passed on.
pub(super) fn clean(response: &mut Response<Body>, method: &Method) {
    let version = response.version();
    let fields = response.headers_mut();
    // After HEAD the length frames nothing; it is what the client asked for.
    let length = (*method == Method::HEAD).then(|| fields.get(header::CONTENT_LENGTH).cloned());
    remove_hop_by_hop(fields);
    if let Some(length) = length.flatten() {
        fields.insert(header::CONTENT_LENGTH, length);
    }
    fields::add_via(fields, version);
}

/// Removes what concerns the connection to an origin. An origin that names a field which is not its
/// to remove keeps the field, not the privilege.
pub(super) fn remove_hop_by_hop(fields: &mut HeaderMap) {
    if fields::remove_hop_by_hop(fields).is_err() {
        fields.remove(header::CONNECTION);
        let _ = fields::remove_hop_by_hop(fields);
    }
}

/// What is known of an upstream at the moment.
pub(super) fn facts(
    peer: Option<&Arc<str>>,
    now: Instant,
    begun: Instant,
) -> Option<UpstreamFacts> {
    let peer = Arc::clone(peer?);
    Some(UpstreamFacts { peer, time: now.saturating_duration_since(begun) })
}
