//! `larder reload`, `stop`, `quit` and `reopen`: their arguments. (nginx: -s)

use clap::{Args, Subcommand, ValueEnum};

use super::examples::RELOAD_EXAMPLES;
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

#[derive(Subcommand)]
pub(super) enum Written {
    /// Have a running server read its configuration anew; a wrong one is told and not used
    #[command(after_help = RELOAD_EXAMPLES)]
    Reload(To),
    /// End a running server; answers under way have the configured time
    Stop(To),
    /// End a running server when the last answer under way is finished
    Quit(To),
    /// Have a running server open its access log anew
    Reopen(To),
}

#[derive(Args)]
pub(super) struct To {
    /// The server's operator listener: a loopback address or `unix:PATH`
    #[arg(long, value_name = "ADDR", default_value = ADMIN_DEFAULT, value_parser = admin)]
    admin: AdminAddress,
}

impl Written {
    pub(super) fn checked(self) -> Control {
        let (what, To { admin }) = match self {
            Self::Reload(to) => (What::Reload, to),
            Self::Stop(to) => (What::Stop, to),
            Self::Quit(to) => (What::Quit, to),
            Self::Reopen(to) => (What::Reopen, to),
        };
        Control { what, admin }
    }
}
