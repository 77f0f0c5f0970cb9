//! The response that came from upstream, before it is stored or passed on.

use http::{HeaderMap, Method, Response, header};

use crate::body::Body;
use crate::semantics::fields;

/// Makes a response to a request with this method ready to be stored or passed on.
pub(super) fn clean(response: &mut Response<Body>, method: &Method) {
    let version = response.version();
    let fields = response.headers_mut();
    // After HEAD the length frames nothing; it is what the client asked for.
    let length = (*method == Method::HEAD).then(|| fields.get(header::CONTENT_LENGTH).cloned());
    remove_hop_by_hop(fields);
    if let Some(length) = length.flatten() {
        fields.insert(header::CONTENT_LENGTH, length);
    }
    fields::add_via(fields, version);
}

/// Removes what concerns the connection to an origin. An origin that names a field which is not its
/// to remove keeps the field, not the privilege.
pub(super) fn remove_hop_by_hop(fields: &mut HeaderMap) {
    if fields::remove_hop_by_hop(fields).is_err() {
        fields.remove(header::CONNECTION);
        let _ = fields::remove_hop_by_hop(fields);
    }
}
