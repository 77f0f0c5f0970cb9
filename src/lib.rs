//! Larder: a caching reverse proxy.

pub mod cli;
pub mod commands;
pub mod app;
pub mod listener;
pub mod proxy;
pub mod cache;
pub mod store;
pub mod upstream;
pub mod semantics;
pub mod admin;
pub mod observe;
pub mod config;
pub mod body;
pub mod clock;
pub mod demo;
