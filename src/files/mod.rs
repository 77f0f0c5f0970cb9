//! Files of a folder, for clients. (nginx: root, alias, index, try_files, gzip_static)
//!
//! ```text
//!  find        which file answers: what is tried, index, compressed ones beside it
//!    | place     the folder, where requests say it
//!    | beneath   opens below the root, whatever the path says and whoever changes what lies there
//!    v
//!  opened      one open file: its length, its time, its tag
//!    | sending   its bytes, on the worker as far as the page cache has them
//!  expires, listing   how long it may be kept; what a folder shows
//! ```
//!
//! Whatever is said of a file is said of the one that was opened: nobody looks at a path twice.

mod find;
mod place;
mod beneath;
pub mod opened;
mod sending;
pub mod expires;
pub mod listing;
mod there;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

pub use find::{Asked, Found, FoundFile, Wanted};
pub use place::Place;
pub use there::is_there;

use self::beneath::Cold;
use crate::config::template::{Facts, Part};
use crate::config::{PathMatch, Static};
use crate::warm::Warm;

/// The files that a route answers from.
pub struct Files {
    /// As configured.
    pub settings: Static,
    /// The folder below which everything lies.
    root: PathBuf,
    /// Where an alias names a file: that one, and no other.
    only: Option<String>,
    /// Where requests say where an alias is, they name the file.
    names_file: bool,
    /// The part of a path for which the root stands.
    replaced: String,
    warm: Arc<Warm>,
}

/// A request says no folder.
pub struct Nowhere;

impl Files {
    /// The files of a route for this path.
    ///
    /// # Errors
    /// The kernel is older than Linux 5.6: what links lead to could not be bounded.
    pub fn new(settings: &Static, path: &PathMatch) -> io::Result<Arc<Self>> {
        beneath::probe()?;
        let mut files = Self {
            settings: settings.clone(),
            root: settings.root.clone(),
            only: None,
            names_file: false,
            replaced: if settings.alias {
                path.literal().unwrap_or_default().to_owned()
            } else {
                String::new()
            },
            warm: Arc::default(),
        };
        let is_one = matches!(path, PathMatch::Exact(path) if !path.ends_with('/'));
        if let Some(template) = &settings.by_request {
            let is_folder =
                matches!(template.parts.last(), Some(Part::Literal(end)) if end.ends_with('/'));
            let is_pattern = matches!(path, PathMatch::Regex(_));
            files.names_file = settings.alias && (is_pattern || is_one && !is_folder);
            return Ok(Arc::new(files));
        }
        let ends_with_slash = settings.root.as_os_str().as_encoded_bytes().ends_with(b"/");
        if let (true, Some(folder), Some(name)) = (
            settings.alias && is_one && !ends_with_slash,
            settings.root.parent(),
            settings.root.file_name(),
        ) {
            files.root = folder.to_owned();
            files.only = name.to_str().map(str::to_owned);
        }
        if !files.root.is_dir() {
            tracing::warn!(root = %files.root.display(), "there is no such folder: nothing is found in it");
        }
        Ok(Arc::new(files))
    }

    /// Where a request's folder is, if it says that; `Err` where it says so and there is none.
    pub fn place(&self, facts: &impl Facts) -> Result<Option<Place>, Nowhere> {
        let Some(template) = &self.settings.by_request else { return Ok(None) };
        let place = match self.names_file {
            true => Place::of_file(template, facts),
            false => Place::of(template, facts),
        };
        place.map(Some).ok_or(Nowhere)
    }

    /// What answers; a disk is waited for by a job, if it must be.
    ///
    /// # Errors
    /// The system failed: answer 500.
    pub async fn find(self: &Arc<Self>, asked: Asked) -> io::Result<Found> {
        if self.warm.may_open() {
            match self.look(&asked, false) {
                Err(Cold) => {}
                Ok(found) => return found,
            }
        }
        let files = Arc::clone(self);
        let job = tokio::task::spawn_blocking(move || files.look(&asked, true));
        match job.await {
            Ok(Ok(found)) => found,
            // Nobody who may wait says that he would have to.
            Ok(Err(Cold)) => Err(io::ErrorKind::WouldBlock.into()),
            Err(panicked) => Err(io::Error::other(panicked)),
        }
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("root", &self.root).finish_non_exhaustive()
    }
}
