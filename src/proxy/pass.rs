//! The path without cache: unsafe methods, routes that do not cache. (RFC 9111 section 4.4)

use std::sync::Arc;

use http::{HeaderMap, Method, Response, StatusCode};

use super::call::{Call, OwnedCall};
use super::compress::{self, Compressing};
use super::deliver::{self, Answer};
use super::error::{self, Error};
use super::invalidate::invalidate;
use super::outgoing::Told;
use super::route::Cache;
use super::serve::Uncached;
use super::{incoming, outgoing, partial, tee, trailers, tunnel, whole};
use crate::body::Body;
use crate::cache::lock::Permit;
use crate::cache::lookup::Key;
use crate::clock::Clock;
use crate::semantics::date::Timestamp;
use crate::semantics::freshness::Times;
use crate::semantics::invalidation::post_answers_get;
use crate::semantics::reason::Reason;
use crate::semantics::status::Handling;
use crate::semantics::storable::{Storable, storable};
use crate::semantics::stored::Stored;

/// Sends a request on and its response back, as they are.
pub(super) async fn pass(call: Arc<OwnedCall>, body: Body, why: Uncached) -> Result<Answer, Error> {
    let view = call.view();
    let mut request = outgoing::request(&view)?;
    let body = whole::whole(&view, outgoing::body(&view, body)).await?;
    trailers::announce_up(&view, request.headers_mut(), &body);
    if why.reason == Reason::Upgrade {
        tunnel::ask(&view, request.headers_mut());
    }
    let request = request.map(|()| body);
    let clock = &view.worker.proxy.clock;
    let for_get = ForGet::of(&call);
    let told = Told { held: Some(&outgoing::Client), interim: call.interim.as_ref() };
    let reply = match outgoing::send(&view, request, told).await {
        Ok(reply) => reply,
        Err(failure) => {
            tracing::warn!(error = %failure, "upstream failed");
            return Err(match error::of_upstream(&failure.error) {
                Error::Upstream(reason) => Error::UpstreamAfter {
                    failure: reason,
                    word: why.status,
                    forwarded: why.forwarded,
                    tried: failure.tried,
                },
                other => other,
            });
        }
    };
    let (set_cookie, tried) = (reply.set_cookie, reply.tried);
    let mut response = reply.response;
    if let Some(switched) = reply.switched {
        let joining = tunnel::join(&view, &mut response, switched);
        let handling = Handling::forwarded(why.forwarded, why.reason);
        let answer = deliver::passed(&view, response, handling, why.status);
        return Ok(answer.after(tried).becoming(joining));
    }
    let announced = trailers::announced(&view, response.headers());
    incoming::clean(&mut response, &view.request.method, view.route.settings.heads.via);
    let ranged = partial::asked(&view).is_some();
    let may = if ranged { Compressing::ForOthers } else { Compressing::Yes };
    let coded_here = compress::on_its_way(&view, (&view.request.method, may), &mut response);
    let code = Some(response.status().as_u16());
    let mut handling =
        Handling { forwarded_status: code, ..Handling::forwarded(why.forwarded, why.reason) };
    let for_get = for_get.map(|for_get| (for_get.times(clock), for_get));
    let for_get =
        for_get.filter(|(_, for_get)| for_get.is_answered(response.status(), response.headers()));
    let own = for_get.as_ref().map(|(_, for_get)| &for_get.permit);
    invalidate(&call, response.status(), response.headers(), own).await;
    if let Some((times, for_get)) = for_get {
        (response, handling.stored) = for_get.store(response, times, coded_here).await;
    }
    response.headers_mut().extend(announced);
    Ok(deliver::passed(&view, response, handling, why.status).after(tried).setting(set_cookie))
}

/// A `POST` whose answer may be what a later `GET` would get (RFC 9110 section 9.3.3).
struct ForGet {
    call: Arc<OwnedCall>,
    cache: Arc<Cache>,
    key: Key,
    /// Tells of a purge of the key since before the origin was asked.
    permit: Permit,
    /// What was purged since then counts for the answer.
    generation: u64,
    requested: Timestamp,
}

impl ForGet {
    fn of(call: &Arc<OwnedCall>) -> Option<Self> {
        let view = call.view();
        let cache = view.cache().ok()?;
        if view.request.method != Method::POST
            || !cache.settings.rules.store_post
            || view.demand(cache).no_store
        {
            return None;
        }
        let reading = view.reading();
        let (key, own) = Call { request: &reading, ..view }.key_and_own(cache);
        let permit = cache.zone.fetch_beside(own);
        let generation = cache.zone.generation();
        let requested = Timestamp::from(view.worker.proxy.clock.now());
        let (call, cache) = (Arc::clone(call), Arc::clone(cache));
        Some(Self { call, cache, key, permit, generation, requested })
    }

    /// Those of an answer that has just come.
    fn times(&self, clock: &Clock) -> Times {
        let (received, dated) = (Timestamp::from(clock.now()), Timestamp::from(clock.wall()));
        Times { requested: self.requested, received, dated }
    }

    fn is_answered(&self, status: StatusCode, fields: &HeaderMap) -> bool {
        post_answers_get(status, fields, &self.call.view().target())
            && self.permit.unless_purged(|| ()).is_some()
    }

    /// Stores the response if it says how long it is fresh; gives it back, and whether that is so.
    async fn store(
        mut self,
        response: Response<Body>,
        times: Times,
        coded_here: bool,
    ) -> (Response<Body>, bool) {
        let (view, rules) = (self.call.view(), &self.cache.settings.rules);
        let (status, fields) = (response.status(), response.headers());
        let stored = match storable(view.asked(&self.key), status, fields, rules, times) {
            Storable::Yes(stored) if stored.lifetime_from.is_explicit() => {
                let spelling = incoming::spelling(&response);
                Stored { generation: self.generation, coded_here, spelling, ..*stored }
            }
            Storable::Yes(_) | Storable::No(_) => return (response, false),
        };
        if tee::not_to_be_stored(&view, &self.cache, &response).is_some() {
            return (response, false);
        }
        let reading = view.reading();
        let other = Call { request: &reading, ..view }.key_to_store(&self.cache, &self.key, fields);
        let key = other.unwrap_or(self.key);
        self.permit.stored_under(key.hash);
        let beside = tee::Beside { call: &self.call, cache: &self.cache, key, permit: self.permit };
        (beside.store(stored, response).await, true)
    }
}
