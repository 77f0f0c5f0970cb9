//! How the names of fields are spelled where HTTP/1 writes them. To HTTP case says nothing (RFC 9110
//! section 5.1), to some clients and servers it does.
//!
//! Inside, all names are lower case. *Usual* is a capital at the beginning and behind each `-`, but
//! for a few names that everybody writes otherwise; so what has to be remembered of a message is
//! seldom anything.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};

/// Names that were not spelled as usual, as they were spelled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spelling(Arc<Names>);

/// In a place of their own, so that what is stored has but a pointer.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names(Box<[Box<str>]>);

impl Spelling {
    /// What has to be remembered of these names; `None` where all are spelled as usual.
    pub fn of<'a>(names: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut odd: Vec<Box<str>> = Vec::new();
        for name in names.filter(|name| !is_usual(name)) {
            // Two lines of one field are spelled as the first.
            if let Ok(name) = str::from_utf8(name)
                && !odd.iter().any(|known| known.eq_ignore_ascii_case(name))
            {
                odd.push(name.into());
            }
        }
        (!odd.is_empty()).then(|| Self(Arc::new(Names(odd.into()))))
    }

    /// What of it is about these fields, in their order.
    pub fn among(&self, fields: &HeaderMap) -> Option<Self> {
        Self::of(fields.keys().filter_map(|name| self.find(name.as_str().as_bytes())))
    }

    /// Bytes of memory that it takes, roughly.
    pub fn bytes(&self) -> usize {
        self.0.0.iter().map(|name| name.len() + size_of::<Box<str>>()).sum()
    }

    /// Writes a name as it was spelled, else as usual.
    pub fn write(&self, name: &HeaderName, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(name.as_str().as_bytes());
        self.respell(None, &mut out[begin..]);
    }

    /// Spells a name in its place, where it stands in lower case: as here, else as `sent`, else as
    /// usual.
    #[inline]
    pub fn respell(&self, sent: Option<&Self>, name: &mut [u8]) {
        let is_spelled = self.spell(name) || sent.is_some_and(|sent| sent.spell(name));
        if !is_spelled {
            respell_as_usual(name);
        }
    }

    /// Spells a name in its place, if it is one of these; whether it is.
    #[inline]
    pub fn spell(&self, name: &mut [u8]) -> bool {
        let spelled = self.find(name).map(|spelled| name.copy_from_slice(spelled));
        spelled.is_some()
    }

    #[inline]
    fn find(&self, name: &[u8]) -> Option<&[u8]> {
        let spelled = self.0.0.iter().find(|known| known.as_bytes().eq_ignore_ascii_case(name));
        spelled.map(|spelled| spelled.as_bytes())
    }
}

/// That the names of a message are spelled, and how. Without it they go out in lower case.
#[derive(Clone, Debug)]
pub struct Spelled {
    /// Names that the operator wrote.
    pub own: Spelling,
    /// Names that came with the message.
    pub sent: Option<Spelling>,
}

impl Spelled {
    /// Spells a name in its place.
    pub fn respell(&self, name: &mut [u8]) {
        self.own.respell(self.sent.as_ref(), name);
    }

    /// Writes a name: in lower case where nothing says that it is spelled.
    #[inline]
    pub fn write(spelled: Option<&Self>, name: &HeaderName, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(name.as_str().as_bytes());
        if let Some(spelled) = spelled {
            spelled.respell(&mut out[begin..]);
        }
    }
}

fn is_usual(name: &[u8]) -> bool {
    if let Some(known) = known(name) {
        return known == name;
    }
    let mut begins = true;
    name.iter().all(|byte| {
        let is_one = if begins { !byte.is_ascii_lowercase() } else { !byte.is_ascii_uppercase() };
        begins = *byte == b'-';
        is_one
    })
}

/// A hit does this for each field that is stored, so it only looks for `-`: to keep the names as they
/// are written would take 100 bytes of each entry.
fn respell_as_usual(name: &mut [u8]) {
    if let Some(known) = known(name) {
        return name.copy_from_slice(known);
    }
    let mut begins = true;
    for byte in name {
        if begins {
            byte.make_ascii_uppercase();
        }
        begins = *byte == b'-';
    }
}

fn known(name: &[u8]) -> Option<&'static [u8]> {
    if name.len() >= KNOWN_LENGTHS.len() || !KNOWN_LENGTHS[name.len()] {
        return None;
    }
    let known = KNOWN.iter().find(|known| known.as_bytes().eq_ignore_ascii_case(name));
    known.map(|known| known.as_bytes())
}

/// What everybody spells otherwise.
const KNOWN: [&str; 10] = [
    "ETag",
    "WWW-Authenticate",
    "TE",
    "DNT",
    "X-XSS-Protection",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Accept",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
];

/// How long those are.
const KNOWN_LENGTHS: [bool; 25] = {
    let (mut lengths, mut at) = ([false; 25], 0);
    while at < KNOWN.len() {
        lengths[KNOWN[at].len()] = true;
        at += 1;
    }
    lengths
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spelled_as_usual_need_not_be_remembered() {
        let names = ["Content-Type", "ETag", "X-A", "Date", "X--B", "X-1a", "WWW-Authenticate"];
        assert_eq!(Spelling::of(names.iter().map(|name| name.as_bytes())), None);
    }

    #[rustfmt::skip]
    #[test]
    fn names_are_spelled_as_they_were_else_as_usual() {
        //    own             sent              name            expected
        check(&[],             &[],              "content-type", "Content-Type");
        check(&[],             &[],              "etag",         "ETag");
        check(&[],             &["etag"],        "etag",         "etag");
        check(&[],             &["X-FOO", "x-b"], "x-foo",        "X-FOO");
        check(&[],             &["X-FOO", "x-b"], "x-b",          "x-b");
        check(&["X-fOO"],      &["X-FOO"],       "x-foo",        "X-fOO");
        check(&["x-a"],        &["X-FOO"],       "x-c",          "X-C");
        check(&[],             &["x-a", "X-a"],  "x-a",          "x-a");
    }

    #[test]
    fn what_is_about_no_field_is_forgotten() {
        let spelling = Spelling::of([&b"x-a"[..], b"connection"].into_iter()).unwrap();
        let mut fields = HeaderMap::new();
        assert_eq!(spelling.among(&fields), None);
        fields.append("x-a", http::HeaderValue::from_static("1"));
        assert_eq!(spelling.among(&fields), Spelling::of([&b"x-a"[..]].into_iter()));
    }

    #[track_caller]
    fn check(own: &[&str], sent: &[&str], name: &'static str, expected: &str) {
        let of = |names: &[&str]| Spelling::of(names.iter().map(|name| name.as_bytes()));
        let spelled = Spelled { own: of(own).unwrap_or_default(), sent: of(sent) };
        let mut out = b"a: ".to_vec();
        Spelled::write(Some(&spelled), &HeaderName::from_static(name), &mut out);
        assert_eq!(out, format!("a: {expected}").into_bytes());
    }
}
