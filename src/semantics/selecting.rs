//! When do two requests say the same in a field that `Vary` names? (RFC 9111 section 4.1)
//!
//! Nothing here allocates: every hit on a response that varies comes by. What has more members
//! than a browser would send is compared by its text.

use http::{HeaderMap, HeaderName, header};

use super::directives::members;
use super::rules::{Rules, VaryReading};
use super::vary::update_with_length;

/// How the fields that select a variant are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Comparison {
    /// Byte by byte, lines joined.
    Bytes,
    /// By what they mean: blanks around commas count for nothing; nor does the order of languages
    /// and charsets, nor, of codings, any weight but zero.
    #[default]
    Meaning,
    /// As nginx does: absent is empty, and in `Accept-Charset`, `Accept-Encoding` and
    /// `Accept-Language` a blank is as good as a comma.
    Words,
}

impl Comparison {
    /// The comparison of a route.
    pub fn of(rules: &Rules) -> Self {
        match (rules.normalize_vary, rules.vary) {
            (false, _) => Self::Bytes,
            (true, VaryReading::List) => Self::Meaning,
            (true, VaryReading::Text) => Self::Words,
        }
    }
}

/// Adds what a request says in one field. Absent and empty differ, except to nginx.
pub(super) fn update(
    hasher: &mut blake3::Hasher,
    request: &HeaderMap,
    name: &HeaderName,
    comparison: Comparison,
) {
    if comparison == Comparison::Words {
        return update_words(hasher, request, name);
    }
    if !request.contains_key(name) {
        hasher.update(&[ABSENT]);
        return;
    }
    if comparison == Comparison::Bytes || SINGLE.contains(name) {
        hasher.update(&[TEXT]);
        return update_text(hasher, lines(request, name), b", ");
    }
    if is_weighted(name) && update_weighted(hasher, request, name).is_some() {
        return;
    }
    let members = || lines(request, name).flat_map(members);
    hasher.update(&[LIST]);
    hasher.update(&(members().count() as u64).to_le_bytes());
    members().for_each(|member| update_with_length(hasher, member));
}

fn update_words(hasher: &mut blake3::Hasher, request: &HeaderMap, name: &HeaderName) {
    if is_weighted(name) {
        let words = lines(request, name).flat_map(|line| line.split(|byte| b" ,".contains(byte)));
        update_text(hasher, words.filter(|word| !word.is_empty()), b",");
    } else {
        update_text(hasher, lines(request, name), b",");
    }
}

/// Adds parts as one text, and its length behind it.
fn update_text<'a>(
    hasher: &mut blake3::Hasher,
    parts: impl Iterator<Item = &'a [u8]>,
    separator: &[u8],
) {
    let mut length = 0u64;
    for (at, part) in parts.enumerate() {
        let separator = if at > 0 { separator } else { b"" };
        hasher.update(separator).update(part);
        length += (separator.len() + part.len()) as u64;
    }
    hasher.update(&length.to_le_bytes());
}

/// One member of `Accept-Encoding`, `Accept-Language` or `Accept-Charset`.
#[derive(Clone, Copy, PartialEq)]
struct Member {
    /// In lower case, filled up with zeros.
    text: [u8; MEMBER_BYTES_MAX],
    length: u8,
    /// In thousandths.
    weight: u16,
}

/// Adds the members in an order of their own. `None` if they are not written as they should be or
/// there are too many; then nothing is added.
fn update_weighted(
    hasher: &mut blake3::Hasher,
    request: &HeaderMap,
    name: &HeaderName,
) -> Option<()> {
    let (mut found, mut count) = ([Member::EMPTY; MEMBERS_MAX], 0);
    let is_coding = *name == header::ACCEPT_ENCODING;
    for text in lines(request, name).flat_map(members) {
        let mut member = Member::read(text)?;
        if is_coding {
            member.as_coding();
        }
        *found.get_mut(count)? = member;
        count += 1;
    }
    let found = found.get_mut(..count)?;
    found.sort_unstable_by_key(|member| (member.text, member.weight));
    // Where all others are taken too, it counts which one is not.
    let takes_any = found.iter().any(|member| member.weight > 0 && member.bytes() == b"*");
    let counts = |member: &&Member| !is_coding || takes_any || member.is_worth_mentioning();
    let distinct =
        || found.chunk_by(|one, other| one == other).filter_map(<[_]>::first).filter(counts);
    hasher.update(&[WEIGHTED]);
    hasher.update(&(distinct().count() as u64).to_le_bytes());
    for member in distinct() {
        update_with_length(hasher, member.bytes());
        hasher.update(&member.weight.to_le_bytes());
    }
    Some(())
}

