//! The request that goes upstream. (nginx: proxy_pass, proxy_set_header)

use std::borrow::Cow;

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};

use super::call::Call;
use super::error::Error;
use super::gate::pace;
use super::heads;
use super::route::Route;
use super::way::{escaped_path, upstream_named};
use crate::body::Body;
use crate::config::SentBody;
use crate::config::template::Template;
use crate::interim::Sink;
use crate::semantics::fields;
use crate::semantics::rules::Rules;
use crate::upstream::{self, Announced, Asked, Held, Interim};

/// Builds the request for the route's upstream, without a body.
///
/// # Errors
/// The client's request asks for something that must not be done, or a `set_header` gives no valid
/// value for it.
pub(super) fn request(call: &Call<'_>) -> Result<Request<()>, Error> {
    let sent_on = &call.route.settings.sent_on;
    let mut headers = if sent_on.fields { call.request.headers.clone() } else { HeaderMap::new() };
    fields::remove_hop_by_hop(&mut headers).map_err(|_| Error::BadRequest("connection"))?;
    // It is told by us to go on, when its body is read.
    headers.remove(header::EXPECT);
    headers.insert(header::HOST, value(call.proxy_host().as_bytes())?);
    if call.route.hides_authorization {
        headers.remove(header::AUTHORIZATION);
    }
    set_headers(call, &mut headers)?;
    let heads = &call.route.settings.heads;
    if heads.via {
        fields::add_via(&mut headers, call.request.version);
    }
    let target = match target(call) {
        Some(target) => target.parse().map_err(|_| Error::BadRequest("target"))?,
        None => call.request.uri.path_and_query().cloned().map_or_else(Uri::default, Uri::from),
    };
    let mut request = Request::new(());
    *request.method_mut() = sent_on.method.as_ref().unwrap_or(&call.request.method).clone();
    *request.uri_mut() = target;
    *request.headers_mut() = headers;
    if let Some(spelled) = heads::spelled(heads, call.request.extensions.get().cloned()) {
        request.extensions_mut().insert(spelled);
    }
    Ok(request)
}

/// The body that goes upstream with what the client sent.
pub(super) fn body(call: &Call<'_>, of_client: Body) -> Body {
    match &call.route.settings.sent_on.body {
        SentBody::Own => of_client,
        SentBody::None => Body::empty(),
        SentBody::Text(template) => Body::full(given(call, Some(template))),
    }
}

/// Asks for the whole of a resource, whatever part or state of it the client asked for, so that
/// the answer can be stored. What the client asked for is worked out from what is stored.
pub(super) fn ask_for_all(request: &mut Request<()>, asked: &Method, convert_head: bool) {
    // nginx: that counts before proxy_method.
    if convert_head && asked == Method::HEAD {
        *request.method_mut() = Method::GET;
    }
    fields::remove_all(request.headers_mut(), &CONDITIONAL);
}

/// Who is told what happens before there is a response.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    /// That it has to wait for a peer to come back; where nobody is, it fails then.
    pub(super) held: Option<&'a dyn Held>,
    /// The interim responses to it: the client that it is for. They are in no response, and so in
    /// none that is stored.
    pub(super) interim: Option<&'a Sink>,
}

/// Sends interim responses on.
struct OnTheirWay<'a>(&'a Sink);

impl Interim for OnTheirWay<'_> {
    fn heard(&self, status: StatusCode, mut fields: HeaderMap) {
        // The connection to the client says itself that a body may come.
        if status != StatusCode::CONTINUE {
            fields::remove_hop_by_hop_of_response(&mut fields);
            self.0.send(status, &fields);
        }
    }
}

/// Tells the origin that `Surrogate-Control` is heeded here, and under which name (W3C, Edge
/// Architecture Specification section 3).
pub(super) fn announce_surrogate(request: &mut Request<()>, rules: &Rules) {
    if !rules.ignore.surrogate_control {
        let capability = HeaderValue::from_static("larder=\"Surrogate/1.0\"");
        request.headers_mut().append(SURROGATE_CAPABILITY, capability);
    }
}

