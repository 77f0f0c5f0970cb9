//! `[zone.NAME]`, checked: where stored responses rest. (nginx: proxy_cache_path)

use std::path::PathBuf;
use std::time::Duration;

/// Where stored responses rest (nginx: proxy_cache_path).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    /// What routes call it.
    pub name: String,
    /// The folders of the disk tier; none is memory only.
    pub folders: Vec<Folder>,
    /// Lengths of the folder names, from the end of the key's hexadecimal form.
    pub levels: Vec<u8>,
    /// Bytes of the memory tier; 0 is disk only.
    pub memory_bytes: u64,
    /// Bytes of a response body that may rest in memory.
    pub memory_object_bytes_max: u64,
    /// Bytes of the disk tier; `None` is as many as `min_free` leaves.
    pub disk_bytes_max: Option<u64>,
    /// Bytes of the file system that stay free.
    pub disk_bytes_min_free: u64,
    /// An entry that nobody asked for in this time is removed, fresh or not.
    pub inactive: Duration,
    /// Files being written lie in a folder of their own instead of beside the final ones
    /// (nginx: use_temp_path).
    pub use_temp_path: bool,
    /// What a file has to survive before it is put in its place.
    pub fsync: Fsync,
    /// Files that are kept open at most (nginx: open_file_cache).
    pub open_files: u32,
    /// Whether the kernel may send bodies that are not read each time, short ones among them, as
    /// `Limits` has it (nginx: sendfile).
    pub sendfile: bool,
}

/// One folder of a zone's disk tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Where it is.
    pub path: PathBuf,
    /// Its share of the responses and of `disk_bytes_max` among the zone's folders; not 0.
    pub weight: u32,
}

/// What a file has to survive before it is put in its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// The end of the process. After a loss of power a file may be torn: then it is a miss.
    #[default]
    Never,
    /// A loss of power; and so does the removal of one that is purged.
    Data,
}
