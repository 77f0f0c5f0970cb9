//! Who connected to us, and how: what listener and proxy both know of a connection.

use std::fmt;
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
}

/// What a TLS handshake brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The host that the client asked for (SNI), in lower case.
    pub server_name: Option<String>,
}

/// In the extensions of a response: the connection is closed without it (nginx: return 444).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HangUp;

impl fmt::Display for HangUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closed without an answer")
    }
}

impl std::error::Error for HangUp {}

impl Connection {
    /// One that is not encrypted.
    pub fn plain(remote: SocketAddr, local: SocketAddr) -> Self {
        Self { remote, local, tls: None }
    }

    /// `http` or `https` (nginx: $scheme).
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}
