//! Where a response's body ends, and what of it is data. Pure. (RFC 9112 sections 6.3 and 7)

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use httparse::EMPTY_HEADER;
use memchr::{memchr, memmem};

use super::response::{FIELDS_MAX, Invalid};

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// So many bytes.
    Bytes(u64),
    /// It says so itself, chunk by chunk.
    Chunked,
    /// All that comes until the connection ends.
    UntilEnd,
}

/// Takes a body apart as its bytes come.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Bytes of chunk extensions so far, which mean nothing to us.
    extension_bytes: usize,
}

#[derive(Debug)]
enum State {
    /// Bytes that are still to come.
    Bytes(u64),
    UntilEnd,
    /// Ahead of the line of a chunk.
    Size,
    /// Bytes of a chunk that are still to come.
    Chunk(u64),
    /// Between the bytes of a chunk and what comes next.
    ChunkEnd,
    Trailers,
    Over,
}

/// What is next in a body.
#[derive(Debug)]
pub enum Step {
    /// Some bytes of it.
    Data(Bytes),
    /// Fields behind it; it ends with them.
    Trailers(HeaderMap),
    /// Nothing until more has come.
    More,
    /// Its end.
    End,
}

impl Decoder {
    /// For a body of this length.
    pub fn new(length: Length) -> Self {
        let state = match length {
            Length::Bytes(0) => State::Over,
            Length::Bytes(bytes) => State::Bytes(bytes),
            Length::Chunked => State::Size,
            Length::UntilEnd => State::UntilEnd,
        };
        Self { state, extension_bytes: 0 }
    }

    /// Whether the body has ended, so that what comes next is no part of it.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Bytes that are still to come, where that is known.
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Bytes(left) => Some(left),
            State::Over => Some(0),
            _ => None,
        }
    }

    /// As many bytes as can be made use of.
    pub fn wanted(&self) -> usize {
        match self.state {
            State::Bytes(left) => usize::try_from(left).unwrap_or(usize::MAX),
            _ => usize::MAX,
        }
    }

    /// Takes what is next off `bytes`.
    ///
    /// # Errors
    /// Nobody can tell where the body ends: what came of it is not the whole.
    pub fn step(&mut self, bytes: &mut BytesMut) -> Result<Step, Invalid> {
        loop {
            let state = match self.state {
                State::Over => return Ok(Step::End),
                _ if bytes.is_empty() => return Ok(Step::More),
                State::UntilEnd => return Ok(Step::Data(bytes.split().freeze())),
                State::Bytes(left) => {
                    let (data, left) = take(bytes, left);
                    self.state = if left == 0 { State::Over } else { State::Bytes(left) };
                    return Ok(Step::Data(data));
                }
                State::Chunk(left) => {
                    let (data, left) = take(bytes, left);
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    if left == 0 && bytes.starts_with(LAST) {
                        bytes.advance(LAST.len());
                        self.state = State::Over;
                    }
                    return Ok(Step::Data(data));
                }
                State::Size => self.size(bytes)?,
                State::ChunkEnd => chunk_end(bytes)?,
                State::Trailers => match trailers(bytes)? {
                    Some(fields) => {
                        self.state = State::Over;
                        return Ok(fields.map_or(Step::End, Step::Trailers));
                    }
                    None => None,
                },
            };
            match state {
                Some(state) => self.state = state,
                None => return Ok(Step::More),
            }
        }
    }

    /// The connection has ended.
    ///
    /// # Errors
    /// The body had not.
    pub fn closed(&mut self) -> Result<(), Invalid> {
        match self.state {
            State::Over | State::UntilEnd => {
                self.state = State::Over;
                Ok(())
            }
            _ => Err(Invalid::Said("the connection ended before the body")),
        }
    }

    /// Reads the line ahead of a chunk, if it is here.
    fn size(&mut self, bytes: &mut BytesMut) -> Result<Option<State>, Invalid> {
        let Some(end) = memchr(b'\n', bytes) else {
            let is_too_long = bytes.len() > EXTENSION_BYTES_MAX;
            return if is_too_long { Err(Invalid::TOO_LARGE) } else { Ok(None) };
        };
        let line = bytes[..end].strip_suffix(b"\r").ok_or(CHUNK)?;
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (digits, behind) = line.split_at(digits);
        let mut size = 0_u64;
        for digit in digits {
            let digit = char::from(*digit).to_digit(16).ok_or(CHUNK)?;
            size = size.checked_mul(16).ok_or(CHUNK)? | u64::from(digit);
        }
        let spaces = behind.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        match behind[spaces..].split_first() {
            _ if digits.is_empty() => return Err(CHUNK),
            None => {}
            Some((b';', extension)) if !extension.contains(&b'\r') => {
                self.extension_bytes = self.extension_bytes.saturating_add(extension.len());
            }
            Some(_) => return Err(CHUNK),
        }
        if self.extension_bytes >= EXTENSION_BYTES_MAX {
            return Err(Invalid::TOO_LARGE);
        }
        bytes.advance(end + 1);
        Ok(Some(if size == 0 { State::Trailers } else { State::Chunk(size) }))
    }
}

