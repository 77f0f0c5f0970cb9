//! The text of one access log line, as nginx writes it.
//!
//! Values are escaped as nginx does by default, so that no client can forge a line or send a
//! terminal anything but text.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use http::HeaderValue;

use crate::config::template::{OfTried, Variable};
use crate::observe::exchange::{Exchange, RequestFacts};
use crate::semantics::basic;
use crate::semantics::date::{Timestamp, http_date};
use crate::tried::Tried;

/// What a line says besides the exchange.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a> {
    /// When it ended.
    pub time: SystemTime,
    /// The same, as `$time_local` is written.
    pub time_local: &'a str,
    /// From the first byte of the request to the last of the response.
    pub request_time: Duration,
    /// Body bytes sent.
    pub sent_bytes: u64,
    /// These were all.
    pub complete: bool,
}

/// Appends the line of `exchange`, with its line feed, as one of two formats has it. An exchange
/// without request facts has none.
pub fn write_line(out: &mut Vec<u8>, with_cache: bool, exchange: &Exchange, end: Ending<'_>) {
    let Some(request) = exchange.request.as_deref() else { return };
    write_combined(out, request, exchange.status, end);
    if with_cache {
        out.push(b' ');
        out.extend_from_slice(exchange.cache.map_or("-", |status| status.word()).as_bytes());
        out.push(b' ');
        write_seconds(out, end.request_time);
        out.push(b' ');
        match &*exchange.tried {
            [] => out.push(b'-'),
            tried => write_tried(OfTried::ResponseTime, tried, out),
        }
        out.push(b' ');
        out.extend_from_slice(exchange.reason.name().as_bytes());
    }
    out.push(b'\n');
}

/// The time, as one of three variables has it. In UTC, as in the log.
pub fn write_time(time: SystemTime, variable: &Variable, out: &mut Vec<u8>) {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    match variable {
        Variable::Msec => write_seconds(out, since),
        Variable::TimeLocal => out.extend_from_slice(time_local(time).as_bytes()),
        _ => {
            // `28/Sep/1970:12:00:00 +0000`, with its parts at fixed places.
            let local = time_local(time);
            let part = |range| local.get(range).unwrap_or_default();
            let month = MONTHS.iter().position(|month| *month == part(3..6)).map_or(0, |at| at + 1);
            let (day, year, clock) = (part(0..2), part(7..11), part(12..20));
            let _ = write!(out, "{year}-{month:02}-{day}T{clock}+00:00");
        }
    }
}

/// `time` as nginx writes `$time_local`: `28/Sep/1970:12:00:00 +0000`. Always in UTC: the offset
/// says so, and no line is ambiguous when a local clock is set back for winter.
pub fn time_local(time: SystemTime) -> String {
    // `Mon, 28 Sep 1970 12:00:00 GMT`, with its parts at fixed places.
    let date = http_date(Timestamp::from(time)).to_string();
    let mut text = String::with_capacity(TIME_LOCAL_LENGTH);
    match (date.get(5..7), date.get(8..11), date.get(12..16), date.get(17..25)) {
        (Some(day), Some(month), Some(year), Some(clock)) => {
            let _ = write!(text, "{day}/{month}/{year}:{clock} +0000");
        }
        _ => text.push('-'),
    }
    text
}

/// `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent
/// "$http_referer" "$http_user_agent"`
fn write_combined(out: &mut Vec<u8>, request: &RequestFacts, status: u16, end: Ending<'_>) {
    // Writing to a `Vec` cannot fail.
    let _ = write!(out, "{} - ", request.client.host());
    match request.authorization.as_ref().and_then(remote_user) {
        Some(user) => escape(out, &user),
        None => out.push(b'-'),
    }
    let _ = write!(out, " [{}] \"", end.time_local);
    escape(out, request.method.as_str().as_bytes());
    out.push(b' ');
    let target_start = out.len();
    let _ = write!(out, "{}", request.target);
    escape_from(out, target_start);
    let _ = write!(out, " {:?}\" {status} {} ", request.version, end.sent_bytes);
    write_quoted(out, request.referer.as_ref());
    out.push(b' ');
    write_quoted(out, request.user_agent.as_ref());
}

