//! Points in time, and the three forms in which HTTP writes them. (RFC 9110 section 5.6.7)

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A wall clock reading: milliseconds since the Unix epoch. All arithmetic saturates, so that no
/// date a peer can send overflows anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The reading that lies `seconds` after the epoch.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Whole seconds since the epoch.
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// Time from `earlier` to here; zero when the clock stepped back in between.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The reading `by` later.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Length of an IMF-fixdate in bytes.
pub const HTTP_DATE_LENGTH: usize = 29;

/// Reads an HTTP-date in any of the three forms: IMF-fixdate, RFC 850, asctime. Letters match
/// without case; the weekday must be a weekday's name but is not checked against the date, since
/// origins get it wrong and the rest of the date is what counts. `now` settles the century of a
/// two-digit year. Anything else is `None`: the caller treats it as no date.
pub fn parse_http_date(text: &[u8], now: Timestamp) -> Option<Timestamp> {
    let text = text.trim_ascii();
    if text.len() > 40 || !text.is_ascii() {
        return None;
    }
    parse_imf_fixdate(text).or_else(|| parse_rfc850(text, now)).or_else(|| parse_asctime(text))
}

/// Writes `time` as IMF-fixdate, the one form that is sent.
pub fn http_date(time: Timestamp) -> HttpDate {
    HttpDate(time)
}

/// Displays as IMF-fixdate.
pub struct HttpDate(Timestamp);

impl fmt::Display for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.secs();
        let days = seconds / DAY_S;
        let (year, month, day) = civil_from_days(days);
        let of_day = seconds % DAY_S;
        write!(
            f,
            "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
            WEEKDAYS[(days % 7) as usize],
            MONTHS[(month - 1) as usize],
            of_day / 3600,
            of_day / 60 % 60,
            of_day % 60,
        )
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn parse_imf_fixdate(text: &[u8]) -> Option<Timestamp> {
    if text.len() != HTTP_DATE_LENGTH || &text[3..5] != b", " || !is_gmt(&text[25..]) {
        return None;
    }
    weekday(&text[..3], WEEKDAYS_SHORT_LENGTH)?;
    let day = digits(&text[5..7])?;
    let month = month(&text[8..11])?;
    let year = digits(&text[12..16])?;
    (text[7] == b' ' && text[11] == b' ' && text[16] == b' ').then_some(())?;
    instant(year, month, day, clock_time(&text[17..25])?)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn parse_rfc850(text: &[u8], now: Timestamp) -> Option<Timestamp> {
    let comma = text.iter().position(|byte| *byte == b',')?;
    weekday(&text[..comma], usize::MAX)?;
    let rest = &text[comma..];
    if rest.len() != 24 || &rest[..2] != b", " || !is_gmt(&rest[20..]) {
        return None;
    }
    let day = digits(&rest[2..4])?;
    let month = month(&rest[5..8])?;
    let short_year = digits(&rest[9..11])?;
    (rest[4] == b'-' && rest[8] == b'-' && rest[11] == b' ').then_some(())?;
    let of_day = clock_time(&rest[12..20])?;
    // RFC 9110: a year that appears to be more than 50 years in the future is the most recent
    // year in the past with the same last two digits.
    let (this_year, ..) = civil_from_days(now.secs() / DAY_S);
    let century = this_year - this_year % 100;
    let mut year = century + short_year;
    if year > this_year + 50 {
        year -= 100;
    } else if year + 50 < this_year {
        year += 100;
    }
    instant(year, month, day, of_day)
}

/// `Sun Nov  6 08:49:37 1994`
fn parse_asctime(text: &[u8]) -> Option<Timestamp> {
    if text.len() != 24 {
        return None;
    }
    weekday(&text[..3], WEEKDAYS_SHORT_LENGTH)?;
    let month = month(&text[4..7])?;
    let day = if text[8] == b' ' { digits(&text[9..10])? } else { digits(&text[8..10])? };
    let spaces = [3, 7, 10, 19].iter().all(|at| text[*at] == b' ');
    spaces.then_some(())?;
    instant(digits(&text[20..24])?, month, day, clock_time(&text[11..19])?)
}

fn instant(year: u64, month: u64, day: u64, of_day: u64) -> Option<Timestamp> {
    if year < 1970 {
        // Before the epoch is long past; its exact place does not matter to anyone.
        return (year >= 1600).then_some(Timestamp(0));
    }
    if day == 0 || day > days_in_month(year, month) {
        return None;
    }
    Some(Timestamp::from_secs(days_from_civil(year, month, day) * DAY_S + of_day))
}

/// `08:49:37`; a leap second is taken as the second before it.
fn clock_time(text: &[u8]) -> Option<u64> {
    (text[2] == b':' && text[5] == b':').then_some(())?;
    let (hour, minute, second) =
        (digits(&text[..2])?, digits(&text[3..5])?, digits(&text[6..8])?.min(60));
    (hour < 24 && minute < 60 && digits(&text[6..8])? <= 60).then_some(())?;
    Some(hour * 3600 + minute * 60 + second.min(59))
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0u64, |value, byte| {
        byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0'))
    })
}

