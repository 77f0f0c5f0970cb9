//! Which requests make what is stored out of date. (RFC 9111 section 4.4)

use http::{Method, StatusCode};

/// Whether an answer of `status` to `method` says that the resource may have changed: every
/// method that is not known to be safe, when it was carried out.
pub fn invalidates(method: &Method, status: StatusCode) -> bool {
    !method.is_safe() && (status.is_success() || status.is_redirection())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rustfmt::skip]
    #[test]
    fn unsafe_methods_that_were_carried_out_invalidate() {
        for (method, status, expected) in [
            ("POST", 200, true), ("PUT", 201, true), ("DELETE", 204, true), ("M-SEARCH", 200, true),
            ("POST", 303, true), ("POST", 500, false), ("POST", 404, false),
            ("GET", 200, false), ("HEAD", 200, false), ("OPTIONS", 200, false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(invalidates(&method.parse().unwrap(), status), expected, "{method} {status}");
        }
    }
}
