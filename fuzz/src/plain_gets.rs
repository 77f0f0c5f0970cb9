//! Requests that are answered without hyper.
//!
//! What is taken for a plain GET is one to everybody: it cannot be read in two ways, ends where the
//! bytes end, and each of its parts is what the usual way would make of it.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Uri};
use larder::config::{Limits, OddHeaders};
use larder::listener::head::HeadScan;
use larder::plain_get::{PlainGet, Room};

/// Holds `data` to it.
pub fn check(data: &[u8]) {
    let (mut room, limits) = (Room::default(), limits());
    let Some(get) = PlainGet::read(data, &mut room, &limits) else { return };
    let mut scan = HeadScan::default();
    scan.at_head();
    scan.feed(data);
    assert!(!scan.is_ambiguous() && scan.is_complete());
    assert_eq!(data.windows(4).filter(|end| end == b"\r\n\r\n").count(), 1);
    let request = get.request(data, ()).expect("what is one can be told");
    assert!(data.starts_with(format!("{} /", request.method()).as_bytes()));
    assert_eq!(get.is_head, request.method() == Method::HEAD);
    assert!(get.is_special || !get.is_head);
    assert_eq!(request.uri().path_and_query().map(|target| target.as_str()), Some(get.target));
    let uri = Uri::try_from(get.target).expect("hyper takes the target");
    assert_eq!((uri.path(), uri.query()), (get.path(), get.query()));
    assert!(uri.authority().is_none() && uri.path().starts_with('/'));
    let text = data.to_ascii_lowercase();
    let mut lines = text.split(|byte| *byte == b'\n').skip(1).filter(|line| line.len() > 1);
    let mut hosts = 0;
    lines.by_ref().for_each(|line| {
        let colon = line.iter().position(|byte| *byte == b':').expect("a field has a colon");
        let name = HeaderName::from_bytes(&line[..colon]).expect("hyper takes the name");
        HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).expect("hyper takes the value");
        hosts += usize::from(name == http::header::HOST);
        assert!(!OF_THE_CONNECTION.contains(&name.as_str()), "{name}");
        assert!(get.is_special || !SPECIAL.contains(&name.as_str()), "{name}");
        assert!(request.headers().contains_key(&name), "{name}");
    });
    assert_eq!(hosts, 1);
}

/// Fields that frame a body, or want something of the connection.
const OF_THE_CONNECTION: [&str; 9] = [
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields that ask for something else than a whole answer that is fresh.
const SPECIAL: [&str; 7] = [
    "cache-control",
    "content-type",
    "if-match",
    "if-range",
    "if-unmodified-since",
    "pragma",
    "range",
];

fn limits() -> Limits {
    Limits {
        connections: 1,
        connections_per_client: 0,
        header_timeout: Duration::MAX,
        keepalive_timeout: Duration::MAX,
        keepalive_requests: u64::MAX,
        keepalive_time: Duration::MAX,
        send_timeout: Duration::MAX,
        sendfile: false,
        header_bytes_max: 16 * 1024,
        headers_max: 100,
        uri_bytes_max: 8192,
        odd_headers: OddHeaders::Pass,
        http2: None,
    }
}
