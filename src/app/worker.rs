//! The threads: one a worker, each with its own runtime, and what they are asked to do.

use std::sync::{Arc, Weak};
use std::time::Duration;

use socket2::Socket;
use tokio::sync::{mpsc, oneshot, watch};

use super::entry::Entry;
use crate::listener::{self, Connections, Drain};
use crate::observe::access::Writer;

/// Asks one worker's thread to do something. There are as many as reloads ask for.
pub(super) type Jobs = mpsc::UnboundedSender<Job>;

/// What a worker's thread does beside answering.
pub(super) enum Job {
    /// Lets clients in here until the drain begins.
    Listen { socket: Socket, entry: Arc<Entry>, drain: Drain },
    /// Says that the worker is not stuck.
    Answer(oneshot::Sender<()>),
    /// Writes the lines of the access log so often, for as long as there is this log.
    Flush { writer: Weak<Writer>, every: Duration },
}

/// What one worker's thread runs.
pub(super) struct WorkerThread {
    pub(super) jobs: mpsc::UnboundedReceiver<Job>,
    pub(super) connections: Arc<Connections>,
    pub(super) stopped: watch::Receiver<bool>,
}

impl WorkerThread {
    pub(super) fn run(mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!(%error, "a worker cannot run"),
        };
        runtime.block_on(async {
            loop {
                tokio::select! {
                    Some(job) = self.jobs.recv() => do_it(job, &self.connections),
                    _ = self.stopped.wait_for(|stopped| *stopped) => return,
                }
            }
        });
        runtime.shutdown_background();
    }
}

fn do_it(job: Job, connections: &Arc<Connections>) {
    match job {
        Job::Listen { socket, entry, drain } => {
            let accept = listener::accept(socket, Arc::clone(connections), entry, drain);
            tokio::spawn(complain(accept));
        }
        // Nobody waits any more if it took too long.
        Job::Answer(answer) => drop(answer.send(())),
        Job::Flush { writer, every } => {
            tokio::spawn(flush(writer, every));
        }
    }
}

async fn complain(accept: impl Future<Output = std::io::Result<()>>) {
    if let Err(error) = accept.await {
        tracing::error!(%error, "a worker cannot listen");
    }
}

async fn flush(writer: Weak<Writer>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(writer) = writer.upgrade() else { return };
        writer.flush();
    }
}

/// Disk jobs that one worker may have waiting for the disk at a time.
const BLOCKING_THREADS: usize = 16;
