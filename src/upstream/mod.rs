//! A group of peers: pick one, send, report.
//!
//! [`send()`] is the door: a request goes in, the head of a response comes out, and its body brings
//! the connection back to the pool when it ends. Knows nothing of caches, routes or clients; fields
//! of the request are sent as they are.

mod send;
mod attempt;
mod outgoing;
mod group;
mod stats;
mod pick;
mod balance;
mod hash;
mod sticky;
mod queue;
mod hold;
mod back;
mod health;
mod check;
mod checked;
mod pool;
mod connect;
pub mod http1;
mod http2;
mod target;
mod resolve;
mod dns;
mod socket;
mod announce;
mod wire;
mod head;
mod reply;
mod retry;
mod error;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;

pub use announce::Announced;
pub use error::{Error, Failure, Kind, Phase, RequestBody};
pub use group::Group;
pub use hold::{Held, HoldStats};
pub use http1::{Interim, Upgraded};
pub use pick::Asked;
pub use pool::Pool;
pub use queue::QueueStats;
pub use reply::{Reply, Switched};
pub use send::send;
pub use stats::{Active, CheckStats, PeerState, PeerStats, State};
