//! What is out of date after an unsafe method was carried out. (RFC 9111 section 4.4, RFC 9875)

use http::uri::PathAndQuery;
use http::{HeaderMap, StatusCode, Uri};

use super::call::{Call, OwnedCall};
use super::inside::Journey;
use super::route::{self, Cache};
use crate::cache::lock::Permit;
use crate::cache::log::Scope;
use crate::semantics::invalidation::{groups, invalidates, locations};

/// Removes what is stored for the request's target, for those of the same origin that `Location`
/// and `Content-Location` of its answer name, and for the groups it says are out of date. This very
/// answer may be stored all the same, under its `own` permit.
pub(super) async fn invalidate(
    call: &OwnedCall,
    status: StatusCode,
    fields: &HeaderMap,
    own: Option<&Permit>,
) {
    let view = call.view();
    if view.request.method.is_safe() {
        return;
    }
    let is_obeyed =
        |cache: &Cache| invalidates(&view.request.method, status, &cache.settings.rules);
    if !view.route.caching.all().iter().any(|cache| is_obeyed(cache)) {
        return;
    }
    let groups: Vec<_> = groups(fields, view.host).into_iter().map(Scope::Tag).collect();
    if !groups.is_empty() {
        for cache in view.route.caching.all() {
            cache.zone.invalidate(&groups, false).await;
        }
    }
    remove(&view, own).await;
    for target in locations(fields, &view.target()) {
        remove_other(&view, target, own).await;
    }
}

/// In every zone that may have it: this request may name another than those for reading.
async fn remove(call: &Call<'_>, own: Option<&Permit>) {
    for cache in call.route.caching.all() {
        cache.zone.purge_begins(own);
        for key in &call.keys_for_reading(cache) {
            let (purged, _) = cache.zone.purge(key, own).await;
            tracing::debug!(purged, uri = call.request_uri(), "invalidated");
        }
    }
}

/// The same for another target of the site, which may lie in another route.
async fn remove_other(call: &Call<'_>, target: PathAndQuery, own: Option<&Permit>) {
    let mut request = call.request.clone();
    request.uri = Uri::from(target);
    let Some(path) = route::normalized(request.uri.path()) else { return };
    let other = Call { request: &request, path: &path, way: None, ..*call };
    let mut journey = Journey::new(other);
    if let Ok(None) = journey.enter().await {
        remove(&journey.call(), own).await;
    }
}
