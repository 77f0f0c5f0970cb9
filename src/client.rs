//! Who connected to us, and how: what listener and proxy both know of a connection.

use std::net::SocketAddr;

/// A client's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The client, as far as the connection says.
    pub remote: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
    /// What was agreed on, where the connection is encrypted.
    pub tls: Option<Box<Tls>>,
    /// What a proxy in front says of it, in the PROXY protocol.
    pub proxied: Option<Box<Proxied>>,
}

/// Two ends of a connection to a proxy in front of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxied {
    /// Who connected there (nginx: $proxy_protocol_addr).
    pub source: SocketAddr,
    /// Where to (nginx: $proxy_protocol_server_addr).
    pub destination: SocketAddr,
}

/// What a TLS handshake brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The host that the client asked for (SNI), in lower case.
    pub server_name: Option<String>,
}

impl Connection {
    /// One that is not encrypted.
    pub fn plain(remote: SocketAddr, local: SocketAddr) -> Self {
        Self { remote, local, tls: None, proxied: None }
    }

    /// `http` or `https` (nginx: $scheme).
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}
