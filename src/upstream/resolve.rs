//! Names of peers, looked up behind the requests and again when their time is over.
//!
//! ```text
//!   watch(name) --> one task a name, on one thread of the process --> Name::addresses
//!      |               | found: again after its TTL (1 s to 5 min)
//!      |               | failed: what is known stays; again after 1 s, 2 s, ... 30 s
//!      '-- dropped by the last group that has it: the task ends, with the last one the thread
//! ```
//!
//! There is one of each name in the process, whatever many groups and workers use it; a group that
//! a reload makes anew finds what the old one knew.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::time::Duration;
use std::{io, thread};

use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::dns;
use crate::config::Resolver;

/// A name that is kept looked up as long as this lives.
pub(super) struct Name {
    shared: Arc<Shared>,
    task: Option<AbortHandle>,
    _thread: Option<Arc<Thread>>,
}

struct Shared {
    name: String,
    known: watch::Sender<Known>,
    failures: AtomicU64,
}

#[derive(Clone, Debug)]
struct Known {
    addresses: Arc<[IpAddr]>,
    /// The first lookup has ended, well or not.
    looked: bool,
}

/// The thread that runs the lookups of all names; ends when nobody has a name any more.
struct Thread {
    runtime: Handle,
    _stop: oneshot::Sender<()>,
}

struct Registry {
    names: BTreeMap<(Resolver, String), Weak<Name>>,
    thread: Weak<Thread>,
}

/// Guards which names are kept; held to find or add one.
static REGISTRY: Mutex<Registry> =
    Mutex::new(Registry { names: BTreeMap::new(), thread: Weak::new() });

impl Name {
    /// The name as `resolver` sees it; looked up from now on, if it was not before.
    pub(super) fn watch(resolver: &Resolver, name: &str) -> Arc<Self> {
        let mut registry = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (resolver.clone(), name.to_ascii_lowercase());
        if let Some(kept) = registry.names.get(&key).and_then(Weak::upgrade) {
            return kept;
        }
        registry.names.retain(|_, name| name.strong_count() > 0);
        let kept = Arc::new(Self::new(resolver, name, registry.thread()));
        registry.names.insert(key, Arc::downgrade(&kept));
        kept
    }

    fn new(resolver: &Resolver, name: &str, thread: io::Result<Arc<Thread>>) -> Self {
        let known = Known { addresses: Arc::from([]), looked: thread.is_err() };
        let known = watch::Sender::new(known);
        let failures = AtomicU64::new(0);
        let shared = Arc::new(Shared { name: name.to_owned(), known, failures });
        match thread {
            Ok(thread) => {
                let task = thread.runtime.spawn(keep(Arc::clone(&shared), resolver.clone()));
                Self { shared, task: Some(task.abort_handle()), _thread: Some(thread) }
            }
            Err(error) => {
                warn!(name, %error, "a name of a server cannot be looked up");
                Self { shared, task: None, _thread: None }
            }
        }
    }

    /// Its addresses; waits for the first lookup to end. Bound it. None where none was ever found.
    pub(super) async fn addresses(&self) -> Arc<[IpAddr]> {
        let mut known = self.shared.known.subscribe();
        let looked = known.wait_for(|known| known.looked).await;
        looked.map(|known| Arc::clone(&known.addresses)).unwrap_or_else(|_| self.known())
    }

    /// What is known now.
    pub(super) fn known(&self) -> Arc<[IpAddr]> {
        self.shared.addresses()
    }

    /// Lookups that failed.
    pub(super) fn failures(&self) -> u64 {
        self.shared.failures.load(Ordering::Relaxed)
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        self.task.iter().for_each(AbortHandle::abort);
    }
}

impl Registry {
    fn thread(&mut self) -> io::Result<Arc<Thread>> {
        if let Some(thread) = self.thread.upgrade() {
            return Ok(thread);
        }
        let thread = Arc::new(Thread::start()?);
        self.thread = Arc::downgrade(&thread);
        Ok(thread)
    }
}

