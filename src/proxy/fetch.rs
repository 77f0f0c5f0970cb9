//! One exchange with an upstream whose answer may be stored, and its tee into a fill.
//!
//! It runs as a task of its own: it ends when the response is stored, whoever still wants it.

use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body as HttpBody;
use tokio::sync::oneshot;

use super::call::OwnedCall;
use super::deliver::Source;
use super::error::{self, Error};
use super::extent::{self, Extent};
use super::invalidate::invalidate;
use super::route::Cache;
use super::tee::{names, not_to_be_stored};
use super::{incoming, outgoing};
use crate::body::Body;
use crate::cache::Refusal;
use crate::cache::fill::{Fill, Writer};
use crate::cache::follow::Follower;
use crate::cache::lock::{Outcome, Permit};
use crate::cache::lookup::{Found, Key};
use crate::observe::exchange::UpstreamFacts;
use crate::semantics::advice;
use crate::semantics::date::Timestamp;
use crate::semantics::demand::Demand;
use crate::semantics::freshness::Times;
use crate::semantics::key::KeyHash;
use crate::semantics::no_vary_search::says_the_same;
use crate::semantics::reason::Reason;
use crate::semantics::reuse::{self, Reuse};
use crate::semantics::stale::{self, Failure};
use crate::semantics::status::CacheStatus;
use crate::semantics::storable::{Asked, Storable, withheld};
use crate::semantics::stored::Stored;
use crate::semantics::validation::{self, Head};

/// A fetch that is about to begin.
pub(super) struct Fetch {
    call: Arc<OwnedCall>,
    cache: Arc<Cache>,
    key: Key,
    permit: Permit,
    /// Where the response would rest, as far as is known before it comes.
    at: KeyHash,
    stale: Option<Found>,
    /// Why the answer is not to be stored, whatever it says.
    dont_store: Option<Reason>,
    /// The word for the answer that this fetch is for.
    status: CacheStatus,
    /// How much is asked for.
    extent: Extent,
    request: Request<()>,
    /// The zone's last purge before this began: later ones count for what comes of it.
    generation: u64,
}

/// What is known before a fetch begins.
pub(super) struct Wish {
    /// Where the response would rest.
    pub(super) at: KeyHash,
    /// What is stored and no longer fresh.
    pub(super) stale: Option<Found>,
    /// Why the answer is not to be stored, whatever it says.
    pub(super) dont_store: Option<Reason>,
    /// The word for the answer that comes of it.
    pub(super) status: CacheStatus,
    /// How much is asked for.
    pub(super) extent: Extent,
}

/// What came of a fetch.
pub(super) struct Report {
    pub(super) fetched: Fetched,
    pub(super) upstream: Option<UpstreamFacts>,
}

/// What came of a fetch, for the request that began it.
pub(super) enum Fetched {
    /// A response that is being stored: follow it.
    Stream {
        fill: Arc<Fill>,
        /// Keeps the fill from finding that nobody follows it.
        first: Follower,
        status: u16,
        /// Fields that are not stored, for the request that began it.
        withheld: Box<HeaderMap>,
    },
    /// The stored response is good again.
    Freshened(Found),
    /// A response that is not stored.
    Pass(Box<Response<Body>>, Reason),
    /// No answer that is of use.
    Failed(Error),
}

impl Fetch {
    /// Prepares a fetch.
    ///
    /// # Errors
    /// The request cannot be sent on: answer with the error.
    pub(super) fn new(
        call: &Arc<OwnedCall>,
        cache: &Arc<Cache>,
        key: &Key,
        permit: Permit,
        wish: Wish,
    ) -> Result<Self, Error> {
        let mut request = outgoing::request(&call.view())?;
        outgoing::ask_for_all(&mut request, cache.settings.convert_head);
        let (call, cache, key) = (Arc::clone(call), Arc::clone(cache), key.clone());
        let generation = cache.zone.generation();
        let Wish { at, stale, dont_store, status, extent } = wish;
        Ok(Self {
            call,
            cache,
            key,
            permit,
            at,
            stale,
            dont_store,
            status,
            extent,
            request,
            generation,
        })
    }

    /// Fetches; ready when it is known what comes. The rest goes on behind.
    pub(super) async fn run(mut self) -> Report {
        outgoing::hear_interim(&mut self.request, self.call.interim.as_ref());
        let (report, reported) = oneshot::channel();
        tokio::spawn(self.fetch(report));
        reported.await.unwrap_or_else(|_| {
            // Only a panic drops the sender unused; the worker goes on.
            Report { fetched: Fetched::Failed(Error::Upstream(Failure::Error)), upstream: None }
        })
    }

    /// Fetches for nobody in particular, so that nobody gets the interim responses.
    pub(super) fn run_behind(self) {
        let view = self.call.view();
        view.worker.shard.count_background_fetch(self.cache.zone_number);
        let (report, _) = oneshot::channel();
        tokio::spawn(self.fetch(report));
    }

