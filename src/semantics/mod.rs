//! HTTP's caching rules, pure: one file per RFC section.
//!
//! Nothing here reads a clock, takes a lock, waits, or names another room of this crate. The same
//! functions answer live requests and whoever wants to know what would happen.

pub mod date;
pub mod key;
pub mod rules;
pub mod reason;
pub mod stored;
pub mod status;
pub mod variants;
