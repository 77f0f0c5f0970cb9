//! Request heads that can be read in two ways, found in the bytes as they arrive.
//! (RFC 9112 sections 2.2, 6.1 and 6.3)
//!
//! hyper forgives a bare line feed and drops a `Content-Length` beside a `Transfer-Encoding`
//! before anybody can see it. Others read such a head differently, so it is refused here.

use memchr::{memchr, memchr_iter};

use crate::spelling::Spelling;

/// Follows the bytes of a connection while it reads heads.
#[derive(Debug, Default)]
pub struct HeadScan {
    /// The beginning of the line that is being read, in lower case.
    line: [u8; LINE_KEPT],
    line_length: usize,
    last: u8,
    /// Fields of this head that frame its body.
    framing: usize,
    in_body: bool,
    /// The current head has a line that is not empty.
    has_line: bool,
    /// What came last ends a head.
    is_complete: bool,
    ambiguous: bool,
    /// Where names are remembered.
    names: Option<Box<Names>>,
}

/// The names of fields, as they came.
#[derive(Debug, Default)]
struct Names {
    /// Each with a line end behind it; behind the last what has come of a line that goes on.
    text: Vec<u8>,
    /// Where that line begins.
    line_at: usize,
    /// All of its name is there.
    is_whole: bool,
}

impl HeadScan {
    /// One that remembers names, if it is to.
    pub fn new(keeps_spelling: bool) -> Self {
        Self { names: keeps_spelling.then(Box::default), ..Self::default() }
    }

    /// Names that came since this was asked last and are not spelled as usual.
    pub fn spelling(&mut self) -> Option<Spelling> {
        let names = self.names.as_mut()?;
        let text = std::mem::take(&mut **names).text;
        Spelling::of(text.split(|byte| *byte == b'\n').filter(|name| !name.is_empty()))
    }

    /// Whether anything ambiguous was seen so far.
    pub fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// Whether the last bytes were the end of a head.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The next bytes begin a head, unless one has begun behind the last.
    pub fn at_head(&mut self) {
        if self.in_body || !self.has_line && self.line_length == 0 {
            let (ambiguous, names) = (self.ambiguous, self.names.take());
            *self = Self { ambiguous, names, ..Self::default() };
        }
    }

    /// Looks at bytes that arrived. What follows a head with a body is left alone until the next
    /// head begins.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.is_complete = false;
        let mut start = 0;
        for end in memchr_iter(b'\n', bytes) {
            if self.in_body {
                return;
            }
            self.keep(&bytes[start..end]);
            self.end_line();
            start = end + 1;
        }
        if !self.in_body {
            self.keep(&bytes[start..]);
        }
    }

    fn keep(&mut self, part: &[u8]) {
        let Some(last) = part.last() else { return };
        (self.last, self.is_complete) = (*last, false);
        if let Some(names) = &mut self.names {
            names.keep(part);
        }
        let start = self.line_length.min(LINE_KEPT);
        self.line_length += part.len();
        if start == 0 {
            self.line[0] = part[0].to_ascii_lowercase();
        }
        // The first letter of the two fields; of other lines nothing else is looked at.
        if matches!(self.line[0], b'c' | b't') {
            for (kept, byte) in self.line[start..].iter_mut().zip(part) {
                *kept = byte.to_ascii_lowercase();
            }
        }
    }

    fn end_line(&mut self) {
        if let Some(names) = &mut self.names {
            names.end_line();
        }
        self.ambiguous |= self.last != b'\r';
        let line = &self.line[..self.line_length.min(LINE_KEPT)];
        let frames = match line.first() {
            Some(b'c') => line.starts_with(b"content-length:"),
            Some(b't') => line.starts_with(b"transfer-encoding:"),
            _ => false,
        };
        self.framing += usize::from(frames);
        if self.line_length > 1 {
            self.has_line = true;
        } else {
            self.is_complete = std::mem::take(&mut self.has_line);
            self.ambiguous |= self.framing > 1;
            self.in_body = self.framing > 0;
            self.framing = 0;
        }
        (self.line_length, self.last) = (0, 0);
    }
}

