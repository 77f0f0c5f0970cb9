//! Which configuration file, and where relative paths in it start from. (nginx: -c, -p)

use std::path::{Path, PathBuf};

use clap::Args;

/// A configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    /// Where relative paths in it start from, if not in its own folder.
    pub prefix: Option<PathBuf>,
}

/// The arguments that say which.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// The configuration file [env: LARDER_CONFIG]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder that relative paths start from, that of `-c` too [default: the folder of the
    /// file]
    #[arg(id = "relative_to", short = 'p', value_name = "DIR")]
    prefix: Option<PathBuf>,
}

impl Named {
    /// Takes the file of the environment where none is written.
    pub(super) fn or_default(&mut self, config: Option<PathBuf>) {
        self.config = self.config.take().or(config);
    }

    /// The file, if there is one.
    pub(super) fn file(self) -> Option<ConfigFile> {
        let Self { config, prefix } = self;
        let path = config?;
        let path = prefix.as_ref().map_or(path.clone(), |prefix| prefix.join(path));
        Some(ConfigFile { path, prefix })
    }
}

impl ConfigFile {
    /// The prefix, as the configuration wants it.
    pub fn prefix(&self) -> Option<&Path> {
        self.prefix.as_deref()
    }
}
