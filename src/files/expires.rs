//! How long browsers may keep a file. (nginx: ngx_http_headers_filter_module)

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

use crate::config::Expires;
use crate::semantics::date::{Timestamp, http_date};

/// Says it, as nginx does, of a file that was changed then.
pub fn tell(fields: &mut HeaderMap, expires: Expires, modified: Timestamp, now: Timestamp) {
    let after = |time: Timestamp, by: Duration| Timestamp::from_secs(time.secs()).plus(by);
    let until = match expires {
        Expires::Off => return,
        Expires::Epoch => return dated(fields, Timestamp::from_secs(1), "no-cache".to_owned()),
        Expires::Max => return dated(fields, MAX, "max-age=315360000".to_owned()),
        Expires::Never => return dated(fields, before(now), "no-cache".to_owned()),
        Expires::After(by) => after(now, by),
        Expires::AfterChange(by) => after(modified, by),
        Expires::DayTime(seconds) => {
            let midnight = now.secs() - now.secs() % DAY_S;
            let today = midnight + seconds;
            Timestamp::from_secs(if today > now.secs() { today } else { today + DAY_S })
        }
    };
    let said = match until.secs().checked_sub(now.secs()) {
        Some(left_s) => format!("max-age={left_s}"),
        None => "no-cache".to_owned(),
    };
    dated(fields, until, said);
}

fn before(now: Timestamp) -> Timestamp {
    Timestamp::from_secs(now.secs().saturating_sub(1))
}

fn dated(fields: &mut HeaderMap, until: Timestamp, said: String) {
    if let Ok(date) = HeaderValue::try_from(http_date(until).to_string()) {
        fields.insert(header::EXPIRES, date);
    }
    if let Ok(said) = HeaderValue::try_from(said) {
        fields.insert(header::CACHE_CONTROL, said);
    }
}

/// nginx: Thu, 31 Dec 2037 23:55:55 GMT.
const MAX: Timestamp = Timestamp::from_secs(2_145_916_555);
const DAY_S: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[rustfmt::skip]
    #[test]
    fn what_is_said_is_what_nginx_says() {
        const S: fn(u64) -> Duration = Duration::from_secs;
        // Now is Mon, 21 Sep 2026 14:13:20 GMT; it was changed an hour before.
        check(Expires::Off,                  "-",                             "-");
        check(Expires::Epoch,                "Thu, 01 Jan 1970 00:00:01 GMT", "no-cache");
        check(Expires::Max,                  "Thu, 31 Dec 2037 23:55:55 GMT", "max-age=315360000");
        check(Expires::Never,                "Mon, 21 Sep 2026 14:13:19 GMT", "no-cache");
        check(Expires::After(S(0)),          "Mon, 21 Sep 2026 14:13:20 GMT", "max-age=0");
        check(Expires::After(S(60)),         "Mon, 21 Sep 2026 14:14:20 GMT", "max-age=60");
        check(Expires::AfterChange(S(3660)), "Mon, 21 Sep 2026 14:14:20 GMT", "max-age=60");
        check(Expires::AfterChange(S(60)),   "Mon, 21 Sep 2026 13:14:20 GMT", "no-cache");
        check(Expires::DayTime(55_800),      "Mon, 21 Sep 2026 15:30:00 GMT", "max-age=4600");
        check(Expires::DayTime(0),           "Tue, 22 Sep 2026 00:00:00 GMT", "max-age=35200");
        check(Expires::DayTime(51_200),      "Tue, 22 Sep 2026 14:13:20 GMT", "max-age=86400");
    }

    #[track_caller]
    fn check(expires: Expires, date: &str, said: &str) {
        let now = Timestamp(1_790_000_000_500);
        let mut fields = HeaderMap::new();
        tell(&mut fields, expires, Timestamp::from_secs(1_790_000_000 - 3600), now);
        let value =
            |name| fields.get(name).map_or("-", |value: &HeaderValue| value.to_str().unwrap());
        assert_eq!(
            (value(header::EXPIRES), value(header::CACHE_CONTROL)),
            (date, said),
            "{expires:?}"
        );
    }
}