fn is_gmt(text: &[u8]) -> bool {
    text.eq_ignore_ascii_case(b" GMT")
}

/// `text` must be a weekday's name, cut to at most `length` letters.
fn weekday(text: &[u8], length: usize) -> Option<()> {
    let named = |name: &&str| {
        let name = name.as_bytes();
        text.eq_ignore_ascii_case(&name[..name.len().min(length)])
    };
    WEEKDAYS_LONG.iter().any(named).then_some(())
}

fn month(text: &[u8]) -> Option<u64> {
    let at = MONTHS.iter().position(|name| text.eq_ignore_ascii_case(name.as_bytes()))?;
    Some(at as u64 + 1)
}

fn days_in_month(year: u64, month: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the proleptic Gregorian calendar, 1970 or later.
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    // Years run from March, so that the leap day is the last one.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - DAYS_TO_1970
}

/// The date that lies `days` after 1970-01-01: year, month, day.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + DAYS_TO_1970;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

const DAY_S: u64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: u64 = 719_468;
const WEEKDAYS_SHORT_LENGTH: usize = 3;
/// In the order of days since 1970-01-01, which was a Thursday.
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const WEEKDAYS_LONG: [&str; 7] =
    ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_secs(1_790_000_000); // September 2026

    #[rustfmt::skip]
    #[test]
    fn reads_exactly_the_three_forms() {
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777), "IMF-fixdate");
        check("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777), "RFC 850");
        check("Sun Nov  6 08:49:37 1994", Some(784_111_777), "asctime");
        check("sUN, 06 nOV 1994 08:49:37 gmt", Some(784_111_777), "letters match without case");
        check("Thu Aug  8 02:01:18 2050", Some(2_543_536_878), "a wrong weekday does not matter");
        check("Thu, 18 Aug 2050 02:01:18 GMT", Some(2_544_400_878), "a later year");
        check("Thursday, 18-Aug-50 02:01:18 GMT", Some(2_544_400_878), "within fifty years");
        check("Sunday, 06-Nov-77 08:49:37 GMT", Some(247_654_177), "51 years ahead is 1977");
        check("Thu, 18 Aug 2050 02:01:18 UTC", None, "zones other than GMT");
        check("Thu, 18 Aug 50 02:01:18 GMT", None, "two digits with a short weekday");
        check("Thu 18 Aug 2050 02:01:18 GMT", None, "no comma");
        check("Thu, 18  Aug 2050 02:01:18 GMT", None, "double space");
        check("Thu, 18-Aug-2050 02:01:18 GMT", None, "four digits with hyphens");
        check("Thu, 18 Aug 2050 02.01.18 GMT", None, "dots");
        check("Thu, 18 Aug 2050 2:01:18 GMT", None, "one-digit hour");
        check("Foo, 18 Aug 2050 02:01:18 GMT", None, "not a weekday");
        check("Thu, 31 Feb 2050 02:01:18 GMT", None, "no such day");
        check("Thu, 18 Aug 2050 24:01:18 GMT", None, "no such hour");
        check("Sat, 31 Dec 2016 23:59:60 GMT", Some(1_483_228_799), "leap second");
        check("Wed, 31 Dec 1969 23:59:59 GMT", Some(0), "before the epoch is long past");
        check("0", None, "the usual nonsense");
        check("", None, "nothing");
    }

    #[track_caller]
    fn check(text: &str, expected_secs: Option<u64>, why: &str) {
        let found = parse_http_date(text.as_bytes(), NOW).map(Timestamp::secs);
        assert_eq!(found, expected_secs, "{text}: {why}");
    }

    proptest! {
        #[test]
        fn writes_what_it_reads(seconds in 0u64..10_000_000_000) {
            let written = http_date(Timestamp::from_secs(seconds)).to_string();
            let read = parse_http_date(written.as_bytes(), NOW).map(Timestamp::secs);
            prop_assert_eq!(read, Some(seconds));
            let reference = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
            prop_assert_eq!(written, httpdate::fmt_http_date(reference));
        }

        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse_http_date(&text, NOW);
        }
    }
}
