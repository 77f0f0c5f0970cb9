//! One request and its response, as facts.
//!
//! An exchange outlives the request path: it is complete when the last byte of the body has been
//! handed over, and is then logged and counted, once.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, Method, Uri, Version};

use crate::address::Remote;
use crate::observe::logs::{Kept, Logs};
use crate::semantics::reason::Reason;
use crate::semantics::status::CacheStatus;
use crate::tried::Tried;

/// The facts of one exchange.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// What is logged of the request; absent when there is no access log.
    pub request: Option<Box<RequestFacts>>,
    /// The status sent.
    pub status: u16,
    /// How the cache handled it; absent where the route has none or it was not asked.
    pub cache: Option<CacheStatus>,
    /// Why.
    pub reason: Reason,
    /// Number of the zone in the configuration, if the route has one.
    pub zone: Option<usize>,
    /// The peers that were asked; none when nothing was asked of an upstream.
    pub tried: Vec<Tried>,
    /// The access logs that it is in.
    pub logged: Option<Box<Logged>>,
}

/// Where an exchange is logged.
#[derive(Clone, Debug)]
pub struct Logged {
    /// The logs.
    pub logs: Arc<Logs>,
    /// What their lines say of it that must be known before it ends.
    pub kept: Kept,
}

/// What the access log says of a request.
#[derive(Clone, Debug)]
pub struct RequestFacts {
    /// When its head was complete.
    pub started: Instant,
    /// Who connected.
    pub client: Remote,
    /// The method.
    pub method: Method,
    /// The target as it was sent.
    pub target: Uri,
    /// The protocol.
    pub version: Version,
    /// `Authorization`, for the user name in it.
    pub authorization: Option<HeaderValue>,
    /// `Referer`.
    pub referer: Option<HeaderValue>,
    /// `User-Agent`.
    pub user_agent: Option<HeaderValue>,
}
