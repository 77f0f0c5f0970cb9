//! Requests that hyper frames: all but plain GETs. It is there for as long as one of them is under
//! way; a connection that is idle has none.

use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Poll, ready};

use bytes::Bytes;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tracing::debug;

use super::Handler;
use super::bounds::{Bounds, End};
use super::connection::{One, refusal};
use super::drain::Stage;
use super::respell::Heads;
use super::response;
use super::wire::Wire;
use super::wired::Wired;
use crate::client::HangUp;
use crate::config::Limits;
use crate::interim::Gap;
use crate::spelling::Spelled;
use crate::tunnel;

/// What becomes of a connection.
pub(super) enum After {
    /// All is answered, and these bytes were read meanwhile.
    Between(Wire, Bytes),
    /// All is answered, and nothing comes after it.
    Over(Wire),
    /// It was closed, or is no HTTP any more.
    Closed(Option<tunnel::Run>),
    Ended(End, Option<Wire>),
}

/// Answers what begins with these bytes.
pub(super) async fn answer<H: Handler>(
    one: &One<H>,
    wire: Wire,
    bounds: &mut Bounds<'_>,
    opening: Bytes,
) -> After {
    let watch = Arc::clone(&wire.watch);
    watch.read_anew(&opening, one.handler.keeps_spelling());
    let (interim, ledger) = (wire.interim(), wire.ledger());
    let (heads, keeps_spelling) = (Heads::default(), one.handler.keeps_spelling());
    let service = service_fn(|mut request: Request<Incoming>| {
        heads.asked();
        let gap = Gap::new(Arc::clone(&interim), request.version());
        if let Some(spelling) = watch.spelling() {
            request.extensions_mut().insert(spelling);
        }
        let (answer, heads) = (one.answer(request.map(Some), gap, ledger.clone()), &heads);
        async move {
            let response = answer.await?;
            if keeps_spelling {
                heads.push(response.extensions().get::<Spelled>().cloned());
            }
            Ok::<_, HangUp>(response)
        }
    });
    let io = TokioIo::new(Wired::new(wire, opening, heads.clone()));
    let mut connection =
        builder(&one.limits, keeps_spelling).serve_connection(io, service).with_upgrades();
    let mut is_told = false;
    let closed = bounds.hold(|cx| {
        loop {
            if let Poll::Ready(closed) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(closed.map(|()| true).map_err(End::from));
            }
            let goes_on = one.drain.stage() < Stage::Draining;
            // hyper may not have closed yet what it was to close.
            if goes_on && watch.is_at_rest() {
                return Poll::Ready(Ok(false));
            }
            if goes_on || is_told {
                return Poll::Pending;
            }
            Pin::new(&mut connection).graceful_shutdown();
            is_told = true;
        }
    });
    let end = match closed.await {
        Ok(true) => {
            let tunnel = one.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take();
            return After::Closed(tunnel);
        }
        Ok(false) => None,
        Err(end) => Some(end),
    };
    let parts = connection.into_parts().map(|parts| (parts.io.into_inner(), parts.read_buf));
    match (end, parts) {
        (None, Some((wired, read))) => {
            let (wire, unread) = wired.into_parts();
            if watch.has_responded_last() {
                return After::Over(wire);
            }
            let read = if unread.is_empty() { read } else { [read, unread].concat().into() };
            After::Between(wire, read)
        }
        (None, None) => After::Closed(None),
        (Some(end), Some((wired, _))) => {
            let (refused, (wire, _)) = (wired.refused(), wired.into_parts());
            match refused {
                Some(status) => refuse(one, wire, bounds, status).await,
                None => After::Ended(end, Some(wire)),
            }
        }
        (Some(end), None) => After::Ended(end, None),
    }
}

/// Answers what hyper has refused.
async fn refuse<H: Handler>(
    one: &One<H>,
    mut wire: Wire,
    bounds: &mut Bounds<'_>,
    status: StatusCode,
) -> After {
    debug!(client = %one.client.remote, %status, "no request");
    let mut bytes = Bytes::from(response::without_body(refusal(&*one.handler, status, "")));
    let sent = bounds.hold(|cx| {
        ready!(wire.poll_send(cx, &mut bytes))?;
        ready!(wire.poll_flush(cx))?;
        wire.poll_shutdown(cx).map_err(End::from)
    });
    match sent.await {
        Ok(()) => After::Closed(None),
        Err(end) => After::Ended(end, Some(wire)),
    }
}

/// What hyper refuses by itself behind other requests is spelled as usual, if that is wanted.
fn builder(limits: &Limits, spells: bool) -> Builder {
    let mut builder = Builder::new();
    builder
        .half_close(false)
        .auto_date_header(false)
        .title_case_headers(spells)
        .max_headers(limits.headers_max)
        .max_header_size(limits.header_bytes_max)
        .max_buf_size(limits.header_bytes_max.max(BUFFER))
        // It would copy every body into one buffer, and hold all of a body that is there at once.
        .pipeline_flush(false)
        .header_read_timeout(None);
    builder
}

/// Bytes that hyper reads ahead or holds back for writing; not less than its least (8 KiB), enough
/// for a read of a fast request body.
const BUFFER: usize = 64 * 1024;
