//! One turn of a request that is not answered yet: serve, wait, or fetch.

use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode};

use super::call::OwnedCall;
use super::deliver::{self, Answer, Served, Source};
use super::error::Error;
use super::extent::Extent;
use super::fetch::{Fetch, Fetched, Report, Wish};
use super::partial;
use super::plan::{self, Plan, plan, what_to_ask_for, why_asked};
use super::route::Cache;
use super::serve::{hit, is_fresh};
use crate::cache::lock::{Outcome, Permit, Turn};
use crate::cache::lookup::{Found, Key, Lookup};
use crate::semantics::fields::Names;
use crate::semantics::key::KeyHash;
use crate::semantics::reason::Reason;
use crate::semantics::reuse;
use crate::semantics::stale::{self, Failure};
use crate::semantics::status::{CacheStatus, Forwarded, Handling};
use crate::tried::Tried;

/// One turn of a request that is not answered yet.
pub(super) struct Step<'a> {
    pub(super) call: &'a Arc<OwnedCall>,
    pub(super) cache: &'a Arc<Cache>,
    pub(super) key: &'a Key,
    pub(super) lookup: Lookup,
    /// Since when it has been waiting for others, if it had to.
    pub(super) begun: Instant,
    /// How much is fetched, where something is.
    pub(super) extent: Extent,
}

/// What came of it.
pub(super) enum Taken {
    Answered(Box<Answer>),
    LookAgain,
    /// Somebody else's fetch takes longer than `lock_age`: look again, one may overtake it.
    OverAge,
}