impl Names {
    fn keep(&mut self, part: &[u8]) {
        if self.is_whole || self.text.len() > NAMES_BYTES_MAX {
            return;
        }
        let end = memchr(b':', part);
        self.text.extend_from_slice(&part[..end.unwrap_or(part.len())]);
        self.is_whole = end.is_some();
    }

    fn end_line(&mut self) {
        // What the first line has before a `:` has a blank.
        let is_name = !self.text[self.line_at..].contains(&b' ');
        if std::mem::take(&mut self.is_whole) && is_name {
            self.text.push(b'\n');
        } else {
            self.text.truncate(self.line_at);
        }
        self.line_at = self.text.len();
    }
}

/// Names behind so many bytes are not remembered.
const NAMES_BYTES_MAX: usize = 16 * 1024;
/// As much of a line as tells the two framing fields apart.
const LINE_KEPT: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[rustfmt::skip]
    #[test]
    fn finds_heads_that_can_be_read_in_two_ways() {
        check("GET / HTTP/1.1\r\nHost: a\r\n\r\n", false, "plain");
        check("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na\nb", false, "line feeds of a body");
        check("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nCONTENT-LENGTH: 3\r\n\r\n", true, "both");
        check("POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", true, "twice");
        check("POST / HTTP/1.1\r\nTransfer-Encoding: a\r\nTransfer-Encoding: b\r\n\r\n", true, "twice");
        check("GET / HTTP/1.1\nHost: a\r\n\r\n", true, "bare line feed");
        check("GET / HTTP/1.1\r\nHost: a\n\nGET", true, "bare line feeds");
        check("GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding: x\r\n\r\n",
              true, "in a pipelined head");
        check(&format!("POST / HTTP/1.1\r\n{}Transfer-Encoding: x\r\n\r\n", "Content-Length: 3\r\n".repeat(255)),
              true, "as many as a byte can count to");
        check("GET / HTTP/1.1\r\nX: content-length: 1\r\nContent-Length: 0\r\n\r\n", false, "in a value");
        check("GET / HTTP/1.1\r\nContent-Length-X: 1\r\nContent-Length: 0\r\n\r\n", false, "longer name");
    }

    #[rustfmt::skip]
    #[test]
    fn tells_where_a_head_ends() {
        complete(&["GET / HTTP/1.1\r\nHost: a\r\n\r\n"],               true,  "all of it");
        complete(&["GET / HTTP/1.1\r\nHost: a\r\n", "\r\n"],            true,  "at last");
        complete(&["POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na"],  true,  "and some of a body");
        complete(&["GET / HTTP/1.1\r\nHost: a\r\n\r"],                 false, "all but a byte");
        complete(&["GET / HTTP/1.1\r\n\r\nGET / HT"],                   false, "the next has begun");
        complete(&["\r\n"],                                             false, "nothing but a line end");
        complete(&["GET / HTTP/1.1\r\n\r\n", ""],                       false, "the end of all");
    }

    #[test]
    fn names_are_remembered_where_that_is_asked() {
        let head = "GET /a:b HTTP/1.1\r\nhost: a\r\nX-A: c: d\r\nX-FOO: 1\r\n\r\n";
        for step in [1, 3, 10, 1000] {
            let (mut scan, mut forgets) = (HeadScan::new(true), HeadScan::new(false));
            for part in head.as_bytes().chunks(step) {
                scan.feed(part);
                forgets.feed(part);
            }
            let expected = Spelling::of([&b"host"[..], b"X-FOO"].into_iter());
            assert_eq!(scan.spelling(), expected, "{step}");
            assert_eq!((scan.spelling(), forgets.spelling()), (None, None), "{step}");
        }
    }

    #[track_caller]
    fn complete(parts: &[&str], expected: bool, why: &str) {
        let mut scan = HeadScan::default();
        parts.iter().for_each(|part| scan.feed(part.as_bytes()));
        assert_eq!(scan.is_complete(), expected, "{why}");
    }

    #[track_caller]
    fn check(bytes: &str, expected: bool, why: &str) {
        for step in [1, 2, 7, bytes.len()] {
            let mut scan = HeadScan::default();
            for part in bytes.as_bytes().chunks(step) {
                scan.feed(part);
            }
            assert_eq!(scan.is_ambiguous(), expected, "{why}, {step} bytes at a time");
        }
    }
}
