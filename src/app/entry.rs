//! The way from a listener to the proxy: which generation a request meets.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{Request, Response};
use hyper::body::Incoming;

use crate::body::Body;
use crate::client::Connection;
use crate::config::{Limits, ProxyProtocolIn};
use crate::interim::Gap;
use crate::listener;
use crate::plain_get::PlainGet;
use crate::proxy::hosts::Hosts;
use crate::proxy::{Client, Worker};
use crate::tls::Entrance;

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
    /// The handshake, where the listener has one.
    pub(super) tls: Option<Arc<Entrance>>,
    /// Of connections that begin.
    pub(super) limits: Arc<Limits>,
    /// Of connections that begin, where a proxy in front names the clients.
    pub(super) proxy_protocol: Option<Arc<ProxyProtocolIn>>,
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
        request: Request<Option<Incoming>>,
        connection: &Arc<Connection>,
        gap: &Gap,
    ) -> Response<Body> {
        let serving = self.serving.load();
        serving.worker.handle(&serving.hosts, Client { connection, gap }, request).await
    }

    fn at_hand(
        &self,
        get: &PlainGet<'_>,
        connection: &Connection,
        out: &mut Vec<u8>,
    ) -> Option<Body> {
        let serving = self.serving.load();
        serving.worker.at_hand(&serving.hosts, connection, get, out)
    }

    fn dress(&self, refusal: &mut Response<Body>) {
        let serving = self.serving.load();
        serving.worker.dress(&serving.hosts, refusal);
    }

    fn keeps_spelling(&self) -> bool {
        self.serving.load().hosts.keeps_spelling
    }

    fn entrance(&self) -> Option<Arc<Entrance>> {
        self.serving.load().tls.clone()
    }

    fn connected(&self) -> impl Send + 'static {
        self.serving.load().worker.shard.connected()
    }

    fn refused(&self) {
        self.serving.load().worker.shard.count_refused_connection();
    }

    fn proxy_protocol(&self) -> Option<Arc<ProxyProtocolIn>> {
        self.serving.load().proxy_protocol.clone()
    }

    fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.serving.load().limits)
    }

    fn takes_http2(&self) -> bool {
        self.serving.load().hosts.takes_http2()
    }
}
