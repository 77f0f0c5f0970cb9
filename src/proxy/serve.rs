//! The cached path: look up, decide, then hit, wait or fetch.

use std::sync::Arc;

use http::{Method, StatusCode};

use super::call::{Call, OwnedCall};
use super::deliver::{self, Answer, Served, Source};
use super::error::Error;
use super::fetch::{Fetch, Fetched, Report, Wish};
use super::route::Cache;
use crate::body::Body;
use crate::cache::lock::{Outcome, Permit, Turn};
use crate::cache::lookup::{Found, Key, Lookup};
use crate::semantics::key::KeyHash;
use crate::semantics::reason::Reason;
use crate::semantics::reuse::{self, Reuse};
use crate::semantics::stale::{self, Failure};
use crate::semantics::status::{CacheStatus, Forwarded, Handling};

/// Why a request goes past the cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Uncached {
    pub(super) forwarded: Forwarded,
    pub(super) reason: Reason,
    pub(super) status: Option<CacheStatus>,
}

/// A request that memory alone could not answer.
pub(super) struct Missed {
    cache: Arc<Cache>,
    key: Key,
    /// Nothing where a rule said not to look.
    lookup: Option<Lookup>,
}

/// The route's cache, if this request may be answered from it.
pub(super) fn cacheable<'a>(call: &Call<'a>, body: &Body) -> Result<&'a Arc<Cache>, Uncached> {
    let uncached = |forwarded, reason, status| Err(Uncached { forwarded, reason, status });
    let Some(cache) = &call.route.cache else {
        return uncached(Forwarded::Bypass, Reason::CacheOff, None);
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

/// Answers from memory if that is possible without asking anybody. The hit path.
pub(super) fn from_memory(call: &Call<'_>, cache: &Arc<Cache>) -> Result<Answer, Box<Missed>> {
    let key = call.key(cache);
    if any_is_true(call, &cache.settings.bypass) {
        return Err(Box::new(Missed { cache: Arc::clone(cache), key, lookup: None }));
    }
    match cache.zone.lookup_in_memory(&key, &call.request.headers, call.now) {
        Lookup::Found(found) if is_fresh(call, cache, &found) => Ok(hit(call, cache, found)),
        lookup => Err(Box::new(Missed { cache: Arc::clone(cache), key, lookup: Some(lookup) })),
    }
}

/// Answers a request that memory alone could not: from disk, by fetching, or by waiting for
/// somebody who fetches.
pub(super) async fn fetch_or_wait(
    call: Arc<OwnedCall>,
    missed: Box<Missed>,
) -> Result<Answer, Error> {
    let Missed { cache, key, lookup } = *missed;
    let Some(mut lookup) = lookup else {
        return bypass(call, cache, key).await;
    };
    for _ in 0..TURNS_MAX {
        if matches!(lookup, Lookup::AskDisk) {
            lookup = cache.zone.lookup(&key, &call.view().request.headers).await;
        }
        let step = Step { call: &call, cache: &cache, key: &key, lookup };
        match step.take().await? {
            Taken::Answered(answer) => return Ok(*answer),
            // Somebody else's fetch ended: look again, there may be something now.
            Taken::LookAgain => lookup = Lookup::AskDisk,
        }
    }
    // Others went away again and again while we waited for them.
    let at = key.hash;
    let permit = cache.zone.fetch_beside(key.hash);
    let step = Step { call: &call, cache: &cache, key: &key, lookup: absent(at) };
    step.fetch(permit, None).await
}

/// One turn of a request that is not answered yet.
struct Step<'a> {
    call: &'a Arc<OwnedCall>,
    cache: &'a Arc<Cache>,
    key: &'a Key,
    lookup: Lookup,
}

enum Taken {
    Answered(Box<Answer>),
    LookAgain,
}

