//! Fields that concern one connection only, and `Via`. (RFC 9110 section 7.6)

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use super::directives::members;

/// Removes what must not be passed on: the fields that `Connection` names and those that concern
/// the connection by definition. Framing is dropped with them: whoever sends the message on frames
/// it anew from its body.
///
/// # Errors
/// `Connection` names a field that must not be removed on a peer's word (framing, `Host`, who the
/// client is, what the cache goes by): refuse the request.
pub fn remove_hop_by_hop(fields: &mut HeaderMap) -> Result<(), ProtectedField> {
    if fields.contains_key(header::CONNECTION) {
        for name in named_by_connection(fields)? {
            fields.remove(name);
        }
    }
    remove_all(fields, &HOP_BY_HOP);
    Ok(())
}

/// The same for a response. An origin that names a field which is not its to remove keeps the field,
/// not the privilege.
pub fn remove_hop_by_hop_of_response(fields: &mut HeaderMap) {
    if remove_hop_by_hop(fields).is_err() {
        fields.remove(header::CONNECTION);
        let _ = remove_hop_by_hop(fields);
    }
}

/// Removes the fields with these names, at most 32. One pass tells which are there: mostly none is,
/// and to look for each would cost more than all the rest.
pub fn remove_all(fields: &mut HeaderMap, names: &[HeaderName]) {
    let mut there = 0_u32;
    for name in fields.keys() {
        if let Some(number) = names.iter().position(|known| known == name) {
            there |= 1 << number;
        }
    }
    for (number, name) in names.iter().enumerate() {
        if there >> number & 1 == 1 {
            fields.remove(name);
        }
    }
}

/// Removes the fields that `Connection` names, and nothing else, before anything is decided by them:
/// what is not passed on must not select a variant or be part of a key.
///
/// # Errors
/// As `remove_hop_by_hop`.
pub fn remove_named(fields: &mut HeaderMap) -> Result<(), ProtectedField> {
    if names_nothing(fields) {
        return Ok(());
    }
    for name in named_by_connection(fields)? {
        // These say how the connection goes on, which is still to be asked.
        if !HOP_BY_HOP.contains(&name) {
            fields.remove(name);
        }
    }
    Ok(())
}

/// Removes fields whose names have more than letters, digits and `-`, and `_` where they may: to who
/// reads them as CGI does, `X_Real_IP` and `X-Real-IP` are one.
pub fn remove_odd(fields: &mut HeaderMap, may_have_underscores: bool) {
    let is_usual = |byte: u8| {
        byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' && may_have_underscores
    };
    let is_odd = |name: &&HeaderName| !name.as_str().bytes().all(is_usual);
    let odd: Vec<HeaderName> = fields.keys().filter(is_odd).cloned().collect();
    for name in odd {
        fields.remove(name);
    }
}

/// Which fields of a request there is something to do about. Found in one pass over what it has,
/// so that a usual request is not searched for each field that could be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// `Connection`.
    pub connection: bool,
    /// `Content-Length` or `Transfer-Encoding`.
    pub framing: bool,
    /// `Range`, or any that begins with `If-`: it may be answered with something else than all.
    pub conditional: bool,
}

impl Present {
    /// What is there.
    pub fn of(fields: &HeaderMap) -> Self {
        let mut present = Self::default();
        for name in fields.keys() {
            match name.as_str().as_bytes() {
                [b'i', b'f', b'-', ..] | b"range" => present.conditional = true,
                b"connection" => present.connection = true,
                b"content-length" | b"transfer-encoding" => present.framing = true,
                _ => {}
            }
        }
        present
    }
}

/// Bits that stand for the names of some fields: which of them there may be. Tells what is not
/// there without looking; what it says is there need not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names(u32);

impl Names {
    /// Any may be there.
    pub const ANY: Self = Self(u32::MAX);

    /// Those of these fields.
    pub fn of(fields: &HeaderMap) -> Self {
        Self::of_all(fields.keys())
    }

    /// Those of these names.
    pub fn of_all<'a>(names: impl IntoIterator<Item = &'a HeaderName>) -> Self {
        Self(names.into_iter().fold(0, |bits, name| bits | Self::one(name).0))
    }

    /// Of this one.
    pub fn one(name: &HeaderName) -> Self {
        let fold =
            |hash: u32, byte: &u8| (hash.rotate_left(5) ^ u32::from(*byte)).wrapping_mul(SPREAD);
        Self(1 << (name.as_str().as_bytes().iter().fold(0, fold) >> 27))
    }

    /// Whether some of these may be among them.
    pub fn may_have(self, some: Self) -> bool {
        self.0 & some.0 != 0
    }
}

/// `Connection` names a field that is not its to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectedField(pub HeaderName);

