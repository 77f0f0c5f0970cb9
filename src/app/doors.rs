//! Where clients come in: addresses with their sockets, which outlive generations.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use super::StartError;
use super::build::Generation;
use super::entry::Entry;
use super::inherited::Inherited;
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
    /// For whoever takes over; the workers have theirs.
    sockets: Vec<TcpListener>,
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
    /// Each of them once more.
    kept: Vec<TcpListener>,
}

impl Bound {
    /// Gives each of so many workers a socket, or several where there are more sockets: none is
    /// left out, for the kernel gives connections to each of them.
    fn new(configured: SocketAddr, sockets: Vec<TcpListener>, workers: usize) -> io::Result<Self> {
        let Some(first) = sockets.first() else { return Err(io::ErrorKind::NotFound.into()) };
        let address = first.local_addr()?;
        sockets.iter().try_for_each(|socket| socket.set_nonblocking(true))?;
        let kept = sockets.iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?;
        let missing = workers.saturating_sub(sockets.len());
        let more = (0..missing).map(|number| sockets[number % sockets.len()].try_clone());
        let more = more.collect::<io::Result<Vec<_>>>()?;
        let all = sockets.into_iter().chain(more).enumerate();
        let sockets = all.map(|(number, socket)| (number % workers, socket)).collect();
        Ok(Self { configured, address, sockets, kept })
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
        inherited: &mut Inherited,
    ) -> Result<Vec<Bound>, StartError> {
        let is_new = |address: &&SocketAddr| !self.open.iter().any(|it| it.is_at(**address));
        let mut bound = |address: &SocketAddr| {
            let ours = |door: &Door| door.address.port() == address.port();
            let sockets = match inherited.take(*address) {
                none if none.is_empty() => {
                    self.bind_when_left(*address, workers, !self.open.iter().any(ours))
                }
                sockets => Ok(sockets),
            };
            sockets
                .and_then(|sockets| Bound::new(*address, sockets, workers))
                .map_err(|error| StartError(format!("cannot listen on `{address}`: {error}")))
        };
        addresses.iter().filter(is_new).map(&mut bound).collect()
    }

    /// An address that was left a moment ago may not be free yet: the workers have to hear of it.
    fn bind_when_left(
        &self,
        address: SocketAddr,
        workers: usize,
        alone: bool,
    ) -> io::Result<Vec<TcpListener>> {
        let mut tries = if self.leaving.is_empty() { 1 } else { LEFT_TRIES };
        loop {
            tries -= 1;
            match bind(address, workers, alone) {
                Err(error) if tries > 0 && error.kind() == io::ErrorKind::AddrInUse => {
                    std::thread::sleep(LEFT_WAIT);
                }
                bound => return bound,
            }
        }
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
        self.leaving.extend(gone.into_iter().map(Door::part));
    }

    /// Where it listens.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.open.iter().map(|door| door.address).collect()
    }

    /// The sockets, for a process that takes over.
    pub(super) fn sockets(&self) -> impl Iterator<Item = &TcpListener> {
        self.open.iter().flat_map(|door| &door.sockets)
    }

    /// Leaves the doors to a process that has their sockets, without haste; the drains to wait for.
    /// Wants a tokio runtime.
    pub(super) fn part(&mut self) -> Vec<Drain> {
        self.leaving.extend(self.open.drain(..).map(Door::part));
        self.leaving.clone()
    }

    /// Lets nobody in any more; the drains to wait for.
    pub(super) fn leave(&mut self) -> Vec<Drain> {
        self.leaving.iter().for_each(Drain::begin);
        self.leaving.extend(self.open.drain(..).map(Door::leave));
        self.leaving.clone()
    }
}

impl Door {
    fn open(bound: Bound, generation: &Generation, workers: &[Jobs]) -> Self {
        let Bound { configured, address, sockets, kept } = bound;
        let entry = |worker| Entry::new(generation.serving(configured, worker));
        let entries: Vec<_> = (0..workers.len()).map(entry).collect();
        let drain = Drain::new();
        for (worker, socket) in sockets {
            let (entry, drain) = (Arc::clone(&entries[worker]), drain.clone());
            // Only a worker that panicked is not there, and it has said so.
            let _ = workers[worker].send(Job::Listen { socket, entry, drain });
        }
        Self { configured, address, sockets: kept, entries, drain }
    }

    fn is_at(&self, configured: SocketAddr) -> bool {
        self.configured == configured
    }

    fn leave(self) -> Drain {
        // First: whoever hears goodbye may try whether somebody listens.
        drop(self.sockets);
        self.drain.begin();
        self.drain
    }

    /// Lets nobody in any more, and closes what is idle when it had time to notice. Wants a tokio
    /// runtime.
    fn part(self) -> Drain {
        drop(self.sockets);
        self.drain.part();
        let drain = self.drain.clone();
        tokio::spawn(async move {
            tokio::time::sleep(PARTING).await;
            drain.begin();
        });
        self.drain
    }
}

/// Together half a second.
const LEFT_TRIES: usize = 50;
const LEFT_WAIT: Duration = Duration::from_millis(10);
/// A client that asks as often as this hears that it should connect anew.
const PARTING: Duration = Duration::from_secs(3);
