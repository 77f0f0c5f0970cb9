//! What shuttle has no twin of: each call is a point where another task may have its turn.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use shuttle::rand::Rng;
use shuttle::sync::atomic::{AtomicBool, Ordering};

pub use shuttle::future::JoinHandle;

/// Runs a job that may block, as a task of its own.
pub fn spawn_blocking<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    shuttle::future::spawn(async move { job() })
}

/// The time was over.
#[derive(Debug)]
pub struct Elapsed;

/// Gives a future some time. Half of the times that is for ever, so that a wake that gets lost is
/// found; else it is over at any moment.
///
/// # Errors
/// The time was over.
pub async fn timeout<F: Future>(_limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    if !shuttle::rand::thread_rng().gen_bool(0.5) {
        return Ok(future.await);
    }
    let mut over = pin!(shuttle::future::spawn(shuttle::future::yield_now()));
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        over.as_mut().poll(cx).map(|_| Err(Elapsed))
    })
    .await
}

/// Lets another task have its turn.
fn point() {
    AtomicBool::new(false).load(Ordering::SeqCst);
}

/// A value that is waited for.
pub mod watch {
    use tokio::sync::watch;
    use tokio::sync::watch::{Ref, error::RecvError};

    use super::point;

    /// Its giver.
    pub struct Sender<T>(watch::Sender<T>);

    /// Who waits for it.
    pub struct Receiver<T>(watch::Receiver<T>);

    impl<T> Sender<T> {
        /// One that nobody waits for yet.
        pub fn new(first: T) -> Self {
            Self(watch::Sender::new(first))
        }

        /// One more who waits.
        pub fn subscribe(&self) -> Receiver<T> {
            point();
            Receiver(self.0.subscribe())
        }

        /// How many wait.
        pub fn receiver_count(&self) -> usize {
            point();
            self.0.receiver_count()
        }

        /// What it is now.
        pub fn borrow(&self) -> Ref<'_, T> {
            point();
            self.0.borrow()
        }

        /// Gives it.
        pub fn send_replace(&self, value: T) -> T {
            point();
            self.0.send_replace(value)
        }

        /// Changes it.
        pub fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
            point();
            self.0.send_if_modified(modify)
        }
    }

    impl<T> Receiver<T> {
        /// Waits until it is as wished.
        ///
        /// # Errors
        /// The giver is gone.
        pub async fn wait_for(
            &mut self,
            wished: impl FnMut(&T) -> bool,
        ) -> Result<Ref<'_, T>, RecvError> {
            point();
            self.0.wait_for(wished).await
        }
    }
}

/// Runs a scenario under many schedules, three of four of them random, the others with few
/// preemptions at the worst places (PCT). `LARDER_SCHEDULES` says how many. A failing one is
/// printed; `LARDER_REPLAY`, a file with it, runs it again.
#[cfg(test)]
pub fn explore(what: &str, scenario: impl Fn() + Clone + Send + Sync + 'static) {
    use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler};
    use shuttle::{Config, Runner};

    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.silence_warnings = true;
    if let Ok(path) = std::env::var("LARDER_REPLAY") {
        Runner::new(ReplayScheduler::new_from_file(path).unwrap(), config).run(scenario);
        return;
    }
    let number = |name| std::env::var(name).ok().map(|number| number.parse::<u64>().unwrap());
    let schedules = number("LARDER_SCHEDULES").map_or(SCHEDULES, |schedules| schedules as usize);
    let seed = number("LARDER_SEED").unwrap_or_else(|| fastrand::u64(..));
    let pct = schedules / 4;
    println!("{what}: seed {seed}");
    let random = RandomScheduler::new_from_seed(seed, schedules - pct);
    let explored = Runner::new(random, config.clone()).run(scenario.clone());
    // Of no schedules it would want a seed all the same.
    let worst = match pct {
        0 => 0,
        _ => Runner::new(PctScheduler::new_from_seed(seed, PREEMPTIONS, pct), config).run(scenario),
    };
    println!("{what}: {explored} random schedules and {worst} of PCT, none failed");
}

/// For each scenario, unless somebody says otherwise.
#[cfg(test)]
const SCHEDULES: usize = 20_000;
/// Hardly any fault needs more than that.
#[cfg(test)]
const PREEMPTIONS: usize = 3;
/// A task's. Files are written on it, in debug builds.
#[cfg(test)]
const STACK_BYTES: usize = 512 << 10;