/// The next bytes of `left`, and how many are left then.
fn take(bytes: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    (bytes.split_to(length).freeze(), left - length as u64)
}

fn chunk_end(bytes: &mut BytesMut) -> Result<Option<State>, Invalid> {
    if !bytes.starts_with(&b"\r\n"[..bytes.len().min(2)]) {
        return Err(CHUNK);
    }
    if bytes.len() < 2 {
        return Ok(None);
    }
    bytes.advance(2);
    Ok(Some(State::Size))
}

/// The fields behind the last chunk, if they are all here; in there nothing if there are none.
fn trailers(bytes: &mut BytesMut) -> Result<Option<Option<HeaderMap>>, Invalid> {
    if bytes.starts_with(b"\r\n") {
        bytes.advance(2);
        return Ok(Some(None));
    }
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
        let is_too_long = bytes.len() >= TRAILER_BYTES_MAX;
        return if is_too_long { Err(Invalid::TOO_LARGE) } else { Ok(None) };
    };
    if end + 4 > TRAILER_BYTES_MAX {
        return Err(Invalid::TOO_LARGE);
    }
    let block = bytes.split_to(end + 4);
    let ends = |byte| block.iter().filter(|found| **found == byte).count();
    let lines = memmem::find_iter(&block, b"\r\n").count();
    if ends(b'\r') != lines || ends(b'\n') != lines {
        return Err(Invalid::Said("a trailer of two lines"));
    }
    let mut room = [EMPTY_HEADER; FIELDS_MAX];
    let httparse::Status::Complete((_, parsed)) = httparse::parse_headers(&block, &mut room)?
    else {
        return Err(Invalid::Said("a trailer without an end"));
    };
    let mut fields = HeaderMap::with_capacity(parsed.len());
    for field in parsed {
        let name = HeaderName::from_bytes(field.name.as_bytes());
        let value = HeaderValue::from_bytes(field.value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Invalid::Said("a trailer that is no field"));
        };
        fields.append(name, value);
    }
    Ok(Some(Some(fields)))
}

