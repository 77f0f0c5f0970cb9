//! One exchange with an upstream whose answer may be stored, and its tee into a fill.
//!
//! It ends when the response is stored, whoever still wants it (see `Awaited`).

use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body as HttpBody;
use tokio::sync::oneshot;

use super::awaited::Awaited;
use super::call::OwnedCall;
use super::compress;
use super::error::Error;
use super::extent::{self, Extent};
use super::invalidate::invalidate;
use super::route::Cache;
use super::sent::{Aside, Exchanged};
use super::tee::{names, not_to_be_stored, note_refusal};
use super::{incoming, outgoing};
use crate::body::Body;
use crate::cache::fill::Fill;
use crate::cache::follow::Follower;
use crate::cache::lock::{Outcome, Permit};
use crate::cache::lookup::{Found, Key};
use crate::cache::writer::Writer;
use crate::semantics::freshness::Times;
use crate::semantics::key::KeyHash;
use crate::semantics::reason::Reason;
use crate::semantics::reuse;
use crate::semantics::stale::Failure;
use crate::semantics::status::CacheStatus;
use crate::semantics::storable::{Asked, Storable, withheld};
use crate::semantics::stored::Stored;

/// A fetch that is about to begin.
pub(super) struct Fetch {
    pub(super) call: Arc<OwnedCall>,
    pub(super) cache: Arc<Cache>,
    pub(super) key: Key,
    pub(super) permit: Permit,
    /// Where the response would rest, as far as is known before it comes.
    at: KeyHash,
    pub(super) stale: Option<Found>,
    /// Why the answer is not to be stored, whatever it says.
    pub(super) dont_store: Option<Reason>,
    /// The word for the answer that this fetch is for.
    status: CacheStatus,
    /// How much is asked for.
    pub(super) extent: Extent,
    pub(super) request: Request<()>,
    /// Whether it goes on when nobody follows.
    survival: Survival,
    /// Its client has an answer.
    pub(super) is_behind: bool,
    /// The zone's last purge before this began: later ones count for what comes of it.
    pub(super) generation: u64,
}

