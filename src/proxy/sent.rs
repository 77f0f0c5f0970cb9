//! The request of a fetch on its way: sent, held while nobody can be asked, answered.

use std::sync::Arc;

use http::{HeaderValue, Response};
use tokio::sync::oneshot;

use super::error;
use super::fetch::{Fetch, Fetched, Report};
use super::incoming;
use super::outgoing::Told;
use crate::body::Body;
use crate::cache::lock::Permit;
use crate::clock::Clock;
use crate::semantics::date::Timestamp;
use crate::semantics::freshness::Times;
use crate::semantics::stale::{self, Failure};
use crate::tried::Tried;
use crate::upstream::Held;

/// What came of sending the request.
pub(super) struct Exchanged {
    pub(super) response: Response<Body>,
    pub(super) times: Times,
    pub(super) aside: Aside,
}

/// What of an exchange is for the request alone that began it.
#[derive(Clone, Default)]
pub(super) struct Aside {
    pub(super) tried: Vec<Tried>,
    /// Keeps its client with the peer that answered.
    pub(super) set_cookie: Option<HeaderValue>,
}

impl Fetch {
    /// Sends the request, once.
    pub(super) async fn exchange(
        &mut self,
        report: &oneshot::Sender<Report>,
    ) -> Result<Exchanged, (Fetched, Aside)> {
        let worker = Arc::clone(self.call.view().worker);
        let clock = &worker.proxy.clock;
        let requested = Timestamp::from(clock.now());
        let request = std::mem::take(&mut self.request);
        let method = request.method().clone();
        let awaited = Awaited { permit: &self.permit, report, clock };
        let held = (awaited.is_wanted() && !self.has_stand_in()).then_some(&awaited as &dyn Held);
        let interim = self.call.interim.as_ref().filter(|_| !self.is_behind);
        let sent = self.extent.send(&self.call, request, Told { held, interim }).await;
        let (received, dated) = (Timestamp::from(clock.now()), Timestamp::from(clock.wall()));
        let times = Times { requested, received, dated };
        match sent {
            Ok(reply) => {
                let aside = Aside { tried: reply.tried, set_cookie: reply.set_cookie };
                let mut response = reply.response;
                incoming::clean(&mut response, &method, self.call.view().route.settings.heads.via);
                Ok(Exchanged { response, times, aside })
            }
            Err(failure) => {
                tracing::warn!(error = %failure, "upstream failed");
                let failed = self.failed(error::of_upstream(&failure.error));
                Err((failed, Aside { tried: failure.tried, set_cookie: None }))
            }
        }
    }

    /// Whether what is stored answers at once where the origin cannot be asked: then nobody is to
    /// wait for it.
    fn has_stand_in(&self) -> bool {
        let (rules, now) = (&self.cache.settings.rules, self.call.view().now);
        self.stale
            .as_ref()
            .is_some_and(|found| stale::may_stand_in(&found.stored, rules, Failure::Error, now))
    }
}

/// A fetch that is held goes on waiting for the client that began it and for those who wait for
/// what it brings.
struct Awaited<'a> {
    permit: &'a Permit,
    report: &'a oneshot::Sender<Report>,
    clock: &'a Clock,
}

impl Held for Awaited<'_> {
    fn held(&self, waits: bool) {
        self.permit.hold(waits, self.clock.instant());
    }

    fn is_wanted(&self) -> bool {
        !self.report.is_closed() || self.permit.is_awaited()
    }
}
