//! `[[site]]`, checked: what answers for which hosts. (nginx: server)

use std::fmt;
use std::time::Duration;

use super::answers::Rewrite;
use super::pattern::Pattern;
use super::{ProxyProtocolIn, Route};
use crate::address::Address;
use crate::tls::settings::Termination;

/// What answers for some hosts (nginx: server).
#[derive(Clone, Debug)]
pub struct Site {
    /// Where it listens; at least one address.
    pub listen: Vec<Address>,
    /// Of these, where a proxy in front names the clients (nginx: listen ... proxy_protocol).
    pub proxy_protocol: Vec<(Address, ProxyProtocolIn)>,
    /// The hosts it answers for; empty for all.
    pub names: Vec<HostName>,
    /// Of these, where it answers for hosts that no site names (nginx: default_server). Without one
    /// the first site of an address does.
    pub default_at: Vec<Address>,
    /// Of these, where connections are encrypted (nginx: listen ... ssl).
    pub tls_at: Vec<Address>,
    /// As the one that would answer for hosts that no site names: refuses them with 421 instead.
    pub strict: bool,
    /// How it ends the TLS of its clients; the sites of one address all do, or none does.
    pub tls: Option<Termination>,
    /// Answers only requests over connections that were made for one of its names, and these no
    /// others. A site that verifies clients always is.
    pub isolated: bool,
    /// Whether clients may speak HTTP/2 to it (nginx: http2). Without TLS an address speaks it if one
    /// of its sites does.
    pub http2: bool,
    /// To send the head of a request, where it is the default of the address: which site a request is
    /// for is known behind that only (nginx: client_header_timeout).
    pub header_timeout: Option<Duration>,
    /// What is done to a path before a route is looked for.
    pub rewrite: Vec<Rewrite>,
    /// Answers where there is no route for the path: with 404.
    pub base: Route,
    /// What it does with which path.
    pub routes: Vec<Route>,
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => write!(f, "{name}"),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Pattern(pattern) => write!(f, "~{}", pattern.text),
        }
    }
}

/// A host that a site answers for (nginx: server_name).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostName {
    /// This host only. In lower case.
    Exact(String),
    /// Every host that ends like this; begins with the dot. In lower case.
    Suffix(String),
    /// Every host that begins like this; ends with the dot. In lower case.
    Prefix(String),
    /// Every host, in lower case, that has this.
    Pattern(Pattern),
}
