//! What the operator wants of TLS: plain values. (nginx: ssl_*, proxy_ssl_*)

use std::path::PathBuf;

use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};

/// How a site ends the TLS of its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Termination {
    /// At least one; a client gets the first whose kind of key it can check.
    pub certificates: Vec<Files>,
    /// What is spoken (nginx: ssl_protocols).
    pub versions: Versions,
    /// Whether clients show a certificate (nginx: ssl_verify_client).
    pub verify_client: VerifyClient,
    /// The authorities of clients' certificates (nginx: ssl_client_certificate).
    pub client_ca: Option<PathBuf>,
    /// Certificates of clients that are no longer good (nginx: ssl_crl).
    pub client_crl: Option<PathBuf>,
    /// Whether clients keep their sessions themselves; else the server remembers some (nginx:
    /// ssl_session_tickets).
    pub session_tickets: bool,
}

/// A chain of certificates and the key of its first one, as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// Versions of TLS; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Versions {
    pub tls12: bool,
    pub tls13: bool,
}

/// What clients have to show. What is refused is answered 400 once a request is there, as in nginx.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VerifyClient {
    /// Nobody is asked for a certificate.
    #[default]
    Off,
    /// A certificate is asked for; one that is bad is refused.
    Optional,
    /// The same, but one of an authority that nobody knows is let through for the origin to judge.
    OptionalNoCa,
    /// Without a good certificate nothing is answered.
    On,
}

/// How an upstream is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Whom its certificate must be for: a name or an IP address (nginx: proxy_ssl_name).
    pub name: String,
    /// Whether that is checked (nginx: proxy_ssl_verify).
    pub verify: bool,
    /// The authorities that count; `None`: those of the system (nginx:
    /// proxy_ssl_trusted_certificate).
    pub ca: Option<PathBuf>,
    /// Whether the name is sent (nginx: proxy_ssl_server_name).
    pub sni: bool,
    /// Who we are (nginx: proxy_ssl_certificate).
    pub identity: Option<Files>,
    /// What is spoken (nginx: proxy_ssl_protocols).
    pub versions: Versions,
    /// Whether sessions are resumed (nginx: proxy_ssl_session_reuse).
    pub session_reuse: bool,
}

impl Versions {
    /// Every one that there is.
    pub const ALL: Self = Self { tls12: true, tls13: true };

    pub(super) fn supported(self) -> Vec<&'static SupportedProtocolVersion> {
        let all = [(self.tls13, &TLS13), (self.tls12, &TLS12)];
        all.into_iter().filter(|(on, _)| *on).map(|(_, version)| version).collect()
    }
}
