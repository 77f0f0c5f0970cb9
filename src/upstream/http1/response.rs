//! The head of a response: what it says, and where its body ends. Pure. (RFC 9112 sections 4 and 6.3)
//!
//! A cache that errs here serves one response as another: what can be read in two ways is refused.

use std::fmt;
use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::CONNECTION;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};
use httparse::{Header, ParserConfig, Status};
use hyper::ext::ReasonPhrase;
use memchr::memmem;

use super::super::head::Said;
use super::decode::Length;
use crate::semantics::directives::members;
use crate::spelling::Spelling;

/// What was asked, as far as the answer's head depends on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// By HEAD: there is no body.
    pub is_head: bool,
    /// For another protocol.
    pub upgrading: bool,
    /// With names that are spelled, as those of the answer are then.
    pub spelling: bool,
}

/// Reads heads as their bytes come, until that of the response.
pub struct Reader {
    asked: Asked,
    /// Bytes of a head that is not all here; it is looked at again when its end may have come.
    seen: usize,
}

/// A head.
#[derive(Debug)]
pub enum Message {
    /// One of 100 to 199; another follows.
    Interim(StatusCode, HeaderMap),
    /// That of the response.
    Head(Head),
}

/// The head of a response.
#[derive(Debug)]
pub struct Head {
    /// A reason phrase that is not the usual one is in the extensions, and names that are not spelled
    /// as usual where that is asked.
    pub response: Response<()>,
    /// Where its body ends.
    pub length: Length,
    /// Whether the peer keeps the connection open.
    pub is_kept: bool,
}

/// What came is no response, or may be read as more than one.
#[derive(Debug)]
pub enum Invalid {
    /// It is no HTTP.
    Syntax(httparse::Error),
    /// What is wrong with it.
    Said(&'static str),
}

impl Reader {
    /// One for the answer to this.
    pub fn new(asked: Asked) -> Self {
        Self { asked, seen: 0 }
    }

    /// Takes the next head off `bytes`, if it is all here.
    ///
    /// # Errors
    /// The connection must be closed.
    pub fn read(&mut self, bytes: &mut BytesMut) -> Result<Option<Message>, Invalid> {
        if bytes.is_empty() || !self.may_be_whole(bytes) {
            return Ok(None);
        }
        let mut places = Places { fields: [Default::default(); FIELDS_MAX], count: 0 };
        let Some(line) = parse(bytes, &mut places)? else {
            self.seen = bytes.len();
            return if self.seen < HEAD_BYTES_MAX { Ok(None) } else { Err(Invalid::TOO_LARGE) };
        };
        let head = bytes.split_to(line.length).freeze();
        self.seen = 0;
        let (mut response, is_kept) = places.response(&head, &line)?;
        if self.asked.spelling
            && let Some(spelling) = Spelling::of(places.names(&head))
        {
            response.extensions_mut().insert(spelling);
        }
        let status = response.status();
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Some(Message::Interim(status, response.into_parts().0.headers)));
        }
        let length = self.length(&response)?;
        Ok(Some(Message::Head(Head { response, length, is_kept })))
    }

    /// Whether the end of a head may be among what came since it was looked at.
    fn may_be_whole(&self, bytes: &[u8]) -> bool {
        let new = &bytes[self.seen.saturating_sub(3)..];
        let ends = || [&b"\n\r\n"[..], b"\n\n"].iter().any(|end| memmem::find(new, end).is_some());
        self.seen == 0 || bytes.len() >= HEAD_BYTES_MAX || ends()
    }

    fn length(&self, response: &Response<()>) -> Result<Length, Invalid> {
        let said = Said::of(response.headers());
        if let Some(fault) = said.fault(response.status(), self.asked.upgrading) {
            return Err(Invalid::Said(fault));
        }
        if self.asked.is_head || matches!(response.status().as_u16(), 101 | 204 | 304) {
            return Ok(Length::Bytes(0));
        }
        match (said.coding, said.length) {
            (Some(_), _) if response.version() == Version::HTTP_10 => {
                Err(Invalid::Said("Transfer-Encoding in HTTP/1.0"))
            }
            (Some(coding), _) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Length::Chunked),
            (Some(_), _) | (None, None) => Ok(Length::UntilEnd),
            (None, Some(length)) => {
                let length = str::from_utf8(length).ok().and_then(|length| length.parse().ok());
                length.map(Length::Bytes).ok_or(Invalid::Said("Content-Length that is no number"))
            }
        }
    }
}

