//! A request on its way through the proxy, with what admission and routing found out.

use std::net::SocketAddr;
use std::sync::Arc;

use http::request::Parts;
use http::uri::Scheme;
use http::{HeaderName, HeaderValue, Method, header};

use super::error::Error;
use super::gate::Limited;
use super::inside::Journey;
use super::route::{self, Cache, Route, Site};
use super::way::Way;
use super::{Proxy, Worker, admit};
use crate::address::Remote;
use crate::cache::lookup::Key;
use crate::client::Connection;
use crate::interim::Sink;
use crate::semantics::date::Timestamp;
use crate::semantics::demand::Demand;
use crate::semantics::fields::{self, Present};
use crate::semantics::invalidation::Target;
use crate::semantics::storable::Asked;

/// A request as the steps see it. Borrowed, so that a hit copies nothing.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) worker: &'a Arc<Worker>,
    pub(super) site: &'a Arc<Site>,
    pub(super) route: &'a Arc<Route>,
    pub(super) request: &'a Parts,
    /// In lower case, without port.
    pub(super) host: &'a str,
    /// Decoded and without dot segments.
    pub(super) path: &'a str,
    pub(super) connection: &'a Arc<Connection>,
    /// Who asks: the other end of the connection, or whom a trusted proxy there names.
    pub(super) remote: Remote,
    /// What the limits of the route said.
    pub(super) limited: Limited,
    /// The path and query of the request that this one asks about.
    pub(super) original: Option<&'a str>,
    /// When the request came.
    pub(super) now: Timestamp,
    /// How it came to its route, where more than its path counted.
    pub(super) way: Option<&'a Arc<Way>>,
    /// It has no condition and no range, so that none need be looked for. Where this is not known,
    /// it is `false`.
    pub(super) wants_all: bool,
}

/// A request that outlives its client's interest, for what goes on behind an answer.
pub(super) struct OwnedCall {
    worker: Arc<Worker>,
    site: Arc<Site>,
    route: Arc<Route>,
    request: Parts,
    host: String,
    path: String,
    connection: Arc<Connection>,
    remote: Remote,
    limited: Limited,
    original: Option<String>,
    now: Timestamp,
    way: Option<Arc<Way>>,
    /// Where interim responses go; `None` if the client does not understand them.
    pub(super) interim: Option<Sink>,
}

impl<'a> Call<'a> {
    pub(super) fn to_owned(self, interim: Option<Sink>) -> OwnedCall {
        OwnedCall {
            worker: Arc::clone(self.worker),
            site: Arc::clone(self.site),
            route: Arc::clone(self.route),
            request: self.request.clone(),
            host: self.host.to_owned(),
            path: self.path.to_owned(),
            connection: Arc::clone(self.connection),
            remote: self.remote,
            limited: self.limited,
            original: self.original.map(str::to_owned),
            now: self.now,
            way: self.way.cloned(),
            interim,
        }
    }

    /// What this request asks of what is stored.
    pub(super) fn demand(&self, cache: &Cache) -> Demand {
        Demand::of(&self.request.headers, &cache.settings.rules)
    }

    /// What the rules about storing ask of this request, whose key this is.
    pub(super) fn asked(&self, key: &Key) -> Asked<'a> {
        let authorized = !self.route.hides_authorization
            && self.request.headers.contains_key(header::AUTHORIZATION);
        Asked { authorized, partitioned: key.partitioned, host: self.host }
    }

    /// A request that reads this one's target.
    pub(super) fn reading(&self) -> Parts {
        let mut request = self.request.clone();
        request.method = Method::GET;
        request
    }

    /// What references in an answer are resolved against.
    pub(super) fn target(&self) -> Target<'a> {
        let field = self.request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let authority = self.request.uri.authority().map(|authority| authority.as_str());
        Target {
            scheme: self.connection.scheme(),
            authority: authority.or(field).unwrap_or(self.host),
            path_and_query: self.request_uri(),
        }
    }

    /// Path and query as they are asked for: as they were sent, or what they were rewritten to.
    pub(super) fn request_uri(&self) -> &'a str {
        self.request.uri.path_and_query().map_or("/", |target| target.as_str())
    }
}

