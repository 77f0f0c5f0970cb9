//! A group of peers: pick one, send, report.
//!
//! [`send()`] is the door: a request goes in, the head of a response comes out, and its body brings
//! the connection back to the pool when it ends. Knows nothing of caches, routes or clients; fields
//! of the request are sent as they are.

mod send;
mod group;
mod balance;
mod health;
mod pool;
mod connect;
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
pub use group::{Group, PeerState, PeerStats, State};
pub use pool::Pool;
pub use reply::Reply;
pub use send::send;