/// Whether a fill goes on that nobody follows: the one place that decides.
///
/// What can be stored is stored though every client has left, but for what would bring more bytes
/// than `finish_max` for nobody. What cannot be stored ends with its last follower (see `Writer`).
pub(super) struct Survival {
    finish_max: u64,
    /// Bytes that came since anybody followed.
    alone: u64,
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
    pub(super) aside: Aside,
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
        outgoing::ask_for_all(
            &mut request,
            &call.view().request.method,
            cache.settings.convert_head,
        );
        outgoing::announce_surrogate(&mut request, &cache.settings.rules);
        let (call, cache, key) = (Arc::clone(call), Arc::clone(cache), key.clone());
        let survival = Survival::of(&cache);
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
            survival,
            is_behind: false,
            generation,
        })
    }

    /// Fetches; ready when it is known what comes. The rest goes on behind.
    pub(super) async fn run(self) -> Report {
        let (report, reported) = oneshot::channel();
        // In a box, for it may become a task, and its future is moved several times.
        let awaited = Awaited::new(Box::pin(self.fetch(report)), reported);
        awaited.await.unwrap_or_else(|| {
            // It always tells.
            let fetched = Fetched::Failed(Error::Upstream(Failure::Error));
            Report { fetched, aside: Aside::default() }
        })
    }

    /// Fetches for nobody in particular, so that nobody gets the interim responses.
    pub(super) fn run_behind(mut self) {
        self.survival.finish_max = u64::MAX;
        self.is_behind = true;
        let view = self.call.view();
        view.worker.shard.count_background_fetch(self.cache.zone_number);
        let (report, _) = oneshot::channel();
        tokio::spawn(Box::pin(self.fetch(report)));
    }

    async fn fetch(mut self, report: oneshot::Sender<Report>) {
        let method = self.request.method().clone();
        let unconditional = self.stale.is_some().then(|| self.request.clone());
        let validating = self.make_conditional();
        let mut exchanged = self.exchange(&report).await;
        if validating
            && let Ok(Exchanged { response, times, aside }) = &exchanged
            && response.status() == StatusCode::NOT_MODIFIED
        {
            if self.is_about_ours(response.headers()) {
                let fetched = self.not_modified(response.headers(), *times).await;
                return tell(report, fetched, aside.clone());
            }
            // It says nothing of what is stored (RFC 9111 section 4.3.4): ask for all of it.
            self.request = unconditional.unwrap_or_default();
            exchanged = self.exchange(&report).await;
        }
        let Exchanged { mut response, times, aside } = match exchanged {
            Ok(exchanged) => exchanged,
            Err((fetched, aside)) => return tell(report, fetched, aside),
        };
        if self.stale.is_some() && response.status() == StatusCode::NOT_MODIFIED {
            let fetched = self.failed(Error::Upstream(Failure::InvalidHeader));
            return tell(report, fetched, aside);
        }
        if self.stale_stands_in_for(response.status()) {
            let failure = Failure::Status(response.status().as_u16());
            let fetched = self.failed(Error::Upstream(failure));
            return tell(report, fetched, aside);
        }
        if method == Method::HEAD
            && let Some(fetched) = self.head(response.status(), response.headers(), times).await
        {
            return tell(report, fetched, aside);
        }
        let may = (&method, self.extent.compressing(&self.cache));
        let coded_here = compress::on_its_way(&self.call.view(), may, &mut response);
        // A method that the operator caches may be unsafe all the same.
        invalidate(&self.call, response.status(), response.headers(), Some(&self.permit)).await;
        match self.storable(&response, times) {
            Storable::Yes(stored)
                if extent::is_less(&self.call, &self.cache, &self.key, &stored).await =>
            {
                let fetched = self.pass(response, Reason::Partial).await;
                tell(report, fetched, aside);
            }
            Storable::No(reason) => {
                let fetched = self.pass(response, reason).await;
                tell(report, fetched, aside);
            }
            Storable::Yes(stored) => {
                let spelling = incoming::spelling(&response);
                let generation = self.generation;
                let stored = Stored { generation, coded_here, spelling, ..*stored };
                let shareable = self.may_share(&stored, times);
                self.store(stored, shareable, response, report, aside).await;
            }
        }
    }

    pub(super) fn failed(&self, error: Error) -> Fetched {
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

    pub(super) fn asked(&self) -> Asked<'_> {
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

    /// Passes a response on that is not stored. What it replaces must not be found any more.
    async fn pass(&self, response: Response<Body>, reason: Reason) -> Fetched {
        // That a range was passed on says nothing of the whole, which is being stored.
        if reason != Reason::RangeAhead {
            note_refusal(&self.call.view(), &self.cache, self.at, &response, reason);
        }
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
            // What one client is given says nothing of what is for all.
            && reason != Reason::Authorization
        {
            self.cache.zone.store.remove(found.at).await;
        }
        Fetched::Pass(Box::new(response), reason)
    }

    /// Whether it is for those as well who waited for it.
    fn may_share(&self, stored: &Stored, times: Times) -> bool {
        let is_slice = matches!(self.extent, Extent::Slice(_));
        reuse::may_share(stored, times) && (stored.part.is_none() || is_slice)
    }

    async fn store(
        mut self,
        stored: Stored,
        shareable: bool,
        response: Response<Body>,
        report: oneshot::Sender<Report>,
        aside: Aside,
    ) {
        let zone = Arc::clone(&self.cache.zone);
        let rules = &self.cache.settings.rules;
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
        tell(report, following, aside);
        let goes_on = |writer: &Writer, bytes| self.survival.lets(writer, bytes);
        match incoming::pump(&mut body, &mut writer, goes_on).await {
            Ok(bytes) => {
                let stored = &fill.stored;
                if extent::is_less(&self.call, &self.cache, &self.key, stored).await {
                    writer.discard();
                } else if writer.complete().await {
                    let number = self.cache.zone_number;
                    view.worker.shard.count_stored(number, self.status, bytes);
                }
            }
            Err(why) => why.tell(writer),
        }
    }
}

impl Survival {
    /// As the route's settings say.
    pub(super) fn of(cache: &Cache) -> Self {
        Self { finish_max: cache.settings.finish_max, alone: 0 }
    }

    /// Whether it goes on, now that so many more bytes came. If not, nobody follows it any more.
    pub(super) fn lets(&mut self, writer: &Writer, bytes: u64) -> bool {
        let fill = writer.fill();
        if fill.is_followed() {
            self.alone = 0;
            return true;
        }
        self.alone += bytes;
        let for_nobody =
            fill.length.map_or(self.alone, |length| length.saturating_sub(fill.arrived()));
        for_nobody <= self.finish_max || !writer.give_up_unless_followed()
    }
}

fn tell(report: oneshot::Sender<Report>, fetched: Fetched, aside: Aside) {
    // The client may have gone; what was fetched is stored all the same.
    let _ = report.send(Report { fetched, aside });
}
