//! A zone's disk tier as a folder that can be carried to another machine.
//!
//! ```text
//! DIR/larder-snapshot                 says what the folder is; its lock
//! DIR/content-v2/sha256/ab/cd/...     bodies and manifests, each under its own sha256 (cacache)
//! DIR/zones/NAME                      which manifest is the latest of a zone
//! DIR/tmp/                            what is being written
//! ```
//!
//! Content never changes under its name, so a body that several entries have is there once, a
//! second save writes what is new, and `rsync` carries only that. A save names its manifest last,
//! when all is on the disk: until then, and whatever happens before, the former snapshot is the
//! one that is loaded. What no manifest names any more goes at the end.

pub mod manifest;
pub mod content;
pub mod folder;
pub mod save;
pub mod load;

/// Is told how far a save or a load is.
pub trait Watch {
    /// There is so much to do.
    fn begin(&mut self, entries: u64, bytes: u64);

    /// So much more is done.
    fn advance(&mut self, entries: u64, bytes: u64);

    /// Something is damaged and was left out: what, and why.
    fn damaged(&mut self, what: &str, why: &dyn std::fmt::Display);
}

#[cfg(test)]
mod tests;
