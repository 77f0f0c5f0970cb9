//! `Cache-Control`, read the way RFC 9111 writes it. (section 5.2)

use http::{HeaderMap, HeaderName, header};

/// The directives of a response that a shared cache obeys. Seconds saturate; a directive whose
/// argument is no number counts as zero, since whoever wrote it wanted a limit.
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
    /// `no-cache`, with or without field names: both validate before every use.
    pub no_cache: bool,
    /// `private`, with or without field names: neither is for a shared cache.
    pub private: bool,
    /// `public`.
    pub public: bool,
    /// `must-revalidate` or `proxy-revalidate`.
    pub must_revalidate: bool,
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

    fn add(&mut self, name: &[u8], argument: Option<&[u8]>) {
        let is = |expected: &str| name.eq_ignore_ascii_case(expected.as_bytes());
        let seconds = |slot: &mut Option<u64>| {
            slot.get_or_insert(argument.map_or(0, |text| delta_seconds(text).unwrap_or(0)));
        };
        if is("max-age") {
            seconds(&mut self.max_age);
        } else if is("s-maxage") {
            seconds(&mut self.s_maxage);
        } else if is("stale-while-revalidate") {
            seconds(&mut self.stale_while_revalidate);
        } else if is("stale-if-error") {
            seconds(&mut self.stale_if_error);
        } else {
            self.no_store |= is("no-store");
            self.no_cache |= is("no-cache");
            self.private |= is("private");
            self.public |= is("public");
            self.must_revalidate |= is("must-revalidate") || is("proxy-revalidate");
        }
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
        check(&["PRIVATE=\"x\", No-Store"], "no-store private", "qualified is the same");
        check(&["no-cache=\"a, b\""], "no-cache", "qualified is the same");
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
        ];
        words.extend(flags.iter().filter(|(_, set)| *set).map(|(name, _)| (*name).to_owned()));
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
