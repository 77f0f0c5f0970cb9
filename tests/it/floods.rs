//! Frames that ask for nothing: a client that sends no end of them is told goodbye, and others are
//! served meanwhile.

use std::time::Duration;

use tokio::time::timeout;

use crate::harness::http2::{
    END_HEADERS, Frame, HEADERS, Http2, PATIENCE, PING, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE,
    frame, get_frame,
};
use crate::harness::{Gate, Origin, Proxy, ok};

/// ENHANCE_YOUR_CALM (RFC 9113 section 7).
const CALM: u32 = 11;

/// Sends what `flood` gives for one stream after the other until the proxy says goodbye; with which
/// code, and after how many. Another client is served meanwhile.
async fn drown(proxy: &Proxy, flood: impl Fn(u32) -> Vec<u8>) -> (Option<u32>, usize) {
    let other = Http2::connect(proxy.address).await;
    let raw = Raw::connect(proxy.address, &[]).await;
    let (read, mut write) = raw.stream.into_split();
    let reader = tokio::spawn(async move {
        // Reads as a flooder may: as fast as it comes.
        let stream = read;
        farewell(stream).await
    });
    let mut sent = 0;
    while sent < MOST && !reader.is_finished() {
        let batch: Vec<u8> = (0..50).flat_map(|at| flood(2 * (sent as u32 + at) + 1)).collect();
        if timeout(PATIENCE, tokio::io::AsyncWriteExt::write_all(&mut write, &batch)).await.is_err()
        {
            break;
        }
        sent += 50;
        if sent % 500 == 0 {
            assert_eq!(other.get("/a").await.text(), "a", "others are served");
        }
    }
    assert_eq!(other.get("/a").await.text(), "a");
    let code = timeout(Duration::from_secs(30), reader).await.expect("it ends").unwrap();
    (code, sent)
}

async fn farewell(mut stream: tokio::net::tcp::OwnedReadHalf) -> Option<u32> {
    let mut bytes = Vec::new();
    // A reset after the last frame still leaves the frame.
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut bytes).await;
    let mut code = None;
    let mut rest = bytes.as_slice();
    while rest.len() >= 9 {
        let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
        let Some(payload) = rest.get(9..9 + length) else { break };
        if rest[3] == 7 {
            code = Some(crate::harness::http2::code_of(&payload[4..]));
        }
        rest = &rest[9 + length..];
    }
    code
}

/// Far more than any budget.
const MOST: usize = 20_000;

async fn served() -> (Origin, Proxy) {
    let origin = Origin::start().await;
    origin.on("/a", ok("a").header("cache-control", "max-age=600"));
    let proxy = Proxy::cached(&origin).await;
    (origin, proxy)
}

#[tokio::test]
async fn pings_settings_priorities_and_what_nobody_knows_end_with_goodbye() {
    let (_origin, proxy) = served().await;
    let floods: [(&str, Vec<u8>); 5] = [
        ("ping", frame(PING, 0, 0, &[0; 8])),
        ("settings", frame(SETTINGS, 0, 0, &[])),
        ("priority", frame(2, 0, 1, &[0, 0, 0, 3, 1])),
        ("unknown", frame(0xEE, 0, 0, b"?")),
        ("window update", frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())),
    ];
    for (name, flood) in floods {
        let (code, sent) = drown(&proxy, |_| flood.clone()).await;
        assert_eq!(code, Some(CALM), "{name} after {sent}");
        assert!(sent < MOST, "{name}");
    }
}

#[tokio::test]
async fn rapid_resets_end_with_goodbye() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/a", ok("a").header("cache-control", "max-age=600"));
    origin.on("/held", ok("late").behind(&gate));
    let proxy = Proxy::cached(&origin).await;
    for path in ["/a", "/held"] {
        let flood = |stream| {
            let reset = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            [get_frame(stream, path, &[]), reset].concat()
        };
        let (code, sent) = drown(&proxy, flood).await;
        assert_eq!(code, Some(CALM), "{path} after {sent}");
    }
}

#[tokio::test]
async fn resets_of_our_own_making_end_with_goodbye() {
    let (_origin, proxy) = served().await;
    // A window that does not grow by an update is an error of the stream.
    let flood = |stream| {
        let update = frame(WINDOW_UPDATE, 0, stream, &0_u32.to_be_bytes());
        [get_frame(stream, "/a", &[]), update].concat()
    };
    let (code, sent) = drown(&proxy, flood).await;
    assert!(code.is_some() && sent < MOST, "{code:?} after {sent}");
}

#[tokio::test]
async fn fields_without_end_and_empty_data_end_with_goodbye() {
    let (_origin, proxy) = served().await;
    let more = frame(9, 0, 1, &[0, 1, b'x', 1, b'y']);
    let begin = frame(HEADERS, 0, 1, &[]);
    let (code, _) =
        drown(&proxy, |stream| if stream == 1 { begin.clone() } else { more.clone() }).await;
    assert_eq!(code, Some(CALM), "CONTINUATION");
    let mut post = get_frame(1, "/a", &[]);
    post[4] = END_HEADERS;
    let empty = frame(0, 0, 1, &[]);
    let (code, _) =
        drown(&proxy, |stream| if stream == 1 { post.clone() } else { empty.clone() }).await;
    assert!(code.is_some(), "empty DATA");
}

#[tokio::test]
async fn a_client_that_takes_what_it_asks_for_is_no_flood() {
    let (_origin, proxy) = served().await;
    let mut raw = Raw::connect(proxy.address, &[]).await;
    for request in 0..2000_u32 {
        let stream = 2 * request + 1;
        assert!(raw.send(&get_frame(stream, "/a", &[])).await, "request {request}");
        let Some(Frame { kind: HEADERS, .. }) = raw.next_of(HEADERS).await else {
            panic!("request {request} is not answered");
        };
        // As eager clients do: for each byte, on both windows.
        let updates =
            [0, stream].map(|stream| frame(WINDOW_UPDATE, 0, stream, &1_u32.to_be_bytes()));
        assert!(raw.send(&updates.concat()).await);
    }
}
