//! Asks somebody else whether a request may be answered. (nginx: auth_request)

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use http_body::Body as _;

use super::Refusal;
use crate::body::Body;
use crate::config::template::{Facts, OfTried, Variable};
use crate::config::{self, AuthTarget};
use crate::proxy::Worker;
use crate::proxy::call::Call;
use crate::proxy::facts::{write_joined, write_set_cookie};
use crate::proxy::outgoing::CONDITIONAL;
use crate::proxy::route::{self, Route};
use crate::semantics::reason::Reason;

/// Who is asked, and what of the answer is told to the upstream.
pub(super) struct Ask {
    settings: config::AuthRequest,
    /// Path and query.
    uri: Uri,
    /// Who answers; `None`: the route of the same site for the path.
    asked: Option<Arc<Route>>,
}

/// Fields that the request gets, or loses.
type Set = Vec<(HeaderName, Option<HeaderValue>)>;

impl Ask {
    pub(super) fn new(settings: &config::AuthRequest, asked: Option<Arc<Route>>) -> Self {
        let (AuthTarget::Own(uri) | AuthTarget::Upstream { uri, .. }) = &settings.to;
        Self { settings: settings.clone(), uri: uri.parse().unwrap_or_default(), asked }
    }

    /// Asks; gives the fields that the request gets if it may go on.
    pub(super) async fn ask(&self, call: &Call<'_>) -> Result<Set, Refusal> {
        let path = route::normalized(self.uri.path()).unwrap_or_default();
        let Some(route) = self.asked.as_ref().or_else(|| call.site.find(&path)) else {
            return Err(failed("no route for the path of `auth_request`"));
        };
        let request = self.request(call);
        let asking = Call {
            route,
            request: &request,
            path: &path,
            original: Some(call.original_uri()),
            way: None,
            wants_all: true,
            ..*call
        };
        let answer = async {
            let mut answer = Worker::content(asking, None, Body::empty()).await?;
            let body = std::mem::take(answer.response.body_mut());
            drain(body).await;
            Ok(answer.response)
        };
        match tokio::time::timeout(self.settings.timeout, answer).await {
            Ok(Ok(response)) => self.read(call, response.status(), response.headers()),
            Ok(Err(error)) => Err(self::failed_with(&error)),
            Err(_) => Err(failed("`auth_request` took too long")),
        }
    }

    /// What the client sends, less what is of its body and of what it has already.
    fn request(&self, call: &Call<'_>) -> Parts {
        let mut request = call.request.clone();
        request.method = Method::GET;
        request.uri = self.uri.clone();
        let fields = &mut request.headers;
        for name in OF_THE_BODY.iter().chain(&CONDITIONAL) {
            fields.remove(name);
        }
        if !self.settings.original {
            return request;
        }
        let original = call.original_uri();
        if let Ok(value) = HeaderValue::from_str(original) {
            fields.insert(X_ORIGINAL_URI, value);
        }
        if let Ok(value) = HeaderValue::from_str(call.request.method.as_str()) {
            fields.insert(X_ORIGINAL_METHOD, value);
        }
        request
    }

    fn read(
        &self,
        call: &Call<'_>,
        status: StatusCode,
        fields: &HeaderMap,
    ) -> Result<Set, Refusal> {
        let told = Told { call, status, fields };
        self.tell(&told);
        if status.is_success() {
            return self.set(&told);
        }
        let challenges = || fields.get_all(header::WWW_AUTHENTICATE).iter().cloned().collect();
        let (reason, challenges) = match status {
            StatusCode::UNAUTHORIZED => (Reason::Unauthorised, challenges()),
            StatusCode::FORBIDDEN => (Reason::Denied, Vec::new()),
            _ => {
                tracing::warn!(status = status.as_u16(), uri = %self.uri, "unexpected answer to `auth_request`");
                return Err(failed("unexpected status"));
            }
        };
        Err(Refusal { status, reason, challenges, retry_after_s: None })
    }

    /// Sets the variables, whatever was answered: where the client logs in may be among them.
    fn tell(&self, told: &Told<'_>) {
        for (name, template) in &self.settings.told {
            let mut value = Vec::new();
            template.write(told, &mut value);
            if let Some(way) = told.call.way {
                way.told.set(name, value);
            }
        }
    }

    /// Where a value is empty the client's own field goes too: nobody else said it.
    fn set(&self, told: &Told<'_>) -> Result<Set, Refusal> {
        let mut text = Vec::new();
        let field = |(name, template): &(HeaderName, config::template::Template)| {
            text.clear();
            template.write(told, &mut text);
            let value = (!text.is_empty()).then(|| HeaderValue::from_bytes(&text)).transpose();
            Ok((name.clone(), value.map_err(|_| failed("a value is none of a field"))?))
        };
        self.settings.set.iter().map(field).collect()
    }
}

/// The facts of a request, and of what was answered about it.
struct Told<'a> {
    call: &'a Call<'a>,
    status: StatusCode,
    fields: &'a HeaderMap,
}

impl Facts for Told<'_> {
    fn write(&self, variable: &Variable, out: &mut Vec<u8>) {
        match variable {
            Variable::UpstreamHttp(name) | Variable::SentHttp(name) => {
                write_joined(self.fields, name, out);
            }
            Variable::UpstreamCookie(name) => write_set_cookie(self.fields, name, out),
            Variable::Status | Variable::Tried(OfTried::Status) => {
                out.extend_from_slice(self.status.as_str().as_bytes())
            }
            other => self.call.write(other, out),
        }
    }
}

/// Takes what there is of a short body, so that the connection it came over can be used again.
async fn drain(mut body: Body) {
    let mut left = DRAINED_MAX;
    while left > 0 {
        let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx));
        let Some(Ok(frame)) = frame.await else { return };
        left = left.saturating_sub(frame.data_ref().map_or(0, bytes::Bytes::len));
    }
}

fn failed(why: &str) -> Refusal {
    tracing::debug!(why, "auth_request failed");
    Refusal {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        reason: Reason::Refused,
        challenges: Vec::new(),
        retry_after_s: None,
    }
}

fn failed_with(error: &crate::proxy::error::Error) -> Refusal {
    tracing::warn!(status = error.status().as_u16(), "no answer to `auth_request`");
    failed("no answer")
}

/// More of a body than this costs more than another connection.
const DRAINED_MAX: usize = 16 << 10;

const OF_THE_BODY: [HeaderName; 6] = [
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::EXPECT,
    header::TRAILER,
];
const X_ORIGINAL_URI: HeaderName = HeaderName::from_static("x-original-uri");
const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