fn write_quoted(out: &mut Vec<u8>, value: Option<&HeaderValue>) {
    out.push(b'"');
    match value {
        Some(value) => escape(out, value.as_bytes()),
        None => out.push(b'-'),
    }
    out.push(b'"');
}

/// Seconds with three decimals, cut off rather than rounded, as nginx does.
pub fn write_seconds(out: &mut Vec<u8>, time: Duration) {
    let _ = write!(out, "{}.{:03}", time.as_secs(), time.subsec_millis());
}

/// What is told of the peers that were asked, one behind the other, as nginx does; nothing if
/// there were none.
pub fn write_tried(what: OfTried, tried: &[Tried], out: &mut Vec<u8>) {
    for (number, one) in tried.iter().enumerate() {
        if number > 0 {
            out.extend_from_slice(b", ");
        }
        match what {
            OfTried::Addr => out.extend_from_slice(one.peer.as_bytes()),
            OfTried::Status => out.extend_from_slice(one.status.to_string().as_bytes()),
            OfTried::ResponseLength => {
                out.extend_from_slice(one.progress.body_bytes().to_string().as_bytes());
            }
            OfTried::ConnectTime => write_time_if_any(one.connect, out),
            OfTried::HeaderTime => write_time_if_any(one.header, out),
            OfTried::ResponseTime => write_seconds(out, one.progress.time()),
        }
    }
}

fn write_time_if_any(time: Option<Duration>, out: &mut Vec<u8>) {
    match time {
        Some(time) => write_seconds(out, time),
        None => out.push(b'-'),
    }
}

/// nginx's default escape: `"`, `\`, control characters and all that is not ASCII.
pub(super) fn escape(out: &mut Vec<u8>, value: &[u8]) {
    let mut plain_start = 0;
    for (at, byte) in value.iter().enumerate() {
        if !is_escaped(*byte) {
            continue;
        }
        out.extend_from_slice(&value[plain_start..at]);
        plain_start = at + 1;
        let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
        out.extend_from_slice(&[b'\\', b'x', HEX[high], HEX[low]]);
    }
    out.extend_from_slice(&value[plain_start..]);
}

/// Escapes what was appended since `start`; seldom has anything to do.
fn escape_from(out: &mut Vec<u8>, start: usize) {
    if out[start..].iter().any(|byte| is_escaped(*byte)) {
        let raw = out.split_off(start);
        escape(out, &raw);
    }
}

const fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte >= 0x7f || byte == b'"' || byte == b'\\'
}

