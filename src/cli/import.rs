//! `larder import`: which configuration of nginx becomes which of ours.

use std::path::PathBuf;

use clap::Args;

/// What to import, and where to.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// nginx's main file
    pub file: PathBuf,
    /// The folder that relative paths of files that are served or written start from, as with
    /// nginx's `-p` [default: that of the file]
    #[arg(short, long, value_name = "DIR")]
    pub prefix: Option<PathBuf>,
    /// Write the configuration into this file, which must not be there yet [default: to standard
    /// output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// End with 1 if anything is not carried over exactly
    #[arg(long)]
    pub strict: bool,
    /// Print the report as JSON; with `-o` to standard output
    #[arg(long)]
    pub json: bool,
}