/// The first line of a head, and how long the head is.
struct Line {
    status: StatusCode,
    version: Version,
    /// One that is not the usual.
    reason: Option<Place>,
    length: usize,
}

/// Where in a head its fields stand: names and values.
struct Places {
    fields: [(Place, Place); FIELDS_MAX],
    count: usize,
}

/// From where to where.
type Place = (u32, u32);

/// Finds a whole head at the beginning of `bytes`.
fn parse(bytes: &[u8], places: &mut Places) -> Result<Option<Line>, Invalid> {
    let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let parser = ParserConfig::default();
    let Status::Complete(length) =
        parser.parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields)?
    else {
        return Ok(None);
    };
    let start = bytes.as_ptr() as usize;
    // What is empty may be no part of the bytes.
    let place = |part: &[u8]| {
        if part.is_empty() {
            return (0, 0);
        }
        let at = (part.as_ptr() as usize).saturating_sub(start) as u32;
        (at, at + part.len() as u32)
    };
    for (field, to) in parsed.headers.iter().zip(&mut places.fields) {
        *to = (place(field.name.as_bytes()), place(field.value));
    }
    places.count = parsed.headers.len();
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Invalid::Said("status"))?;
    let is_usual = parsed.reason.is_some() && parsed.reason == status.canonical_reason();
    let reason = parsed.reason.filter(|_| !is_usual);
    Ok(Some(Line {
        status,
        version: if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 },
        reason: reason.map(|reason| place(reason.as_bytes())),
        length,
    }))
}

impl Places {
    /// The names of the fields, as they came.
    fn names<'a>(&'a self, head: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let fields = &self.fields[..self.count];
        fields.iter().map(|((from, to), _)| &head[*from as usize..*to as usize])
    }

    /// The response with this head, and whether its connection is kept. One of HTTP/1.0 is not:
    /// what such a peer makes of a second request nobody knows.
    fn response(&self, head: &Bytes, line: &Line) -> Result<(Response<()>, bool), Invalid> {
        let part = |(from, to): Place| head.slice(from as usize..to as usize);
        let mut response = Response::new(());
        *response.status_mut() = line.status;
        *response.version_mut() = line.version;
        let mut is_kept = line.version == Version::HTTP_11;
        let mut fields = HeaderMap::with_capacity(self.count + ADDED);
        for (name, value) in &self.fields[..self.count] {
            let name = HeaderName::from_bytes(&head[name.0 as usize..name.1 as usize]);
            let name = name.map_err(|_| Invalid::Said("name of a field"))?;
            let value = HeaderValue::from_maybe_shared(part(*value));
            let value = value.map_err(|_| Invalid::Said("value of a field"))?;
            if name == CONNECTION {
                let mut words = members(value.as_bytes());
                is_kept &= !words.any(|word| word.eq_ignore_ascii_case(b"close"));
            }
            fields.append(name, value);
        }
        *response.headers_mut() = fields;
        if let Some(reason) = line.reason {
            let reason = ReasonPhrase::try_from(part(reason));
            let reason = reason.map_err(|_| Invalid::Said("reason phrase"))?;
            response.extensions_mut().insert(reason);
        }
        Ok((response, is_kept))
    }
}

impl Invalid {
    /// There is no end in sight.
    pub(super) const TOO_LARGE: Self = Self::Said("larger than it may be");
}

