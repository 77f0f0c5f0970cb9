//! Where the stored responses are that a command looks at itself: `larder zone`, `larder snapshot`.

use std::path::PathBuf;

use clap::Args;

/// A configuration with its zones, or the folder of a server without one.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The configuration file [env: LARDER_CONFIG]
    #[arg(short, long, value_name = "FILE", conflicts_with = "cache_dir")]
    pub config: Option<PathBuf>,
    /// The folder, where there is no configuration file [default: $XDG_CACHE_HOME/larder, else
    /// $HOME/.cache/larder]
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
}

impl Stored {
    /// Takes the configuration file of the environment where nothing else says where.
    pub(super) fn or_default(&mut self, config: Option<PathBuf>) {
        if self.cache_dir.is_none() {
            self.config = self.config.take().or(config);
        }
    }
}
