//! Whose fault it is, and which status says so.

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use super::deliver::{Answer, CACHE_STATUS};
use super::gate::Refusal;
use super::heads;
use super::inside::Next;
use crate::body::Body;
use crate::semantics::date::Timestamp;
use crate::semantics::reason::Reason;
use crate::semantics::stale::Failure;
use crate::semantics::status::{CacheStatus, Forwarded, Handling};
use crate::tried::Tried;
use crate::upstream::{self, RequestBody};

/// Why a request gets an answer of our own: one variant per response we may give.
#[derive(Debug)]
pub(super) enum Error {
    /// The request is malformed in this respect.
    BadRequest(&'static str),
    /// The client has not shown the certificate that the site wants: what to tell it.
    Certificate(&'static str),
    /// It came in the clear where TLS is spoken.
    Misplaced,
    /// Its framing or transfer coding is one we do not understand.
    NotImplemented(&'static str),
    /// A method that is not to be had here.
    MethodNotAllowed,
    /// A purge from where none is allowed.
    Forbidden,
    /// The route lets it not in.
    Gate(Box<Refusal>),
    /// No route for the path.
    NotFound,
    /// The route does not take the method; these it takes.
    NotTaken(Option<HeaderValue>),
    /// A route of our own gives this status and nothing else.
    Plain(StatusCode),
    /// Not an answer: the request goes on here, inside the site.
    Inside(Box<Next>),
    /// It was rewritten and sent on too often, or to where nothing is.
    Cycle,
    /// No site for the host, and the site that would stand in is strict.
    Misdirected,
    /// The body is larger than the route takes.
    TooLarge,
    /// The target is longer than we take.
    UriTooLong,
    /// The body took too long to come.
    RequestTimeout,
    /// The body could not be put into a file: 507 where there is no room, else 500.
    Storage(StatusCode),
    /// The request takes nothing but what is stored, and nothing of use is.
    OnlyIfCached,
    /// The system failed us, or a configuration leads round in circles.
    Internal,
    /// The upstream failed like this.
    Upstream(Failure),
    /// The same, with the word of the cache, if it was asked, why the request went on, and whom it
    /// came to.
    UpstreamAfter {
        failure: Failure,
        word: Option<CacheStatus>,
        forwarded: Forwarded,
        tried: Vec<Tried>,
    },
}

impl Error {
    /// The only place that knows which error has which status.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) | Self::Certificate(_) | Self::Misplaced => StatusCode::BAD_REQUEST,
            Self::NotImplemented(_) => StatusCode::NOT_IMPLEMENTED,
            Self::Plain(status) => *status,
            Self::Inside(_) | Self::Cycle => StatusCode::INTERNAL_SERVER_ERROR,
            Self::MethodNotAllowed | Self::NotTaken(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Gate(refusal) => refusal.status,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Storage(status) => *status,
            // RFC 9111 section 5.2.1.7.
            Self::OnlyIfCached
            | Self::Upstream(Failure::Timeout)
            | Self::UpstreamAfter { failure: Failure::Timeout, .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Upstream(_) | Self::UpstreamAfter { .. } => StatusCode::BAD_GATEWAY,
        }
    }

    /// What `error_page` knows it by: its status, or one that nobody is told.
    pub(super) fn page_code(&self) -> u16 {
        match self {
            Self::Certificate(NO_CERTIFICATE) => 496,
            Self::Certificate(_) => 495,
            Self::Misplaced => 497,
            _ => self.status().as_u16(),
        }
    }

    /// Whether what follows such a request on its connection cannot be trusted.
    fn closes(&self) -> bool {
        matches!(
            self,
            Self::BadRequest(_)
                | Self::Certificate(_)
                | Self::Misplaced
                | Self::NotImplemented(_)
                | Self::Storage(_)
                | Self::Misdirected
                | Self::TooLarge
                | Self::UriTooLong
                | Self::RequestTimeout
        )
    }

    /// Adds what a client is told besides the status, whoever tells the status.
    pub(super) fn tell(&self, fields: &mut HeaderMap) {
        match self {
            Self::Gate(refusal) => refusal.tell(fields),
            Self::MethodNotAllowed => {
                let allow =
                    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
                fields.insert(header::ALLOW, allow);
            }
            Self::NotTaken(allow) => {
                fields.extend(allow.clone().map(|allow| (header::ALLOW, allow)));
            }
            _ => {}
        }
        if self.closes() {
            fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// The response to the client: the status and nothing that is not its business.
    pub(super) fn answer(&self, now: Timestamp) -> Answer {
        if let Self::BadRequest(what) | Self::NotImplemented(what) = self {
            tracing::debug!(what, status = self.status().as_u16(), "request refused");
        }
        let mut response = plain(self.status(), now);
        let told = match self {
            Self::Certificate(told) => Some(*told),
            Self::Misplaced => Some("The plain HTTP request was sent to HTTPS port"),
            _ => None,
        };
        if let Some(told) = told {
            *response.body_mut() = Body::full(format!("400 Bad Request: {told}\n"));
        }
        if matches!(self, Self::Inside(_) | Self::Cycle) {
            tracing::warn!("a request was rewritten or sent on in a cycle, or to no route");
        }
        self.tell(response.headers_mut());
        let (reason, cache) = match self {
            Self::Upstream(_) => (Reason::UpstreamFailed, None),
            Self::UpstreamAfter { word, .. } => (Reason::UpstreamFailed, *word),
            Self::Plain(_) => (Reason::Respond, None),
            Self::OnlyIfCached => (Reason::OnlyIfCached, Some(CacheStatus::Miss)),
            Self::Gate(refusal) => (refusal.reason, None),
            _ => (Reason::Refused, None),
        };
        let handled = match self {
            Self::Upstream(_) => Handling::forwarded(Forwarded::UriMiss, reason).to_string(),
            Self::UpstreamAfter { forwarded, .. } => {
                Handling::forwarded(*forwarded, reason).to_string()
            }
            _ => own_handling(reason),
        };
        tell_handling(&mut response, handled);
        let tried = match self {
            Self::UpstreamAfter { tried, .. } => tried.clone(),
            _ => Vec::new(),
        };
        Answer::own(response, reason, cache).after(tried)
    }
}

/// `Cache-Status` of an answer that is neither a hit nor forwarded (RFC 9211 section 2).
pub(super) fn own_handling(reason: Reason) -> String {
    format!("larder; detail={reason}")
}

/// Adds `Cache-Status`.
pub(super) fn tell_handling(response: &mut Response<Body>, handled: String) {
    if let Ok(value) = HeaderValue::try_from(handled) {
        response.headers_mut().insert(CACHE_STATUS, value);
    }
}

/// A response of our own: a line of text that says its status.
pub(super) fn plain(status: StatusCode, now: Timestamp) -> Response<Body> {
    let text = format!("{} {}\n", status.as_str(), status.canonical_reason().unwrap_or(""));
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    fields.insert(header::SERVER, HeaderValue::from_static("larder"));
    if let Some(date) = heads::date(now) {
        fields.insert(header::DATE, date);
    }
    response
}

/// What an upstream's failure means for the client, and for what is stored.
pub(super) fn of_upstream(error: &upstream::Error) -> Error {
    match &error.kind {
        upstream::Kind::RequestBody(RequestBody::TooLarge(_)) => Error::TooLarge,
        upstream::Kind::RequestBody(RequestBody::Timeout(_)) => Error::RequestTimeout,
        upstream::Kind::RequestBody(RequestBody::Transfer) => Error::BadRequest("body"),
        upstream::Kind::Timeout => Error::Upstream(Failure::Timeout),
        upstream::Kind::InvalidResponse => Error::Upstream(Failure::InvalidHeader),
        _ => Error::Upstream(Failure::Error),
    }
}

/// What a client without a certificate is told, in nginx's words.
pub(super) const NO_CERTIFICATE: &str = "No required SSL certificate was sent";

/// Whether the method is one we never pass on.
pub(super) fn is_refused(method: &Method) -> bool {
    matches!(*method, Method::CONNECT | Method::TRACE)
}