const CHUNK: Invalid = Invalid::Said("a chunk that is none");
/// What follows the bytes of the last chunk as a rule.
const LAST: &[u8] = b"\r\n0\r\n\r\n";
/// Of one body.
const EXTENSION_BYTES_MAX: usize = 16 * 1024;
const TRAILER_BYTES_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// The body that bytes are, with its trailers behind it, and what is left of them; nothing if
    /// they are none. They come in pieces of this size, then the connection ends.
    fn read(length: Length, bytes: &[u8], size: usize) -> Option<(String, String)> {
        let (mut decoder, mut body) = (Decoder::new(length), Vec::new());
        let (mut pieces, mut came) = (bytes.chunks(size), BytesMut::new());
        loop {
            match decoder.step(&mut came).ok()? {
                Step::Data(data) => body.extend_from_slice(&data),
                Step::Trailers(fields) => {
                    for (name, value) in &fields {
                        body.extend_from_slice(format!("|{name}={value:?}").as_bytes());
                    }
                }
                Step::End => break,
                Step::More => match pieces.next() {
                    Some(piece) => came.extend_from_slice(piece),
                    None => decoder.closed().ok()?,
                },
            }
        }
        assert!(decoder.is_over());
        came.extend_from_slice(&pieces.collect::<Vec<_>>().concat());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Some((text(&body), text(&came)))
    }

    #[track_caller]
    fn check(length: Length, bytes: &str, expected: Option<(&str, &str)>) {
        let expected = expected.map(|(body, left)| (body.to_owned(), left.to_owned()));
        for size in [1, 2, 3, 7, 1000] {
            assert_eq!(read(length, bytes.as_bytes(), size), expected, "{bytes:?} by {size}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_body_ends_where_its_length_says_or_with_the_connection() {
        check(Length::Bytes(0), "HTTP",   Some(("", "HTTP")));
        check(Length::Bytes(3), "abcd",   Some(("abc", "d")));
        check(Length::Bytes(3), "abc",    Some(("abc", "")));
        check(Length::Bytes(3), "ab",     None);
        check(Length::UntilEnd, "abc",    Some(("abc", "")));
        check(Length::UntilEnd, "",       Some(("", "")));
    }

    #[test]
    #[rustfmt::skip]
    fn chunks_are_as_they_must_be() {
        let check = |bytes, expected| check(Length::Chunked, bytes, expected);
        check("0\r\n\r\n",                                    Some(("", "")));
        check("2\r\nok\r\n0\r\n\r\n",                        Some(("ok", "")));
        check("2\r\nok\r\n0\r\n\r\nHTTP",                    Some(("ok", "HTTP")));
        check("2\r\nok\r\n3\r\nay!\r\n000\r\n\r\n",        Some(("okay!", "")));
        check("A\r\n0123456789\r\n0\r\n\r\n",                Some(("0123456789", "")));
        check("a \t\r\n0123456789\r\n0\r\n\r\n",            Some(("0123456789", "")));
        check("2;a=\"b\"\r\nok\r\n0;c\r\n\r\n",             Some(("ok", "")));
        check("2 ;a\r\nok\r\n0\r\n\r\n",                     Some(("ok", "")));
        check("2\r\nok\r\n0\r\nx-a: 1\r\nx-b: 2\r\n\r\n",   Some(("ok|x-a=\"1\"|x-b=\"2\"", "")));
        for (why, bytes) in [
            ("no size",                    "\r\nok\r\n0\r\n\r\n"),
            ("an extension alone",         ";a\r\nok\r\n0\r\n\r\n"),
            ("a sign",                     "+2\r\nok\r\n0\r\n\r\n"),
            ("as in C",                    "0x2\r\nok\r\n0\r\n\r\n"),
            ("a space ahead",              " 2\r\nok\r\n0\r\n\r\n"),
            ("two sizes",                  "1 2\r\nok\r\n0\r\n\r\n"),
            ("beyond 64 bits",             "10000000000000002\r\nok\r\n0\r\n\r\n"),
            ("a line feed alone",          "2\nok\r\n0\r\n\r\n"),
            ("a line feed in an extension", "2;a\nok\r\n0\r\n\r\n"),
            ("a return in an extension",   "2;a\rb\r\nok\r\n0\r\n\r\n"),
            ("more than it says",          "2\r\nokay\r\n0\r\n\r\n"),
            ("a line feed behind it",      "2\r\nok\n0\r\n\r\n"),
            ("no last one",                "2\r\nok\r\n"),
            ("half a last one",            "2\r\nok\r\n0\r\n"),
            ("a trailer without an end",   "0\r\nx-a: 1\r\n"),
            ("a trailer that is none",     "0\r\nno field\r\n\r\n"),
            ("two trailers by a line feed", "0\r\nx-a: 1\nx-b: 2\r\n\r\n"),
            ("a folded trailer",           "0\r\nx-a: 1\r\n 2\r\n\r\n"),
            ("a space before the colon",   "0\r\nx-a : 1\r\n\r\n"),
        ] {
            assert_eq!(read(Length::Chunked, bytes.as_bytes(), 1000), None, "{why}");
            assert_eq!(read(Length::Chunked, bytes.as_bytes(), 1), None, "{why}, byte by byte");
        }
    }

    #[test]
    fn extensions_and_trailers_have_limits() {
        let chunked = |text: &str| read(Length::Chunked, text.as_bytes(), 1000);
        let chunk = format!("1;{}\r\nx\r\n", "e".repeat(1000));
        assert!(chunked(&format!("{}0\r\n\r\n", chunk.repeat(16))).is_some());
        assert!(chunked(&format!("{}0\r\n\r\n", chunk.repeat(17))).is_none(), "together");
        assert!(chunked(&"0".repeat(20_000)).is_none(), "a line without an end");
        let trailers = |count, size| {
            let field = format!("x: {}\r\n", "y".repeat(size));
            chunked(&format!("0\r\n{}\r\n", field.repeat(count))).is_some()
        };
        assert!(trailers(100, 10) && trailers(1, 16_000));
        assert!(!trailers(101, 10) && !trailers(1, 17_000) && !trailers(20, 1000));
    }
}
