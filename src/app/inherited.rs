//! Listening sockets that somebody else bound for us: systemd (socket activation), or the process
//! that this one takes over from.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

use listenfd::ListenFd;
use socket2::{Domain, Socket};

/// Sockets that are not in use yet.
#[derive(Debug, Default)]
pub struct Inherited {
    tcp: Vec<(SocketAddr, TcpListener)>,
    unix: Vec<UnixListener>,
}

impl Inherited {
    /// Those that systemd hands over (LISTEN_FDS). To be called before the process has threads: it
    /// takes the variables out of the environment.
    pub fn from_systemd() -> Self {
        let mut inherited = Self::default();
        let mut sockets = ListenFd::from_env();
        for number in 0..sockets.len().min(SOCKETS_MAX) {
            if let Ok(Some(socket)) = sockets.take_tcp_listener(number) {
                inherited.add_tcp(socket);
            } else if let Ok(Some(socket)) = sockets.take_unix_listener(number) {
                inherited.unix.push(socket);
            } else {
                tracing::warn!(number, "a socket that was handed over is none that can be used");
            }
        }
        inherited
    }

    /// These, whatever they are.
    pub(super) fn of(sockets: Vec<OwnedFd>) -> Self {
        let mut inherited = Self::default();
        for socket in sockets.into_iter().map(Socket::from) {
            match socket.domain() {
                Ok(Domain::UNIX) => inherited.unix.push(socket.into()),
                Ok(_) => inherited.add_tcp(socket.into()),
                Err(error) => tracing::warn!(%error, "a socket was handed over that is none"),
            }
        }
        inherited
    }

    fn add_tcp(&mut self, socket: TcpListener) {
        match socket.local_addr() {
            Ok(address) => self.tcp.push((address, socket)),
            Err(error) => tracing::warn!(%error, "a socket was handed over that listens nowhere"),
        }
    }

    /// All that listen on this very address.
    pub(super) fn take(&mut self, address: SocketAddr) -> Vec<TcpListener> {
        let is_it = |(it, _): &mut (SocketAddr, TcpListener)| *it == address;
        self.tcp.extract_if(.., is_it).map(|(_, socket)| socket).collect()
    }

    /// One that listens at this path.
    pub(super) fn take_unix(&mut self, path: &Path) -> Option<UnixListener> {
        let is_it = |it: &UnixListener| {
            it.local_addr().is_ok_and(|address| address.as_pathname() == Some(path))
        };
        let at = self.unix.iter().position(is_it)?;
        Some(self.unix.swap_remove(at))
    }

    /// Says which ones nobody wanted; they are closed.
    pub(super) fn leave_rest(self) {
        for (address, _) in &self.tcp {
            tracing::warn!(%address, "a socket was handed over that no site listens on");
        }
        for socket in &self.unix {
            tracing::warn!(?socket, "a socket was handed over that nothing listens on");
        }
    }
}

/// More than anybody listens on.
const SOCKETS_MAX: usize = 1024;
