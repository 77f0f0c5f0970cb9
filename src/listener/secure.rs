//! The handshake before the first request, where a listener has TLS.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

use super::drain::{Drain, Listen, Stage};
use super::stream::Stream;
use crate::client::Connection;
use crate::config::Limits;
use crate::tls::{Entrance, Protocol, Refused};

/// A client that may send requests.
pub(super) struct Entered {
    pub(super) stream: Stream,
    pub(super) client: Connection,
    /// What is spoken.
    pub(super) protocol: Protocol,
}

/// Lets a client in, through the handshake if the listener has an `entrance` with TLS. `None` if
/// that failed, took longer than `header_timeout`, or the drain came to its end.
pub(super) async fn enter(
    stream: TcpStream,
    client: Connection,
    entrance: Option<Arc<Entrance>>,
    limits: &Limits,
    drain: &Drain,
) -> Option<Entered> {
    let Some(entrance) = entrance else {
        let (stream, protocol) = (Stream::Plain(stream), Protocol::Http1);
        return Some(Entered { stream, client, protocol });
    };
    let mut ending = drain.listen();
    // In a box, for the sake of connections that have none.
    let handshake = Box::pin(timeout(limits.header_timeout, entrance.accept(stream)));
    let shaken = tokio::select! {
        biased;
        () = ended(&mut ending) => return None,
        shaken = handshake => shaken,
    };
    match shaken {
        Ok(Ok(secured)) => {
            let client = Connection { tls: Some(Box::new(secured.facts)), ..client };
            let (stream, protocol) = (Stream::Tls(secured.stream), secured.protocol);
            Some(Entered { stream, client, protocol })
        }
        Ok(Err(Refused::Plain(stream))) => {
            let client = Connection { misplaced: true, ..client };
            Some(Entered { stream: Stream::Plain(stream), client, protocol: Protocol::Http1 })
        }
        Ok(Err(Refused::Failed(error))) => {
            debug!(client = %client.remote, %error, "no TLS handshake");
            None
        }
        Err(_) => {
            debug!(client = %client.remote, "the TLS handshake took too long");
            None
        }
    }
}

async fn ended(ending: &mut Listen) {
    while ending.begun().await != Stage::Ended {}
}
