//! Exchanges with peers that say what a test tells them, byte by byte.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use http_body::{Body as HttpBody, Frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::super::fixtures::{asked, peer, timeouts, upstream};
use super::super::{Failure, Group, Kind, Phase, Pool, Reply, send};
use super::*;
use crate::body;

/// A peer whose side of each connection the test plays itself, and a group of it alone.
struct Played {
    listener: TcpListener,
    group: Arc<Group>,
    pool: Arc<Pool>,
}

impl Played {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = upstream(vec![peer(&listener.local_addr().unwrap().to_string())]);
        let pool = Pool::new(&config, Clock::Real);
        Self { listener, group: Group::new(&config, Clock::Real), pool }
    }

    async fn accept(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }

    async fn ask(&self, request: Request<Body>) -> Result<Reply, Failure> {
        send(&self.group, &self.pool, request, &timeouts(), &asked()).await
    }

    async fn get(&self) -> Result<Reply, Failure> {
        self.ask(get(Body::empty())).await
    }
}

fn get(body: Body) -> Request<Body> {
    Request::get("/a?b").header("host", "h").body(body).unwrap()
}

fn put(body: Body) -> Request<Body> {
    Request::put("/").header("host", "h").body(body).unwrap()
}

/// What comes until it ends like this.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        text.push(char::from(stream.read_u8().await.unwrap()));
    }
    text
}

async fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// The text of a body and of its trailers.
async fn read(reply: Reply) -> Result<String, body::Error> {
    let (mut text, mut body) = (String::new(), reply.response.into_body());
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame?.into_data() {
            Ok(data) => text.push_str(std::str::from_utf8(&data).unwrap()),
            Err(frame) => text.push_str(&format!("{:?}", frame.into_trailers().unwrap())),
        }
    }
    Ok(text)
}

/// A body whose frames the test sends; it has no length.
struct Fed(mpsc::UnboundedReceiver<Result<Frame<Bytes>, body::Error>>);

impl HttpBody for Fed {
    type Data = Bytes;
    type Error = body::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, body::Error>>> {
        self.0.poll_recv(cx)
    }
}

type Feed = mpsc::UnboundedSender<Result<Frame<Bytes>, body::Error>>;

fn fed() -> (Feed, Body) {
    let (feed, frames) = mpsc::unbounded_channel();
    (feed, Body::stream(Fed(frames)))
}

fn data(text: &'static str) -> Result<Frame<Bytes>, body::Error> {
    Ok(Frame::data(text.into()))
}

