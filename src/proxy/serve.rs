//! Where an answer comes from. The cached path: look up, decide, then hit, wait or fetch.

use std::sync::Arc;

use super::call::{Call, OwnedCall};
use super::deliver::{self, Answer, Served, Source};
use super::error::Error;
use super::extent::Extent;
use super::route::Cache;
use super::step::{Step, Taken};
use super::{Worker, files, own, partial, pass, slice};
use crate::body::Body;
use crate::cache::lookup::{Found, Key, Lookup};
use crate::config::Action;
use crate::interim::Gap;
use crate::semantics::demand::Demand;
use crate::semantics::key::KeyHash;
use crate::semantics::precondition;
use crate::semantics::reason::Reason;
use crate::semantics::reuse::{self, Reuse};
use crate::semantics::status::{CacheStatus, Forwarded, Handling};

/// Why a request goes past the cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Uncached {
    pub(super) forwarded: Forwarded,
    pub(super) reason: Reason,
    pub(super) status: Option<CacheStatus>,
}

/// A request that what is at hand could not answer.
pub(super) struct Missed {
    cache: Arc<Cache>,
    key: Key,
    /// Nothing where a rule said not to look.
    lookup: Option<Lookup>,
    /// How much is fetched, where something is.
    extent: Extent,
}

impl Worker {
    /// Answers what is let in: from the cache, or from where the route goes. Without a `gap` it is a
    /// request of our own about another one.
    pub(super) async fn content(
        call: Call<'_>,
        gap: Option<&Gap>,
        body: Body,
    ) -> Result<Answer, Error> {
        match &call.route.settings.action {
            Action::Proxy(_) => {}
            Action::Static(_) => return Box::pin(files::answer(call, &mut None)).await,
            Action::Respond(respond) => return own::respond(&call, respond),
            Action::Redirect(redirect) => return own::redirect(&call, redirect),
        }
        let cache = match cacheable(&call, &body) {
            Ok(cache) => cache,
            Err(why) => {
                let call = call.to_owned(gap.and_then(Gap::sink));
                return Box::pin(pass::pass(Arc::new(call), body, why)).await;
            }
        };
        if let Some(bytes) = slice::bytes(&call, cache) {
            let call = Arc::new(call.to_owned(gap.and_then(Gap::sink)));
            return Box::pin(slice::serve(call, Arc::clone(cache), bytes)).await;
        }
        match at_hand(&call, cache) {
            Ok(answer) => Ok(answer),
            Err(missed) => {
                let call = Arc::new(call.to_owned(gap.and_then(Gap::sink)));
                Box::pin(fetch_or_wait(call, missed)).await
            }
        }
    }
}

/// The route's cache, if this request may be answered from it.
pub(super) fn cacheable<'a>(call: &Call<'a>, body: &Body) -> Result<&'a Arc<Cache>, Uncached> {
    let uncached = |forwarded, reason, status| Err(Uncached { forwarded, reason, status });
    if call.way.is_some_and(|way| way.is_for_error) && call.is_at_name() {
        // Its key would be that of the very answer that was an error.
        return uncached(Forwarded::Bypass, Reason::CacheOff, None);
    }
    let cache = match call.cache() {
        Ok(cache) => cache,
        Err(why) => return uncached(Forwarded::Bypass, why, None),
    };
    if !cache.settings.methods.contains(&call.request.method) {
        return uncached(Forwarded::Method, Reason::Method, None);
    }
    // The key does not cover a body, so the answer to one must not stand for another.
    if !body.is_empty() {
        return uncached(Forwarded::Request, Reason::RequestBody, Some(CacheStatus::Bypass));
    }
    Ok(cache)
}

/// Answers from what is stored if that is possible without waiting for anybody. The hit path.
pub(super) fn at_hand(call: &Call<'_>, cache: &Arc<Cache>) -> Result<Answer, Box<Missed>> {
    let key = call.key(cache);
    if any_is_true(call, &cache.settings.bypass) {
        return Err(Box::new(Missed::new(cache, key, None)));
    }
    match cache.zone.lookup_at_hand(&key, &call.request.headers, call.now) {
        Lookup::Found(found)
            if is_fresh(call, cache, &found) && partial::is_enough(call, &found) =>
        {
            Ok(hit(call, cache, found))
        }
        lookup => Err(Box::new(Missed::new(cache, key, Some(lookup)))),
    }
}

impl Missed {
    /// A request for everything; `lookup` is nothing where a rule said not to look.
    pub(super) fn new(cache: &Arc<Cache>, key: Key, lookup: Option<Lookup>) -> Self {
        Self { cache: Arc::clone(cache), key, lookup, extent: Extent::Whole }
    }

    /// The same for this much of it.
    pub(super) fn asking_for(self, extent: Extent) -> Self {
        Self { extent, ..self }
    }
}

