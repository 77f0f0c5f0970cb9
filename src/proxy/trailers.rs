//! Trailers of what is passed on, both ways: who is told that there are some. What is stored has
//! none. (nginx: proxy_pass_trailers; RFC 9110 section 6.5)

use http::header::{CONNECTION, TE, TRAILER};
use http::{HeaderMap, HeaderValue, Version};

use super::call::Call;
use crate::body::Body;
use crate::semantics::trailers;

/// Lets a request that is passed on say what its client says: that it takes trailers, and which it
/// has itself, where its `body` may have some. Over HTTP/1 none is sent that is not announced.
pub(super) fn announce_up(call: &Call<'_>, fields: &mut HeaderMap, body: &Body) {
    let request = &call.request.headers;
    if trailers::are_taken(request) {
        fields.insert(TE, HeaderValue::from_static("trailers"));
        // RFC 9110 section 10.1.4; HTTP/2 to a peer leaves it out.
        fields.insert(CONNECTION, HeaderValue::from_static("TE"));
    }
    if !body.is_here() {
        copy(request, fields);
    }
}

/// The fields of a response that announce its trailers, for a client that takes them: over HTTP/2
/// every client does, over HTTP/1 one that says so.
pub(super) fn announced(call: &Call<'_>, response: &HeaderMap) -> HeaderMap {
    let mut fields = HeaderMap::new();
    if call.request.version == Version::HTTP_2 || trailers::are_taken(&call.request.headers) {
        copy(response, &mut fields);
    }
    fields
}

fn copy(from: &HeaderMap, to: &mut HeaderMap) {
    for names in from.get_all(TRAILER) {
        to.append(TRAILER, names.clone());
    }
}
