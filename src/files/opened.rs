//! One open file, as it was when it was opened.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use http::HeaderValue;
use rustix::fs::Stat;

use super::sending::Sending;
use crate::body::Body;
use crate::body::ledger::{Failure, Source};
use crate::semantics::coding::Coding;
use crate::semantics::date::Timestamp;
use crate::warm::Warm;

/// A plain file that was opened.
pub struct OpenFile {
    pub(super) file: File,
    length: u64,
    /// Seconds since the epoch; none before it.
    modified_s: u64,
    /// What its file system lets workers do.
    pub(super) warm: Arc<Warm>,
}

impl OpenFile {
    pub(super) fn new(file: File, meta: &Stat, warm: &Arc<Warm>) -> Self {
        Self {
            file,
            length: u64::try_from(meta.st_size).unwrap_or(0),
            modified_s: u64::try_from(meta.st_mtime).unwrap_or(0),
            warm: Arc::clone(warm),
        }
    }

    /// Its length.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// When it was changed.
    pub fn modified(&self) -> Timestamp {
        Timestamp::from_secs(self.modified_s)
    }

    /// Its entity tag (nginx: `"TIME-LENGTH"`, hexadecimal), with the coding it has beside its name.
    pub fn etag(&self, coding: Option<Coding>) -> Option<HeaderValue> {
        let (modified, length) = (self.modified_s, self.length);
        let tag = match coding {
            None => format!("\"{modified:x}-{length:x}\""),
            Some(coding) => format!("\"{modified:x}-{length:x}-{}\"", coding.token()),
        };
        HeaderValue::try_from(tag).ok()
    }

    /// The bytes of `range`, which must lie within it. A file that has become shorter meanwhile
    /// ends the body with an error.
    pub fn stream(self: &Arc<Self>, range: Range<u64>) -> Body {
        let end = range.end.min(self.length);
        Body::file(Sending::new(Arc::clone(self), range.start.min(end)..end))
    }
}

impl Source for OpenFile {
    fn file(&self) -> &File {
        &self.file
    }

    fn failed(&self, failure: Failure) {
        match failure {
            Failure::Refused => self.warm.refused_splice(),
            Failure::CutShort => tracing::warn!("a file became shorter while it was sent"),
            Failure::Io(error) => warn_of(&error),
        }
    }
}

pub(super) fn warn_of(error: &io::Error) {
    tracing::warn!(%error, "a file cannot be read");
}

impl fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenFile").field("length", &self.length).finish_non_exhaustive()
    }
}
