//! What ends a connection whatever it is doing: its time, the drain, a panic.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::Sleep;
use tracing::{debug, error};

use super::drain::{Listen, Stage};
use super::watch::{Cut, Verdict, Watch};
use crate::client;
use crate::tunnel;

/// Why a connection is over before its time.
pub(super) enum End {
    /// The client is gone, or what it was sent broke off.
    Failed(Box<dyn std::error::Error + Send + Sync>),
    Panicked,
    /// Its time was up.
    Cut(Cut),
    /// The drain came to its end first.
    Drained,
}

/// Holds for all that one connection does, one thing after the other.
pub(super) struct Bounds<'a> {
    watch: Arc<Watch>,
    timer: Pin<&'a mut Sleep>,
    ending: &'a mut Listen,
}

impl<'a> Bounds<'a> {
    pub(super) fn new(
        watch: Arc<Watch>,
        timer: Pin<&'a mut Sleep>,
        ending: &'a mut Listen,
    ) -> Self {
        Self { watch, timer, ending }
    }

    /// Polls `step` until it is ready. It is polled again when the drain has come further.
    ///
    /// # Errors
    /// That of the step, or what came first. After a panic nothing of the connection but its socket
    /// is used.
    pub(super) async fn hold<T>(
        &mut self,
        mut step: impl FnMut(&mut Context<'_>) -> Poll<Result<T, End>>,
    ) -> Result<T, End> {
        poll_fn(|cx| self.poll(cx, &mut step)).await
    }

    fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        step: &mut impl FnMut(&mut Context<'_>) -> Poll<Result<T, End>>,
    ) -> Poll<Result<T, End>> {
        loop {
            match catch_unwind(AssertUnwindSafe(|| step(cx))) {
                Ok(Poll::Ready(result)) => return Poll::Ready(result),
                Ok(Poll::Pending) => {}
                Err(_) => return Poll::Ready(Err(End::Panicked)),
            }
            match self.ending.poll(cx) {
                Poll::Ready(Stage::Ended) => return Poll::Ready(Err(End::Drained)),
                Poll::Ready(_) => {}
                Poll::Pending => break,
            }
        }
        while self.watch.is_urgent() || self.timer.as_mut().poll(cx).is_ready() {
            match self.watch.verdict() {
                Verdict::Cut(cut) => return Poll::Ready(Err(End::Cut(cut))),
                Verdict::Check(at) => self.timer.as_mut().reset(at.into()),
            }
        }
        Poll::Pending
    }

    /// Runs what the connection has become, which has time limits of its own.
    pub(super) async fn until_ended(&mut self, mut run: tunnel::Run) {
        poll_fn(|cx| {
            if run.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            while let Poll::Ready(stage) = self.ending.poll(cx) {
                if stage == Stage::Ended {
                    return Poll::Ready(());
                }
            }
            Poll::Pending
        })
        .await;
    }
}

impl End {
    /// What went wrong.
    pub(super) fn tell(&self, client: &client::Connection) {
        let remote = client.remote;
        match self {
            Self::Cut(_) => {}
            Self::Failed(error) => debug!(client = %remote, %error, "connection ended"),
            Self::Panicked => {
                error!(client = %remote, "a panic while answering; the connection is closed");
            }
            Self::Drained => debug!(client = %remote, "connection cut off"),
        }
    }
}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> From<E> for End {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