impl Thread {
    fn start() -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (started, ready) = mpsc::sync_channel(1);
        let run = move || {
            let mut builder = Builder::new_current_thread();
            let runtime = match builder.enable_all().max_blocking_threads(dns::JOBS_MAX).build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            let _ = started.send(Ok(runtime.handle().clone()));
            // It ends with an error: nobody sends, the other end is dropped.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        };
        thread::Builder::new().name("larder-names".to_owned()).spawn(run)?;
        let runtime = ready.recv().map_err(io::Error::other)??;
        Ok(Self { runtime, _stop: stop })
    }
}

impl Shared {
    fn addresses(&self) -> Arc<[IpAddr]> {
        Arc::clone(&self.known.borrow().addresses)
    }

    /// Takes in what was found; a lookup before it had failed where `failed` says so.
    fn found(&self, addresses: &[IpAddr], failed: bool) {
        let before = self.addresses();
        if failed || (*before != *addresses && !before.is_empty()) {
            let now = shown(addresses);
            info!(name = self.name, before = shown(&before), now, "a name of a server is resolved");
        }
        self.known.send_modify(|known| {
            *known = Known { addresses: Arc::from(addresses), looked: true };
        });
    }

    fn failed(&self, why: &str, again: bool) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if !again {
            let kept = shown(&self.addresses());
            warn!(name = self.name, why, kept, "a name of a server cannot be resolved");
        }
        self.known.send_modify(|known| known.looked = true);
    }
}

/// Keeps a name looked up. Ends when it is dropped.
async fn keep(shared: Arc<Shared>, resolver: Resolver) {
    let mut failures = 0;
    loop {
        let known = shared.addresses();
        let looked_up = dns::look_up(&resolver, &shared.name, &known);
        let late = |_| Err("no answer in time".to_owned());
        let wait = match timeout(LOOKUP_TIMEOUT, looked_up).await.unwrap_or_else(late) {
            Ok(found) => {
                shared.found(&found.addresses, failures > 0);
                failures = 0;
                found.lifetime.clamp(LIFETIME_MIN, LIFETIME_MAX)
            }
            Err(why) => {
                shared.failed(&why, failures > 0);
                failures += 1;
                pause(failures)
            }
        };
        // Servers that started together do not ask together for ever.
        sleep(wait.mul_f64(1.0 + fastrand::f64() * JITTER)).await;
    }
}

/// After so many failures one after the other.
fn pause(failures: u32) -> Duration {
    FAILED_PAUSE_MIN.saturating_mul(1 << (failures - 1).min(16)).min(FAILED_PAUSE_MAX)
}

fn shown(addresses: &[IpAddr]) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ")
}

/// For all that a lookup takes: hosts file, every server, both kinds of address.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(12);
/// A TTL of 0 does not mean for every request.
const LIFETIME_MIN: Duration = Duration::from_secs(1);
/// A server that was moved in spite of its long TTL is found within this.
const LIFETIME_MAX: Duration = Duration::from_secs(300);
const FAILED_PAUSE_MIN: Duration = Duration::from_secs(1);
const FAILED_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Added to a wait at random, at most.
const JITTER: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_is_looked_up_once_and_no_longer_than_it_is_wanted() {
        let name = |name| Name::watch(&Resolver::System, name);
        let (first, second) = (name("one.localhost"), name("ONE.localhost"));
        assert!(Arc::ptr_eq(&first, &second));
        let servers = Resolver::Servers(["127.0.0.1:1".parse().unwrap()].into());
        assert!(!Arc::ptr_eq(&first, &Name::watch(&servers, "one.localhost")));
        let shared = Arc::downgrade(&first.shared);
        drop((first, second));
        // The task holds the rest until it is ended.
        let gone = (0..500).any(|_| {
            thread::sleep(Duration::from_millis(10));
            shared.strong_count() == 0
        });
        assert!(gone);
    }

    #[test]
    fn failures_are_followed_by_longer_and_longer_pauses() {
        let seconds: Vec<_> = [1, 2, 3, 5, 6, 60].map(|count| pause(count).as_secs()).into();
        assert_eq!(seconds, [1, 2, 4, 16, 30, 30]);
    }
}
