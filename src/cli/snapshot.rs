//! `larder snapshot`: what of a zone is carried where.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ADMIN_DEFAULT;
use super::examples::{LOAD_EXAMPLES, SAVE_EXAMPLES};
use super::stored::Stored;
use super::values::admin;
use crate::config::{AdminAddress, units};

/// What to do with a snapshot.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
pub enum Snapshot {
    /// Save what a zone has on disk into a folder; a server may work with the zone
    #[command(after_help = SAVE_EXAMPLES)]
    Save(Save),
    /// Load a snapshot into a zone that no server works with
    #[command(after_help = LOAD_EXAMPLES)]
    Load(Load),
}

/// Which zone.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Which {
    /// The zone; needed only where there are several
    #[arg(long, value_name = "NAME")]
    pub zone: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "would be shown as help")]
    pub stored: Stored,
}

/// What to save, and where.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Save {
    /// The snapshot's folder; made if there is none. What it has already is not written again
    pub dir: PathBuf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "would be shown as help")]
    pub which: Which,
    /// Only the N responses that are asked for most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub hottest: Option<u64>,
    /// Only so many bytes of bodies, for example `10g`: of those that are asked for most
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_size: Option<u64>,
    /// Nothing that is stale: by default it comes too, since an origin may say that it is still good
    #[arg(long)]
    pub fresh: bool,
    /// Ask this server what is asked for most: a loopback address or `unix:PATH` [default: that of
    /// the configuration, else 127.0.0.1:9145]
    #[arg(long, value_name = "ADDR", value_parser = admin)]
    pub admin: Option<AdminAddress>,
}

/// What to load, and from where.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// The snapshot's folder
    pub dir: PathBuf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "would be shown as help")]
    pub which: Which,
    /// The zone it was saved from [default: one of the same name, else the only one there]
    #[arg(long, value_name = "NAME")]
    pub from: Option<String>,
}

impl Snapshot {
    /// With the configuration file of the environment, where nothing else says which zone.
    pub(super) fn with_default(mut self, config: Option<PathBuf>) -> Self {
        let (Self::Save(Save { which, .. }) | Self::Load(Load { which, .. })) = &mut self;
        which.stored.or_default(config);
        self
    }
}

impl Save {
    /// Where a server is asked, if one is there; `configured` is what the configuration says.
    pub fn admin(&self, configured: Option<AdminAddress>) -> Option<AdminAddress> {
        let by_default =
            || admin(ADMIN_DEFAULT).ok().filter(|_| self.which.stored.config().is_none());
        self.admin.clone().or(configured).or_else(by_default)
    }
}

fn size(text: &str) -> Result<u64, String> {
    units::size(text).map_err(|problem| problem.reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse_from};

    fn path(which: &Which) -> Option<PathBuf> {
        which.stored.config().map(|file| file.path)
    }

    fn parse(arguments: &str) -> Result<Snapshot, clap::Error> {
        let arguments: Vec<_> = arguments.split_whitespace().collect();
        let arguments = ["larder", "snapshot"].into_iter().chain(arguments);
        match parse_from(arguments, Some("/e.toml".into()))? {
            Command::Snapshot(snapshot) => Ok(snapshot),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn which_zone_and_what_of_it() {
        let Ok(Snapshot::Save(save)) = parse("save d --hottest 5 --max-size 2k --fresh") else {
            panic!()
        };
        assert_eq!((save.hottest, save.max_size, save.fresh), (Some(5), Some(2048), true));
        assert_eq!(path(&save.which), Some("/e.toml".into()));
        assert_eq!(save.admin(None), None, "a configuration without an admin listener");
        let Ok(Snapshot::Save(save)) = parse("save d --cache-dir c") else { panic!() };
        assert_eq!(path(&save.which), None);
        assert_eq!(save.admin(None), admin("127.0.0.1:9145").ok());
        let Ok(Snapshot::Load(load)) = parse("load d --zone a --from b -c x") else { panic!() };
        assert_eq!(path(&load.which), Some("x".into()));
        assert_eq!((load.which.zone, load.from), (Some("a".into()), Some("b".into())));
    }

    #[test]
    fn wrong_usage_exits_with_2() {
        for arguments in [
            "",
            "save",
            "load",
            "save d --hottest 0",
            "save d --hottest x",
            "save d --max-size x",
            "save d -c a --cache-dir b",
            "load d --hottest 1",
        ] {
            assert_eq!(parse(arguments).unwrap_err().exit_code(), 2, "{arguments}");
        }
    }
}
