//! A response on its way into a fill.

use std::sync::Arc;

use http::{HeaderName, Response};
use http_body::Body as HttpBody;

use super::call::{Call, OwnedCall};
use super::incoming;
use super::route::Cache;
use super::serve::any_is_true;
use crate::body::Body;
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
        match incoming::pump(&mut body, &mut writer).await {
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
