//! What this client gets: 304, 206, HEAD, `Age`, `Cache-Status`. (RFC 9110 sections 13 and 14)

use std::ops::Range;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

use super::call::Call;
use super::gate::Held;
use super::hidden::X_ACCEL_LIMIT_RATE;
use super::route::Cache;
use super::tunnel::Joining;
use super::{accel, ahead, location, partial};
use crate::body::Body;
use crate::cache::fill::Fill;
use crate::config;
use crate::files::opened::OpenFile;
use crate::observe::exchange::Logged;
use crate::semantics::fields::Names;
use crate::semantics::precondition::{self, Met};
use crate::semantics::reason::Reason;
use crate::semantics::rules::Preconditions;
use crate::semantics::status::{CacheStatus, Handling};
use crate::semantics::stored::Stored;
use crate::store;
use crate::tried::Tried;

/// A response for the client, and what is recorded of it.
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    pub(super) cache: Option<CacheStatus>,
    pub(super) reason: Reason,
    pub(super) zone: Option<usize>,
    /// We are its origin: it is neither stored nor passed on.
    pub(super) is_own: bool,
    /// The peers that were asked for it.
    pub(super) tried: Vec<Tried>,
    /// The access logs that it is in.
    pub(super) logged: Option<Box<Logged>>,
    /// Bytes in a second that it may go out at, where the origin says so; 0 for any number.
    pub(super) rate: Option<u64>,
    /// Counted as under way until the body ends.
    pub(super) held: Option<Box<Held>>,
    /// What the connection becomes after a `101`.
    pub(super) tunnel: Option<Box<Joining>>,
}

/// A stored response that is about to be served.
pub(super) struct Served {
    pub(super) stored: Arc<Stored>,
    /// Those of its fields, where they are known.
    pub(super) names: Names,
    pub(super) source: Source,
    pub(super) status: CacheStatus,
    pub(super) handling: Handling,
}

/// Where its body is.
pub(super) enum Source {
    /// At rest.
    Rest(store::Body),
    /// On its way.
    Fill(Arc<Fill>),
    /// A file that is no stored response.
    File(Arc<OpenFile>),
}

impl Answer {
    /// An answer of our own.
    pub(super) fn own(
        response: Response<Body>,
        reason: Reason,
        cache: Option<CacheStatus>,
    ) -> Self {
        Self {
            response,
            cache,
            reason,
            zone: None,
            is_own: true,
            tried: Vec::new(),
            logged: None,
            rate: None,
            held: None,
            tunnel: None,
        }
    }

    /// The same, with the field that tells the status word where the route wants one.
    pub(super) fn told(mut self, route: &config::Route) -> Self {
        tell(self.response.headers_mut(), route, self.cache);
        self
    }

    /// The same, with what comes after it.
    pub(super) fn becoming(mut self, tunnel: Joining) -> Self {
        self.tunnel = Some(Box::new(tunnel));
        self
    }

    /// The same, with a cookie of our own for the client that asked. It is added last: what is
    /// stored or shared must not have it.
    pub(super) fn setting(mut self, cookie: Option<HeaderValue>) -> Self {
        if let Some(cookie) = cookie {
            self.response.headers_mut().append(header::SET_COOKIE, cookie);
        }
        self
    }

    /// The same, for a request that is refused: who waits to be told to go on (`Expect:
    /// 100-continue`) may then send the body or the next request, and nobody could tell which. So
    /// nothing more is read.
    pub(super) fn unexpected(mut self, request: &Parts) -> Self {
        if request.headers.contains_key(header::EXPECT) {
            let close = HeaderValue::from_static("close");
            self.response.headers_mut().insert(header::CONNECTION, close);
        }
        self
    }

    /// The same, with the peers that were asked for it.
    pub(super) fn after(mut self, tried: Vec<Tried>) -> Self {
        self.tried = tried;
        self
    }
}

