//! Where the stored responses are that a command looks at itself: `larder zone`, `larder snapshot`.

use std::path::PathBuf;

use clap::Args;

use super::config_file::{self, ConfigFile};

/// A configuration with its zones, or the folder of a server without one.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    #[command(flatten)]
    config: config_file::Named,
    /// The folder, where there is no configuration file [default: $XDG_CACHE_HOME/larder, else
    /// $HOME/.cache/larder]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "relative_to"])]
    pub cache_dir: Option<PathBuf>,
}

impl Stored {
    /// The configuration file, if there is one.
    pub fn config(&self) -> Option<ConfigFile> {
        self.config.clone().file()
    }

    /// Takes the configuration file of the environment where nothing else says where.
    pub(super) fn or_default(&mut self, config: Option<PathBuf>) {
        if self.cache_dir.is_none() {
            self.config.or_default(config);
        }
    }
}
