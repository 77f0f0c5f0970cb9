//! Bytes from clients become requests.
//!
//! Knows no proxy: whoever starts it hands it a [`Handler`]. A listening socket per worker comes
//! from [`bind()`], [`accept()`] runs it, [`Drain`] ends it.

mod bind;
mod accept;
mod connection;
mod wire;
#[doc(hidden)]
pub mod head; // for the fuzz package
mod watch;
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
use crate::config::Limits;
use crate::interim::Gap;

pub use accept::accept;
pub use bind::bind;
pub use drain::Drain;

/// Answers requests. hyper has made sure of their syntax, and of nothing else.
pub trait Handler: Send + Sync + 'static {
    /// The response to `request`. Dropped before its end when the client goes away. A body that
    /// fails closes the connection without an end, so that the client notices. Until then the `gap`
    /// takes interim responses.
    fn handle(
        &self,
        request: Request<Incoming>,
        client: &Arc<Connection>,
        gap: &Gap,
    ) -> impl Future<Output = Response<Body>> + Send;

    /// What connections may do that begin now.
    fn limits(&self) -> Arc<Limits>;

    /// A client has connected; what this gives is dropped when the connection ends.
    fn connected(&self) -> impl Send + 'static;
}