impl Member {
    const EMPTY: Self = Self { text: [0; MEMBER_BYTES_MAX], length: 0, weight: 0 };

    fn read(text: &[u8]) -> Option<Self> {
        let mut parts = text.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let range = parts.next()?;
        let weight = match parts.next() {
            None => 1000,
            Some(parameter) => weight(parameter)?,
        };
        let mut member = Self { length: range.len() as u8, weight, ..Self::EMPTY };
        let text = member.text.get_mut(..range.len())?;
        text.copy_from_slice(range);
        text.make_ascii_lowercase();
        parts.next().is_none().then_some(member)
    }

    /// Reduces a coding to whether it is taken.
    fn as_coding(&mut self) {
        if self.bytes() == b"x-gzip" {
            self.text = [0; MEMBER_BYTES_MAX];
            self.text[..4].copy_from_slice(b"gzip");
            self.length = 4;
        }
        self.weight = if self.weight > 0 { 1000 } else { 0 };
    }

    /// Whether a coding is taken, or would be if it were not named: only `identity` and `*` are.
    fn is_worth_mentioning(&self) -> bool {
        self.weight > 0 || matches!(self.bytes(), b"identity" | b"*")
    }

    fn bytes(&self) -> &[u8] {
        self.text.get(..usize::from(self.length)).unwrap_or_default()
    }
}

/// `q=0.5`, in thousandths (RFC 9110 section 12.4.2).
pub(super) fn weight(parameter: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', rest @ ..] = parameter else { return None };
    let number = rest.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let (whole, decimals) = match number {
        [b'0'] => return Some(0),
        [b'1'] => return Some(1000),
        [whole @ (b'0' | b'1'), b'.', decimals @ ..] if decimals.len() <= 3 => (*whole, decimals),
        _ => return None,
    };
    let digits = |value: u16, at: usize| {
        let digit = decimals.get(at).copied().unwrap_or(b'0');
        digit.is_ascii_digit().then(|| value * 10 + u16::from(digit - b'0'))
    };
    let thousandths = (0..3).try_fold(0, digits)? + u16::from(whole - b'0') * 1000;
    (thousandths <= 1000).then_some(thousandths)
}

fn is_weighted(name: &HeaderName) -> bool {
    [header::ACCEPT_ENCODING, header::ACCEPT_LANGUAGE, header::ACCEPT_CHARSET].contains(name)
}

fn lines<'a>(request: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    request.get_all(name).into_iter().map(|line| line.as_bytes())
}

/// What kind of text follows, so that one kind is never taken for another.
const ABSENT: u8 = 0;
const TEXT: u8 = 1;
const LIST: u8 = 2;
const WEIGHTED: u8 = 3;

/// Fields that are no lists: a comma in one is a byte like any other, to whoever sends it and to the
/// origin, so that `https://a` and `https://a,` are not the same.
const SINGLE: [HeaderName; 16] = [
    header::ACCESS_CONTROL_REQUEST_METHOD,
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::DNT,
    header::FROM,
    header::HOST,
    header::ORIGIN,
    header::PROXY_AUTHORIZATION,
    header::RANGE,
    header::REFERER,
    header::UPGRADE_INSECURE_REQUESTS,
    header::USER_AGENT,
    HeaderName::from_static("sec-fetch-dest"),
    HeaderName::from_static("sec-fetch-mode"),
    HeaderName::from_static("sec-fetch-site"),
];

