//! A fetch, driven by the request that began it; what outlives that is a task of its own.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::fetch::Report;

/// A fetch that its client waits for. What is left of it when it has told what came, or when the
/// client goes, is a task of its own: mostly nothing, for a short body comes with its head.
pub(super) struct Awaited {
    fetch: Option<Work>,
    reported: oneshot::Receiver<Report>,
}

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Awaited {
    /// `fetch` tells what came by what `reported` gets.
    pub(super) fn new(fetch: Work, reported: oneshot::Receiver<Report>) -> Self {
        Self { fetch: Some(fetch), reported }
    }
}

impl Future for Awaited {
    type Output = Option<Report>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Report>> {
        // Taken out: one that panics does not go on.
        if let Some(mut fetch) = self.fetch.take()
            && fetch.as_mut().poll(cx).is_pending()
        {
            self.fetch = Some(fetch);
        }
        match self.reported.try_recv() {
            Ok(report) => Poll::Ready(Some(report)),
            Err(TryRecvError::Empty) => Poll::Pending,
            Err(TryRecvError::Closed) => Poll::Ready(None),
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        // Without a runtime the worker is at its end.
        if let (Some(fetch), Ok(runtime)) = (self.fetch.take(), Handle::try_current()) {
            runtime.spawn(fetch);
        }
    }
}