#[tokio::test]
async fn a_response_may_come_byte_by_byte() {
    let played = Played::new().await;
    let peer = async {
        let mut stream = played.accept().await;
        assert_eq!(until(&mut stream, "\r\n\r\n").await, "GET /a?b HTTP/1.1\r\nhost: h\r\n\r\n");
        stream.set_nodelay(true).unwrap();
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                    3;x\r\nab";
        for byte in text.bytes() {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        say(&mut stream, "c\r\n0\r\nx-sum: 1\r\ncontent-length: 9\r\n\r\n").await;
        stream
    };
    let (reply, _stream) = tokio::join!(played.get(), peer);
    assert_eq!(read(reply.unwrap()).await.unwrap(), r#"abc{"x-sum": "1"}"#);
    assert_eq!(played.pool.idle(), 1);
}

#[tokio::test]
async fn an_upload_goes_on_while_the_response_is_read() {
    let played = Played::new().await;
    let (feed, body) = fed();
    feed.send(data("one")).unwrap();
    let peer = async {
        let mut stream = played.accept().await;
        let head = until(&mut stream, "3\r\none\r\n").await;
        assert!(head.contains("\r\ntransfer-encoding: chunked\r\n\r\n"), "{head}");
        say(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nto").await;
        stream
    };
    let (reply, mut stream) = tokio::join!(played.ask(put(body)), peer);
    let peer = async {
        feed.send(data("two!")).unwrap();
        drop(feed);
        assert_eq!(until(&mut stream, "0\r\n\r\n").await, "4\r\ntwo!\r\n0\r\n\r\n");
        say(&mut stream, "ok").await;
    };
    let (text, ()) = tokio::join!(read(reply.unwrap()), peer);
    assert_eq!(text.unwrap(), "took");
    assert_eq!(played.pool.idle(), 1, "all of both is over");
}

#[tokio::test]
async fn a_response_that_ends_before_its_request_ends_the_connection() {
    let played = Played::new().await;
    let (feed, body) = fed();
    feed.send(data("one")).unwrap();
    let peer = async {
        let mut stream = played.accept().await;
        until(&mut stream, "one\r\n").await;
        say(&mut stream, "HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").await;
        stream
    };
    let (reply, mut stream) = tokio::join!(played.ask(put(body)), peer);
    assert_eq!(read(reply.unwrap()).await.unwrap(), "no");
    assert_eq!(played.pool.idle(), 0);
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_peer_that_answers_and_takes_no_more_is_heard() {
    let played = Played::new().await;
    let peer = async {
        let mut stream = played.accept().await;
        stream.read_u8().await.unwrap();
        say(&mut stream, "HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno").await;
        // With bytes of the request unread, closing resets the connection.
    };
    let body = Body::full(vec![b'x'; 8 << 20]);
    let (reply, ()) = tokio::join!(played.ask(put(body)), peer);
    assert_eq!(reply.unwrap().response.status(), 413);
    assert_eq!(played.pool.idle(), 0);
}

#[tokio::test]
async fn a_client_that_fails_amid_both_breaks_the_response_off() {
    let played = Played::new().await;
    let (feed, body) = fed();
    let peer = async {
        let mut stream = played.accept().await;
        until(&mut stream, "\r\n\r\n").await;
        say(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok").await;
        stream
    };
    let (reply, _stream) = tokio::join!(played.ask(put(body)), peer);
    feed.send(Err(body::Error::TooLarge(1))).unwrap();
    assert!(read(reply.unwrap()).await.is_err());
    assert_eq!(played.pool.idle(), 0);
}

#[tokio::test]
async fn only_announced_trailers_go_out() {
    let trailers = || {
        HeaderMap::from_iter([
            (http::HeaderName::from_static("x-sum"), HeaderValue::from_static("1")),
            (http::HeaderName::from_static("x-other"), HeaderValue::from_static("2")),
            (http::header::CONTENT_LENGTH, HeaderValue::from_static("3")),
        ])
    };
    for (announced, end) in [
        ("X-Sum, content-length", "0\r\nx-sum: 1\r\n\r\n"),
        ("content-length", "0\r\n\r\n"),
        ("", "0\r\n\r\n"),
    ] {
        let played = Played::new().await;
        let (feed, body) = fed();
        feed.send(data("ab")).unwrap();
        feed.send(Ok(Frame::trailers(trailers()))).unwrap();
        let mut request = put(body);
        request.headers_mut().insert("trailer", announced.parse().unwrap());
        let peer = async {
            let mut stream = played.accept().await;
            let sent = until(&mut stream, end).await;
            assert!(sent.ends_with(&format!("\r\n2\r\nab\r\n{end}")), "{announced}: {sent}");
            say(&mut stream, "HTTP/1.1 204 No Content\r\n\r\n").await;
            stream
        };
        let (reply, _stream) = tokio::join!(played.ask(request), peer);
        assert_eq!(reply.unwrap().response.status(), 204);
        assert_eq!(played.pool.idle(), 1);
    }
}

#[tokio::test]
async fn a_body_of_unknown_length_is_sent_whatever_the_method() {
    let played = Played::new().await;
    let (feed, body) = fed();
    feed.send(data("ab")).unwrap();
    drop(feed);
    let peer = async {
        let mut stream = played.accept().await;
        let sent = until(&mut stream, "0\r\n\r\n").await;
        assert!(sent.ends_with("transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"), "{sent}");
        say(&mut stream, "HTTP/1.1 204 No Content\r\n\r\n").await;
        stream
    };
    let (reply, _stream) = tokio::join!(played.ask(get(body)), peer);
    assert!(reply.is_ok());
}

#[tokio::test]
async fn what_a_request_says_of_its_length_is_not_believed() {
    let played = Played::new().await;
    let mut request = put(Body::full("abc"));
    request.headers_mut().insert("content-length", HeaderValue::from_static("1"));
    request.headers_mut().insert("transfer-encoding", HeaderValue::from_static("chunked"));
    let peer = async {
        let mut stream = played.accept().await;
        let sent = until(&mut stream, "abc").await;
        assert_eq!(sent, "PUT / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc");
        say(&mut stream, "HTTP/1.1 204 No Content\r\n\r\n").await;
        stream
    };
    assert!(tokio::join!(played.ask(request), peer).0.is_ok());
}

#[tokio::test]
async fn what_comes_over_an_idle_connection_is_no_answer_and_ends_it() {
    let played = Played::new().await;
    let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let peer = async {
        let mut stream = played.accept().await;
        until(&mut stream, "\r\n\r\n").await;
        say(&mut stream, ok).await;
        stream
    };
    let (reply, mut stream) = tokio::join!(played.get(), peer);
    assert_eq!(read(reply.unwrap()).await.unwrap(), "ok");
    assert_eq!(played.pool.idle(), 1);
    // Nobody asks for it: the pool notices by itself.
    say(&mut stream, "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n").await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert_eq!((played.pool.idle(), rest.len()), (0, 0));
    let peer = async {
        let mut stream = played.accept().await;
        until(&mut stream, "\r\n\r\n").await;
        say(&mut stream, ok).await;
    };
    let (reply, ()) = tokio::join!(played.get(), peer);
    assert_eq!(reply.unwrap().response.status(), 200);
}

#[tokio::test]
async fn more_than_one_answer_to_a_request_is_one_answer() {
    let played = Played::new().await;
    let two = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad";
    for _ in 0..2 {
        let peer = async {
            let mut stream = played.accept().await;
            until(&mut stream, "\r\n\r\n").await;
            say(&mut stream, two).await;
            stream
        };
        let (reply, _stream) = tokio::join!(played.get(), peer);
        assert_eq!(read(reply.unwrap()).await.unwrap(), "ok");
        assert_eq!(played.pool.idle(), 0);
    }
}

#[tokio::test]
async fn a_peer_of_http_1_0_gets_a_connection_for_each_request() {
    let played = Played::new().await;
    for _ in 0..2 {
        let peer = async {
            let mut stream = played.accept().await;
            let head = until(&mut stream, "\r\n\r\n").await;
            assert_eq!(head, "GET /a?b HTTP/1.1\r\nhost: h\r\n\r\n");
            let head = "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n";
            say(&mut stream, &format!("{head}ok")).await;
            stream
        };
        let (reply, _stream) = tokio::join!(played.get(), peer);
        assert_eq!(read(reply.unwrap()).await.unwrap(), "ok");
    }
}

#[tokio::test]
async fn a_head_that_breaks_off_is_no_response() {
    let played = Played::new().await;
    let peer = async {
        for _ in 0..2 {
            let mut stream = played.accept().await;
            until(&mut stream, "\r\n\r\n").await;
            say(&mut stream, "HTTP/1.1 200 OK\r\ncontent-len").await;
        }
    };
    let failure = tokio::select! {
        reply = played.get() => reply.unwrap_err(),
        () = peer => panic!("it was sent twice"),
    };
    assert_eq!((failure.error.phase, failure.error.kind), (Phase::Head, Kind::Closed));
}

#[tokio::test]
async fn no_bytes_for_a_while_amid_a_large_body_end_it() {
    let played = Played::new().await;
    let peer = async {
        let mut stream = played.accept().await;
        until(&mut stream, "\r\n\r\n").await;
        say(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await;
        stream.write_all(&vec![b'x'; 500_000]).await.unwrap();
        stream
    };
    let mut short = timeouts();
    short.read = std::time::Duration::from_millis(80);
    let asked = asked();
    let sent = send(&played.group, &played.pool, get(Body::empty()), &short, &asked);
    let (reply, stream) = tokio::join!(async { read(sent.await.unwrap()).await }, peer);
    assert!(matches!(reply, Err(body::Error::Timeout(_))), "{reply:?}");
    drop(stream);
    assert_eq!((played.pool.idle(), played.group.stats()[0].active), (0, 0));
}