/// Members whose order is looked at; browsers send about five.
const MEMBERS_MAX: usize = 16;
/// Bytes of one; RFC 5646 section 4.4.1 takes 35 for enough for a language.
const MEMBER_BYTES_MAX: usize = 36;

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const ENCODING: &str = "accept-encoding";
    const LANGUAGE: &str = "accept-language";

    #[rustfmt::skip]
    #[test]
    fn by_meaning() {
        use Comparison::Meaning as M;
        check(M, "foo",    &["1, 2"],              &["1 ,2"],               true,  "blanks around commas");
        check(M, "foo",    &["1", "2"],            &["1, 2"],               true,  "lines are one list");
        check(M, "foo",    &["1, 2"],              &["2, 1"],               false, "order of who knows what");
        check(M, "foo",    &["A"],                 &["a"],                  false, "case of who knows what");
        check(M, LANGUAGE, &["en, de"],            &["De,EN"],              true,  "order and case");
        check(M, LANGUAGE, &["en;q=0.5"],          &["en ; q=0.500"],       true,  "one weight");
        check(M, LANGUAGE, &["en;q=1.0"],          &["en"],                 true,  "the weight that is not written");
        check(M, LANGUAGE, &["en;q=0.5"],          &["en;q=0.6"],           false, "weights say what is preferred");
        check(M, LANGUAGE, &["en;q=x, de"],        &["de, en;q=x"],         false, "no weight: by text");
        check(M, LANGUAGE, &[],                    &[""],                   false, "absent is not empty");
        check(M, ENCODING, &["gzip, br"],          &["br;q=0.9, GZIP;q=1"], true,  "the codings that are taken");
        check(M, ENCODING, &["gzip, br;q=0"],      &["gzip"],               true,  "one that is not taken");
        check(M, ENCODING, &["gzip, *;q=0"],       &["gzip"],               false, "nothing else is taken");
        check(M, ENCODING, &["gzip, identity;q=0"], &["gzip"],              false, "it must be coded");
        check(M, ENCODING, &["*, gzip;q=0"],       &["*"],                  false, "all but one are taken");
        check(M, ENCODING, &["*;q=0, gzip;q=0"],   &["*;q=0"],              true,  "none is taken");
        check(M, ENCODING, &["x-gzip"],            &["gzip"],               true,  "another name");
        check(M, "origin", &["http://a,"],         &["http://a"],           false, "no list");
        check(M, "cookie", &["a=1,2"],             &["a=1, 2"],             false, "no list");
        check(M, "user-agent", &["a (b, c)"],      &["a (b,c)"],            false, "no list");
        check(M, ENCODING, &["gzip, gzip"],        &["gzip"],               true,  "twice");
        check(M, ENCODING, &["br"],                &["gzip"],               false, "another");
        check(M, ENCODING, &["gzip;level=9"],      &["gzip"],               false, "a parameter that is no weight");
    }

    #[rustfmt::skip]
    #[test]
    fn by_bytes_and_by_nginxs_words() {
        use Comparison::{Bytes, Words};
        check(Bytes, LANGUAGE, &["en, de"],   &["en", "de"], true,  "lines are joined");
        check(Bytes, LANGUAGE, &["en,de"],    &["en, de"],   false, "a blank");
        check(Bytes, LANGUAGE, &["EN"],       &["en"],       false, "case");
        check(Bytes, LANGUAGE, &[],           &[""],         false, "absent is not empty");
        check(Words, LANGUAGE, &["en, de"],   &["en  de"],   true,  "blanks and commas");
        check(Words, LANGUAGE, &["en, de"],   &["de, en"],   false, "order");
        check(Words, LANGUAGE, &["en"],       &["EN"],       false, "case");
        check(Words, LANGUAGE, &[],           &[""],         true,  "absent is empty");
        check(Words, "foo",    &["a", "b"],   &["a,b"],      true,  "lines are joined by a comma");
        check(Words, "foo",    &["a, b"],     &["a,b"],      false, "others by their bytes");
    }

    #[track_caller]
    fn check(how: Comparison, name: &str, one: &[&str], other: &[&str], expected: bool, why: &str) {
        let equal = hash(how, name, one) == hash(how, name, other);
        assert_eq!(equal, expected, "{name}: {one:?} {other:?}: {why}");
    }

    fn hash(comparison: Comparison, name: &str, lines: &[&str]) -> blake3::Hash {
        let name: HeaderName = name.parse().unwrap();
        let mut request = HeaderMap::new();
        for line in lines {
            request.append(&name, HeaderValue::from_str(line).unwrap());
        }
        let mut hasher = blake3::Hasher::new();
        update(&mut hasher, &request, &name, comparison);
        hasher.finalize()
    }

    proptest! {
        #[test]
        fn other_members_are_other_requests(
            one in "[a-c,;q=01. ]{0,12}", other in "[a-c,;q=01. ]{0,12}",
        ) {
            let set = |text: &str| {
                let mut found: Vec<_> = members(text.as_bytes()).map(<[u8]>::to_vec).collect();
                found.sort();
                found
            };
            let range = |text: &Vec<u8>| {
                text.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_vec()
            };
            let ranges = |text: &str| -> std::collections::BTreeSet<_> {
                set(text).iter().map(range).collect()
            };
            // Languages are never equal when they name others; lists in the same order always are.
            if ranges(&one) != ranges(&other) {
                let hashes = [&one, &other].map(|text| hash(Comparison::Meaning, LANGUAGE, &[text]));
                prop_assert_ne!(hashes[0], hashes[1]);
            }
        }
    }
}