impl From<httparse::Error> for Invalid {
    fn from(error: httparse::Error) -> Self {
        Self::Syntax(error)
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(error) => error.fmt(f),
            Self::Said(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Invalid {}

/// Of a response; who sends more does not mean us well.
pub(super) const FIELDS_MAX: usize = 100;
/// More than any server sends: 4 or 8 KiB are enough for nginx.
const HEAD_BYTES_MAX: usize = 408 * 1024;
/// Fields that a response gets on its way to the client.
const ADDED: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Asked = Asked { is_head: false, upgrading: false, spelling: false };
    const HEAD: Asked = Asked { is_head: true, ..GET };

    fn read(asked: Asked, text: &str) -> Result<Option<Head>, Invalid> {
        let (mut reader, mut bytes) = (Reader::new(asked), BytesMut::from(text.as_bytes()));
        loop {
            match reader.read(&mut bytes)? {
                Some(Message::Head(head)) => return Ok(Some(head)),
                Some(Message::Interim(..)) => {}
                None => return Ok(None),
            }
        }
    }

    #[test]
    #[rustfmt::skip]
    fn where_a_body_ends() {
        let check = |asked, text: &str, length, is_kept| {
            let head = read(asked, &format!("HTTP/1.{text}\r\n\r\n")).unwrap().unwrap();
            assert_eq!((head.length, head.is_kept), (length, is_kept), "{text}");
        };
        check(GET,  "1 200 OK\r\ncontent-length: 5",                       Length::Bytes(5),   true);
        check(GET,  "1 200 OK\r\nContent-Length:5 \t",                     Length::Bytes(5),   true);
        check(GET,  "1 200 OK\r\ntransfer-encoding: Chunked",              Length::Chunked,    true);
        check(GET,  "1 200 OK\r\ntransfer-encoding: whatever",             Length::UntilEnd,   true);
        check(GET,  "1 200 OK",                                             Length::UntilEnd,   true);
        check(HEAD, "1 200 OK\r\ncontent-length: 5",                       Length::Bytes(0),   true);
        check(HEAD, "1 200 OK\r\ntransfer-encoding: chunked",              Length::Bytes(0),   true);
        check(GET,  "1 304 Not Modified\r\ncontent-length: 5",             Length::Bytes(0),   true);
        check(GET,  "1 204 No Content\r\ntransfer-encoding: chunked",      Length::Bytes(0),   true);
        check(GET,  "1 205 Reset Content\r\ncontent-length: 1",            Length::Bytes(1),   true);
        check(GET,  "0 200 OK\r\ncontent-length: 5",                       Length::Bytes(5),   false);
        check(GET,  "0 200 OK\r\nconnection: keep-alive",                  Length::UntilEnd,   false);
        check(GET,  "1 200 OK\r\nconnection: a, Close\r\ncontent-length: 1", Length::Bytes(1), false);
        check(GET,  "1 200 OK\r\nconnection: close\r\nconnection: keep-alive\r\ncontent-length: 1", Length::Bytes(1), false);
    }

    #[test]
    #[rustfmt::skip]
    fn what_can_be_read_in_two_ways_is_refused() {
        for text in [
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551617\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length : 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: a\r\n b\r\n\r\n",
            "HTTP/1.1 200 OK\r\n x: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: a\rb\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "SMTP ready\r\n\r\n",
        ] {
            assert!(read(GET, text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn heads_have_limits() {
        let fields = |count: usize, size| {
            let field = format!("x: {}\r\n", "y".repeat(size));
            read(GET, &format!("HTTP/1.1 200 OK\r\n{}\r\n", field.repeat(count)))
        };
        assert!(fields(100, 10).is_ok() && fields(99, 4000).is_ok());
        assert!(fields(101, 10).is_err());
        let mut bytes =
            BytesMut::from(format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(500_000)).as_bytes());
        assert!(Reader::new(GET).read(&mut bytes).is_err(), "one without an end");
    }

    #[test]
    fn a_head_is_the_same_however_it_comes() {
        let text = "\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 102 \r\n\r\n\
                    HTTP/1.1 404 Gone Fishing\r\nx: 1\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\nrest";
        for size in 1..text.len() {
            let (mut reader, mut bytes) = (Reader::new(GET), BytesMut::new());
            let (mut pieces, mut interim) = (text.as_bytes().chunks(size), Vec::new());
            let head = loop {
                match reader.read(&mut bytes).unwrap() {
                    Some(Message::Head(head)) => break head,
                    Some(Message::Interim(status, fields)) => {
                        interim.push((status.as_u16(), fields.len()));
                    }
                    None => bytes.extend_from_slice(pieces.next().unwrap()),
                }
            };
            assert_eq!(interim, [(103, 1), (102, 0)]);
            let response = head.response;
            let reason = response.extensions().get::<ReasonPhrase>().unwrap();
            assert_eq!(
                (response.status().as_u16(), reason.as_bytes()),
                (404, &b"Gone Fishing"[..])
            );
            let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
            assert_eq!(cookies, ["a", "b"]);
        }
    }

    #[test]
    fn the_usual_reason_is_not_kept() {
        let reason = |text| {
            let head = read(GET, text).unwrap().unwrap();
            head.response.extensions().get::<ReasonPhrase>().map(|reason| reason.as_bytes().len())
        };
        assert_eq!(reason("HTTP/1.1 200 OK\r\n\r\n"), None);
        assert_eq!(reason("HTTP/1.1 200 ok\r\n\r\n"), Some(2));
        assert_eq!(reason("HTTP/1.1 200\r\n\r\n"), Some(0));
        assert_eq!(reason("HTTP/1.1 200 d\u{e9}j\u{e0} vu\r\nx:\r\ny: \r\n\r\n"), Some(0));
    }
}
