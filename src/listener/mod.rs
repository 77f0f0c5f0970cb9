//! Bytes from clients become requests.
//!
//! Knows no proxy: whoever starts it hands it a [`Handler`]. A listening socket per worker comes
//! from [`bind()`], [`accept()`] runs it, [`Drain`] ends it.

mod bind;
mod accept;
mod connections;
mod proxied;
mod connection;
mod secure;
mod stream;
mod opening;
mod bounds;
mod at_hand;
mod exchange;
mod response;
mod usual;
mod wired;
mod respell;
mod wire;
mod unit;
mod http2;
#[doc(hidden)]
pub mod head; // for the fuzz package
mod watch;
mod limits;
mod drain;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod heads;

use std::future::Future;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

use crate::body::Body;
use crate::client::Connection;
use crate::config::{Limits, ProxyProtocolIn};
use crate::interim::Gap;
use crate::plain_get::PlainGet;
use crate::tls::Entrance;

pub use accept::accept;
pub use bind::{bind, bind_unix};
pub use connections::Connections;
pub use drain::Drain;

/// Answers requests, which come with a body or surely without. hyper, or its parser, has made sure of
/// their syntax, and of nothing else. A response with `Spelled` in its extensions goes out with its
/// names spelled, over HTTP/1.
pub trait Handler: Send + Sync + 'static {
    /// The response to `request`. Dropped before its end when the client goes away. A body that
    /// fails closes the connection without an end, so that the client notices. Until then the `gap`
    /// takes interim responses.
    fn handle(
        &self,
        request: Request<Option<Incoming>>,
        client: &Arc<Connection>,
        gap: &Gap,
    ) -> impl Future<Output = Response<Body>> + Send;

    /// The answer to a plain GET that is not special, if it is at hand and needs none of the steps of
    /// `handle`: its head is appended to `out`, its body is returned, and both are sent.
    fn at_hand(
        &self,
        _get: &PlainGet<'_>,
        _client: &Connection,
        _out: &mut Vec<u8>,
    ) -> Option<Body> {
        None
    }

    /// Adds to a refusal that the handler was not asked for what its answers say.
    fn dress(&self, _refusal: &mut Response<Body>) {}

    /// Whether requests are to tell how the names of their fields are spelled: those that are not
    /// spelled as usual are in the extensions then (`Spelling`).
    fn keeps_spelling(&self) -> bool {
        false
    }

    /// The way in over TLS, where the listener has one.
    fn entrance(&self) -> Option<Arc<Entrance>> {
        None
    }

    /// What connections may do that begin now.
    fn limits(&self) -> Arc<Limits>;

    /// How connections begin that begin now, where a proxy in front names the clients.
    fn proxy_protocol(&self) -> Option<Arc<ProxyProtocolIn>> {
        None
    }

    /// A client that has connected is not let in.
    fn refused(&self) {}

    /// A client has connected; what this gives is dropped when the connection ends.
    fn connected(&self) -> impl Send + 'static;

    /// Whether clients may speak HTTP/2 without having agreed on it (RFC 9113 section 3.3).
    fn takes_http2(&self) -> bool {
        true
    }
}
