//! Ports that stay a test's own while nobody listens at them: who asks for any port does not get
//! them, and so no other test answers there.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

/// A port of 127.0.0.1. Connections are refused unless somebody listens.
pub struct Port {
    pub address: SocketAddr,
    /// Bound, and never listening.
    _reserved: Socket,
}

impl Port {
    pub fn reserve() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let reserved = bound(any).expect("a free port");
        let address = reserved.local_addr().expect("bound").as_socket().expect("of TCP");
        Self { address, _reserved: reserved }
    }

    /// Listens at it. What listened there before must be gone.
    pub fn listen(&self) -> TcpListener {
        let socket = bound(self.address).expect("it is reserved");
        socket.listen(BACKLOG).expect("it is bound");
        socket.set_nonblocking(true).expect("a socket");
        TcpListener::from_std(socket.into()).expect("a runtime")
    }
}

/// With the options by which one that listens shares the port with one that does not.
fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

const BACKLOG: i32 = 128;
