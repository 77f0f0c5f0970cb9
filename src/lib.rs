//! Larder: a caching reverse proxy.

pub mod upstream;
pub mod config;
pub mod semantics;
pub mod observe;
pub mod body;
pub mod clock;