impl Step<'_> {
    pub(super) async fn take(mut self) -> Result<Taken, Error> {
        if !self.extent.is_slice() {
            (self.lookup, self.extent) =
                what_to_ask_for(&self.call.view(), self.cache, self.lookup);
        }
        let view = self.call.view();
        let zone = &self.cache.zone;
        let demand = view.demand(self.cache);
        match plan(&view, self.cache, &self.lookup) {
            Plan::Hit(found) => return Ok(answered(hit(&view, self.cache, found.clone()))),
            Plan::Updating(found) => return Ok(answered(self.updating(found.clone()))),
            Plan::HeldDown(found) => return Ok(answered(self.held_down(found.clone()))),
            Plan::MaxStale(found) => return Ok(answered(self.max_stale(found.clone()))),
            Plan::Ask => {}
        }
        if demand.only_if_cached {
            return Err(Error::OnlyIfCached);
        }
        if matches!(self.extent, Extent::AsAsked) {
            let permit = zone.fetch_beside(self.key.primary);
            return self.fetch(permit, None).await.map(answered);
        }
        let at = self.at();
        let (settings, updating) = (&self.cache.settings, self.servable_while_updating().is_some());
        // Without a lock it still counts who fetches, where others need not wait for it.
        let joins = (settings.lock || updating) && !demand.no_store;
        if !joins || zone.is_hit_for_miss(at) {
            let permit = zone.fetch_beside(self.key.primary);
            return self.fetch(permit, None).await.map(answered);
        }
        match zone.join(self.key.primary, at, settings.lock_age) {
            Turn::Fetch(permit) => {
                let lookup = zone.lookup(self.key, &view.request.headers).await;
                if let Some(answer) = self.fetched_meanwhile(&lookup) {
                    return Ok(answered(answer));
                }
                if matches!(lookup, Lookup::Absent { .. }) {
                    // Purged since we looked, if it was there: nothing may bring it back.
                    if matches!(self.extent, Extent::RestOf(_)) {
                        self.extent = Extent::Whole;
                    }
                    self.lookup = lookup;
                }
                self.fetch(permit, None).await.map(answered)
            }
            Turn::Wait(waiter) => {
                if let Some(found) = self.servable_while_updating() {
                    return Ok(answered(self.updating(found.clone())));
                }
                let now = view.worker.proxy.clock.instant();
                let waited = now.saturating_duration_since(self.begun);
                let left = settings.lock_timeout.saturating_sub(waited);
                let over_age_in = waiter.over_age_in(now, settings.lock_age);
                match waiter.outcome(left.min(over_age_in)).await {
                    None if over_age_in < left => Ok(Taken::OverAge),
                    outcome => self.waited(at, outcome).await,
                }
            }
        }
    }

    /// What comes of having waited for somebody else's fetch.
    async fn waited(self, at: KeyHash, outcome: Option<Outcome>) -> Result<Taken, Error> {
        let zone = &self.cache.zone;
        match outcome {
            Some(Outcome::Stream(fill))
                if (fill.at == at && self.key.admits(&fill.stored)) || self.extent.takes(&fill) =>
            {
                self.join(fill).await
            }
            Some(Outcome::Freshened(found))
                if found.at == at && self.key.admits(&found.stored) && self.is_enough(&found) =>
            {
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
            Some(Outcome::Failed(failure)) => {
                self.failed(failure, (self.fetched_status(), &[]), self.handling()).map(answered)
            }
            Some(Outcome::Alone) => {
                let permit = zone.fetch_beside(self.key.primary);
                self.fetch(permit, None).await.map(answered)
            }
            None => {
                let permit = zone.fetch_beside(self.key.primary);
                self.fetch(permit, Some(Reason::LockTimeout)).await.map(answered)
            }
        }
    }

    /// Fetches, and answers with what came of it.
    pub(super) async fn fetch(
        self,
        permit: Permit,
        dont_store: Option<Reason>,
    ) -> Result<Answer, Error> {
        let dont_store = dont_store.or_else(|| self.not_to_be_stored());
        let (handling, status) = (self.handling(), self.fetched_status());
        let report = self.begin(permit, dont_store, status)?.run().await;
        self.report(report, handling, status)
    }

    pub(super) fn report(
        self,
        report: Report,
        handling: Handling,
        status: CacheStatus,
    ) -> Result<Answer, Error> {
        let view = self.call.view();
        let Report { fetched, aside } = report;
        let answer = match fetched {
            Fetched::Stream { fill, first, status: code, withheld } => {
                let handling = Handling { forwarded_status: Some(code), stored: true, ..handling };
                let stored = Arc::clone(&fill.stored);
                let served = Served {
                    stored,
                    names: Names::of(&fill.stored.fields),
                    source: Source::Fill(fill),
                    status,
                    handling,
                };
                let mut answer = deliver::stored(&view, self.cache, served);
                // What is not stored is for the client that asked.
                answer.response.headers_mut().extend(*withheld);
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
            Fetched::Failed(Error::Upstream(failure)) => {
                self.failed(failure, (status, &aside.tried), handling)?
            }
            Fetched::Failed(error) => return Err(error),
        };
        Ok(answer.after(aside.tried).setting(aside.set_cookie))
    }

    /// The origin failed: what is stored stands in where that is allowed.
    fn failed(
        &self,
        failure: Failure,
        (status, tried): (CacheStatus, &[Tried]),
        handling: Handling,
    ) -> Result<Answer, Error> {
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
                let handling = Handling { forwarded_status: code, reason, ..handling };
                Ok(self.serve(found.clone(), CacheStatus::Stale, handling))
            }
            _ => {
                let forwarded = handling.forwarded.unwrap_or(Forwarded::UriMiss);
                let (word, tried) = (Some(status), tried.to_vec());
                Err(Error::UpstreamAfter { failure, word, forwarded, tried })
            }
        }
    }

    fn held_down(&self, found: Found) -> Answer {
        let handling = Handling { forwarded: None, reason: Reason::HeldDown, ..self.handling() };
        self.serve(found, CacheStatus::Stale, handling)
    }

    /// Serves stale at once; validates behind the answer unless somebody does already. nginx says
    /// STALE to the request that has it validated, UPDATING to the others.
    fn updating(&self, found: Found) -> Answer {
        let settings = &self.cache.settings;
        let handling = Handling { forwarded: None, reason: Reason::Updating, ..self.handling() };
        let Turn::Fetch(permit) =
            self.cache.zone.join(self.key.primary, found.at, settings.lock_age)
        else {
            return self.serve(found, CacheStatus::Updating, handling);
        };
        let view = self.call.view();
        let lookup = self.cache.zone.lookup_at_hand(self.key, &view.request.headers, view.now);
        if let Some(answer) = self.fetched_meanwhile(&lookup) {
            return answer;
        }
        match self.begin(permit, self.not_to_be_stored(), CacheStatus::Expired) {
            Ok(fetch) => fetch.run_behind(),
            Err(error) => tracing::debug!(?error, "cannot validate behind an answer"),
        }
        self.serve(found, CacheStatus::Stale, handling)
    }

    /// Serves stale, since the request takes that.
    fn max_stale(&self, found: Found) -> Answer {
        let handling = Handling { forwarded: None, reason: Reason::MaxStale, ..self.handling() };
        self.serve(found, CacheStatus::Stale, handling)
    }

    fn serve(&self, found: Found, status: CacheStatus, handling: Handling) -> Answer {
        let ttl_s = ttl_s(&found, self.call);
        let served = Served {
            names: found.names(),
            stored: found.stored,
            source: Source::Rest(found.body),
            status,
            handling: Handling { ttl_s: Some(ttl_s), ..handling },
        };
        deliver::stored(&self.call.view(), self.cache, served)
    }

    pub(super) fn begin(
        &self,
        permit: Permit,
        dont_store: Option<Reason>,
        status: CacheStatus,
    ) -> Result<Fetch, Error> {
        let stale = match &self.lookup {
            // Its validators would be for the whole.
            Lookup::Found(found) if self.extent.is_shared() => Some(found.clone()),
            _ => None,
        };
        let extent = self.extent.clone();
        let wish = Wish { at: self.at(), stale, dont_store, status, extent };
        Fetch::new(self.call, self.cache, self.key, permit, wish)
    }

    /// What the request alone says against storing its answer.
    pub(super) fn not_to_be_stored(&self) -> Option<Reason> {
        let view = self.call.view();
        let settings = &self.cache.settings;
        if view.demand(self.cache).no_store {
            return Some(Reason::RequestNoStore);
        }
        if view.request.method == Method::HEAD && !settings.convert_head {
            return Some(Reason::Method);
        }
        let absent = !matches!(self.lookup, Lookup::Found(_));
        let few = absent
            && settings.min_uses > 1
            && self.cache.zone.count_use(self.at()) < settings.min_uses;
        few.then_some(Reason::MinUses)
    }

    fn is_enough(&self, found: &Found) -> bool {
        matches!(self.extent, Extent::Slice(_)) || partial::is_enough(&self.call.view(), found)
    }

    /// The answer from what a new lookup found: between our look and our turn to fetch, somebody
    /// else's fetch may have ended.
    fn fetched_meanwhile(&self, lookup: &Lookup) -> Option<Answer> {
        let view = self.call.view();
        match lookup {
            Lookup::Found(found) if is_fresh(&view, self.cache, found) && self.is_enough(found) => {
                Some(hit(&view, self.cache, found.clone()))
            }
            _ => None,
        }
    }

    fn servable_while_updating(&self) -> Option<&Found> {
        let Lookup::Found(found) = &self.lookup else { return None };
        let (view, rules) = (self.call.view(), &self.cache.settings.rules);
        let demand = view.demand(self.cache);
        reuse::may_serve_while_updating(&found.stored, rules, &demand, view.now).then_some(found)
    }

    fn at(&self) -> KeyHash {
        match &self.lookup {
            Lookup::Found(found) => found.at,
            Lookup::Absent { at, .. } => *at,
            Lookup::AskDisk => self.key.hash,
        }
    }

    pub(super) fn fetched_status(&self) -> CacheStatus {
        plan::fetched_status(&self.call.view(), self.cache, &self.lookup)
    }

    pub(super) fn handling(&self) -> Handling {
        why_asked(&self.call.view(), self.cache, &self.lookup, &self.extent)
    }
}

pub(super) fn answered(answer: Answer) -> Taken {
    Taken::Answered(Box::new(answer))
}

fn ttl_s(found: &Found, call: &OwnedCall) -> i64 {
    let now = call.view().now;
    let stored = &found.stored;
    stored.fresh_for(now).as_secs() as i64 - stored.stale_for(now).as_secs() as i64
}
