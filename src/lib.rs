//! Larder: a caching reverse proxy.

pub mod upstream;
pub mod config;
pub mod semantics;
pub mod cli;
pub mod commands;
pub mod admin;
pub mod observe;
pub mod store;
pub mod body;
pub mod clock;
pub mod demo;
