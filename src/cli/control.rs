//! `larder reload`, `stop`, `quit` and `reopen`: their arguments. (nginx: -s)

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::config_file::{self, ConfigFile};
use super::examples::RELOAD_EXAMPLES;
use super::values::{admin, default_admin};
use crate::config::AdminAddress;

/// What a running server is asked to do, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// What.
    pub what: What,
    /// Which server.
    pub to: To,
}

/// How a running server is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// By its operator's listener.
    Admin(AdminAddress),
    /// As its configuration says: by the operator's listener, else by the pid file.
    Config(ConfigFile),
}

impl To {
    /// As far as it is written, else by the configuration file of the environment, else where the
    /// operator's listener is by default.
    pub(super) fn new(
        admin: Option<AdminAddress>,
        mut file: config_file::Named,
        config: Option<PathBuf>,
    ) -> Self {
        if let Some(admin) = admin {
            return Self::Admin(admin);
        }
        file.or_default(config);
        file.file().map_or_else(|| Self::Admin(default_admin()), Self::Config)
    }
}

/// What a running server is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// Read the configuration anew.
    Reload,
    /// End; answers under way have the configured time.
    Stop,
    /// End when the last answer under way is finished.
    Quit,
    /// Open the logs anew.
    Reopen,
}

#[derive(Subcommand)]
pub(super) enum Written {
    /// Have a running server read its configuration anew; a wrong one is told and not used
    #[command(after_help = RELOAD_EXAMPLES)]
    Reload(Which),
    /// End a running server; answers under way have the configured time
    Stop(Which),
    /// End a running server when the last answer under way is finished
    Quit(Which),
    /// Have a running server open its logs anew
    Reopen(Which),
}

#[derive(Args)]
pub(super) struct Which {
    /// The server's operator listener: a loopback address or `unix:PATH` [default: what the
    /// configuration says, or 127.0.0.1:9145]
    #[arg(long, value_name = "ADDR", value_parser = admin, conflicts_with_all = ["config", "relative_to"])]
    admin: Option<AdminAddress>,
    #[command(flatten)]
    file: config_file::Named,
}

impl Written {
    pub(super) fn checked(self, config: Option<PathBuf>) -> Control {
        let (what, Which { admin, file }) = match self {
            Self::Reload(to) => (What::Reload, to),
            Self::Stop(to) => (What::Stop, to),
            Self::Quit(to) => (What::Quit, to),
            Self::Reopen(to) => (What::Reopen, to),
        };
        Control { what, to: To::new(admin, file, config) }
    }
}
