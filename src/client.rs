//! Who connected to us, and how: what listener and proxy both know of a connection.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use crate::address::{Address, Remote};

/// A client's connection.
#[derive(Debug)]
pub struct Connection {
    /// Which one since the start (nginx: $connection).
    pub number: u64,
    /// When it was let in; nginx's $connection_time is the time since.
    pub begun: Option<Instant>,
    /// Requests that came on it, without one that is answered at hand at the moment (nginx:
    /// $connection_requests).
    pub requests: Arc<AtomicU64>,
    /// It should have spoken TLS and does not: all it gets is told so.
    pub misplaced: bool,
    /// The client, as far as the connection says.
    pub remote: Remote,
    /// The address that it connected to.
    pub local: Address,
    /// What was agreed on, where the connection is encrypted.
    pub tls: Option<Box<Tls>>,
    /// What a proxy in front says of it, in the PROXY protocol.
    pub proxied: Option<Box<Proxied>>,
}

/// The connections of all clients, of this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Open ones.
    pub active: u64,
    /// Of these, those with a request whose head is not whole yet.
    pub reading: u64,
    /// Of these, those with no request under way.
    pub waiting: u64,
    /// All since the start.
    pub accepted: u64,
}

/// Who knows that.
pub type Loads = Arc<dyn Fn() -> Load + Send + Sync>;

/// Two ends of a connection to a proxy in front of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxied {
    /// Who connected there (nginx: $proxy_protocol_addr).
    pub source: SocketAddr,
    /// Where to (nginx: $proxy_protocol_server_addr).
    pub destination: SocketAddr,
}

/// What a TLS handshake brought. Texts are as nginx's variables have them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The host that the client asked for (SNI), in lower case.
    pub server_name: Option<String>,
    /// `TLSv1.3` (nginx: $ssl_protocol).
    pub protocol: &'static str,
    /// `TLS_AES_256_GCM_SHA384` (nginx: $ssl_cipher).
    pub cipher: &'static str,
    /// `h2` or `http/1.1` (nginx: $ssl_alpn_protocol).
    pub alpn: &'static str,
    /// `X25519` (nginx: $ssl_curve).
    pub curve: &'static str,
    /// It goes on from an earlier connection (nginx: $ssl_session_reused).
    pub resumed: bool,
    /// The certificate that the client showed, if it was asked for one.
    pub certificate: ClientCertificate,
}

/// A client's certificate; all texts are empty where none was shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Whether it is one that the site knows.
    pub verified: Verified,
    /// The site wants another one, or wants one: its requests are answered 400.
    pub refused: bool,
    /// Whom it is for, as RFC 2253 writes names (nginx: $ssl_client_s_dn).
    pub subject: String,
    /// Who issued it (nginx: $ssl_client_i_dn).
    pub issuer: String,
    /// In hexadecimal digits, upper case (nginx: $ssl_client_serial).
    pub serial: String,
    /// SHA-1 of it all, in lower case (nginx: $ssl_client_fingerprint).
    pub fingerprint: String,
}

/// What a client's certificate is worth (nginx: $ssl_client_verify).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verified {
    /// There is none.
    #[default]
    None,
    /// It was issued by who may.
    Success,
    /// It is not to be believed, for this reason.
    Failed(String),
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
    pub fn plain(remote: impl Into<Remote>, local: impl Into<Address>) -> Self {
        let (remote, local) = (remote.into(), local.into());
        Self {
            number: 0,
            begun: None,
            requests: Arc::default(),
            misplaced: false,
            remote,
            local,
            tls: None,
            proxied: None,
        }
    }

    /// `http` or `https` (nginx: $scheme).
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}
