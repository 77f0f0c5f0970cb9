//! Listening sockets, one a worker, all on one address; a unix socket is one for all.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use socket2::{Domain, Protocol, Socket, Type};

use crate::socket_file::{self, SocketFile};

/// Connections that the kernel completes for us ahead of `accept`, for each socket; more than
/// nginx's 511, because at the connection cap they wait here. The kernel cuts it to `somaxconn`.
const BACKLOG: i32 = 4096;

/// `count` sockets on `address`, among which the kernel spreads connections. With port 0 the first
/// socket decides the port. `alone` refuses an address that anybody listens on, this process
/// included.
///
/// # Errors
///
/// The address is taken, by whomever, or cannot be had. The error does not name it: the caller
/// knows which it asked for.
pub fn bind(address: SocketAddr, count: usize, alone: bool) -> io::Result<Vec<Socket>> {
    if alone && address.port() != 0 {
        // Sockets that share a port ask for it in so many words, and then the kernel lets every
        // process of this user in: a second Larder would silently take half of the connections. A
        // socket that does not ask is refused if anybody listens there.
        open(address, false)?;
    }
    let mut address = address;
    let mut listeners = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = open(address, true)?;
        socket.listen(BACKLOG)?;
        address = socket.local_addr()?.as_socket().unwrap_or(address);
        listeners.push(socket);
    }
    Ok(listeners)
}

/// A socket at `path`, which everybody on this machine may connect to, as with nginx: who else may not
/// is kept from it by its folder.
///
/// # Errors
///
/// Somebody listens there, or it is another file.
pub fn bind_unix(path: &Path) -> io::Result<(Socket, SocketFile)> {
    socket_file::bind(path, 0o666, BACKLOG)
}

fn open(address: SocketAddr, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a former process that still linger do not keep us from starting.
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        // `[::]:80` and `0.0.0.0:80` are two addresses, as in nginx.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(socket: &Socket) -> u16 {
        socket.local_addr().unwrap().as_socket().unwrap().port()
    }

    #[test]
    fn sockets_share_the_port_that_the_first_one_got() {
        let listeners = bind("127.0.0.1:0".parse().unwrap(), 3, true).unwrap();
        let ports: Vec<_> = listeners.iter().map(port).collect();
        assert_eq!(ports, [ports[0]; 3]);
        assert_ne!(ports[0], 0);
    }

    #[test]
    fn an_address_that_is_taken_is_an_error() {
        let listeners = bind("127.0.0.1:0".parse().unwrap(), 2, true).unwrap();
        let address = listeners[0].local_addr().unwrap().as_socket().unwrap();
        let error = bind(address, 2, true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(listeners);
        assert!(bind(address, 2, true).is_ok(), "free again");
    }

    #[test]
    fn both_families_can_have_a_port() {
        let Ok(six) = bind("[::]:0".parse().unwrap(), 1, true) else { return };
        let port = port(&six[0]);
        assert!(bind(SocketAddr::from(([0, 0, 0, 0], port)), 1, true).is_ok());
    }
}