    async fn fetch(mut self, report: oneshot::Sender<Report>) {
        let worker = Arc::clone(self.call.view().worker);
        let clock = &worker.proxy.clock;
        let (begun, requested) = (clock.instant(), Timestamp::from(clock.now()));
        let validating = self.make_conditional();
        let request = std::mem::replace(&mut self.request, Request::new(()));
        let method = request.method().clone();
        let sent = self.extent.send(&self.call, request).await;
        let times = Times { requested, received: Timestamp::from(clock.now()) };
        let facts = |peer: Option<&Arc<str>>| incoming::facts(peer, clock.instant(), begun);
        let reply = match sent {
            Ok(reply) => reply,
            Err(failure) => {
                let upstream = facts(failure.peer.as_ref());
                tracing::warn!(error = %failure, "upstream failed");
                let fetched = self.failed(error::of_upstream(&failure.error));
                return tell(report, fetched, upstream);
            }
        };
        let upstream = facts(Some(&reply.peer));
        let mut response = reply.response;
        incoming::clean(&mut response, &method);
        if validating && response.status() == StatusCode::NOT_MODIFIED {
            let fetched = self.not_modified(response.headers(), times).await;
            return tell(report, fetched, upstream);
        }
        if self.stale_stands_in_for(response.status()) {
            let failure = Failure::Status(response.status().as_u16());
            let fetched = self.failed(Error::Upstream(failure));
            return tell(report, fetched, upstream);
        }
        if method == Method::HEAD
            && let Some(fetched) = self.head(response.status(), response.headers(), times).await
        {
            return tell(report, fetched, upstream);
        }
        // A method that the operator caches may be unsafe all the same.
        invalidate(&self.call, response.status(), response.headers(), Some(self.key.hash)).await;
        match self.storable(&response, times) {
            Storable::Yes(stored)
                if extent::is_less(&self.call, &self.cache, &self.key, &stored).await =>
            {
                let fetched = self.pass(response, Reason::Partial).await;
                tell(report, fetched, upstream);
            }
            Storable::No(reason) => {
                let fetched = self.pass(response, reason).await;
                tell(report, fetched, upstream);
            }
            Storable::Yes(stored) => {
                let stored = Stored { generation: self.generation, ..*stored };
                self.store(stored, response, report, upstream).await;
            }
        }
    }

    fn make_conditional(&mut self) -> bool {
        let rules = &self.cache.settings.rules;
        self.stale.as_ref().is_some_and(|found| {
            validation::make_conditional(&found.stored, rules, self.request.headers_mut())
        })
    }

    fn failed(&self, error: Error) -> Fetched {
        let outcome = match &error {
            Error::Upstream(failure) => {
                self.hold_down(*failure);
                Outcome::Failed(*failure)
            }
            _ => Outcome::Abandoned,
        };
        self.permit.settle(outcome);
        Fetched::Failed(error)
    }

    /// Leaves the origin alone for a moment, as far as a stale response may stand in.
    fn hold_down(&self, failure: Failure) {
        if let Some(found) = &self.stale {
            let hold_down = self.cache.settings.hold_down;
            self.cache.zone.hold_down(found.at, failure, hold_down);
        }
    }

    fn stale_stands_in_for(&self, status: StatusCode) -> bool {
        let (rules, status) = (&self.cache.settings.rules, status.as_u16());
        let now = self.call.view().now;
        stale::is_failure(status, rules)
            && self.stale.as_ref().is_some_and(|found| {
                stale::may_stand_in(&found.stored, rules, Failure::Status(status), now)
            })
    }

