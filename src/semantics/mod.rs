//! HTTP's caching rules, pure: one file per RFC section.
//!
//! Nothing here reads a clock, takes a lock, waits, or names another room of this crate. The same
//! functions answer live requests and whoever wants to know what would happen.

pub mod rules;
pub mod basic;
pub mod key;
pub mod query;
pub mod no_vary_search;
pub mod secret;
pub mod stored;
pub mod variants;
pub mod storable;
pub mod reuse;
pub mod demand;
pub mod vary;
pub mod selecting;
pub mod coding;
pub mod compressing;
pub mod freshness;
pub mod stale;
pub mod validation;
pub mod invalidation;
pub mod tags;
pub mod said;
pub mod directives;
mod substrings;
mod structured;
pub mod date;
pub mod fields;
pub mod trailers;
pub mod precondition;
pub mod range;
pub mod multipart;
pub mod partial;
pub mod status;
pub mod reason;
pub mod advice;