/// Whether there is no `Connection`, or one that says only what a connection says of itself.
fn names_nothing(fields: &HeaderMap) -> bool {
    let mut lines = fields.get_all(header::CONNECTION).iter();
    let is_usual = |line: &HeaderValue| {
        [&b"keep-alive"[..], b"close"].iter().any(|word| line.as_bytes().eq_ignore_ascii_case(word))
    };
    lines.all(is_usual)
}

fn named_by_connection(fields: &HeaderMap) -> Result<Vec<HeaderName>, ProtectedField> {
    let mut named = Vec::new();
    for line in fields.get_all(header::CONNECTION) {
        // What is no field name names nothing.
        for name in members(line.as_bytes()).filter_map(|name| HeaderName::from_bytes(name).ok()) {
            if PROTECTED.contains(&name) {
                return Err(ProtectedField(name));
            }
            named.push(name);
        }
    }
    Ok(named)
}

/// Adds this server to `Via` (RFC 9110 section 7.6.3), behind those that are there.
pub fn add_via(fields: &mut HeaderMap, received: Version) {
    let via = match received {
        Version::HTTP_10 => HeaderValue::from_static("1.0 larder"),
        Version::HTTP_2 => HeaderValue::from_static("2 larder"),
        _ => HeaderValue::from_static("1.1 larder"),
    };
    fields.append(header::VIA, via);
}

/// Odd, and its bits are in no order: makes the highest ones depend on all.
const SPREAD: u32 = 0x9E37_79B1;

const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::CONTENT_LENGTH,
];

const PROTECTED: [HeaderName; 11] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CACHE_CONTROL,
    header::SET_COOKIE,
    header::VARY,
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[rustfmt::skip]
    #[test]
    fn removes_what_concerns_one_connection() {
        check("connection: keep-alive, X-Mine | x-mine: 1 | x-other: 2", Ok("x-other"));
        check("connection: close | connection: a | a: 1 | keep-alive: 5 | te: trailers", Ok(""));
        check("transfer-encoding: chunked | upgrade: h2c | proxy-connection: x | trailer: a", Ok(""));
        check("content-length: 5 | etag: 1", Ok("etag"));
        check("connection: b/d | x: 1", Ok("x"));
        check("connection: Host | host: a", Err("host"));
        check("connection: close, content-length", Err("content-length"));
        check("connection: X-Forwarded-For", Err("x-forwarded-for"));
        check("proxy-authorization: a", Ok("proxy-authorization"));
    }

    #[rustfmt::skip]
    #[test]
    fn one_pass_finds_what_there_is_to_do() {
        let none = Present::default();
        check_present("host: a | accept: b | x-range: c | iframe: d",  none);
        check_present("host: a | connection: close",     Present { connection: true, ..none });
        check_present("content-length: 1",               Present { framing: true, ..none });
        check_present("transfer-encoding: chunked",      Present { framing: true, ..none });
        check_present("range: bytes=0-1",                Present { conditional: true, ..none });
        check_present("if-match: a | if-range: b",       Present { conditional: true, ..none });
        check_present("if-none-match: a",                Present { conditional: true, ..none });
        check_present("if-modified-since: a",            Present { conditional: true, ..none });
        check_present("if-unmodified-since: a",          Present { conditional: true, ..none });
    }

    #[track_caller]
    fn check_present(text: &str, expected: Present) {
        assert_eq!(Present::of(&fields(text)), expected, "{text}");
    }

    #[test]
    fn names_that_are_there_are_never_missed() {
        let known = ["set-cookie", "surrogate-key", "x-accel-expires", "x-secret", "etag", "via"];
        for there in known {
            let names = Names::of(&fields(&format!("date: a | {there}: b | content-type: c")));
            assert!(names.may_have(Names::one(&there.parse().unwrap())), "{there}");
            assert!(Names::ANY.may_have(Names::one(&there.parse().unwrap())), "{there}");
        }
        let few = Names::of(&fields("date: a | etag: b"));
        let told = known.iter().filter(|name| few.may_have(Names::one(&name.parse().unwrap())));
        assert!(told.count() < known.len(), "it tells nothing");
    }

    #[track_caller]
    fn check(before: &str, expected: Result<&str, &str>) {
        let mut fields = fields(before);
        let found = remove_hop_by_hop(&mut fields)
            .map(|()| fields.keys().map(HeaderName::as_str).collect::<Vec<_>>().join(" "))
            .map_err(|error| error.0.to_string());
        assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{before}");
    }

    /// The fields that a text like `etag: "1" | x: y` stands for.
    pub(in crate::semantics) fn fields(text: &str) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for line in text.split(" | ") {
            let (name, value) = line.split_once(": ").unwrap();
            let name: HeaderName = name.parse().unwrap();
            fields.append(name, HeaderValue::from_str(value).unwrap());
        }
        fields
    }
}
