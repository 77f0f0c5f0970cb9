//! Larder: a caching reverse proxy, nginx's `proxy_cache` as a product of its own.
//!
//! One request, through the rooms in the order it meets them:
//!
//! ```text
//!  listener    bytes from a client become a request
//!  proxy       admit, route, then serve (with the cache) or pass (without) - start reading here
//!    cache     who may read, who must fetch, who waits; store: where responses rest
//!    upstream  pick a peer, send, report
//!    semantics what HTTP's caching rules say: pure, asked by everybody
//!  observe     the exchange is logged and counted when its last byte is out
//! ```
//!
//! `snapshot` carries what is stored to other machines, `adopt` takes what nginx stored; `app` builds and runs all of it from a `config`; `admin` answers the operator; `cli` and
//! `commands` are the command line.

pub mod cli;
pub mod commands;
pub mod app;
pub mod listener;
pub mod proxy;
pub mod cache;
pub mod store;
pub mod snapshot;
pub mod adopt;
pub mod upstream;
pub mod tls;
pub mod semantics;
pub mod admin;
pub mod observe;
pub mod config;
#[cfg(feature = "import")]
pub mod import;
pub mod client;
pub mod address;
pub mod socket_file;
pub mod body;
pub mod coding;
pub mod files;
pub mod warm;
pub mod interim;
pub mod tried;
pub mod plain_get;
pub mod tunnel;
pub mod clock;
pub mod sync;
pub mod spelling;
pub mod demo;
