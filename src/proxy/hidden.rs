//! Response fields that clients do not get. (nginx: proxy_hide_header)

use http::{HeaderName, header};

use crate::semantics::fields::Names;

/// Fields that clients do not get, each with the bits that say whether it may be there.
pub struct Hidden {
    pub(super) fields: Vec<(Names, HeaderName)>,
    /// Those of `X-Accel-Limit-Rate`, which is obeyed, hidden or not.
    pub(super) limit_rate: Names,
}

impl Hidden {
    /// These.
    pub fn new(names: &[HeaderName]) -> Self {
        let bits = |name| if ADDED.contains(name) { Names::ANY } else { Names::one(name) };
        let fields = names.iter().map(|name| (bits(name), name.clone())).collect();
        Self { fields, limit_rate: Names::one(&X_ACCEL_LIMIT_RATE) }
    }
}

/// How fast the origin wants a response to go out.
pub(super) const X_ACCEL_LIMIT_RATE: HeaderName = HeaderName::from_static("x-accel-limit-rate");

/// What may come to a response's fields on their way out.
const ADDED: [HeaderName; 4] =
    [header::AGE, header::CONTENT_LENGTH, header::CONTENT_RANGE, header::CONTENT_TYPE];