/// Answers from a stored response, as far as the client wants it.
pub(super) fn stored(call: &Call<'_>, cache: &Cache, served: Served) -> Answer {
    let Served { stored, names, source, status, handling } = served;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = stored.status;
    *response.headers_mut() = with_room(&stored.fields);
    let age_s = stored.age(call.now).as_secs();
    let rules = &cache.settings.rules;
    // A response that was just fetched has an age only if it came with one.
    if rules.count_age && (handling.forwarded.is_none() || age_s > 0) {
        response.headers_mut().insert(header::AGE, HeaderValue::from(age_s));
    }
    let request = &call.request.headers;
    let met = if call.wants_all { Met::Yes } else { precondition::met(request, &stored, rules) };
    match met {
        Met::NotModified => without_body(&mut response, StatusCode::NOT_MODIFIED),
        Met::Failed => without_body(&mut response, StatusCode::PRECONDITION_FAILED),
        Met::Yes => partial::as_wanted(call, Some(cache), &mut response, (&stored, &source)),
    }
    if let Some(spelling) = &stored.spelling
        && call.route.settings.heads.spelling.is_some()
    {
        response.extensions_mut().insert(spelling.clone());
    }
    if cache.settings.says_ranges(response.status(), response.headers()) {
        response.headers_mut().insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }
    if rules.preconditions == Preconditions::Answer && response.status() != stored.status {
        leave_as_nginx(&mut response);
    }
    let rate = said_rate(call, response.headers(), names);
    hide(call, &mut response, names);
    let zone = Some(cache.zone_number);
    Answer { rate, ..finish(call, response, handling, Some(status), zone) }
}

/// A response that we are the origin of, as far as the client wants it. It is served, not stored. With
/// `exact` it is not modified only if the client names its very date.
pub(super) fn of_our_own(
    call: &Call<'_>,
    (stored, source): (&Stored, &Source),
    exact: bool,
) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = stored.status;
    *response.headers_mut() = with_room(&stored.fields);
    let request = &call.request.headers;
    let met =
        if call.wants_all { Met::Yes } else { precondition::met_here(request, stored, exact) };
    match met {
        Met::NotModified => without_body(&mut response, StatusCode::NOT_MODIFIED),
        Met::Failed => without_body(&mut response, StatusCode::PRECONDITION_FAILED),
        Met::Yes => partial::as_wanted(call, None, &mut response, (stored, source)),
    }
    if response.status() == StatusCode::NOT_MODIFIED {
        response.headers_mut().remove(header::ACCEPT_RANGES);
    }
    if response.status().is_client_error() {
        // They are about the body that does not come.
        let of_the_file = [header::EXPIRES, header::CACHE_CONTROL, header::ETAG];
        for name in of_the_file.iter().chain(&[header::LAST_MODIFIED, header::ACCEPT_RANGES]) {
            response.headers_mut().remove(name);
        }
    }
    response
}

/// What nginx says of what is stored beside a status of ours: of a condition that failed nothing, and
/// of ranges only where it sends bytes. Beside a range that does not fit it says all but what is of
/// the body; how long that may be kept is not said here, lest somebody keeps the 416.
pub(super) fn leave_as_nginx(response: &mut Response<Body>) {
    let status = response.status();
    let fields = response.headers_mut();
    match status {
        StatusCode::PRECONDITION_FAILED => fields.clear(),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            for name in &OF_WHAT_DOES_NOT_COME {
                fields.remove(name);
            }
        }
        StatusCode::NOT_MODIFIED => drop(fields.remove(header::ACCEPT_RANGES)),
        _ => {}
    }
}

/// Answers with a response that is passed on.
pub(super) fn passed(
    call: &Call<'_>,
    mut response: Response<Body>,
    handling: Handling,
    status: Option<CacheStatus>,
) -> Answer {
    if call.request.method == Method::HEAD && !response.body().is_empty() {
        // It was asked for as GET; the client gets the head and the length.
        let length = http_body::Body::size_hint(response.body()).exact();
        *response.body_mut() = Body::empty();
        insert_length(response.headers_mut(), length);
    }
    ahead::read_ahead(&mut response, &call.route.settings.bodies);
    partial::cut_if_forced(call, &mut response);
    let names = Names::of(response.headers());
    let rate = said_rate(call, response.headers(), names);
    accel::note(call, &mut response);
    hide(call, &mut response, names);
    let zone = call.cache().ok().map(|cache| cache.zone_number);
    Answer { rate, ..finish(call, response, handling, status, zone) }
}

