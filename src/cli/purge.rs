//! `larder purge`: what to remove.

use clap::{ArgGroup, Args};

use super::ADMIN_DEFAULT;
use super::values::admin;
use crate::config::AdminAddress;

/// What to remove, and from which server.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(group(ArgGroup::new("what").required(true).args(["url", "prefix", "tags", "all"])))]
pub struct Purge {
    /// The URL as clients ask for it, with scheme and host: all its variants
    pub url: Option<String>,
    /// Everything whose URL begins like this
    #[arg(long, value_name = "URL")]
    pub prefix: Option<String>,
    /// Everything that carries this tag; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Everything in the zone
    #[arg(long)]
    pub all: bool,
    /// The zone for `--tag` and `--all`; needed only where there are several
    #[arg(long, value_name = "NAME", conflicts_with_all = ["url", "prefix"])]
    pub zone: Option<String>,
    /// Make it stale instead: it is validated, or served where stale responses are
    #[arg(long)]
    pub soft: bool,
    /// Only list what would go
    #[arg(long)]
    pub dry_run: bool,
    /// The server's operator listener: a loopback address or `unix:PATH`
    #[arg(long, value_name = "ADDR", default_value = ADMIN_DEFAULT, value_parser = admin)]
    pub admin: AdminAddress,
}
