//! One request, from admission to response - start reading here.
//!
//! ```text
//!  handle
//!    | admit     400 405 408 413 414 421 501 ... or an admitted request
//!    | route     which site, which route; 404 421
//!    | gate      who asks, and whether that client may: 401 403 503, or a wait
//!    | purge     PURGE, where it is allowed
//!    |-- cacheable? -------------------.
//!    v                                 v
//!  serve   hit | wait | fetch        pass   straight through
//!    |  fetch   one exchange with      |    invalidates after success
//!    |          an upstream            |
//!    v                                 v
//!  deliver  304, 206, HEAD, Age, Cache-Status; the exchange ends with the body's last byte
//! ```

pub mod hosts;
pub mod route;
mod hidden;
mod prefixes;
pub mod zone;
pub mod key;
pub mod gate;
pub mod explain;
pub mod inspect;
mod admit;
mod at_hand;
mod inside;
mod isolate;
mod call;
mod way;
mod facts;
mod own;
mod accel;
mod outgoing;
mod purge;
mod prefix;
mod serve;
mod plan;
mod step;
mod join;
mod fetch;
mod awaited;
mod sent;
mod validated;
mod incoming;
mod tee;
mod pass;
mod trailers;
mod tunnel;
mod whole;
mod ahead;
mod invalidate;
mod deliver;
mod compress;
mod files;
pub mod location;
mod finish;
mod heads;
mod partial;
mod extent;
mod slice;
mod stitch;
mod error;
mod record;

use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderMap, Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::address::Remote;
use crate::body::Body;
use crate::cache;
use crate::cache::purge::{Purged, Wanted};
use crate::client::{Connection, Loads};
use crate::clock::Clock;
use crate::config::{Limits, OddHeaders};
use crate::interim::Gap;
use crate::observe::access;
use crate::observe::exchange::{Logged, RequestFacts};
use crate::observe::logs::{Kept, Logs};
use crate::observe::metrics::{Metrics, Shard};
use crate::semantics::date::Timestamp;
use crate::semantics::fields::{self, Present};
use crate::upstream;
use call::Call;
use deliver::Answer;
use error::Error;
use gate::{Held, Limited};
use hosts::Hosts;

/// What all workers share to answer requests.
pub struct Proxy {
    /// Where the time comes from.
    pub clock: Clock,
    /// The connections of clients.
    pub loads: Loads,
    /// What is counted, by all workers.
    pub metrics: Metrics,
    /// What a client may ask.
    pub limits: Limits,
    /// Where request bodies lie that are too large for memory.
    pub temp_path: PathBuf,
    /// The caches, in the order of the configuration.
    pub zones: Vec<Arc<cache::Zone>>,
    /// What routes forward to, in the order of the configuration.
    pub groups: Vec<Arc<upstream::Group>>,
    /// The access logs of what has no route, where no site says otherwise.
    pub logs: Option<Arc<Logs>>,
    /// What answers for which host, on all listeners without TLS together.
    pub hosts: Hosts,
    /// The same on all listeners with TLS.
    pub hosts_tls: Hosts,
}

/// One thread that answers requests: its own connections, counters and log buffer.
pub struct Worker {
    /// What all workers share.
    pub proxy: Arc<Proxy>,
    /// Connections to peers, one pool for each of the proxy's groups.
    pub pools: Vec<Arc<upstream::Pool>>,
    /// Its counters.
    pub shard: Arc<Shard>,
    /// Its part of each access log, in the order of the configuration.
    pub logs: Vec<Arc<access::Writer>>,
}

/// Who sent a request.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    /// How it came.
    pub connection: &'a Arc<Connection>,
    /// Where interim responses go, until the response is there.
    pub gap: &'a Gap,
}

/// What there is of a request beside its head.
struct Sent<'a> {
    gap: &'a Gap,
    /// What is logged of it.
    seen: Option<&'a mut RequestFacts>,
    /// Its body, until somebody takes it.
    body: Option<Incoming>,
    /// Who asks, as far as routes that it came to have found out.
    remote: Remote,
    /// What their limits said.
    limited: Limited,
    /// Where it counts as under way.
    held: Option<Box<Held>>,
    /// What stays of the fields of an answer that sent it on.
    kept: Option<Box<HeaderMap>>,
}

