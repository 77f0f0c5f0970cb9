//! A job on a disk that a request waits for, but not for longer than a request can wait.

use std::time::Duration;

use crate::sync::{JoinHandle, spawn_blocking, timeout};

/// What a blocking job gives; `None` when that takes too long, of which `too_slow` is told. The job
/// goes on by itself then, and what it gives is dropped.
pub async fn patiently<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
    too_slow: impl FnOnce(),
) -> Option<T> {
    patiently_ended(spawn_blocking(job), too_slow).await
}

/// The same for a job that runs already.
pub async fn patiently_ended<T>(job: JoinHandle<T>, too_slow: impl FnOnce()) -> Option<T> {
    match timeout(PATIENCE, job).await {
        Ok(done) => done.ok(),
        Err(_) => {
            too_slow();
            None
        }
    }
}

/// Longer than a disk that is merely busy takes, and short enough for a client to wait.
const PATIENCE: Duration = Duration::from_secs(2);
