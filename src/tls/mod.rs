//! TLS, from clients and to upstreams: the only room that knows rustls.
//!
//! ```text
//!   settings   what the operator wants
//!   pem        files -> certificates and keys
//!   site       the sites' side: certificates, versions, who must show a certificate
//!     entrance   one listener: SNI -> site, handshake, what it brought (facts)
//!     clients    what a client's certificate is worth
//!   connector  the upstreams' side: whom we believe, who we are
//!   certificates  what is read anew when its files change
//! ```
//!
//! The provider is aws-lc, named where a configuration is made: what else is in the process decides
//! nothing here.

pub mod settings;
mod pem;
mod site;
mod clients;
mod distinguished;
mod entrance;
mod facts;
mod connector;
mod certificates;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use certificates::{Certificates, Reloadable};
pub use connector::{Connector, Untrusted, is_name};
pub use entrance::{Counters, Entrance, Refused, Secured, ServerStream};
pub use pem::{Problem, Which};
pub use site::Site;

/// A connection to a peer, encrypted.
pub type ClientStream<Socket> = tokio_rustls::client::TlsStream<Socket>;

/// What is spoken over a connection, as its two ends agreed (ALPN).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 or 1.0; also where nothing was agreed.
    Http1,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    fn of(agreed: Option<&[u8]>) -> Self {
        if agreed == Some(H2) { Self::Http2 } else { Self::Http1 }
    }
}

/// What clients are offered, the best first (nginx: http2).
fn alpn(http2: bool) -> Vec<Vec<u8>> {
    let offered: [&[u8]; 3] = [H2, HTTP1, b"http/1.0"];
    offered.iter().skip(usize::from(!http2)).map(|protocol| protocol.to_vec()).collect()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";