impl Sent<'_> {
    /// Notes who asks.
    fn came_from(&mut self, remote: Remote) {
        self.remote = remote;
        if let Some(seen) = &mut self.seen {
            seen.client = remote;
        }
    }

    /// The call, with what is known by now of who asks.
    fn known<'a>(&self, call: Call<'a>) -> Call<'a> {
        Call { remote: self.remote, limited: self.limited, ..call }
    }
}

impl Worker {
    /// Answers one request that came to a listener with these hosts. Never fails: an error becomes
    /// a response here, and the exchange is recorded when the response's body ends.
    pub async fn handle(
        self: &Arc<Self>,
        hosts: &Hosts,
        client: Client<'_>,
        request: Request<Option<Incoming>>,
    ) -> Response<Body> {
        let (mut request, body) = request.into_parts();
        let mut seen = (!self.logs.is_empty())
            .then(|| record::seen(&request, client.connection, self.proxy.clock.instant()));
        let body = (body, seen.as_deref_mut());
        let answer = match self.answer(hosts, client, &mut request, body).await {
            Ok(answer) => answer,
            Err(error) => self.refused(hosts, client, &request, error),
        };
        record::at_end(self, seen, answer)
    }

    /// Makes a refusal of a listener with these hosts, that no request is known of, look like others.
    pub fn dress(&self, hosts: &Hosts, refusal: &mut Response<Body>) {
        let wall = || Timestamp::from(self.proxy.clock.wall());
        if let Some(site) = hosts.fallback() {
            heads::say(refusal, &site.base.settings.heads, wall);
        }
    }

    /// Purges on the operator's word.
    ///
    /// # Errors
    /// Why nothing can be purged, in words for the operator.
    pub async fn purge(self: &Arc<Self>, wanted: &Wanted) -> Result<Purged, String> {
        purge::on_word(self, wanted).await
    }

    /// Says what a request would get now, and why, without sending or storing anything.
    ///
    /// # Errors
    /// Why there is nothing to explain, in words for the operator.
    pub async fn explain(
        self: &Arc<Self>,
        request: http::request::Parts,
    ) -> Result<explain::Explanation, String> {
        explain::explain(self, request).await
    }

    /// Looks at what is stored for a request, in memory and on disk.
    ///
    /// # Errors
    /// Why there is nothing to look at, in words for the operator.
    pub async fn inspect(
        self: &Arc<Self>,
        request: http::request::Parts,
    ) -> Result<inspect::Inspection, String> {
        inspect::inspect(self, request).await
    }

    /// An answer to what no route was found for. As in nginx, it is logged where the site logs that
    /// answers for hosts that nobody names.
    fn refused(
        self: &Arc<Self>,
        hosts: &Hosts,
        client: Client<'_>,
        request: &http::request::Parts,
        error: Error,
    ) -> Answer {
        let wall = || Timestamp::from(self.proxy.clock.wall());
        let mut answer = error.answer(wall()).unexpected(request);
        let fallback = hosts.fallback();
        if let Some((site, path)) = fallback.map(|site| (site, request.uri.path())) {
            heads::dress(&mut answer, &site.base.settings.heads, wall);
            let call = self.call((site, &site.base), (request, "", path), client.connection);
            answer.logged = finish::logged(&call, &answer);
        } else if let Some(logs) = self.proxy.logs.clone() {
            let kept = Kept::default();
            answer.logged = Some(Box::new(Logged { logs, kept }));
        }
        answer
    }