impl OwnedCall {
    /// A request that the operator asks about, admitted and routed as a client's is. That it is one
    /// over TLS says a [`Scheme`] in its extensions.
    ///
    /// # Errors
    /// Why a client would get no further either, in words for the operator.
    pub(super) async fn of_operator(
        worker: &Arc<Worker>,
        mut request: Parts,
    ) -> Result<Self, String> {
        let proxy = &worker.proxy;
        fields::remove_named(&mut request.headers)
            .map_err(|field| format!("`Connection` must not name `{}`: 400", field.0))?;
        admit::name_host(&mut request);
        let host = admit::admit(&request, Present::of(&request.headers), &proxy.limits)
            .map_err(|error| format!("such a request is refused with {}", error.status()))?
            .into_owned();
        let tls = request.extensions.get() == Some(&Scheme::HTTPS);
        let (site, tls) =
            site_for(proxy, &host, tls).ok_or_else(|| format!("no site for `{host}`: 421"))?;
        let path = route::normalized(request.uri.path()).ok_or("the path leaves the root: 400")?;
        let path = path.into_owned();
        let nobody = SocketAddr::from(([127, 0, 0, 1], 0));
        let connection = Arc::new(Connection {
            tls: tls.then(Box::default),
            ..Connection::plain(nobody, nobody)
        });
        let call = Call {
            worker,
            site,
            route: &site.base,
            request: &request,
            host: &host,
            path: &path,
            connection: &connection,
            remote: nobody.into(),
            limited: Limited::default(),
            original: None,
            now: Timestamp::from(proxy.clock.now()),
            way: None,
            wants_all: false,
        };
        let mut journey = Journey::new(call);
        match journey.enter().await {
            Ok(None) => Ok(journey.call().to_owned(None)),
            Ok(Some(answer)) => {
                let status = answer.response.status().as_u16();
                Err(format!("a rule of `rewrite` answers `{path}`: {status}"))
            }
            Err(Error::NotFound) => Err(format!("no route for `{}`: 404", journey.call().path)),
            Err(error) => Err(format!("`{path}` leads nowhere: {}", error.status().as_u16())),
        }
    }

    /// A request of our own for a slice of what this one asks for, made at `now`: for this range,
    /// and without the client's conditions but for those on the head.
    pub(super) fn for_slice(&self, now: Timestamp, range: Option<HeaderValue>) -> Self {
        // The client of the whole hears what is sent ahead of the whole, not of each slice.
        let mut owned = self.view().to_owned(None);
        owned.now = now;
        owned.request.method = Method::GET;
        let fields = &mut owned.request.headers;
        fields.remove(header::IF_RANGE);
        fields.remove(header::RANGE);
        if let Some(range) = range {
            // They were about the first, and the others are of the same representation or of no use.
            for name in &PRECONDITIONS {
                fields.remove(name);
            }
            fields.insert(header::RANGE, range);
        }
        owned
    }

    /// The view that the steps work with.
    pub(super) fn view(&self) -> Call<'_> {
        Call {
            worker: &self.worker,
            site: &self.site,
            route: &self.route,
            request: &self.request,
            host: &self.host,
            path: &self.path,
            connection: &self.connection,
            remote: self.remote,
            limited: self.limited,
            original: self.original.as_deref(),
            now: self.now,
            way: self.way.as_ref(),
            wants_all: false,
        }
    }
}

/// What only the first slice of an answer is asked.
const PRECONDITIONS: [HeaderName; 4] = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

/// The site for a host, with or without TLS; and whether it has it. Where nobody answers over TLS
/// somebody in front of us may end it: then requests come without.
fn site_for<'a>(proxy: &'a Proxy, host: &str, tls: bool) -> Option<(&'a Arc<Site>, bool)> {
    let find = |tls| {
        let hosts = if tls { &proxy.hosts_tls } else { &proxy.hosts };
        hosts.find(host).map(|site| (site, tls))
    };
    find(tls).or_else(|| find(!tls))
}
