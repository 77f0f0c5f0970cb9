//! The request that goes upstream. (nginx: proxy_pass, proxy_set_header)

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use hyper::ext::on_informational;

use super::call::Call;
use super::error::Error;
use super::incoming;
use super::way::{escaped_path, upstream_named};
use crate::body::Body;
use crate::config::template::Template;
use crate::interim::Sink;
use crate::semantics::fields;
use crate::semantics::rules::Rules;
use crate::upstream::{self, Announced, Asked, Held};

/// Builds the request for the route's upstream, without a body.
///
/// # Errors
/// The client's request asks for something that must not be done, or a `set_header` gives no valid
/// value for it.
pub(super) fn request(call: &Call<'_>) -> Result<Request<()>, Error> {
    let mut headers = call.request.headers.clone();
    fields::remove_hop_by_hop(&mut headers).map_err(|_| Error::BadRequest("connection"))?;
    // It is told by us to go on, when its body is read.
    headers.remove(header::EXPECT);
    headers.insert(header::HOST, value(call.proxy_host().as_bytes())?);
    if call.route.hides_authorization {
        headers.remove(header::AUTHORIZATION);
    }
    set_headers(call, &mut headers)?;
    fields::add_via(&mut headers, call.request.version);
    let target = target(call);
    let target: Uri = target.parse().map_err(|_| Error::BadRequest("target"))?;
    let mut request = Request::new(());
    *request.method_mut() = call.request.method.clone();
    *request.uri_mut() = target;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Asks for the whole of a resource, whatever part or state of it the client asked for, so that
/// the answer can be stored. What the client asked for is worked out from what is stored.
pub(super) fn ask_for_all(request: &mut Request<()>, convert_head: bool) {
    if convert_head && request.method() == Method::HEAD {
        *request.method_mut() = Method::GET;
    }
    fields::remove_all(request.headers_mut(), &CONDITIONAL);
}

/// Sends the interim responses to this request on to the client that it is for. They are in no
/// response, and so in none that is stored.
pub(super) fn hear_interim<B>(request: &mut Request<B>, client: Option<&Sink>) {
    let Some(client) = client.cloned() else { return };
    on_informational(request, move |interim| {
        // The connection to the client says itself that a body may come.
        if interim.status() != StatusCode::CONTINUE {
            let mut fields = interim.headers().clone();
            incoming::remove_hop_by_hop(&mut fields);
            client.send(interim.status(), &fields);
        }
    });
}

/// Tells the origin that `Surrogate-Control` is heeded here, and under which name (W3C, Edge
/// Architecture Specification section 3).
pub(super) fn announce_surrogate(request: &mut Request<()>, rules: &Rules) {
    if !rules.ignore.surrogate_control {
        let capability = HeaderValue::from_static("larder=\"Surrogate/1.0\"");
        request.headers_mut().append(SURROGATE_CAPABILITY, capability);
    }
}

/// Sends a request to the route's upstream: the one place where one is asked. `held` is told when
/// it has to wait for a peer to come back; without it, it fails then.
///
/// # Errors
/// Nobody gave a response.
pub(super) async fn send(
    call: &Call<'_>,
    mut request: Request<Body>,
    held: Option<&dyn Held>,
) -> Result<upstream::Reply, upstream::Failure> {
    let named = || call.route.forwards.get(upstream_named(call.way)?);
    let Some(forward) = call.route.forward.as_ref().or_else(named) else {
        return Err(upstream::Failure::nobody());
    };
    if forward.group.announces() {
        let (source, destination) = (call.remote, call.connection.local);
        request.extensions_mut().insert(Announced { source, destination });
    }
    let pool = &call.worker.pools[forward.group_number];
    let group = &forward.group;
    let (key, cookie) = (given(call, group.key.as_ref()), given(call, group.cookie.as_ref()));
    let asked = Asked { client: call.remote.ip(), key: &key, cookie: &cookie, held };
    upstream::send(group, pool, request, &call.route.settings.timeout, &asked).await
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
    let mut text = Vec::new();
    for (name, template) in &call.route.settings.set_header {
        set_header(call, headers, (name, template), &mut text)?;
    }
    Ok(())
}

fn set_header(
    call: &Call<'_>,
    headers: &mut HeaderMap,
    (name, template): (&HeaderName, &Template),
    text: &mut Vec<u8>,
) -> Result<(), Error> {
    text.clear();
    template.write(call, text);
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

/// nginx: without a URI part the target goes on as it came, byte for byte; a URI part replaces the
/// part of the normalised path that the route matched.
fn target<'a>(call: &Call<'a>) -> Cow<'a, str> {
    let proxy = call.route.settings.action.proxy();
    let said = call.way.and_then(|way| way.destination.as_ref()?.target.as_deref());
    if let Some(target) = said {
        return Cow::Borrowed(target);
    }
    let is_rewritten_here = call.way.is_some_and(|way| way.is_rewritten_here);
    let uri = proxy.and_then(|proxy| proxy.uri.as_ref()).filter(|_| !is_rewritten_here);
    let Some((uri, proxy)) = uri.zip(proxy) else {
        return Cow::Borrowed(call.request_uri());
    };
    let matched = call.route.settings.path.literal().unwrap_or_default();
    let rest = call.path.strip_prefix(matched).unwrap_or("");
    let rest = if proxy.strip_prefix { rest.trim_start_matches('/') } else { rest };
    let mut target = uri.clone();
    target.push_str(&escaped_path(rest));
    if let Some(query) = call.request.uri.query() {
        target.push('?');
        target.push_str(query);
    }
    Cow::Owned(target)
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
