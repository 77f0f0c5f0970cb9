//! Listening sockets that somebody else bound for us: systemd (socket activation), or the process
//! that this one takes over from.

use std::os::fd::OwnedFd;

use listenfd::ListenFd;
use socket2::Socket;

use crate::address::{Address, SocketPath};

/// Sockets that are not in use yet.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(Address, Socket)>);

impl Inherited {
    /// Those that systemd hands over (LISTEN_FDS). To be called before the process has threads: it
    /// takes the variables out of the environment.
    pub fn from_systemd() -> Self {
        let mut inherited = Self::default();
        let mut sockets = ListenFd::from_env();
        for number in 0..sockets.len().min(SOCKETS_MAX) {
            if let Ok(Some(socket)) = sockets.take_tcp_listener(number) {
                inherited.add(socket.into());
            } else if let Ok(Some(socket)) = sockets.take_unix_listener(number) {
                inherited.add(socket.into());
            } else {
                tracing::warn!(number, "a socket that was handed over is none that can be used");
            }
        }
        inherited
    }

    /// These, whatever they are.
    pub(super) fn of(sockets: Vec<OwnedFd>) -> Self {
        let mut inherited = Self::default();
        sockets.into_iter().for_each(|socket| inherited.add(socket.into()));
        inherited
    }

    fn add(&mut self, socket: Socket) {
        let name = match socket.local_addr() {
            Ok(name) => name,
            Err(error) => {
                return tracing::warn!(%error, "a socket was handed over that is none");
            }
        };
        let path = name.as_pathname().and_then(SocketPath::new);
        match name.as_socket().map(Address::Tcp).or(path.map(Address::Unix)) {
            Some(address) => self.0.push((address, socket)),
            None => tracing::warn!(?name, "a socket was handed over that listens nowhere"),
        }
    }

    /// All that listen on this very address.
    pub(super) fn take(&mut self, address: Address) -> Vec<Socket> {
        let is_it = |(it, _): &mut (Address, Socket)| *it == address;
        self.0.extract_if(.., is_it).map(|(_, socket)| socket).collect()
    }

    /// Says which ones nobody wanted; they are closed.
    pub(super) fn leave_rest(self) {
        for (address, _) in &self.0 {
            tracing::warn!(%address, "a socket was handed over that nothing listens on");
        }
    }
}

/// More than anybody listens on.
const SOCKETS_MAX: usize = 1024;
