//! The path without cache: unsafe methods, routes that do not cache. (RFC 9111 section 4.4)

use std::sync::Arc;

use http::StatusCode;

use super::call::OwnedCall;
use super::deliver::{self, Answer};
use super::error::{self, Error};
use super::serve::Uncached;
use super::{incoming, outgoing};
use crate::body::Body;
use crate::semantics::invalidation::invalidates;
use crate::semantics::status::Handling;
use crate::upstream;

/// Sends a request on and its response back, as they are.
pub(super) async fn pass(call: Arc<OwnedCall>, body: Body, why: Uncached) -> Result<Answer, Error> {
    let view = call.view();
    let mut request = outgoing::with_body(outgoing::request(&view)?, body);
    outgoing::hear_interim(&mut request, call.interim.as_ref());
    let clock = &view.worker.proxy.clock;
    let begun = clock.instant();
    let pool = &view.worker.pools[view.route.group_number];
    let sent = upstream::send(&view.route.group, pool, request, &view.route.settings.timeout).await;
    let reply = match sent {
        Ok(reply) => reply,
        Err(failure) => {
            tracing::warn!(error = %failure, "upstream failed");
            return Err(error::of_upstream(&failure.error));
        }
    };
    let mut response = reply.response;
    incoming::clean(&mut response, &view.request.method);
    invalidate(&call, response.status()).await;
    let code = Some(response.status().as_u16());
    let handling =
        Handling { forwarded_status: code, ..Handling::forwarded(why.forwarded, why.reason) };
    let facts = incoming::facts(Some(&reply.peer), clock.instant(), begun);
    Ok(deliver::passed(&view, response, handling, why.status).after(facts))
}

/// After an unsafe method was carried out, what is stored for its target may be out of date.
async fn invalidate(call: &OwnedCall, status: StatusCode) {
    let view = call.view();
    if !invalidates(&view.request.method, status) {
        return;
    }
    // In every zone that may have it: this request may name another than those for reading.
    for cache in view.route.caching.all() {
        for key in view.keys_for_reading(cache) {
            let purged = cache.zone.purge(&key).await;
            tracing::debug!(purged, method = %view.request.method, "invalidated");
        }
    }
}
