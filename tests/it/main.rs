//! What a user sees: status, fields, bytes, and what the origin saw. One binary, in process, on
//! free ports, with a clock that stands still.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![allow(unreachable_pub, reason = "the builders say what is for all tests")]

mod harness;

mod routing;
mod at_hand;
mod added_at_hand;
mod adopt;
mod plain_gets;
mod routes;
mod rewriting;
mod error_pages;
mod maps;
mod headers;
mod heads;
mod clients;
mod limits;
mod logs;
mod auth;
mod forwarding;
mod from_disk;
mod open_files;
mod interim;
mod framing;
mod http2;
mod floods;
mod http2_upstream;
mod tunnels;
mod caching;
mod storing;
mod vary;
mod collapse;
mod fills;
mod validation;
mod partial;
mod ranges;
mod slices;
mod files;
mod compression;
mod connections;
mod purge;
mod invalidation;
mod explain;
mod directives;
mod disk;
mod disks;
mod snapshot;
mod faults;
mod clocks;
mod keys;
mod oracle;
mod upstream;
mod tls;
mod upstream_tls;
mod balance;
mod health;
mod hold;
mod reasons;
mod zone;
mod inspect;
mod scenarios;
mod sendfile;
mod tidy;
mod admin;
mod reload;
mod unix_clients;
mod upgrade;
mod as_nginx;
mod service;
mod names;
mod sockets;
mod bodies;
mod upstream_command;
#[cfg(feature = "import")]
mod import;
