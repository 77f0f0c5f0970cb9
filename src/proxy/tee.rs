//! A response on its way into a fill.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, Response};
use http_body::Body as HttpBody;

use super::call::{Call, OwnedCall};
use super::route::Cache;
use super::serve::any_is_true;
use crate::body::{self, Body};
use crate::cache::fill::Writer;
use crate::cache::lock::Outcome;
use crate::cache::lookup::Key;
use crate::semantics::reason::Reason;
use crate::semantics::rules::Rules;
use crate::semantics::status::CacheStatus;
use crate::semantics::stored::Stored;
use crate::semantics::vary;

/// Stores a response that came without a permit to fetch, and gives it back to be passed on.
pub(super) async fn store_beside(
    call: &Arc<OwnedCall>,
    cache: &Arc<Cache>,
    key: &Key,
    stored: Stored,
    response: Response<Body>,
) -> Response<Body> {
    let (zone, view) = (Arc::clone(&cache.zone), call.view());
    let names = names(&stored, &cache.settings.rules);
    let mut permit = zone.fetch_beside(key.hash);
    let at = zone.place(key, names, &view.request.headers, &mut permit).await;
    permit.settle(Outcome::Alone);
    let (head, mut body) = response.into_parts();
    let length = body.size_hint().exact();
    let mut writer = Writer::begin(&zone, permit, &key.text, at, stored, length);
    let follower = writer.fill().follow(0..u64::MAX);
    let (shard, number) = (Arc::clone(&view.worker.shard), cache.zone_number);
    tokio::spawn(async move {
        match pump(&mut body, &mut writer).await {
            Ok(bytes) => {
                if writer.complete().await {
                    shard.count_stored(number, CacheStatus::Miss, bytes);
                }
            }
            Err(why) => writer.fail(why),
        }
    });
    Response::from_parts(head, Body::stream(follower))
}

/// What besides the response and the request says against storing it.
pub(super) fn not_to_be_stored(
    call: &Call<'_>,
    cache: &Cache,
    response: &Response<Body>,
) -> Option<Reason> {
    if any_is_true(call, &cache.settings.no_cache) {
        return Some(Reason::NoCacheRule);
    }
    let length = response.body().size_hint().exact();
    let too_large = length.is_some_and(|length| length > cache.zone.store.body_bytes_max());
    too_large.then_some(Reason::TooLarge)
}

/// The request fields that tell a response's variants apart.
pub(super) fn names(stored: &Stored, rules: &Rules) -> Vec<HeaderName> {
    if rules.ignore.vary {
        return Vec::new();
    }
    vary::names(&stored.fields, rules.vary).unwrap_or_default()
}

/// Writes a body into a fill, to its end; how long it was.
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
