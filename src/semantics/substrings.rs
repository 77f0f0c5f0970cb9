//! `Cache-Control` as nginx reads it: words, searched in each line.
//! (nginx: ngx_http_upstream_process_cache_control)
//!
//! A word is found anywhere, within another word and within quotes too. That is not how the field
//! is written (RFC 9111 section 5.2), but what an origin behind nginx is used to.

use http::{HeaderMap, header};

use super::directives::CacheControl;
use super::freshness::accel_gives_lifetime;
use super::rules::Rules;

/// Reads the lines one after the other; a later lifetime replaces an earlier one, but nothing
/// takes back that a response is not to be cached. Where `X-Accel-Expires` gives a lifetime, only
/// the stale windows are read.
pub(super) fn cache_control(fields: &HeaderMap, rules: &Rules) -> CacheControl {
    let mut found = CacheControl::default();
    let windows_only = accel_gives_lifetime(fields, rules);
    for line in fields.get_all(header::CACHE_CONTROL) {
        if read_line(line.as_bytes(), windows_only, &mut found).is_none() {
            found.malformed = true;
        }
    }
    found
}

/// `None` where a number is none: then the response is not cached, and the rest of the line is
/// not read.
fn read_line(line: &[u8], windows_only: bool, found: &mut CacheControl) -> Option<()> {
    if !windows_only && !lifetime(line, found)? {
        return Some(());
    }
    if let Some(rest) = after(line, b"stale-while-revalidate=") {
        let seconds = number(rest)?;
        found.stale_while_revalidate = Some(seconds);
        found.stale_if_error = Some(seconds);
    }
    if let Some(rest) = after(line, b"stale-if-error=") {
        found.stale_if_error = Some(number(rest)?);
    }
    Some(())
}

/// Whether the line is read further.
fn lifetime(line: &[u8], found: &mut CacheControl) -> Option<bool> {
    for (word, flag) in [
        (b"no-cache".as_slice(), &mut found.no_cache),
        (b"no-store", &mut found.no_store),
        (b"private", &mut found.private),
    ] {
        if after(line, word).is_some() {
            *flag = true;
            return Some(false);
        }
    }
    let Some(rest) = after(line, b"s-maxage=").or_else(|| after(line, b"max-age=")) else {
        return Some(true);
    };
    let seconds = number(rest)?;
    // A zero stays, whatever a later line says.
    if found.max_age != Some(0) {
        found.max_age = Some(seconds);
    }
    Some(seconds > 0)
}

/// What follows the first place where `word`, in lower case, stands in the line.
fn after<'a>(line: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    let at = line.windows(word.len()).position(|text| text.eq_ignore_ascii_case(word))?;
    line.get(at + word.len()..)
}

/// Digits up to a comma, a semicolon, a blank or the end; none at all are zero.
fn number(text: &[u8]) -> Option<u64> {
    let end = text.iter().position(|byte| b",; ".contains(byte)).unwrap_or(text.len());
    text[..end].iter().try_fold(0u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(value.saturating_mul(10).saturating_add(digit).min(u64::from(u32::MAX)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[rustfmt::skip]
    #[test]
    fn finds_words_anywhere() {
        check(&["max-age=9"],                             "max=9",         "plain");
        check(&["MAX-AGE=9;x"],                           "max=9",         "case; a semicolon ends it");
        check(&["x-max-age=9"],                           "max=9",         "within a word");
        check(&["a=\"max-age=9\""],                       "bad",           "within quotes, and up to the quote");
        check(&["max-age=1, s-maxage=9"],                 "max=9",         "s-maxage first");
        check(&["max-age=1", "s-maxage=9"],               "max=9",         "the later line");
        check(&["s-maxage=9", "max-age=1"],               "max=1",         "the later line");
        check(&["max-age=0", "max-age=9"],                "max=0",         "zero stays");
        check(&["max-age="],                              "max=0",         "no digits");
        check(&["max-age=\"9\""],                         "bad",           "quoted");
        check(&["max-age=-1"],                            "bad",           "negative");
        check(&["private=\"x\", max-age=9"],              "private",       "qualified is the same");
        check(&["max-age=9, no-cache=\"x\""],             "no-cache",      "anywhere in the line");
        check(&["no-cache, no-store"],                    "no-cache",      "the first of three");
        check(&["max-age=9", "no-store"],                 "max=9 no-store", "in another line");
        check(&["max-age=9, must-revalidate, public"],    "max=9",         "the rest is not read");
        check(&["max-age=9, stale-while-revalidate=5"],   "max=9 swr=5 sie=5", "sets both windows");
        check(&["max-age=9, stale-if-error=6, stale-while-revalidate=5"],
                                                          "max=9 swr=5 sie=6", "its own for errors");
        check(&["max-age=9, stale-if-error=x"],           "max=9 bad",     "a bad window");
        check(&["private, stale-if-error=6"],             "private",       "no windows then");
        check(&["max-age=9999999999999999999999999"],     "max=4294967295", "saturates");
    }

    #[test]
    fn an_accel_lifetime_leaves_only_the_windows() {
        let mut fields = HeaderMap::new();
        fields.append("x-accel-expires", HeaderValue::from_static("5"));
        fields.append("cache-control", HeaderValue::from_static("no-cache, stale-if-error=6"));
        let found = cache_control(&fields, &Rules::nginx());
        assert_eq!((found.no_cache, found.stale_if_error), (false, Some(6)));
    }

    #[track_caller]
    fn check(lines: &[&str], expected: &str, why: &str) {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(header::CACHE_CONTROL, HeaderValue::from_str(line).unwrap());
        }
        let found = cache_control(&fields, &Rules::nginx());
        let numbers = [
            ("max", found.max_age),
            ("swr", found.stale_while_revalidate),
            ("sie", found.stale_if_error),
        ];
        let mut words: Vec<_> =
            numbers.iter().filter_map(|(name, n)| n.map(|n| format!("{name}={n}"))).collect();
        let flags = [
            ("no-store", found.no_store),
            ("no-cache", found.no_cache),
            ("private", found.private),
            ("bad", found.malformed),
        ];
        words.extend(flags.iter().filter(|(_, set)| *set).map(|(name, _)| (*name).to_owned()));
        assert_eq!(words.join(" "), expected, "{lines:?}: {why}");
    }
}
