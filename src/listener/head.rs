//! Request heads that can be read in two ways, found in the bytes as they arrive.
//! (RFC 9112 sections 2.2, 6.1 and 6.3)
//!
//! hyper forgives a bare line feed and drops a `Content-Length` beside a `Transfer-Encoding`
//! before anybody can see it. Others read such a head differently, so it is refused here.

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
    ambiguous: bool,
}

impl HeadScan {
    /// Whether anything ambiguous was seen so far.
    pub fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// The next bytes begin a head.
    pub fn at_head(&mut self) {
        *self = Self { ambiguous: self.ambiguous, ..Self::default() };
    }

    /// Looks at bytes that arrived. What follows a head with a body is left alone until the next
    /// head begins.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !self.in_body && !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            self.keep(part);
            let Some(end) = end else { return };
            self.end_line();
            bytes = &bytes[end + 1..];
        }
    }

    fn keep(&mut self, part: &[u8]) {
        let room = &mut self.line[self.line_length.min(LINE_KEPT)..];
        for (kept, byte) in room.iter_mut().zip(part) {
            *kept = byte.to_ascii_lowercase();
        }
        self.line_length += part.len();
        if let Some(last) = part.last() {
            self.last = *last;
        }
    }

    fn end_line(&mut self) {
        self.ambiguous |= self.last != b'\r';
        let line = &self.line[..self.line_length.min(LINE_KEPT)];
        let frames =
            line.starts_with(b"content-length:") || line.starts_with(b"transfer-encoding:");
        self.framing += usize::from(frames);
        if self.line_length <= 1 {
            self.ambiguous |= self.framing > 1;
            self.in_body = self.framing > 0;
            self.framing = 0;
        }
        (self.line_length, self.last) = (0, 0);
    }
}

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