/// Sends a request to the route's upstream: the one place where one is asked.
///
/// # Errors
/// Nobody gave a response.
pub(super) async fn send(
    call: &Call<'_>,
    mut request: Request<Body>,
    told: Told<'_>,
) -> Result<upstream::Reply, upstream::Failure> {
    let named = || call.route.forwards.get(upstream_named(call.way)?);
    let Some(forward) = call.route.forward.as_ref().or_else(named) else {
        return Err(upstream::Failure::nobody(upstream_named(call.way).unwrap_or_default()));
    };
    if forward.group.announces() {
        // Who came over a unix socket has no address to tell: the connection is our own then.
        let ends = call.remote.tcp().zip(call.connection.local.tcp());
        if let Some((source, destination)) = ends {
            request.extensions_mut().insert(Announced { source, destination });
        }
    }
    let pool = &call.worker.pools[forward.group_number];
    let group = &forward.group;
    let (key, cookie) = (given(call, group.key.as_ref()), given(call, group.cookie.as_ref()));
    let interim = told.interim.map(OnTheirWay);
    let interim = interim.as_ref().map(|interim| interim as &dyn Interim);
    let client = call.remote.ip().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let trying = &call.route.settings.trying;
    let asked = Asked { client, key: &key, cookie: &cookie, held: told.held, trying, interim };
    let reply = upstream::send(group, pool, request, &call.route.settings.timeout, &asked).await;
    let Some(limit) = &call.route.settings.upstream_rate else { return reply };
    let mut reply = reply?;
    let rate = pace::rate(limit, call);
    let body = reply.response.body_mut();
    // What is here has been read already.
    if rate.bytes_per_s > 0 && !body.is_here() {
        pace::slow_down(body, rate, &call.worker.proxy.clock);
    }
    Ok(reply)
}

/// A client that waits as long as its request does: when it leaves, the request is dropped.
pub(super) struct Client;

impl Held for Client {
    fn held(&self, _waits: bool) {}

    fn is_wanted(&self) -> bool {
        true
    }
}

fn given(call: &Call<'_>, template: Option<&Template>) -> Vec<u8> {
    let mut text = Vec::new();
    template.into_iter().for_each(|template| template.write(call, &mut text));
    text
}

fn set_headers(call: &Call<'_>, headers: &mut HeaderMap) -> Result<(), Error> {
    let (mut text, mut before) = (Vec::new(), None);
    for (name, template) in &call.route.settings.set_header {
        text.clear();
        template.write(call, &mut text);
        // The first line of a field takes the place of what the client sent.
        if before != Some(name) {
            set_header(headers, name, &text)?;
        } else if !text.is_empty() {
            headers.append(name, value(&text)?);
        }
        before = Some(name);
    }
    Ok(())
}

fn set_header(headers: &mut HeaderMap, name: &HeaderName, text: &[u8]) -> Result<(), Error> {
    if text.is_empty() && name != header::HOST {
        headers.remove(name);
    } else if !text.is_empty() {
        headers.insert(name, value(text)?);
    }
    Ok(())
}

fn value(text: &[u8]) -> Result<HeaderValue, Error> {
    HeaderValue::from_bytes(text).map_err(|_| Error::BadRequest("header value"))
}

/// Path and query as they go upstream, with this query.
pub(super) fn uri<'a>(call: &Call<'a>, query: Option<&str>) -> Cow<'a, str> {
    match target_with(call, query) {
        Some(target) => target,
        None if query == call.request.uri.query() => Cow::Borrowed(call.request_uri()),
        None => Cow::Owned(joined(call.request.uri.path().to_owned(), query)),
    }
}

/// nginx: without a URI part the target goes on as it came, byte for byte, and this is nothing; a
/// URI part replaces the part of the normalised path that the route matched.
fn target<'a>(call: &Call<'a>) -> Option<Cow<'a, str>> {
    target_with(call, call.request.uri.query())
}

fn target_with<'a>(call: &Call<'a>, query: Option<&str>) -> Option<Cow<'a, str>> {
    let said = call.way.and_then(|way| way.destination.as_ref()?.target.as_deref());
    if let Some(target) = said {
        return Some(Cow::Borrowed(target));
    }
    if call.way.is_some_and(|way| way.is_rewritten_here) {
        return None;
    }
    Some(Cow::Owned(joined(replaced(call.route, call.path)?, query)))
}

/// What the URI part of a route makes of a normalised path, or of its beginning; nothing where it
/// has none.
pub(super) fn replaced(route: &Route, path: &str) -> Option<String> {
    let proxy = route.settings.action.proxy()?;
    let mut target = proxy.uri.clone()?;
    let matched = route.settings.path.literal().unwrap_or_default();
    let rest = path.strip_prefix(matched).unwrap_or("");
    let rest = if proxy.strip_prefix { rest.trim_start_matches('/') } else { rest };
    target.push_str(&escaped_path(rest));
    Some(target)
}

fn joined(mut path: String, query: Option<&str>) -> String {
    if let Some(query) = query {
        path.push('?');
        path.push_str(query);
    }
    path
}

const SURROGATE_CAPABILITY: HeaderName = HeaderName::from_static("surrogate-capability");

/// What is asked of a part or a state of a resource.
pub(super) const CONDITIONAL: [HeaderName; 6] = [
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
    header::RANGE,
];
