//! The head of a request, as it is written. (RFC 9112 section 3)

use http::request::Parts;
use http::{HeaderName, header};

use super::sending::Framing;
use crate::semantics::directives::members;
use crate::spelling::Spelled;

/// The bytes of a head whose body is framed like this, and whether it asks for the end of the
/// connection. What the request itself says of its length is left out.
pub(super) fn write(request: &Parts, framing: &Framing) -> (Vec<u8>, bool) {
    let mut line = Vec::with_capacity(HEAD_BYTES);
    line.extend_from_slice(request.method.as_str().as_bytes());
    line.push(b' ');
    let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
    if !target.starts_with(['/', '*']) {
        line.push(b'/');
    }
    line.extend_from_slice(target.as_bytes());
    line.extend_from_slice(b" HTTP/1.1\r\n");
    let mut closes = false;
    let spelled = request.extensions.get::<Spelled>();
    for (name, value) in &request.headers {
        if *name == header::CONTENT_LENGTH || *name == header::TRANSFER_ENCODING {
            continue;
        }
        if *name == header::CONNECTION {
            closes |= members(value.as_bytes()).any(|word| word.eq_ignore_ascii_case(b"close"));
        }
        field(&mut line, (name, spelled), value.as_bytes());
    }
    match framing {
        Framing::None => {}
        Framing::Length(length) => {
            let length = length.to_string();
            field(&mut line, (&header::CONTENT_LENGTH, spelled), length.as_bytes());
        }
        Framing::Chunked(_) => {
            field(&mut line, (&header::TRANSFER_ENCODING, spelled), b"chunked");
        }
    }
    line.extend_from_slice(b"\r\n");
    (line, closes)
}

/// Writes a field.
pub(super) fn field(
    line: &mut Vec<u8>,
    (name, spelled): (&HeaderName, Option<&Spelled>),
    value: &[u8],
) {
    Spelled::write(spelled, name, line);
    line.extend_from_slice(b": ");
    line.extend_from_slice(value);
    line.extend_from_slice(b"\r\n");
}

/// As many as most heads have.
const HEAD_BYTES: usize = 1024;
