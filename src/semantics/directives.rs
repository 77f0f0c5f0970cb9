//! `Cache-Control`, read the way RFC 9111 writes it. (section 5.2)

use http::{HeaderMap, HeaderName, header};

/// The directives of a response that a shared cache obeys, whichever field brought them. Seconds
/// saturate; a directive whose argument is no number counts as zero, since whoever wrote it wanted
/// a limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheControl {
    /// `max-age`, seconds.
    pub max_age: Option<u64>,
    /// `s-maxage`, seconds.
    pub s_maxage: Option<u64>,
    /// `stale-while-revalidate`, seconds (RFC 5861).
    pub stale_while_revalidate: Option<u64>,
    /// `stale-if-error`, seconds (RFC 5861).
    pub stale_if_error: Option<u64>,
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache` without field names: validate before every use.
    pub no_cache: bool,
    /// `private` without field names: not for a shared cache.
    pub private: bool,
    /// `public`.
    pub public: bool,
    /// `must-revalidate` or `proxy-revalidate`.
    pub must_revalidate: bool,
    /// `must-understand`: stored only if the status is understood, and then despite `no-store`
    /// (RFC 9111 section 5.2.2.3).
    pub must_understand: bool,
    /// `immutable` (RFC 8246).
    pub immutable: bool,
    /// The fields that `no-cache="..."` and `private="..."` name: the rest may be stored without
    /// them (RFC 9111 sections 5.2.2.4 and 5.2.2.7).
    pub without: Vec<HeaderName>,
    /// A number is none, and the reading asks for more than taking it as zero.
    pub malformed: bool,
    /// Which field all this is from.
    pub by: SaidBy,
}

/// Which field says how a response is to be cached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SaidBy {
    /// `Cache-Control`; `Expires` counts beside it.
    #[default]
    CacheControl,
    /// A targeted field (RFC 9213).
    Targeted,
    /// `Surrogate-Control`.
    Surrogate,
}

impl CacheControl {
    /// Reads all `Cache-Control` lines as one list. The first of a repeated directive counts.
    pub fn of(fields: &HeaderMap) -> Self {
        let mut found = Self::default();
        for (name, argument) in directives(fields, &header::CACHE_CONTROL) {
            found.add(name, argument);
        }
        found
    }

    /// Whether it must never be served stale. `s-maxage` says so too (RFC 9111 section 5.2.2.10),
    /// but an origin that adds a stale window means the window.
    pub fn never_stale(&self) -> bool {
        let window = self.stale_while_revalidate.is_some() || self.stale_if_error.is_some();
        self.must_revalidate || (self.s_maxage.is_some() && !window)
    }

    /// Adds a directive that has no argument, or one with it.
    pub(super) fn add(&mut self, name: &[u8], argument: Option<&[u8]>) {
        if let Some(slot) = self.seconds_of(name) {
            slot.get_or_insert(argument.map_or(0, |text| delta_seconds(text).unwrap_or(0)));
        } else {
            self.add_flag(name, argument);
        }
    }

    /// Where the seconds of a directive go that has some.
    pub(super) fn seconds_of(&mut self, name: &[u8]) -> Option<&mut Option<u64>> {
        let is = |expected: &str| name.eq_ignore_ascii_case(expected.as_bytes());
        if is("max-age") {
            Some(&mut self.max_age)
        } else if is("s-maxage") {
            Some(&mut self.s_maxage)
        } else if is("stale-while-revalidate") {
            Some(&mut self.stale_while_revalidate)
        } else if is("stale-if-error") {
            Some(&mut self.stale_if_error)
        } else {
            None
        }
    }

    fn add_flag(&mut self, name: &[u8], argument: Option<&[u8]>) {
        let is = |expected: &str| name.eq_ignore_ascii_case(expected.as_bytes());
        if is("no-cache") || is("private") {
            if argument.is_some_and(|names| self.goes_without(names)) {
                return;
            }
            self.no_cache |= is("no-cache");
            self.private |= is("private");
        } else {
            self.no_store |= is("no-store");
            self.public |= is("public");
            self.must_revalidate |= is("must-revalidate") || is("proxy-revalidate");
            self.must_understand |= is("must-understand");
            self.immutable |= is("immutable");
        }
    }

    /// Takes note of fields that are not to be stored. `false` if the names cannot be followed:
    /// then the directive counts as if it had none, which is stricter.
    fn goes_without(&mut self, names: &[u8]) -> bool {
        // A quote that is none would make another field of it.
        let field =
            |name: &[u8]| HeaderName::from_bytes(name).ok().filter(|_| !name.contains(&b'\''));
        let names: Option<Vec<_>> =
            members(names).take(WITHOUT_MAX + 1).map(|name| field(name.trim_ascii())).collect();
        let Some(names) = names.filter(|names| !names.is_empty()) else { return false };
        let known = |name: &HeaderName| INDISPENSABLE.contains(name);
        if self.without.len() + names.len() > WITHOUT_MAX || names.iter().any(known) {
            return false;
        }
        self.without.extend(names);
        true
    }
}

/// The directives of all lines of a field, in order: name, and argument without its quotes.
pub fn directives<'a>(
    fields: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
    fields.get_all(name).into_iter().flat_map(|line| members(line.as_bytes())).map(|member| {
        match member.iter().position(|byte| *byte == b'=') {
            None => (member, None),
            Some(at) => (member[..at].trim_ascii(), Some(unquoted(member[at + 1..].trim_ascii()))),
        }
    })
}

/// The members of a comma-separated list, trimmed, without empty ones. A comma within a quoted
/// string separates nothing; a string that is never closed runs to the end.
pub fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    line.split(move |byte| {
        let separates = *byte == b',' && !quoted;
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        separates
    })
    .map(<[u8]>::trim_ascii)
    .filter(|member| !member.is_empty())
}

/// Reads delta-seconds (RFC 9111 section 1.2.2): digits only, however many; saturates.
pub fn delta_seconds(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(value.saturating_mul(10).saturating_add(digit).min(SECONDS_MAX))
    })
}

fn unquoted(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inner @ .., b'"'] => inner,
        _ => text,
    }
}

/// Fields that a directive may name; with more it counts as if it named none.
const WITHOUT_MAX: usize = 32;

/// Fields without which a stored response could not be found or understood.
const INDISPENSABLE: [HeaderName; 7] = [
    header::CACHE_CONTROL,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::DATE,
    header::EXPIRES,
    header::VARY,
];

/// 136 years: RFC 9111 section 1.2.2 lets greater values be taken as 2^31 or more.
const SECONDS_MAX: u64 = u32::MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    #[rustfmt::skip]
    #[test]
    fn reads_directives() {
        check(&["max-age=3600"], "max=3600", "plain");
        check(&["MaX-AgE=3600"], "max=3600", "case does not matter");
        check(&["max-age=003600"], "max=3600", "leading zeros");
        check(&["max-age=\"3600\""], "max=3600", "quoted");
        check(&["max-age='3600'"], "max=0", "no number is no lifetime");
        check(&["max-age=-1"], "max=0", "negative");
        check(&["max-age"], "max=0", "no argument");
        check(&["max-age=99999999999999999999999"], "max=4294967295", "saturates");
        check(&["max-age=1, max-age=9"], "max=1", "the first counts");
        check(&["extension=\"max-age=3600\", max-age=1"], "max=1", "not inside a string");
        check(&["extension=\"a\\\", max-age=5\", max-age=1"], "max=1", "not behind an escaped quote");
        check(&["max-age=1", "s-maxage=2"], "max=1 s=2", "two lines");
        check(&[",, ,public,"], "public", "empty members");
        check(&["PRIVATE=\"x\", No-Store"], "no-store without=x", "private to a field");
        check(&["no-cache=\"a, b\""], "without=a,b", "a comma within the names");
        check(&["no-cache=a"], "without=a", "without quotes");
        check(&["private=\"a\", private"], "private without=a", "both are meant");
        check(&["private=\"\""], "private", "no names is no exception");
        check(&["private='x'"], "private", "nor are other quotes");
        check(&["private=\"a b\""], "private", "nor is what is no name");
        check(&["no-cache=\"Vary, x\""], "no-cache", "nor what the cache goes by");
        check(&["must-understand, IMMUTABLE"], "understand immutable", "flags");
        check(&["proxy-revalidate"], "must", "is must-revalidate to us");
        check(&["stale-while-revalidate=5, stale-if-error=6"], "swr=5 sie=6", "RFC 5861");
        check(&["nothing-to-see-here"], "", "unknown");
        check(&["max-age =5"], "max=5", "blanks around the sign are forgiven");
    }

    #[track_caller]
    fn check(lines: &[&str], expected: &str, why: &str) {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(header::CACHE_CONTROL, HeaderValue::from_str(line).unwrap());
        }
        let found = CacheControl::of(&fields);
        let mut words = Vec::new();
        let numbers = [
            ("max", found.max_age),
            ("s", found.s_maxage),
            ("swr", found.stale_while_revalidate),
            ("sie", found.stale_if_error),
        ];
        words.extend(numbers.iter().filter_map(|(name, n)| n.map(|n| format!("{name}={n}"))));
        let flags = [
            ("no-store", found.no_store),
            ("no-cache", found.no_cache),
            ("private", found.private),
            ("public", found.public),
            ("must", found.must_revalidate),
            ("understand", found.must_understand),
            ("immutable", found.immutable),
        ];
        words.extend(flags.iter().filter(|(_, set)| *set).map(|(name, _)| (*name).to_owned()));
        if !found.without.is_empty() {
            let names: Vec<_> = found.without.iter().map(HeaderName::as_str).collect();
            words.push(format!("without={}", names.join(",")));
        }
        assert_eq!(words.join(" "), expected, "{lines:?}: {why}");
    }

    proptest! {
        #[test]
        fn never_panics_and_finds_a_plain_directive_anywhere(
            before in "[ -~]{0,20}", seconds in 0u64..100_000,
        ) {
            let mut fields = HeaderMap::new();
            fields.append(header::CACHE_CONTROL, HeaderValue::from_str(&before).unwrap());
            let _ = CacheControl::of(&fields);
            fields.clear();
            let line = format!("max-age={seconds},{before}");
            fields.append(header::CACHE_CONTROL, HeaderValue::from_str(&line).unwrap());
            prop_assert_eq!(CacheControl::of(&fields).max_age, Some(seconds));
        }
    }
}
