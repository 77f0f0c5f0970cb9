//! The whole of a request's body, before an upstream is asked. (nginx: proxy_request_buffering)
//!
//! A slow client then holds up no upstream, and the body can be sent to another peer. Little of it
//! is in memory: what is more lies in a file without a name.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::BytesMut;
use http::header::{CONTENT_TYPE, TRAILER};
use http::{HeaderMap, StatusCode};
use http_body::Body as _;

use super::call::Call;
use super::error::Error;
use crate::body::held::Held;
use crate::body::{self, Body};
use crate::sync::spawn_blocking;

/// The same body, all of it here, where the route wants that. Trailers that nobody announced are
/// dropped then, as a length stands in their place. What is a stream by its nature is left as it is.
///
/// # Errors
/// It is too large, does not come, or cannot be put down: no upstream need be asked.
pub(super) async fn whole(call: &Call<'_>, body: Body) -> Result<Body, Error> {
    let bodies = &call.route.settings.bodies;
    let headers = &call.request.headers;
    if body.is_here() || !bodies.request || is_grpc(headers) || headers.contains_key(TRAILER) {
        return Ok(body);
    }
    read(call, body, bodies.request_bytes_max).await
}

/// Whether a message is one of gRPC, whose two directions go on at the same time.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

async fn read(call: &Call<'_>, mut body: Body, in_memory: usize) -> Result<Body, Error> {
    let mut bytes = BytesMut::new();
    let mut held: Option<Held> = None;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(data) = frame.map_err(of_client)?.into_data() else { continue };
        bytes.extend_from_slice(&data);
        let enough = if held.is_some() { in_memory.max(BATCH_BYTES) } else { in_memory };
        if bytes.len() > enough {
            held = Some(put_down(call, held, &mut bytes).await?);
        }
    }
    match held {
        None => Ok(Body::full(bytes.freeze())),
        Some(held) if bytes.is_empty() => Ok(Body::held(held)),
        Some(held) => put_down(call, Some(held), &mut bytes).await.map(Body::held),
    }
}

/// Moves bytes into the file, which is made if there is none.
async fn put_down(
    call: &Call<'_>,
    held: Option<Held>,
    bytes: &mut BytesMut,
) -> Result<Held, Error> {
    let (worker, batch) = (call.worker, bytes.split());
    let proxy = Arc::clone(&worker.proxy);
    let is_first = held.is_none();
    let job = spawn_blocking(move || {
        let mut held = held.map_or_else(|| Held::create(&proxy.temp_path), Ok)?;
        held.append(&batch)?;
        Ok(held)
    });
    let put = job.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    if is_first && put.is_ok() {
        worker.shard.count_body_in_file();
    }
    put.map_err(|error| {
        worker.shard.count_body_file_error();
        let folder = worker.proxy.temp_path.display();
        tracing::warn!(%folder, %error, "a request body cannot be put into a file");
        Error::Storage(status(error.kind()))
    })
}

fn status(error: io::ErrorKind) -> StatusCode {
    match error {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StatusCode::INSUFFICIENT_STORAGE
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn of_client(error: body::Error) -> Error {
    match error {
        body::Error::TooLarge(_) => Error::TooLarge,
        body::Error::Timeout(_) => Error::RequestTimeout,
        body::Error::Transfer(_) => Error::BadRequest("body"),
    }
}

/// Written to the file at once.
const BATCH_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_room_is_told_from_other_failures() {
        assert_eq!(status(io::ErrorKind::StorageFull), 507);
        assert_eq!(status(io::ErrorKind::QuotaExceeded), 507);
        assert_eq!(status(io::ErrorKind::NotFound), 500);
    }

    #[test]
    fn messages_of_grpc_are_known_by_their_type() {
        for (kind, expected) in
            [("application/grpc", true), ("application/grpc+proto", true), ("text/plain", false)]
        {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]);
            assert_eq!(is_grpc(&headers), expected, "{kind}");
        }
    }
}
