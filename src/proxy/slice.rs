//! Responses fetched and stored in slices. (nginx: ngx_http_slice_module)

use http::HeaderValue;

use crate::cache::lookup::Key;
use crate::semantics::partial::ContentRange;

/// One slice of a response.
pub(super) struct Slice {
    /// The key of the whole.
    pub(super) of: Key,
    first: u64,
    /// Its last byte, unless the whole ends before.
    last: u64,
}

impl Slice {
    /// What the origin is asked for it (nginx: $slice_range).
    pub(super) fn asked(&self) -> HeaderValue {
        let value = format!("bytes={}-{}", self.first, self.last);
        HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static("bytes=0-"))
    }

    /// Whether a part of so many bytes is this slice.
    pub(super) fn is(&self, came: ContentRange, length: u64) -> bool {
        let last = came.total.map(|total| self.last.min(total - 1));
        came.first == self.first && Some(came.last) == last && length == came.length()
    }
}
