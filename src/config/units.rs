//! Durations and sizes in nginx's units.

use std::time::Duration;

use super::fault::Problem;

/// The time `text` says: `500ms`, `10m`, `1h30m`, larger units first; a bare number is seconds.
///
/// # Errors
/// Show the problem; nothing was understood.
pub fn duration(text: &str) -> Result<Duration, Problem> {
    let wrong = || Problem::new(format!("`{text}` is not a duration")).help(DURATION_HELP);
    if let Ok(seconds) = number(text) {
        return seconds_to_duration(seconds.ok_or_else(|| too_long(text))?, text);
    }
    let mut rest = text;
    let mut millis: u64 = 0;
    let mut units = DURATION_UNITS.iter();
    while !rest.is_empty() {
        let digits_end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (digits, tail) = rest.split_at(digits_end);
        let unit_end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        // The iterator goes on from the last unit, so that each comes once and in order.
        let (_, unit_ms) = units.find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let count = number(digits).map_err(|()| wrong())?.ok_or_else(|| too_long(text))?;
        millis = count
            .checked_mul(*unit_ms)
            .and_then(|part| millis.checked_add(part))
            .ok_or_else(|| too_long(text))?;
        rest = tail.trim_start_matches(' ');
    }
    if text.is_empty() || text.ends_with(' ') {
        return Err(wrong());
    }
    limited(Duration::from_millis(millis), text)
}

/// The time of a bare number.
///
/// # Errors
/// Show the problem: it is longer than any time here may be.
pub fn seconds(seconds: u64) -> Result<Duration, Problem> {
    seconds_to_duration(seconds, &seconds.to_string())
}

/// The bytes `text` says: `8k`, `64m`, `10g`, powers of 1024; a bare number is bytes.
///
/// # Errors
/// Show the problem; nothing was understood.
pub fn size(text: &str) -> Result<u64, Problem> {
    let wrong = || Problem::new(format!("`{text}` is not a size")).help(SIZE_HELP);
    let (digits, shift) = match text.chars().last().map(|unit| unit.to_ascii_lowercase()) {
        Some('k') => (&text[..text.len() - 1], 10),
        Some('m') => (&text[..text.len() - 1], 20),
        Some('g') => (&text[..text.len() - 1], 30),
        Some('t') => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    number(digits)
        .map_err(|()| wrong())?
        .and_then(|count| count.checked_mul(1 << shift))
        // What is above this is no file size either.
        .filter(|bytes| *bytes <= SIZE_MAX)
        .ok_or_else(|| Problem::new(format!("`{text}` is too large for a size")))
}

/// `Ok(None)` for a number that is too large.
fn number(digits: &str) -> Result<Option<u64>, ()> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits { Ok(digits.parse().ok()) } else { Err(()) }
}

fn seconds_to_duration(seconds: u64, text: &str) -> Result<Duration, Problem> {
    limited(Duration::from_secs(seconds), text)
}

/// A limit far above what anybody means, and far below where adding to a clock overflows.
fn limited(duration: Duration, text: &str) -> Result<Duration, Problem> {
    if duration > DURATION_MAX { Err(too_long(text)) } else { Ok(duration) }
}

fn too_long(text: &str) -> Problem {
    Problem::new(format!("`{text}` is too long for a duration")).help("at most `100y`")
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const DURATION_MAX: Duration = Duration::from_millis(100 * 365 * DAY_MS);
const SIZE_MAX: u64 = i64::MAX as u64;

/// Largest first; nginx's lengths of a month and a year.
const DURATION_UNITS: [(&str, u64); 8] = [
    ("y", 365 * DAY_MS),
    ("M", 30 * DAY_MS),
    ("w", 7 * DAY_MS),
    ("d", DAY_MS),
    ("h", 60 * 60 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

const DURATION_HELP: &str = "write `500ms`, `10s`, `10m`, `2h`, `7d`, `1w` or `1y`, or several, larger units first: `1h30m`";
const SIZE_HELP: &str = "write `512` (bytes), `8k`, `64m`, `10g` or `1t`";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{duration, size};

    #[test]
    #[rustfmt::skip]
    fn durations_are_read_as_nginx_reads_them() {
        //    text           milliseconds
        check("500ms",       Some(500));
        check("10s",         Some(10_000));
        check("10m",         Some(600_000));
        check("2h",          Some(7_200_000));
        check("7d",          Some(604_800_000));
        check("1w",          Some(604_800_000));
        check("1M",          Some(2_592_000_000));
        check("1y",          Some(31_536_000_000));
        check("1h30m",       Some(5_400_000));
        check("1h 30m",      Some(5_400_000));
        check("1m500ms",     Some(60_500));
        check("30",          Some(30_000));
        check("0",           Some(0));
        check("0s",          Some(0));
        check("100y",        Some(3_153_600_000_000));
        check("",            None);
        check(" 1s",         None);
        check("1s ",         None);
        check("s",           None);
        check("1.5h",        None);
        check("-1s",         None);
        check("+1s",         None);
        check("1S",          None);
        check("1sec",        None);
        check("30m1h",       None);
        check("1s1s",        None);
        check("1h30",        None);
        check("101y",        None);
        check("3153600001",  None);
        check("99999999999999999999",   None);
        check("99999999999999999999ms", None);
        check("18446744073709551615y",  None);
        check("1\u{b5}s",    None);
        check("\u{661}s",    None);

        #[track_caller]
        fn check(text: &str, expected_ms: Option<u64>) {
            assert_eq!(duration(text).ok(), expected_ms.map(Duration::from_millis), "{text}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn sizes_are_powers_of_1024() {
        //    text    bytes
        check("0",    Some(0));
        check("512",  Some(512));
        check("8k",   Some(8192));
        check("8K",   Some(8192));
        check("64m",  Some(67_108_864));
        check("10G",  Some(10_737_418_240));
        check("2t",   Some(2_199_023_255_552));
        check("",     None);
        check("k",    None);
        check("1kb",  None);
        check("1.5g", None);
        check("-1",   None);
        check("1 k",  None);
        check("8\u{212a}", None);
        check("9223372036854775807",  Some(9_223_372_036_854_775_807));
        check("9223372036854775808",  None);
        check("99999999999999999999", None);
        check("9999999999999g",       None);

        #[track_caller]
        fn check(text: &str, expected: Option<u64>) {
            assert_eq!(size(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_problem_says_what_to_write() {
        assert_eq!(duration("soon").unwrap_err().reason, "`soon` is not a duration");
        assert!(duration("soon").unwrap_err().help.unwrap().contains("`1h30m`"));
        assert_eq!(size("10gb").unwrap_err().reason, "`10gb` is not a size");
        assert_eq!(duration("101y").unwrap_err().reason, "`101y` is too long for a duration");
    }
}