    fn call<'a>(
        self: &'a Arc<Self>,
        (site, route): (&'a Arc<route::Site>, &'a Arc<route::Route>),
        (request, host, path): (&'a http::request::Parts, &'a str, &'a str),
        connection: &'a Arc<Connection>,
    ) -> Call<'a> {
        Call {
            worker: self,
            site,
            route,
            request,
            host,
            path,
            connection,
            remote: connection.remote,
            limited: Limited::default(),
            original: None,
            now: Timestamp::from(self.proxy.clock.now()),
            way: None,
            wants_all: false,
        }
    }

    async fn answer(
        self: &Arc<Self>,
        hosts: &Hosts,
        client: Client<'_>,
        request: &mut http::request::Parts,
        (body, seen): (Option<Incoming>, Option<&mut RequestFacts>),
    ) -> Result<Answer, Error> {
        match self.proxy.limits.odd_headers {
            OddHeaders::Pass => {}
            odd => fields::remove_odd(&mut request.headers, odd == OddHeaders::Underscores),
        }
        let present = Present::of(&request.headers);
        if present.connection {
            let removed = fields::remove_named(&mut request.headers);
            removed.map_err(|_| Error::BadRequest("connection"))?;
        }
        admit::name_host(request);
        let host = admit::admit(request, present, &self.proxy.limits)?;
        let site = hosts.find(&host).ok_or(Error::Misdirected)?;
        let entered = isolate::check(hosts, site, client.connection);
        if let Err(Error::Misdirected) = entered {
            return Err(Error::Misdirected);
        }
        let path = route::normalized(request.uri.path()).ok_or(Error::BadRequest("path"))?;
        // Who should have come in another way is answered by the site itself.
        let route = entered.is_ok().then(|| site.find(&path)).flatten();
        let found = (site, route.unwrap_or(&site.base));
        let call = self.call(found, (request, &host, &path), client.connection);
        let call = Call { wants_all: !present.conditional, ..call };
        let (remote, limited) = (call.remote, call.limited);
        let mut sent =
            Sent { gap: client.gap, seen, body, remote, limited, held: None, kept: None };
        let mut answer = if let Err(error) = entered {
            Self::concluded(sent.known(call), Err(error), &mut sent).await
        } else if site.is_plain && call.route.is_plain {
            let result = match route {
                Some(_) => Self::let_in(call, &mut sent).await,
                None => Err(Error::NotFound),
            };
            Self::concluded(sent.known(call), result, &mut sent).await
        } else {
            Box::pin(inside::answer(call, &mut sent)).await
        };
        answer.held = sent.held;
        if let Some(kept) = sent.kept {
            accel::add_kept(&mut answer, *kept);
        }
        Ok(answer)
    }

    /// What goes out of what a route answered, or did not.
    async fn concluded(
        call: Call<'_>,
        result: Result<Answer, Error>,
        sent: &mut Sent<'_>,
    ) -> Answer {
        if let Err(Error::Inside(next)) = result {
            return Box::pin(inside::go_on(call, *next, sent)).await;
        }
        match finish::page_for(&call, &result) {
            Some(page) => Box::pin(inside::page(call, page, sent)).await,
            None => finish::finish(&call, result),
        }
    }

    /// Answers a request whose route is known, if the route lets it in.
    async fn let_in(call: Call<'_>, sent: &mut Sent<'_>) -> Result<Answer, Error> {
        // What is no file may be for another route, which has a limit of its own.
        if sent.body.is_some() && call.route.files.is_none() {
            admit::length(&call)?;
        }
        let answer = match &call.route.gate {
            None => Self::routed(call, sent.gap, &mut sent.body).await,
            Some(gate) => Box::pin(gate::pass(call, gate, sent)).await,
        };
        if call.route.settings.accel_redirect { accel::go_on(answer?, sent) } else { answer }
    }

    /// Answers a request that was let in. Who takes the body leaves nothing of it; a step that
    /// wants the request to go on elsewhere says `Error::Inside`, best before anybody took it.
    async fn routed(
        call: Call<'_>,
        gap: &Gap,
        body: &mut Option<Incoming>,
    ) -> Result<Answer, Error> {
        if call.request.method.as_str() == "PURGE" {
            return purge::purge(&call).await;
        }
        if !call.route.takes(&call.request.method) {
            return Err(Error::NotTaken(call.route.allow.clone()));
        }
        let is_empty = body.as_ref().is_none_or(Incoming::is_end_stream);
        if call.route.settings.upgrade && is_empty && tunnel::is_asked_for(call.request) {
            let call = Arc::new(call.to_owned(gap.sink()));
            return Box::pin(pass::pass(call, Body::empty(), tunnel::UNCACHED)).await;
        }
        if call.route.files.is_some() {
            return Box::pin(files::answer(call, body)).await;
        }
        let body = body.take().map_or_else(Body::empty, |body| admit::body(&call, body));
        Self::content(call, Some(gap), body).await
    }
}