/// Answers a request that what is at hand could not: from disk, by fetching, or by waiting for
/// somebody who fetches.
pub(super) async fn fetch_or_wait(
    call: Arc<OwnedCall>,
    missed: Box<Missed>,
) -> Result<Answer, Error> {
    let Missed { cache, key, lookup, extent } = *missed;
    let Some(mut lookup) = lookup else {
        if is_for_the_origin(&call, &cache, None) {
            return pass::pass(call, Body::empty(), PRECONDITION).await;
        }
        return bypass(call, cache, key, extent).await;
    };
    let begun = call.view().worker.proxy.clock.instant();
    let mut turns = 0;
    while turns < TURNS_MAX {
        if matches!(lookup, Lookup::AskDisk) {
            lookup = cache.zone.lookup(&key, &call.view().request.headers).await;
        }
        let found = if let Lookup::Found(found) = &lookup { Some(found) } else { None };
        if is_for_the_origin(&call, &cache, found) {
            return pass::pass(call, Body::empty(), PRECONDITION).await;
        }
        let extent = extent.clone();
        let step = Step { call: &call, cache: &cache, key: &key, lookup, begun, extent };
        match step.take().await? {
            Taken::Answered(answer) => return Ok(*answer),
            // Somebody else's fetch ended: look again, there may be something now.
            Taken::LookAgain => turns += 1,
            // Bounded by the time that it may wait.
            Taken::OverAge => {}
        }
        lookup = Lookup::AskDisk;
    }
    // Others went away again and again while we waited for them.
    let at = key.hash;
    let permit = cache.zone.fetch_beside(key.primary);
    let step = Step { call: &call, cache: &cache, key: &key, lookup: absent(at), begun, extent };
    step.fetch(permit, None).await
}

/// Whether only the origin can say if the request's preconditions hold: what is stored and fresh
/// does not meet them, or there is nothing of the kind.
fn is_for_the_origin(call: &OwnedCall, cache: &Cache, found: Option<&Found>) -> bool {
    let (view, rules) = (call.view(), &cache.settings.rules);
    let is_usable = |found: &&Found| {
        reuse::decide(&found.stored, rules, &Demand::NONE, view.now) == Reuse::Fresh
    };
    let stored = found.filter(is_usable).map(|found| found.stored.as_ref());
    precondition::is_for_the_origin(&view.request.headers, stored, rules)
}

/// A rule said not to look: fetch beside everybody else, and store what comes.
async fn bypass(
    call: Arc<OwnedCall>,
    cache: Arc<Cache>,
    key: Key,
    extent: Extent,
) -> Result<Answer, Error> {
    let permit = cache.zone.fetch_beside(key.primary);
    let begun = call.view().worker.proxy.clock.instant();
    let lookup = absent(key.hash);
    let step = Step { call: &call, cache: &cache, key: &key, lookup, begun, extent };
    let fetch = step.begin(permit, step.not_to_be_stored(), CacheStatus::Bypass)?;
    let report = fetch.run().await;
    let handling = Handling::forwarded(Forwarded::Bypass, Reason::BypassRule);
    step.report(report, handling, CacheStatus::Bypass)
}

pub(super) fn hit(call: &Call<'_>, cache: &Cache, found: Found) -> Answer {
    let handling = Handling {
        forwarded: None,
        forwarded_status: None,
        stored: false,
        collapsed: false,
        ttl_s: Some(found.stored.fresh_for(call.now).as_secs() as i64),
        reason: Reason::Fresh,
    };
    let served = Served {
        names: found.names(),
        stored: found.stored,
        source: Source::Rest(found.body),
        status: CacheStatus::Hit,
        handling,
    };
    deliver::stored(call, cache, served)
}

/// Whether what is stored answers this request as it is.
pub(super) fn is_fresh(call: &Call<'_>, cache: &Cache, found: &Found) -> bool {
    let (rules, request) = (&cache.settings.rules, &call.request.headers);
    reuse::decide(&found.stored, rules, &call.demand(cache), call.now) == Reuse::Fresh
        && (call.wants_all || !precondition::is_for_the_origin(request, Some(&found.stored), rules))
}

/// Whether any of some predicates holds (nginx: proxy_cache_bypass, proxy_no_cache).
pub(super) fn any_is_true(
    call: &Call<'_>,
    predicates: &[crate::config::template::Template],
) -> bool {
    if predicates.is_empty() {
        return false;
    }
    let mut scratch = Vec::new();
    predicates.iter().any(|predicate| predicate.is_true(call, &mut scratch))
}

fn absent(at: KeyHash) -> Lookup {
    Lookup::Absent { at, other_variant: false }
}

const PRECONDITION: Uncached = Uncached {
    forwarded: Forwarded::Request,
    reason: Reason::Precondition,
    status: Some(CacheStatus::Bypass),
};

/// Times a request waits for somebody who then goes away, before it fetches for itself.
const TURNS_MAX: usize = 8;
