//! Why an exchange with a peer gave no response.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::body;
use crate::tried::Tried;

/// Why an attempt failed. Asked by `retry::allowed`, and by the proxy for the status of its answer.
#[derive(Debug)]
pub struct Error {
    /// How far it came.
    pub phase: Phase,
    /// What happened.
    pub kind: Kind,
    /// What the system said, or what was wrong, for the log.
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

/// How far an exchange came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Choosing a peer, or looking up its address.
    Resolve,
    /// Establishing a connection. Nothing was sent.
    Connect,
    /// Shaking hands over TLS. Nothing was sent.
    Tls,
    /// Sending the request; parts of it may have arrived.
    Send,
    /// Waiting for the head of the response; the request was sent.
    Head,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No peer may be asked now: 502.
    NoLivePeer,
    /// Every peer has as many requests as it may, and there is no room or no time to wait: 502.
    Busy,
    /// The peer's name has no address: 502.
    Unresolved,
    /// There is no connection to be had: 502.
    Refused,
    /// The peer is not to be believed, or not to be understood: 502.
    Untrusted,
    /// The peer took too long: 504.
    Timeout,
    /// The connection broke before the response began: 502.
    Closed,
    /// The answer was no HTTP, or of ambiguous length: 502.
    InvalidResponse,
    /// The client's body failed, not the peer.
    RequestBody(RequestBody),
}

/// How the client's body failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestBody {
    /// Longer than the limit of so many bytes: 413.
    TooLarge(u64),
    /// No byte for so long: 408.
    Timeout(Duration),
    /// It broke off: 400, if anybody is there to read it.
    Transfer,
}

/// How a request failed: the error of the last attempt.
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub error: Error,
    /// The peers that were asked, one after the other, or that there was none.
    pub tried: Vec<Tried>,
}

impl Failure {
    /// Of this upstream there is nobody to ask.
    pub fn nobody(upstream: &str) -> Self {
        let error = Error::new(Phase::Resolve, Kind::NoLivePeer);
        Self { error, tried: vec![Tried::nobody(upstream)] }
    }

    /// Everybody of this upstream has enough to do.
    pub(super) fn busy(upstream: &str) -> Self {
        let error = Error::new(Phase::Resolve, Kind::Busy);
        Self { error, tried: vec![Tried::nobody(upstream)] }
    }
}

impl Error {
    pub(super) fn new(phase: Phase, kind: Kind) -> Self {
        Self { phase, kind, source: None }
    }

    pub(super) fn from(
        phase: Phase,
        kind: Kind,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self { phase, kind, source: Some(source.into()) }
    }

    pub(super) fn connect(source: io::Error) -> Self {
        let timeout = source.kind() == io::ErrorKind::TimedOut;
        Self::from(Phase::Connect, if timeout { Kind::Timeout } else { Kind::Refused }, source)
    }

    /// The client's body failed while it was sent.
    pub(super) fn of_request_body(source: body::Error) -> Self {
        Self::from(Phase::Send, Kind::RequestBody(fault(&source)), source)
    }

    /// Whether it speaks against the peer. A client's fault does not, nor does a name without an
    /// address: nobody was asked, and the next lookup may find one.
    pub(super) fn is_peers_fault(&self) -> bool {
        let nobodys = matches!(self.kind, Kind::NoLivePeer | Kind::Busy | Kind::Unresolved);
        !nobodys && !matches!(self.kind, Kind::RequestBody(_))
    }
}

fn fault(body: &body::Error) -> RequestBody {
    match body {
        body::Error::TooLarge(limit) => RequestBody::TooLarge(*limit),
        body::Error::Timeout(after) => RequestBody::Timeout(*after),
        body::Error::Transfer(_) => RequestBody::Transfer,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::NoLivePeer => return f.write_str("no live peer"),
            Kind::Busy => return f.write_str("every peer has its max_conns"),
            Kind::Unresolved => "name has no address",
            Kind::Refused => "no connection",
            Kind::Untrusted => "no encrypted connection",
            Kind::Timeout => "timed out",
            Kind::Closed => "connection closed",
            Kind::InvalidResponse => "invalid response",
            Kind::RequestBody(_) => "request body failed",
        };
        let phase = match self.phase {
            Phase::Resolve => "resolve",
            Phase::Connect => "connect",
            Phase::Tls => "tls",
            Phase::Send => "send",
            Phase::Head => "response head",
        };
        write!(f, "{phase}: {kind}")?;
        let mut source = self.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tried.last() {
            Some(Tried { peer, was_asked: true, .. }) => write!(f, "peer `{peer}`: {}", self.error),
            Some(Tried { peer, .. }) => write!(f, "upstream `{peer}`: {}", self.error),
            None => self.error.fmt(f),
        }
    }
}

impl StdError for Failure {}
