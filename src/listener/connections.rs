//! How many connections there may be, and which of them go when there are too many.
//! (nginx: worker_connections, and its reuse of idle connections)

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use super::watch::Watch;
use crate::address::Remote;
use crate::client::Load;
use crate::clock::Clock;

/// The connections of all listeners. One is shared by all workers.
pub struct Connections {
    permits: Arc<Semaphore>,
    clock: Clock,
    /// Guards what is open. Taken when a connection begins or ends, when there is no room, and
    /// when somebody asks.
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    number: u64,
    connections: HashMap<u64, (Arc<Watch>, Waker)>,
    /// How many each client has, where that is limited.
    clients: HashMap<IpAddr, usize>,
    warned: Option<Instant>,
}

impl Connections {
    /// None yet; there may be as many as there are permits.
    pub fn new(permits: Arc<Semaphore>) -> Arc<Self> {
        Arc::new(Self { permits, clock: Clock::default(), open: Mutex::default() })
    }

    /// Room for one more, for as long as the permit is held. Where there is none, those that have
    /// been idle longest make room: a client that does nothing must not keep out one that asks.
    pub(super) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            let permits = Arc::clone(&self.permits);
            if let Ok(permit) = Arc::clone(&permits).try_acquire_owned() {
                return Some(permit);
            }
            self.close_idle();
            tokio::select! {
                permit = permits.acquire_owned() => return permit.ok(),
                // One that was busy may be idle by now.
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Counts a client's connection until the value is dropped; `None` if it has `max`, where that
    /// is not 0. Clients over a unix socket are any number: nobody can tell them apart.
    pub(super) fn count(self: &Arc<Self>, client: Remote, max: usize) -> Option<Counted> {
        let Some(address) = client.ip().filter(|_| max > 0) else { return Some(Counted(None)) };
        let client = of_client(address);
        let mut open = self.open();
        let count = open.clients.entry(client).or_default();
        // As large as the number of connections at most: what is zero is taken out.
        (*count < max).then(|| {
            *count += 1;
            Counted(Some((Arc::clone(self), client)))
        })
    }

    /// Knows a connection until the value is dropped.
    pub(super) fn enter(self: &Arc<Self>, watch: &Arc<Watch>, waker: Waker) -> Entered {
        let mut open = self.open();
        open.number += 1;
        let number = open.number;
        open.connections.insert(number, (Arc::clone(watch), waker));
        Entered { connections: Arc::clone(self), number }
    }

    /// How many there are, and what they do. Takes a moment for each of them.
    pub fn load(&self) -> Load {
        let open = self.open();
        let count = |is: fn(&Watch) -> bool| {
            open.connections.values().filter(|(watch, _)| is(watch)).count() as u64
        };
        Load {
            active: open.connections.len() as u64,
            reading: count(Watch::is_reading),
            waiting: count(Watch::is_waiting),
            accepted: open.number,
        }
    }

    /// As nginx: of those that are idle an eighth at a time, the longest first, and 32 at most.
    fn close_idle(&self) {
        let mut open = self.open();
        let mut idle: Vec<_> = open
            .connections
            .values()
            .filter_map(|(watch, waker)| Some((watch.idle_since()?, watch, waker)))
            .collect();
        let count = (idle.len() / 8).clamp(1, 32).min(idle.len());
        if count > 0 && count < idle.len() {
            idle.select_nth_unstable_by_key(count, |(since, ..)| *since);
        }
        for (_, watch, waker) in &idle[..count] {
            watch.make_room();
            waker.wake_by_ref();
        }
        let now = self.clock.instant();
        if open.warned.is_none_or(|warned| now.duration_since(warned) >= WARN_EVERY) {
            open.warned = Some(now);
            warn!(
                connections = open.connections.len(),
                closed = count,
                "all connections are in use, idle ones make room"
            );
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever has an address of IPv6 has all that begin like it.
fn of_client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        four => four,
    }
}

/// One connection of a client.
pub(super) struct Counted(Option<(Arc<Connections>, IpAddr)>);

impl Drop for Counted {
    fn drop(&mut self) {
        let Some((connections, client)) = self.0.take() else { return };
        let mut open = connections.open();
        match open.clients.get_mut(&client) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.clients.remove(&client)),
        }
    }
}

/// A connection that is known.
pub(super) struct Entered {
    connections: Arc<Connections>,
    number: u64,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.connections.open().connections.remove(&self.number);
    }
}

const LOOK_AGAIN: Duration = Duration::from_millis(100);
const WARN_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::of_client;

    #[test]
    fn a_client_of_ipv6_is_its_network() {
        for (address, client) in [
            ("1.2.3.4", "1.2.3.4"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ] {
            assert_eq!(of_client(address.parse().unwrap()).to_string(), client);
        }
    }
}
