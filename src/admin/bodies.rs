//! What the statistics tell of request bodies.

use serde::{Deserialize, Serialize};

/// Request bodies that were too large for memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestBodies {
    /// Put into a file of `temp_path`.
    pub in_files: u64,
    /// Refused, since that failed.
    pub file_errors: u64,
}
