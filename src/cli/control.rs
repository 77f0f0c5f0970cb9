//! `larder reload`, `stop`, `quit` and `reopen`: their arguments. (nginx: -s)

use clap::{Args, ValueEnum};

use super::{ADMIN_DEFAULT, admin};
use crate::config::AdminAddress;

/// What a running server is asked to do, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// What.
    pub what: What,
    /// The server's operator listener.
    pub admin: AdminAddress,
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
    /// Open the access log anew.
    Reopen,
}

#[derive(Args)]
pub(super) struct To {
    /// The server's operator listener: a loopback address or `unix:PATH`
    #[arg(long, value_name = "ADDR", default_value = ADMIN_DEFAULT, value_parser = admin)]
    admin: AdminAddress,
}

impl To {
    pub(super) fn ask(self, what: What) -> super::Command {
        super::Command::Control(Control { what, admin: self.admin })
    }
}
