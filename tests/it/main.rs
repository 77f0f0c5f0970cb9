//! What a user sees: status, fields, bytes, and what the origin saw. One binary, in process, on
//! free ports, with a clock that stands still.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![allow(
    clippy::disallowed_methods,
    reason = "how long the proxy really took is for the test to see"
)]
#![allow(unreachable_pub, reason = "a harness is public to its tests")]

mod harness;

mod routing;
mod forwarding;
mod framing;
mod caching;
mod storing;
mod vary;
mod collapse;
mod validation;
mod partial;
mod purge;
mod disk;
mod upstream;
mod reasons;
mod scenarios;
mod tidy;
mod admin;