    fn asked(&self) -> Asked<'_> {
        self.call.view().asked(&self.key)
    }

    fn storable(&self, response: &Response<Body>, times: Times) -> Storable {
        if let Some(reason) = self.dont_store {
            return Storable::No(reason);
        }
        if let Some(reason) = not_to_be_stored(&self.call.view(), &self.cache, response) {
            return Storable::No(reason);
        }
        let rules = &self.cache.settings.rules;
        self.extent.storable(self.asked(), response, rules, times)
    }

    /// The origin says that what is stored is still good.
    async fn not_modified(&self, not_modified: &HeaderMap, times: Times) -> Fetched {
        let Some(found) = &self.stale else {
            return self.failed(Error::Upstream(Failure::InvalidHeader));
        };
        if self.dont_store == Some(Reason::RequestNoStore) {
            self.permit.settle(Outcome::Alone);
            return Fetched::Freshened(found.clone());
        }
        let rules = &self.cache.settings.rules;
        match validation::freshen(&found.stored, not_modified, self.asked(), rules, times) {
            Storable::Yes(stored) if says_the_same(&found.stored.fields, &stored.fields) => {
                let (zone, stored) =
                    (&self.cache.zone, Stored { generation: self.generation, ..*stored });
                let may_store = zone.may_store(&self.key.text, &stored);
                let freshen = || zone.store.freshen(found.at, &found.entry, stored.clone());
                let entry = self.permit.unless_purged(|| may_store.then(freshen)).flatten();
                let fresh = match entry {
                    Some(entry) => Found { entry, stored: Arc::new(stored), ..found.clone() },
                    None => found.clone(),
                };
                self.permit.settle(Outcome::Freshened(fresh.clone()));
                Fetched::Freshened(fresh)
            }
            _ => {
                // Good for this answer, but not to be kept any longer, or not under this key.
                self.cache.zone.store.remove(found.at).await;
                self.permit.settle(Outcome::Alone);
                Fetched::Freshened(found.clone())
            }
        }
    }

    /// What an answer to `HEAD` does to the response to `GET` that is stored (RFC 9111 section
    /// 4.3.5): freshens it, or shows that it is out of date.
    async fn head(&self, status: StatusCode, fields: &HeaderMap, times: Times) -> Option<Fetched> {
        let found = self.stale.as_ref().filter(|_| self.cache.settings.rules.update_from_head)?;
        let length = Source::Rest(found.body.clone()).length()?;
        match validation::head(&found.stored, length, status, fields) {
            Head::Same => Some(self.not_modified(fields, times).await),
            Head::Nothing => None,
            Head::Other => {
                self.cache.zone.store.remove(found.at).await;
                None
            }
        }
    }

    /// Passes a response on that is not stored. What it replaces must not be found any more.
    async fn pass(&self, response: Response<Body>, reason: Reason) -> Fetched {
        self.note_refusal(&response, reason);
        if response.status().is_server_error() {
            self.hold_down(Failure::Status(response.status().as_u16()));
        }
        if self.extent.is_shared() {
            self.cache.zone.mark_hit_for_miss(self.at);
        }
        self.permit.settle(Outcome::Alone);
        if let Some(found) = &self.stale
            && response.status().is_success()
            && self.dont_store.is_none()
        {
            self.cache.zone.store.remove(found.at).await;
        }
        Fetched::Pass(Box::new(response), reason)
    }

    fn note_refusal(&self, response: &Response<Body>, reason: Reason) {
        let said = advice::field_of(reason).and_then(|name| {
            let value = response.headers().get(&name)?.as_bytes();
            let value = String::from_utf8_lossy(&value[..value.len().min(SAID_BYTES_MAX)]);
            Some(format!("{name}: {value}"))
        });
        let at = Timestamp::from(self.call.view().worker.proxy.clock.now());
        let refusal = Refusal { at, status: response.status().as_u16(), reason, said };
        self.cache.zone.note_refusal(self.at, refusal);
    }

    async fn store(
        mut self,
        stored: Stored,
        response: Response<Body>,
        report: oneshot::Sender<Report>,
        upstream: Option<UpstreamFacts>,
    ) {
        let zone = Arc::clone(&self.cache.zone);
        let rules = &self.cache.settings.rules;
        let is_slice = matches!(self.extent, Extent::Slice(_));
        let shareable = reuse::decide(&stored, rules, &Demand::NONE, stored.received)
            == Reuse::Fresh
            && (stored.part.is_none() || is_slice);
        let view = self.call.view();
        self.key = self.extent.key(&stored, &self.key).clone();
        if !self.extent.is_slice()
            && let Some(key) = view.key_to_store(&self.cache, &self.key, &stored.fields)
        {
            self.permit.stored_under(key.hash);
            self.key = key;
        }
        let names = names(&stored, rules);
        let at = zone.place(&self.key, names, &view.request.headers, &mut self.permit).await;
        let status = stored.status.as_u16();
        let withheld = Box::new(withheld(response.headers(), rules));
        let mut body = response.into_body();
        let length = body.size_hint().exact();
        let mut writer = Writer::begin(&zone, self.permit, &self.key.text, at, stored, length);
        let fill = Arc::clone(writer.fill());
        if shareable {
            zone.unmark_hit_for_miss(self.at);
            writer.permit().settle(Outcome::Stream(Arc::clone(&fill)));
        } else {
            if self.extent.is_shared() {
                zone.mark_hit_for_miss(self.at);
            }
            writer.permit().settle(Outcome::Alone);
        }
        let first = fill.follow(0..u64::MAX);
        let following = Fetched::Stream { fill: Arc::clone(&fill), first, status, withheld };
        tell(report, following, upstream);
        match incoming::pump(&mut body, &mut writer).await {
            Ok(bytes) => {
                let stored = &fill.stored;
                if extent::is_less(&self.call, &self.cache, &self.key, stored).await {
                    writer.discard();
                } else if writer.complete().await {
                    let number = self.cache.zone_number;
                    view.worker.shard.count_stored(number, self.status, bytes);
                }
            }
            Err(why) => {
                tracing::warn!(error = %why, "a response broke off and was not stored");
                writer.fail(why);
            }
        }
    }
}

fn tell(report: oneshot::Sender<Report>, fetched: Fetched, upstream: Option<UpstreamFacts>) {
    // The client may have gone; what was fetched is stored all the same.
    let _ = report.send(Report { fetched, upstream });
}

/// Of a response field that is remembered for `explain`.
const SAID_BYTES_MAX: usize = 200;
