//! nginx's cache files become entries of a zone that no server works with.
//!
//! ```text
//!  walk      every file below nginx's folder, which is only read
//!  file      one of them up to its body: is it whole, and what does it say?
//!  head      the response's head in it
//!  reading   the line of its key, read back into the variables of nginx's template
//!  routes    which route would serve it, and by which key
//!  varying   which request filled it, where the response varies
//!  placing   where it rests: as it is, as a variant, as a slice
//!  take      all of that, for one file after the other; may it rest here: cache/adopt.rs
//! ```
//!
//! What is there already, as new or newer, stays: what was interrupted is simply done again.

pub mod file;
pub mod head;
mod walk;
mod reading;
mod routes;
mod placing;
pub mod varying;
pub mod take;
