//! The way from a listener to the proxy: which generation a request meets.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{Request, Response};
use hyper::body::Incoming;

use crate::body::Body;
use crate::client::Connection;
use crate::config::Limits;
use crate::interim::Gap;
use crate::listener;
use crate::proxy::route::Hosts;
use crate::proxy::{Client, Worker};

/// One worker's end of one listener. Outlives generations, and holds none but the present one, so
/// that connections without a request hold none either.
pub(super) struct Entry {
    serving: ArcSwap<Serving>,
}

/// What requests are answered with just now.
pub(super) struct Serving {
    pub(super) worker: Arc<Worker>,
    /// For which the listener answers.
    pub(super) hosts: Arc<Hosts>,
    /// Of connections that begin.
    pub(super) limits: Arc<Limits>,
}

impl Entry {
    pub(super) fn new(serving: Serving) -> Arc<Self> {
        Arc::new(Self { serving: ArcSwap::from_pointee(serving) })
    }

    /// Requests that begin from now on are answered with this.
    pub(super) fn set(&self, serving: Serving) {
        self.serving.store(Arc::new(serving));
    }
}

impl listener::Handler for Entry {
    async fn handle(
        &self,
        request: Request<Incoming>,
        connection: &Arc<Connection>,
        gap: &Gap,
    ) -> Response<Body> {
        let serving = self.serving.load();
        serving.worker.handle(&serving.hosts, Client { connection, gap }, request).await
    }

    fn connected(&self) -> impl Send + 'static {
        self.serving.load().worker.shard.connected()
    }

    fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.serving.load().limits)
    }
}
