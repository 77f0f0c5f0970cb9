//! The operator's listener: is it well, what did it do, forget this. Never on the data port.
//!
//! It knows nothing of the rest of the process but what its `Source` tells it.

pub mod server;
pub mod routes;
pub mod purge;
pub mod stats;
pub mod peers;
pub mod bodies;
pub mod explain;
pub mod hottest;
pub mod inspect;
pub mod control;
pub mod upstreams;
pub mod client;

use std::fmt;
use std::future::Future;

use crate::cache::purge::{Purged, Wanted};
use crate::semantics::key::KeyHash;

/// What the operator's listener asks of the process.
pub trait Source: Send + Sync + 'static {
    /// The counters and sizes of this moment.
    fn stats(&self) -> stats::Stats;

    /// How the peers do, by upstream.
    fn upstreams(&self) -> upstreams::Upstreams;

    /// Does with a peer, or with all of an upstream, what is wanted; how they do then. `None` where
    /// there is no such upstream or peer.
    fn set_upstream(&self, change: &upstreams::Change) -> Option<upstreams::Upstreams>;

    /// Whether new requests should come here.
    ///
    /// # Errors
    ///
    /// Why not, for example `draining`; sent to whoever asks.
    fn ready(&self) -> Result<(), String>;

    /// Reads the configuration anew and goes over to it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, as it is shown to people; nothing has changed then.
    fn reload(&self) -> impl Future<Output = Result<control::Reloaded, String>> + Send;

    /// Has the process do something to itself, behind the answer.
    fn control(&self, what: control::Control);

    /// Purges in all tiers, or says what would go.
    ///
    /// # Errors
    ///
    /// Nothing was purged, or not all.
    fn purge(&self, wanted: &Wanted) -> impl Future<Output = Result<Purged, PurgeError>> + Send;

    /// At most `count` of what a zone has on disk, the most wanted first; `None` where there is no
    /// such zone.
    fn hottest(
        &self,
        zone: &str,
        count: usize,
    ) -> impl Future<Output = Option<Vec<KeyHash>>> + Send;

    /// Says what `request`, which has a `Host`, would get now and why; does nothing else.
    ///
    /// # Errors
    ///
    /// The request is none that is served here, and why.
    fn explain(
        &self,
        request: &http::request::Parts,
    ) -> impl Future<Output = Result<explain::Explanation, String>> + Send;

    /// Looks at what is stored for `request`, which has a `Host`, in memory and on disk.
    ///
    /// # Errors
    ///
    /// The request is none that is answered from a cache here, and why.
    fn inspect(
        &self,
        request: &http::request::Parts,
    ) -> impl Future<Output = Result<inspect::Inspection, String>> + Send;
}

/// Why a purge was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurgeError {
    /// It is nothing that can be stored here, and why; the operator asks for something else.
    Refused(String),
    /// The store failed; the operator may try again.
    Failed(String),
}

impl fmt::Display for PurgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Refused(problem) | Self::Failed(problem)) = self;
        f.write_str(problem)
    }
}

impl std::error::Error for PurgeError {}
