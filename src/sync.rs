//! Locks, atomics, jobs and time limits: those of std and tokio. With `--cfg shuttle` they are ones
//! under which a test explores how tasks may take turns (tests/shuttle).

#[cfg(shuttle)]
pub mod scheduled;

#[cfg(not(shuttle))]
pub use std::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(shuttle))]
pub use std::{hash::RandomState, thread};

#[cfg(not(shuttle))]
pub use tokio::sync::watch;
#[cfg(not(shuttle))]
pub use tokio::task::{JoinHandle, spawn_blocking};
#[cfg(not(shuttle))]
pub use tokio::time::timeout;

/// Not at random: a schedule that is run again must meet the same order.
#[cfg(shuttle)]
pub type RandomState = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;
#[cfg(shuttle)]
pub use scheduled::{JoinHandle, spawn_blocking, timeout, watch};
#[cfg(shuttle)]
pub use shuttle::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(shuttle)]
pub use shuttle::thread;

/// A size in bytes; a thousandth of it where schedules are explored, so that a short one comes
/// upon what only long bodies do.
pub const fn scaled(bytes: u64) -> u64 {
    if cfg!(shuttle) { bytes >> 10 } else { bytes }
}
