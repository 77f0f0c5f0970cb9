//! The exchange is recorded when its body or its tunnel ends, after the request path is long over.

use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;
use http::{Response, header};

use super::Worker;
use super::deliver::Answer;
use super::gate::Held;
use crate::body::{Body, OnEnd};
use crate::client::Connection;
use crate::observe::exchange::{Exchange, RequestFacts};
use crate::tunnel::Tunnel;

/// What the access log will say of a request.
pub(super) fn seen(
    request: &Parts,
    connection: &Connection,
    started: Instant,
) -> Box<RequestFacts> {
    let field = |name| request.headers.get(name).cloned();
    Box::new(RequestFacts {
        started,
        client: connection.remote,
        method: request.method.clone(),
        target: request.uri.clone(),
        version: request.version,
        authorization: field(header::AUTHORIZATION),
        referer: field(header::REFERER),
        user_agent: field(header::USER_AGENT),
    })
}

/// The response, which tells the worker when its last byte was handed over.
pub(super) fn at_end(
    worker: &Arc<Worker>,
    seen: Option<Box<RequestFacts>>,
    answer: Answer,
) -> Response<Body> {
    let exchange = Exchange {
        request: seen,
        status: answer.response.status().as_u16(),
        cache: answer.cache,
        reason: answer.reason,
        zone: answer.zone,
        tried: answer.tried,
        logged: answer.logged,
    };
    let mut response = answer.response;
    let end = AtEnd::of(worker, exchange, answer.held, response.body());
    let Some(joining) = answer.tunnel else { return response.map(|body| body.on_end(end)) };
    response.extensions_mut().insert(Tunnel::new(joining.run(end)));
    response
}

/// The body of an answer that was at hand. One that is here goes out, or its client is gone: that is
/// all there will be to tell.
pub(super) fn at_hand(worker: &Arc<Worker>, exchange: Exchange, body: Body) -> Body {
    if !body.is_here() {
        let end = AtEnd::of(worker, exchange, None, &body);
        return body.on_end(end);
    }
    worker.record(&exchange, http_body::Body::size_hint(&body).lower(), true);
    body
}

struct AtEnd {
    worker: Arc<Worker>,
    exchange: Exchange,
    _held: Option<Box<Held>>,
    /// Of the body, where that is known. Who has sent so much need not ask whether there is more.
    length: Option<u64>,
}

impl OnEnd for AtEnd {
    fn end(self: Box<Self>, sent: u64, complete: bool) {
        let complete = complete || self.length == Some(sent);
        self.worker.record(&self.exchange, sent, complete);
    }
}

impl AtEnd {
    fn of(
        worker: &Arc<Worker>,
        exchange: Exchange,
        held: Option<Box<Held>>,
        body: &Body,
    ) -> Box<Self> {
        let length = http_body::Body::size_hint(body).exact();
        Box::new(Self { worker: Arc::clone(worker), exchange, _held: held, length })
    }
}

impl Worker {
    fn record(&self, exchange: &Exchange, sent_bytes: u64, complete: bool) {
        self.shard.count(exchange, sent_bytes);
        let Some(logged) = &exchange.logged else { return };
        for to in &logged.logs.to {
            if let Some(writer) = self.logs.get(to.number) {
                writer.record(to, exchange, (sent_bytes, complete));
            }
        }
    }
}