impl Step<'_> {
    async fn take(self) -> Result<Taken, Error> {
        let view = self.call.view();
        let zone = &self.cache.zone;
        if let Lookup::Found(found) = &self.lookup {
            match reuse::decide(&found.stored, &self.cache.settings.rules, view.now) {
                Reuse::Fresh => return Ok(answered(hit(&view, self.cache, found.clone()))),
                Reuse::StaleWhileRevalidate => {
                    return Ok(answered(self.updating(found.clone())));
                }
                Reuse::Validate => {}
            }
        }
        let at = self.at();
        if !self.cache.settings.lock || zone.is_hit_for_miss(at) {
            let permit = zone.fetch_beside(self.key.hash);
            return self.fetch(permit, None).await.map(answered);
        }
        match zone.join(self.key.hash, at) {
            Turn::Fetch(permit) => {
                // Between our look and our turn somebody else's fetch may have ended.
                if let Lookup::Found(found) = zone.lookup(self.key, &view.request.headers).await
                    && is_fresh(&view, self.cache, &found)
                {
                    return Ok(answered(hit(&view, self.cache, found)));
                }
                self.fetch(permit, None).await.map(answered)
            }
            Turn::Wait(waiter) => {
                if let Some(found) = self.servable_while_updating() {
                    return Ok(answered(self.updating(found.clone())));
                }
                let outcome = waiter.outcome(self.cache.settings.lock_timeout).await;
                self.waited(at, outcome).await
            }
        }
    }

    /// What comes of having waited for somebody else's fetch.
    async fn waited(self, at: KeyHash, outcome: Option<Outcome>) -> Result<Taken, Error> {
        let zone = &self.cache.zone;
        match outcome {
            Some(Outcome::Stream(fill)) if fill.at == at => {
                let served = Served {
                    stored: Arc::clone(&fill.stored),
                    source: Source::Fill(Arc::clone(&fill)),
                    status: self.fetched_status(),
                    handling: Handling {
                        forwarded_status: None,
                        collapsed: true,
                        reason: Reason::Collapsed,
                        ..self.handling()
                    },
                };
                Ok(answered(deliver::stored(&self.call.view(), self.cache, served)))
            }
            Some(Outcome::Freshened(found)) if found.at == at => {
                let handling = Handling {
                    collapsed: true,
                    forwarded_status: Some(StatusCode::NOT_MODIFIED.as_u16()),
                    reason: Reason::Revalidated,
                    ..self.handling()
                };
                let answer = self.serve(found, CacheStatus::Revalidated, handling);
                Ok(answered(answer))
            }
            // It rests elsewhere: another variant than ours, or ours now that the list is known.
            Some(Outcome::Stream(_) | Outcome::Freshened(_) | Outcome::Abandoned) => {
                Ok(Taken::LookAgain)
            }
            Some(Outcome::Failed(failure)) => self.failed(failure).map(answered),
            Some(Outcome::Alone) => {
                let permit = zone.fetch_beside(self.key.hash);
                self.fetch(permit, None).await.map(answered)
            }
            None => {
                let permit = zone.fetch_beside(self.key.hash);
                self.fetch(permit, Some(Reason::LockTimeout)).await.map(answered)
            }
        }
    }

    /// Fetches, and answers with what came of it.
    async fn fetch(self, permit: Permit, dont_store: Option<Reason>) -> Result<Answer, Error> {
        let dont_store = dont_store.or_else(|| self.not_to_be_stored());
        let (handling, status) = (self.handling(), self.fetched_status());
        let report = self.begin(permit, dont_store, status)?.run().await;
        self.report(report, handling, status)
    }

    fn report(
        self,
        report: Report,
        handling: Handling,
        status: CacheStatus,
    ) -> Result<Answer, Error> {
        let view = self.call.view();
        let answer = match report.fetched {
            Fetched::Stream { fill, first, status: code } => {
                let handling = Handling { forwarded_status: Some(code), stored: true, ..handling };
                let stored = Arc::clone(&fill.stored);
                let served = Served { stored, source: Source::Fill(fill), status, handling };
                let answer = deliver::stored(&view, self.cache, served);
                // Held until there was somebody else to follow the fill.
                drop(first);
                answer
            }
            Fetched::Freshened(found) => {
                let code = Some(StatusCode::NOT_MODIFIED.as_u16());
                let reason = Reason::Revalidated;
                let handling = Handling { forwarded_status: code, reason, ..handling };
                self.serve(found, CacheStatus::Revalidated, handling)
            }
            Fetched::Pass(response, reason) => {
                let code = Some(response.status().as_u16());
                // A rule that told us not to look is the better explanation.
                let reason = if status == CacheStatus::Bypass { handling.reason } else { reason };
                let handling = Handling { forwarded_status: code, reason, ..handling };
                deliver::passed(&view, *response, handling, Some(status))
            }
            Fetched::Failed(Error::Upstream(failure)) => self.failed(failure)?,
            Fetched::Failed(error) => return Err(error),
        };
        Ok(answer.after(report.upstream))
    }

    /// The origin failed: what is stored stands in where that is allowed.
    fn failed(&self, failure: Failure) -> Result<Answer, Error> {
        let view = self.call.view();
        let rules = &self.cache.settings.rules;
        match &self.lookup {
            Lookup::Found(found)
                if stale::may_stand_in(&found.stored, rules, failure, view.now) =>
            {
                let code = match failure {
                    Failure::Status(code) => Some(code),
                    _ => None,
                };
                let reason = Reason::OriginFailed;
                let handling = Handling { forwarded_status: code, reason, ..self.handling() };
                Ok(self.serve(found.clone(), CacheStatus::Stale, handling))
            }
            _ => Err(Error::Upstream(failure)),
        }
    }

    /// Serves stale at once; validates behind the answer unless somebody does already.
    fn updating(&self, found: Found) -> Answer {
        if let Turn::Fetch(permit) = self.cache.zone.join(self.key.hash, found.at) {
            let dont_store = self.not_to_be_stored();
            match self.begin(permit, dont_store, CacheStatus::Expired) {
                Ok(fetch) => fetch.run_behind(),
                Err(error) => tracing::debug!(?error, "cannot validate behind an answer"),
            }
        }
        let handling = Handling { forwarded: None, reason: Reason::Updating, ..self.handling() };
        self.serve(found, CacheStatus::Updating, handling)
    }

    fn serve(&self, found: Found, status: CacheStatus, handling: Handling) -> Answer {
        let ttl_s = ttl_s(&found, self.call);
        let served = Served {
            stored: found.stored,
            source: Source::Rest(found.body),
            status,
            handling: Handling { ttl_s: Some(ttl_s), ..handling },
        };
        deliver::stored(&self.call.view(), self.cache, served)
    }

    fn begin(
        &self,
        permit: Permit,
        dont_store: Option<Reason>,
        status: CacheStatus,
    ) -> Result<Fetch, Error> {
        let stale = match &self.lookup {
            Lookup::Found(found) => Some(found.clone()),
            Lookup::Absent { .. } | Lookup::AskDisk => None,
        };
        let wish = Wish { at: self.at(), stale, dont_store, status };
        Fetch::new(self.call, self.cache, self.key, permit, wish)
    }

    /// What the request alone says against storing its answer.
    fn not_to_be_stored(&self) -> Option<Reason> {
        let view = self.call.view();
        let settings = &self.cache.settings;
        if view.request.method == Method::HEAD && !settings.convert_head {
            return Some(Reason::Method);
        }
        let absent = !matches!(self.lookup, Lookup::Found(_));
        let few = absent
            && settings.min_uses > 1
            && self.cache.zone.count_use(self.at()) < settings.min_uses;
        few.then_some(Reason::MinUses)
    }

    fn servable_while_updating(&self) -> Option<&Found> {
        let Lookup::Found(found) = &self.lookup else { return None };
        let allowed = self.cache.settings.rules.use_stale.updating;
        let forbidden = found.stored.must_revalidate || found.stored.no_cache;
        (allowed && !forbidden).then_some(found)
    }

    fn at(&self) -> KeyHash {
        match &self.lookup {
            Lookup::Found(found) => found.at,
            Lookup::Absent { at, .. } => *at,
            Lookup::AskDisk => self.key.hash,
        }
    }

    /// nginx's word for an answer that had to be fetched.
    fn fetched_status(&self) -> CacheStatus {
        match &self.lookup {
            Lookup::Found(_) => CacheStatus::Expired,
            Lookup::Absent { .. } | Lookup::AskDisk => CacheStatus::Miss,
        }
    }

    /// Why there is something to fetch.
    fn handling(&self) -> Handling {
        let (forwarded, reason) = match &self.lookup {
            Lookup::Found(found) if found.stored.no_cache => (Forwarded::Stale, Reason::NoCache),
            Lookup::Found(_) => (Forwarded::Stale, Reason::Expired),
            Lookup::Absent { other_variant: true, .. } => {
                (Forwarded::VaryMiss, Reason::OtherVariant)
            }
            Lookup::Absent { .. } | Lookup::AskDisk => (Forwarded::UriMiss, Reason::Absent),
        };
        Handling::forwarded(forwarded, reason)
    }
}

