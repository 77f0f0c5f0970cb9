//! `larder zone`: what is asked about the files of a zone.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::examples::{DU_EXAMPLES, LS_EXAMPLES, VERIFY_EXAMPLES};
use super::stored::Stored;

/// What to do with a zone's files.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
pub enum Zone {
    /// List the responses on disk
    #[command(after_help = LS_EXAMPLES)]
    Ls(Ls),
    /// Sum up what takes the room, by host and path
    #[command(after_help = DU_EXAMPLES)]
    Du(Du),
    /// Read every file and check all of it
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(Verify),
}

/// Whose files.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Where {
    /// One zone of the configuration [default: all]
    #[arg(conflicts_with = "cache_dir")]
    pub zone: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "would be shown as help")]
    pub stored: Stored,
}

/// What to list.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Ls {
    #[command(flatten)]
    #[expect(missing_docs, reason = "would be shown as help")]
    pub at: Where,
    /// Only what rests under a key that begins like this
    #[arg(long, value_name = "URL")]
    pub prefix: Option<String>,
    /// The order; `none` begins at once, whatever there is
    #[arg(long, value_enum, default_value_t = Sort::Key)]
    pub sort: Sort,
    /// The file of each as well, its type, entity tag, tags, generation and format
    #[arg(short, long)]
    pub long: bool,
    /// Also what was purged and not removed yet, and what no request finds any more
    #[arg(short, long)]
    pub all: bool,
    /// Print a JSON document per line, with all that is known
    #[arg(long)]
    pub json: bool,
}

/// In which order to list.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// By key
    Key,
    /// The largest first
    Size,
    /// The youngest first
    Age,
    /// As they are found
    None,
}

/// What to sum up.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Du {
    #[command(flatten)]
    #[expect(missing_docs, reason = "would be shown as help")]
    pub at: Where,
    /// How deep: 1 is hosts, 2 the first part of the path as well
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    pub depth: usize,
    /// Only the N largest
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// Print a JSON document
    #[arg(long)]
    pub json: bool,
}

/// What to verify.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Verify {
    #[command(flatten)]
    #[expect(missing_docs, reason = "would be shown as help")]
    pub at: Where,
    /// Put damaged files aside, and remove what a server that died was writing
    #[arg(long)]
    pub repair: bool,
    /// Print a JSON document per file that is not well, and one at the end
    #[arg(long)]
    pub json: bool,
}

impl Zone {
    /// Whose files.
    pub fn at(&self) -> &Where {
        match self {
            Self::Ls(Ls { at, .. }) | Self::Du(Du { at, .. }) | Self::Verify(Verify { at, .. }) => {
                at
            }
        }
    }

    /// With the configuration file of the environment, where nothing else says whose files.
    pub(super) fn with_default(mut self, config: Option<PathBuf>) -> Self {
        let (Self::Ls(Ls { at, .. }) | Self::Du(Du { at, .. }) | Self::Verify(Verify { at, .. })) =
            &mut self;
        at.stored.or_default(config);
        self
    }
}
