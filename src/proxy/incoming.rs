//! A response as it comes from an upstream: made ready, and written into a fill.

use std::future::poll_fn;
use std::pin::Pin;

use bytes::Bytes;
use http::{Method, Response, header};
use http_body::Body as HttpBody;
use tracing::{debug, warn};

use crate::body::{self, Body};
use crate::cache::fill::Fill;
use crate::cache::writer::Writer;
use crate::semantics::fields;
use crate::spelling::Spelling;

/// Why a body is not written to its end.
#[derive(Debug)]
pub(super) enum Broken {
    /// The origin broke off.
    Off(body::Error),
    /// Nobody wants the rest.
    GivenUp,
}

/// Writes a body into a fill as it comes, as long as `goes_on` says; how long it was.
pub(super) async fn pump(
    body: &mut Body,
    writer: &mut Writer,
    mut goes_on: impl FnMut(&Writer, u64) -> bool,
) -> Result<u64, Broken> {
    let mut bytes = 0;
    while let Some(chunk) = next_chunk(body, writer.fill()).await {
        let chunk = chunk.map_err(Broken::Off)?;
        bytes += chunk.len() as u64;
        writer.append(&chunk).await.map_err(|_| Broken::GivenUp)?;
        if !goes_on(writer, chunk.len() as u64) {
            return Err(Broken::GivenUp);
        }
    }
    Ok(bytes)
}

/// The next bytes of a body; trailers are not stored and end it. Before it waits for them, whoever
/// waits for what came is told; but first the task that reads from the origin has a turn, since
/// what it hands over is a little at a time even where there is more.
async fn next_chunk(body: &mut Body, fill: &Fill) -> Option<Result<Bytes, body::Error>> {
    let mut had_a_turn = false;
    let frame = poll_fn(|cx| {
        let frame = Pin::new(&mut *body).poll_frame(cx);
        if frame.is_pending() && fill.has_news() {
            if had_a_turn {
                fill.wake();
            } else {
                had_a_turn = true;
                cx.waker().wake_by_ref();
            }
        }
        frame
    });
    frame.await?.map(|frame| frame.into_data().ok()).transpose()
}

impl Broken {
    /// Ends the fill with it. An operator should know of the first, and has asked for the second.
    pub(super) fn tell(self, writer: Writer) {
        match self {
            Self::Off(error) => {
                let key = writer.key().escape_ascii().to_string();
                warn!(key, %error, "a response broke off and was not stored");
                writer.fail(error.to_string());
            }
            Self::GivenUp => {
                debug!("a response was given up");
                writer.fail("nobody wanted the rest".to_owned());
            }
        }
    }
}

/// How the names of its fields are spelled, where that is remembered.
pub(super) fn spelling(response: &Response<Body>) -> Option<Spelling> {
    response.extensions().get::<Spelling>()?.among(response.headers())
}

/// Makes a response to a request with this method ready to be stored or passed on, with `Via` where
/// the route says so.
pub(super) fn clean(response: &mut Response<Body>, method: &Method, via: bool) {
    let version = response.version();
    let fields = response.headers_mut();
    // After HEAD the length frames nothing; it is what the client asked for.
    let length = (*method == Method::HEAD).then(|| fields.get(header::CONTENT_LENGTH).cloned());
    fields::remove_hop_by_hop_of_response(fields);
    if let Some(length) = length.flatten() {
        fields.insert(header::CONTENT_LENGTH, length);
    }
    if via {
        fields::add_via(fields, version);
    }
}