/// A copy with room for what is added to it; a clone has none and would be moved at once.
fn with_room(stored: &HeaderMap) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity((stored.len() + ADDED).max(REQUEST_FIELDS));
    for (name, value) in stored {
        fields.append(name.clone(), value.clone());
    }
    fields
}

/// `Age`, `Cache-Status`, the status word, and one of a part.
const ADDED: usize = 4;
/// As many as a browser sends: hyper reads the next request into the map of this response.
const REQUEST_FIELDS: usize = 12;

/// As nginx does, when it is sent: what was stored before a field was hidden must not tell it.
/// `names` are those that what is sent came with.
fn hide(call: &Call<'_>, response: &mut Response<Body>, names: Names) {
    for (bits, name) in &call.route.hidden.fields {
        if names.may_have(*bits) {
            response.headers_mut().remove(name);
        }
    }
    if call.route.changed.are_in(response.headers(), names) {
        location::change(call, response.headers_mut());
    }
}

/// How fast the origin wants it to go out (nginx: X-Accel-Limit-Rate).
fn said_rate(call: &Call<'_>, fields: &HeaderMap, names: Names) -> Option<u64> {
    if !names.may_have(call.route.hidden.limit_rate) {
        return None;
    }
    let value = fields.get(&X_ACCEL_LIMIT_RATE)?.to_str().ok()?;
    if value == "off" { Some(0) } else { value.parse().ok() }
}

fn finish(
    call: &Call<'_>,
    mut response: Response<Body>,
    handling: Handling,
    cache: Option<CacheStatus>,
    zone: Option<usize>,
) -> Answer {
    let fields = response.headers_mut();
    if call.route.settings.heads.cache_status
        && let Some(value) = handling.value()
    {
        fields.append(CACHE_STATUS, value);
    }
    tell(fields, &call.route.settings, cache);
    let reason = handling.reason;
    Answer { is_own: false, zone, ..Answer::own(response, reason, cache) }
}

fn tell(fields: &mut HeaderMap, route: &config::Route, cache: Option<CacheStatus>) {
    if let (Some(name), Some(status)) = (&route.status_header, cache) {
        fields.insert(name.clone(), HeaderValue::from_static(status.word()));
    }
}

/// RFC 9110 section 15.4.5: what describes a body is left out, since there is none.
fn without_body(response: &mut Response<Body>, status: StatusCode) {
    *response.status_mut() = status;
    for name in &OF_A_BODY {
        response.headers_mut().remove(name);
    }
}

pub(super) fn insert_length(fields: &mut HeaderMap, length: Option<u64>) {
    if let Some(length) = length {
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}

impl Source {
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::Rest(body) => Some(body.len()),
            Self::Fill(fill) => fill.length,
            Self::File(file) => Some(file.len()),
        }
    }

    /// The bytes of a range that lies within the length, where that is known.
    pub(super) fn body(&self, part: Range<u64>) -> Body {
        match self {
            Self::Rest(body) => body.stream(part),
            Self::Fill(fill) => Body::stream(fill.follow(part)),
            Self::File(file) => file.stream(part),
        }
    }
}

/// Beside a range that does not fit.
const OF_WHAT_DOES_NOT_COME: [HeaderName; 9] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::ETAG,
    header::LAST_MODIFIED,
    header::ACCEPT_RANGES,
    header::CACHE_CONTROL,
    header::EXPIRES,
];

pub(super) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

pub(super) const OF_A_BODY: [HeaderName; 5] = [
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::CONTENT_LANGUAGE,
];
