//! What would happen to a request now, and why. Asks the same decisions as a live request and does
//! nothing: no fetch, no count, no mark.

use std::sync::Arc;

use http::request::Parts;

use super::Worker;
use super::call::{Call, OwnedCall};
use super::extent::Extent;
use super::plan::{self, Plan};
use super::route::Cache;
use super::serve::{self, Uncached};
use super::slice;
use super::way::upstream_named;
use crate::body::Body;
use crate::cache::Refusal;
use crate::cache::lookup::{Found, Key, Lookup};
use crate::semantics::date::Timestamp;
use crate::semantics::key::KeyHash;
use crate::semantics::reason::Reason;
use crate::semantics::rules::Semantics;
use crate::semantics::status::CacheStatus;
use crate::semantics::stored::Stored;
use crate::semantics::variants::Variants;

/// What is known of a request and its key.
pub struct Explanation {
    /// The site that answers: its first name, empty for all hosts.
    pub site: String,
    /// The route's path as configured.
    pub route: String,
    /// Where the route is configured.
    pub file: String,
    /// The line there; 0 where there is no file.
    pub line: usize,
    /// What it forwards to.
    pub upstream: String,
    /// When it was asked.
    pub asked: Timestamp,
    /// What is in the cache, where the request may be answered from one.
    pub cached: Option<Cached>,
    /// What would happen now.
    pub now: Outcome,
}

/// What a cache knows of a key.
pub struct Cached {
    /// The zone's name.
    pub zone: String,
    /// Whose rules the route follows.
    pub semantics: Semantics,
    /// The key; what is secret in it is hashed.
    pub key: String,
    /// Where the response to this request rests, or would.
    pub at: KeyHash,
    /// The list of variants, if responses under the key vary.
    pub variants: Option<Arc<Variants>>,
    /// What is stored for this request.
    pub stored: Option<At>,
    /// Why the last answer was not stored, if it was not.
    pub refusal: Option<Arc<Refusal>>,
    /// Nobody waits for others under this key just now: the last answer could not be shared.
    pub hit_for_miss: bool,
}

/// A stored response and where it is.
pub struct At {
    /// As the rules read it.
    pub stored: Arc<Stored>,
    /// In memory; else on disk.
    pub in_memory: bool,
    /// Bytes of its body.
    pub body_bytes: u64,
}

/// What would happen now.
pub struct Outcome {
    /// nginx's word; `None` where the cache has nothing to do with it.
    pub status: Option<CacheStatus>,
    /// The origin would be asked before there is an answer.
    pub asks_origin: bool,
    /// Why.
    pub reason: Reason,
}

/// Explains what a request for `request` would get.
///
/// # Errors
/// Why there is nothing to explain, in words for the operator.
pub(super) async fn explain(worker: &Arc<Worker>, request: Parts) -> Result<Explanation, String> {
    let owned = OwnedCall::of_operator(worker, request).await?;
    let call = owned.view();
    let (site, route) = (call.site, call.route);
    let answers_itself = route.settings.action.proxy().is_none();
    let (cached, now) = match serve::cacheable(&call, &Body::empty()) {
        _ if answers_itself => {
            (None, Outcome { status: None, asks_origin: false, reason: Reason::Respond })
        }
        Err(Uncached { reason, status, .. }) => {
            (None, Outcome { status, asks_origin: true, reason })
        }
        Ok(cache) => {
            let (cached, now) = in_cache(&call, cache).await;
            (Some(cached), now)
        }
    };
    let proxy = route.settings.action.proxy();
    Ok(Explanation {
        site: site.name.clone(),
        route: route.settings.path.to_string(),
        file: route.settings.file.clone(),
        line: route.settings.line,
        upstream: upstream_named(call.way)
            .or(proxy.map(|proxy| proxy.upstream.as_str()))
            .unwrap_or_default()
            .to_owned(),
        asked: call.now,
        cached,
        now,
    })
}

async fn in_cache(call: &Call<'_>, cache: &Cache) -> (Cached, Outcome) {
    let zone = &cache.zone;
    let whole = call.key(cache);
    let slice = slice::first(call, cache, &whole).await;
    let (key, extent) = slice.map_or((whole, None), |(key, extent)| (key, Some(extent)));
    let lookup = zone.lookup(&key, &call.request.headers).await;
    let stored = if let Lookup::Found(found) = &lookup { Some(At::of(found)) } else { None };
    let (lookup, extent) = match extent {
        Some(extent) => (lookup, extent),
        None => plan::what_to_ask_for(call, cache, lookup),
    };
    let mut now = outcome(call, cache, &lookup, &extent);
    let at = match &lookup {
        Lookup::Found(found) => found.at,
        Lookup::Absent { at, .. } => *at,
        Lookup::AskDisk => key.hash,
    };
    let refusal = zone.refusal(at);
    if let (Lookup::Absent { .. }, Some(refusal)) = (&lookup, &refusal)
        && now.status == Some(CacheStatus::Miss)
    {
        // Why the last answer was not stored explains more than that nothing is.
        now.reason = refusal.reason;
    }
    let cached = Cached {
        zone: zone.name.clone(),
        semantics: cache.settings.rules.semantics,
        key: shown(&key),
        at,
        variants: zone.variants(&key).await,
        stored,
        refusal,
        hit_for_miss: zone.is_hit_for_miss(at),
    };
    (cached, now)
}

fn outcome(call: &Call<'_>, cache: &Cache, lookup: &Lookup, extent: &Extent) -> Outcome {
    let served = |status, reason| Outcome { status: Some(status), asks_origin: false, reason };
    let asked = |status, reason| Outcome { status: Some(status), asks_origin: true, reason };
    if serve::any_is_true(call, &cache.settings.bypass) {
        return asked(CacheStatus::Bypass, Reason::BypassRule);
    }
    match plan::plan(call, cache, lookup) {
        Plan::Hit(_) => served(CacheStatus::Hit, Reason::Fresh),
        Plan::Updating(_) => served(CacheStatus::Stale, Reason::Updating),
        Plan::HeldDown(_) => served(CacheStatus::Stale, Reason::HeldDown),
        Plan::MaxStale(_) => served(CacheStatus::Stale, Reason::MaxStale),
        Plan::Ask => {
            let status = plan::fetched_status(call, cache, lookup);
            asked(status, plan::why_asked(call, cache, lookup, extent).reason)
        }
    }
}

impl At {
    fn of(found: &Found) -> Self {
        let in_memory = found.body.is_in_memory();
        Self { stored: Arc::clone(&found.stored), in_memory, body_bytes: found.body.len() }
    }
}

/// A key as text; clients choose it, so what is no text in it is shown as what it is.
pub(super) fn shown(key: &Key) -> String {
    key.text.escape_ascii().to_string()
}
