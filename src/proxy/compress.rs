//! A response compressed on its way. (nginx: ngx_http_gzip_filter_module)
//!
//! What comes from an upstream is compressed before it is asked whether it may be stored, so that
//! a variant of each coding is stored, as of an origin that compresses by itself.

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header};
use http_body::Body as HttpBody;

use super::call::Call;
use crate::body::Body;
use crate::coding::{self, Levels};
use crate::config::Compress;
use crate::semantics::coding::{Accepted, Coding};
use crate::semantics::compressing;

/// Whether an answer may be compressed, apart from what it is itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Compressing {
    Yes,
    /// Not for this client, but it varies: for others it would be.
    ForOthers,
    Never,
}

/// Compresses the answer to a request with this method, if the route does that, the response is
/// worth it, and the client takes it; whether it is compressed now.
pub(super) fn on_its_way(
    call: &Call<'_>,
    (method, may): (&Method, Compressing),
    response: &mut Response<Body>,
) -> bool {
    let Some(settings) = &call.route.settings.compress else { return false };
    if may == Compressing::Never {
        return false;
    }
    if response.status() == StatusCode::NOT_MODIFIED {
        compressing::fit_not_modified(&call.request.headers, response.headers_mut());
        return false;
    }
    let length = match *method {
        Method::HEAD => promised(response.headers()),
        _ => response.body().size_hint().exact(),
    };
    let (status, fields) = (response.status(), response.headers_mut());
    match chosen(call, settings, (status, length), fields) {
        Some(coding) if may == Compressing::Yes => encode(response, settings, coding),
        Some(_) | None => false,
    }
}

/// How a response with these fields is to be coded for this client; says in them that it varies
/// where that depends on the client.
pub(super) fn chosen(
    call: &Call<'_>,
    settings: &Compress,
    (status, length): (StatusCode, Option<u64>),
    fields: &mut HeaderMap,
) -> Option<Coding> {
    if length == Some(0) || !settings.worth.is(status, fields, length) {
        return None;
    }
    compressing::add_vary(fields);
    // nginx: gzip_http_version 1.1. An older client sees the end of a body of no length in the end
    // of its connection.
    let is_understood = call.request.version > Version::HTTP_10;
    Accepted::of(&call.request.headers).choose(&settings.codings).filter(|_| is_understood)
}

/// Codes a response; `false`, and nothing is done, where there is no memory for it.
pub(super) fn encode(response: &mut Response<Body>, settings: &Compress, coding: Coding) -> bool {
    let levels = Levels {
        gzip: settings.gzip_level,
        brotli: settings.brotli_level,
        zstd: settings.zstd_level,
    };
    let body = std::mem::take(response.body_mut());
    if !body.is_empty() {
        match coding::Coder::new(coding, levels) {
            Ok(coder) => *response.body_mut() = coder.code(body),
            Err(error) => {
                tracing::warn!(%error, "a response could not be compressed");
                *response.body_mut() = body;
                return false;
            }
        }
    }
    compressing::describe(response.headers_mut(), coding);
    true
}

/// The length that an answer to `HEAD` promises.
fn promised(fields: &HeaderMap) -> Option<u64> {
    let length = |value: &HeaderValue| value.to_str().ok()?.parse().ok();
    fields.get(header::CONTENT_LENGTH).and_then(length)
}
