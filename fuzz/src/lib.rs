//! What must hold for any bytes: one function for each fuzz target.
//!
//! `targets/` runs them under libFuzzer (`fuzz/run`), `tests/corpus.rs` over the seeds in `corpus/`.
//! A function panics where its invariant does not hold.

pub mod directives;
pub mod dates;
pub mod ranges;
pub mod vary;
pub mod structured;
pub mod stored_heads;
pub mod index_snapshots;
pub mod keys;
pub mod heads;
pub mod plain_gets;
pub mod responses;
pub mod manifests;
pub mod nginx_files;
mod message;

/// Panics where the invariant of its target does not hold for these bytes.
pub type Check = fn(&[u8]);

/// Every target by its name, which is also that of its folder in `corpus/`.
pub const TARGETS: [(&str, Check); 13] = [
    ("directives", directives::check),
    ("dates", dates::check),
    ("ranges", ranges::check),
    ("vary", vary::check),
    ("structured", structured::check),
    ("stored_heads", stored_heads::check),
    ("index_snapshots", index_snapshots::check),
    ("keys", keys::check),
    ("heads", heads::check),
    ("plain_gets", plain_gets::check),
    ("responses", responses::check),
    ("manifests", manifests::check),
    ("nginx_files", nginx_files::check),
];
