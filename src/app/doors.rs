//! Where clients come in: addresses with their sockets, which outlive generations.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use super::StartError;
use super::build::Generation;
use super::entry::Entry;
use super::worker::{Job, Jobs};
use crate::listener::{Drain, bind};

/// The addresses that are listened on, and those that are being left.
#[derive(Default)]
pub(super) struct Doors {
    open: Vec<Door>,
    leaving: Vec<Drain>,
}

/// An address that is listened on.
struct Door {
    /// As in the configuration.
    configured: SocketAddr,
    address: SocketAddr,
    /// One for each worker.
    entries: Vec<Arc<Entry>>,
    drain: Drain,
}

/// An address with sockets that listen, but that nobody is let in by yet.
pub(super) struct Bound {
    /// As in the configuration.
    configured: SocketAddr,
    /// Where it is: with a port, where the configuration leaves that open.
    address: SocketAddr,
    /// Each with the number of the worker that accepts there.
    sockets: Vec<(usize, TcpListener)>,
}

impl Bound {
    /// Gives each of so many workers a socket, or several where there are more sockets: none is
    /// left out, for the kernel gives connections to each of them.
    fn new(configured: SocketAddr, sockets: Vec<TcpListener>, workers: usize) -> io::Result<Self> {
        let Some(first) = sockets.first() else { return Err(io::ErrorKind::NotFound.into()) };
        let address = first.local_addr()?;
        let missing = workers.saturating_sub(sockets.len());
        let more = (0..missing).map(|number| sockets[number % sockets.len()].try_clone());
        let more = more.collect::<io::Result<Vec<_>>>()?;
        let all = sockets.into_iter().chain(more).enumerate();
        let sockets = all.map(|(number, socket)| (number % workers, socket)).collect();
        Ok(Self { configured, address, sockets })
    }
}

impl Doors {
    /// Binds what is not listened on yet.
    ///
    /// # Errors
    /// An address that cannot be had. Those that could are free again.
    pub(super) fn bind(
        &self,
        addresses: &[SocketAddr],
        workers: usize,
    ) -> Result<Vec<Bound>, StartError> {
        let is_new = |address: &&SocketAddr| !self.open.iter().any(|it| it.is_at(**address));
        let bound = |address: &SocketAddr| {
            let ours = |door: &Door| door.address.port() == address.port();
            bind(*address, workers, !self.open.iter().any(ours))
                .and_then(|sockets| Bound::new(*address, sockets, workers))
                .map_err(|error| StartError(format!("cannot listen on `{address}`: {error}")))
        };
        addresses.iter().filter(is_new).map(bound).collect()
    }

    /// Lets requests meet `generation`: on the addresses that stay, on those that were bound for
    /// it, and on none else. Clients who came in by another may finish.
    pub(super) fn turn_to(&mut self, generation: &Generation, bound: Vec<Bound>, workers: &[Jobs]) {
        let stays = |door: &mut Door| generation.addresses().any(|address| door.is_at(address));
        let gone: Vec<_> = self.open.extract_if(.., |door| !stays(door)).collect();
        for door in &self.open {
            for (worker, entry) in door.entries.iter().enumerate() {
                entry.set(generation.serving(door.configured, worker));
            }
        }
        self.open.extend(bound.into_iter().map(|bound| Door::open(bound, generation, workers)));
        self.leaving.retain(|drain| drain.alive() > 0);
        self.leaving.extend(gone.into_iter().map(Door::leave));
    }

    /// Where it listens.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.open.iter().map(|door| door.address).collect()
    }

    /// Lets nobody in any more; the drains to wait for.
    pub(super) fn leave(&mut self) -> Vec<Drain> {
        self.leaving.extend(self.open.drain(..).map(Door::leave));
        self.leaving.clone()
    }
}

impl Door {
    fn open(bound: Bound, generation: &Generation, workers: &[Jobs]) -> Self {
        let Bound { configured, address, sockets } = bound;
        let entry = |worker| Entry::new(generation.serving(configured, worker));
        let entries: Vec<_> = (0..workers.len()).map(entry).collect();
        let drain = Drain::new();
        for (worker, socket) in sockets {
            let (entry, drain) = (Arc::clone(&entries[worker]), drain.clone());
            // Only a worker that panicked is not there, and it has said so.
            let _ = workers[worker].send(Job::Listen { socket, entry, drain });
        }
        Self { configured, address, entries, drain }
    }

    fn is_at(&self, configured: SocketAddr) -> bool {
        self.configured == configured
    }

    fn leave(self) -> Drain {
        self.drain.begin();
        self.drain
    }
}
