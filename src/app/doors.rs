//! Where clients come in: addresses with their sockets, which outlive generations.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::Socket;

use super::StartError;
use super::build::Generation;
use super::entry::Entry;
use super::inherited::Inherited;
use super::worker::{Job, Jobs};
use crate::address::Address;
use crate::listener::{Drain, bind, bind_unix};
use crate::socket_file::SocketFile;

/// The addresses that are listened on, and those that are being left.
#[derive(Default)]
pub(super) struct Doors {
    open: Vec<Door>,
    leaving: Vec<Drain>,
}

/// An address that is listened on.
struct Door {
    /// As in the configuration.
    configured: Address,
    address: Address,
    /// For whoever takes over; the workers have theirs.
    sockets: Vec<Socket>,
    /// Of a unix socket.
    file: Option<SocketFile>,
    /// One for each worker.
    entries: Vec<Arc<Entry>>,
    drain: Drain,
}

/// An address with sockets that listen, but that nobody is let in by yet.
pub(super) struct Bound {
    /// As in the configuration.
    configured: Address,
    /// Where it is: with a port, where the configuration leaves that open.
    address: Address,
    /// Each with the number of the worker that accepts there.
    sockets: Vec<(usize, Socket)>,
    /// Each of them once more.
    kept: Vec<Socket>,
    file: Option<SocketFile>,
}

impl Bound {
    /// Gives each of so many workers a socket, or several where there are more sockets: none is
    /// left out, for the kernel gives connections to each of them.
    fn new(
        configured: Address,
        (sockets, file): (Vec<Socket>, Option<SocketFile>),
        workers: usize,
    ) -> io::Result<Self> {
        let Some(first) = sockets.first() else { return Err(io::ErrorKind::NotFound.into()) };
        let address = first.local_addr()?.as_socket().map_or(configured, Address::Tcp);
        sockets.iter().try_for_each(|socket| socket.set_nonblocking(true))?;
        let kept = sockets.iter().map(Socket::try_clone).collect::<io::Result<_>>()?;
        let missing = workers.saturating_sub(sockets.len());
        let more = (0..missing).map(|number| sockets[number % sockets.len()].try_clone());
        let more = more.collect::<io::Result<Vec<_>>>()?;
        let all = sockets.into_iter().chain(more).enumerate();
        let sockets = all.map(|(number, socket)| (number % workers, socket)).collect();
        Ok(Self { configured, address, sockets, kept, file })
    }
}

impl Doors {
    /// Binds what is not listened on yet.
    ///
    /// # Errors
    /// An address that cannot be had. Those that could are free again.
    pub(super) fn bind(
        &self,
        addresses: &[Address],
        workers: usize,
        inherited: &mut Inherited,
    ) -> Result<Vec<Bound>, StartError> {
        let is_new = |address: &&Address| !self.open.iter().any(|it| it.is_at(**address));
        let mut bound = |address: &Address| {
            let sockets = match inherited.take(*address) {
                none if none.is_empty() => self.bind_new(*address, workers),
                sockets => inherited_file(address).map(|file| (sockets, file)),
            };
            sockets
                .and_then(|sockets| Bound::new(*address, sockets, workers))
                .map_err(|error| StartError(format!("cannot listen on `{address}`: {error}")))
        };
        addresses.iter().filter(is_new).map(&mut bound).collect()
    }

    fn bind_new(
        &self,
        address: Address,
        workers: usize,
    ) -> io::Result<(Vec<Socket>, Option<SocketFile>)> {
        match address {
            Address::Tcp(address) => {
                let ours = |door: &Door| door.address.port() == Some(address.port());
                let alone = !self.open.iter().any(ours);
                Ok((self.bind_when_left(address, workers, alone)?, None))
            }
            Address::Unix(path) => {
                let (socket, file) = bind_unix(path.path())?;
                Ok((vec![socket], Some(file)))
            }
        }
    }

    /// An address that was left a moment ago may not be free yet: the workers have to hear of it.
    fn bind_when_left(
        &self,
        address: SocketAddr,
        workers: usize,
        alone: bool,
    ) -> io::Result<Vec<Socket>> {
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
    pub(super) fn addresses(&self) -> Vec<Address> {
        self.open.iter().map(|door| door.address).collect()
    }

    /// The sockets, for a process that takes over.
    pub(super) fn sockets(&self) -> impl Iterator<Item = &Socket> {
        self.open.iter().flat_map(|door| &door.sockets)
    }

    /// Says whether the files of unix sockets are ours: they go when we do, unless another process
    /// listens there.
    pub(super) fn own_files(&self, are_ours: bool) {
        let files = self.open.iter().filter_map(|door| door.file.as_ref());
        files.for_each(|file| file.owned().set(are_ours));
    }

    /// Leaves the doors to a process that has their sockets, without haste; the drains to wait for.
    /// Wants a tokio runtime.
    pub(super) fn part(&mut self) -> Vec<Drain> {
        self.own_files(false);
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
        let Bound { configured, address, sockets, kept, file } = bound;
        let entry = |worker| Entry::new(generation.serving(configured, worker));
        let entries: Vec<_> = (0..workers.len()).map(entry).collect();
        let drain = Drain::new();
        for (worker, socket) in sockets {
            let (entry, drain) = (Arc::clone(&entries[worker]), drain.clone());
            // Only a worker that panicked is not there, and it has said so.
            let _ = workers[worker].send(Job::Listen { socket, entry, drain });
        }
        Self { configured, address, sockets: kept, file, entries, drain }
    }

    fn is_at(&self, configured: Address) -> bool {
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

/// The file of a socket that was handed over is whose it was, until that one says so.
fn inherited_file(address: &Address) -> io::Result<Option<SocketFile>> {
    match address {
        Address::Tcp(_) => Ok(None),
        Address::Unix(path) => SocketFile::of(path.path(), false).map(Some),
    }
}

/// Together half a second.
const LEFT_TRIES: usize = 50;
const LEFT_WAIT: Duration = Duration::from_millis(10);
/// A client that asks as often as this hears that it should connect anew.
const PARTING: Duration = Duration::from_secs(3);