/// The user name of `Authorization: Basic`; `None` where nginx has no `$remote_user`. The
/// password is not kept. (RFC 7617 section 2)
pub(crate) fn remote_user(authorization: &HeaderValue) -> Option<Vec<u8>> {
    let (user, _) = basic::credentials(authorization)?;
    (!user.is_empty()).then_some(user)
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const HEX: &[u8; 16] = b"0123456789ABCDEF";
/// `28/Sep/1970:12:00:00 +0000`
const TIME_LOCAL_LENGTH: usize = 26;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use std::sync::Arc;
    use std::time::UNIX_EPOCH;

    use http::{Method, Version};

    use crate::clock::Clock;
    use crate::semantics::reason::Reason;
    use crate::semantics::status::CacheStatus;
    use crate::tried::Progress;

    fn exchange() -> Exchange {
        Exchange {
            request: Some(Box::new(RequestFacts {
                started: Clock::Real.instant(),
                client: "192.0.2.7:4711".parse::<SocketAddr>().unwrap().into(),
                method: Method::GET,
                target: "/a?b=c".parse().unwrap(),
                version: Version::HTTP_11,
                authorization: None,
                referer: None,
                user_agent: None,
            })),
            status: 200,
            cache: None,
            reason: Reason::CacheOff,
            zone: None,
            tried: Vec::new(),
            logged: None,
        }
    }

    fn line(with_cache: bool, exchange: &Exchange) -> String {
        let mut out = Vec::new();
        let time = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let (time_local, request_time) = (&*time_local(time), Duration::from_micros(1_234_999));
        let end = Ending { time, time_local, request_time, sent_bytes: 612, complete: true };
        write_line(&mut out, with_cache, exchange, end);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn combined_is_nginx_byte_for_byte() {
        let mut exchange = exchange();
        assert_eq!(
            line(false, &exchange),
            "192.0.2.7 - - [06/Nov/1994:08:49:37 +0000] \"GET /a?b=c HTTP/1.1\" 200 612 \"-\" \"-\"\n"
        );
        let request = exchange.request.as_mut().unwrap();
        request.client = "[2001:db8::1]:80".parse::<SocketAddr>().unwrap().into();
        request.version = Version::HTTP_10;
        request.authorization =
            Some(HeaderValue::from_static("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        request.referer = Some(HeaderValue::from_static("http://a.example/"));
        request.user_agent = Some(HeaderValue::from_static("curl/8.5 (\"x\")"));
        assert_eq!(
            line(false, &exchange),
            "2001:db8::1 - Aladdin [06/Nov/1994:08:49:37 +0000] \"GET /a?b=c HTTP/1.0\" 200 612 \
             \"http://a.example/\" \"curl/8.5 (\\x22x\\x22)\"\n"
        );
    }

    #[test]
    fn cache_adds_status_times_and_reason() {
        let mut exchange = exchange();
        let combined = line(false, &exchange);
        let combined = combined.trim_end();
        assert_eq!(line(true, &exchange), format!("{combined} - 1.234 - cache-off\n"));
        exchange.cache = Some(CacheStatus::Miss);
        exchange.reason = Reason::Absent;
        let tried = |took_ms| {
            let progress = Progress::over(Duration::from_millis(took_ms));
            Tried { progress, ..Tried::begin(&Arc::from("a:1")) }
        };
        exchange.tried.push(tried(56));
        assert_eq!(line(true, &exchange), format!("{combined} MISS 1.234 0.056 absent\n"));
        exchange.tried.push(tried(2_001));
        assert_eq!(line(true, &exchange), format!("{combined} MISS 1.234 0.056, 2.001 absent\n"));
    }

    #[test]
    fn an_empty_field_is_empty_and_a_missing_one_is_a_dash() {
        let mut exchange = exchange();
        exchange.request.as_mut().unwrap().referer = Some(HeaderValue::from_static(""));
        assert!(line(false, &exchange).ends_with(" \"\" \"-\"\n"));
    }

    #[test]
    fn an_exchange_without_facts_has_no_line() {
        let mut exchange = exchange();
        exchange.request = None;
        assert_eq!(line(true, &exchange), "");
    }

    #[test]
    fn escapes_as_nginx() {
        for byte in 0..=255_u8 {
            let mut out = Vec::new();
            escape(&mut out, &[b'a', byte, b'z']);
            let expected = match byte {
                b'"' => b"a\\x22z".to_vec(),
                b'\\' => b"a\\x5Cz".to_vec(),
                0x20..=0x7e => vec![b'a', byte, b'z'],
                _ => format!("a\\x{byte:02X}z").into_bytes(),
            };
            assert_eq!(out, expected, "{byte:#x}");
        }
    }

    #[test]
    fn user_names_as_nginx_reads_them() {
        check("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", Some("Aladdin"), "RFC 7617");
        check("bAsIc   QWxhZGRpbjpvcGVuIHNlc2FtZQ", Some("Aladdin"), "no padding");
        check("Basic YTpi", Some("a"), "a:b");
        check("Basic OmI=", None, "no name");
        check("Basic YWI=", None, "no colon");
        check("Basic YTpiX", None, "cut short");
        check("Basic Y*pi", None, "no base64");
        check("Basic ", None, "nothing");
        check("Bearer abc", None, "another scheme");
        check("Ba", None, "short");
    }

    #[track_caller]
    fn check(authorization: &str, expected: Option<&str>, why: &str) {
        let value = HeaderValue::from_str(authorization).unwrap();
        assert_eq!(remote_user(&value).as_deref(), expected.map(str::as_bytes), "{why}");
    }
}