/// A rule said not to look: fetch beside everybody else, and store what comes.
async fn bypass(call: Arc<OwnedCall>, cache: Arc<Cache>, key: Key) -> Result<Answer, Error> {
    let permit = cache.zone.fetch_beside(key.hash);
    let step = Step { call: &call, cache: &cache, key: &key, lookup: absent(key.hash) };
    let fetch = step.begin(permit, step.not_to_be_stored(), CacheStatus::Bypass)?;
    let report = fetch.run().await;
    let handling = Handling::forwarded(Forwarded::Bypass, Reason::BypassRule);
    step.report(report, handling, CacheStatus::Bypass)
}

fn hit(call: &Call<'_>, cache: &Cache, found: Found) -> Answer {
    let handling = Handling {
        forwarded: None,
        forwarded_status: None,
        stored: false,
        collapsed: false,
        ttl_s: Some(found.stored.fresh_for(call.now).as_secs() as i64),
        reason: Reason::Fresh,
    };
    let served = Served {
        stored: found.stored,
        source: Source::Rest(found.body),
        status: CacheStatus::Hit,
        handling,
    };
    deliver::stored(call, cache, served)
}

fn is_fresh(call: &Call<'_>, cache: &Cache, found: &Found) -> bool {
    reuse::decide(&found.stored, &cache.settings.rules, call.now) == Reuse::Fresh
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

fn answered(answer: Answer) -> Taken {
    Taken::Answered(Box::new(answer))
}

fn ttl_s(found: &Found, call: &OwnedCall) -> i64 {
    let now = call.view().now;
    let stored = &found.stored;
    stored.fresh_for(now).as_secs() as i64 - stored.stale_for(now).as_secs() as i64
}

/// Times a request waits for somebody who then goes away, before it fetches for itself.
const TURNS_MAX: usize = 8;
