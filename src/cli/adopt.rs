//! `larder adopt`: whose cache is taken into which zone.

use std::path::PathBuf;

use clap::Args;

use super::config_file::{self, ConfigFile};
use super::values::field;

/// What to take, and into which zone.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Adopt {
    /// nginx's folder, that of `proxy_cache_path`; it is only read
    pub dir: PathBuf,
    #[command(flatten)]
    config: config_file::Named,
    /// The zone; needed only where there are several
    #[arg(long, value_name = "NAME")]
    pub zone: Option<String>,
    /// nginx's `proxy_cache_key` [default: as `cache.key` of the routes of the zone]
    #[arg(long, value_name = "TEMPLATE")]
    pub key_is: Option<String>,
    /// A field that clients send, to find out who gets what varies by it, as often as needed; what
    /// browsers and tools say is known
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = field)]
    pub headers: Vec<(String, String)>,
}

impl Adopt {
    /// The configuration file, if one is named.
    pub fn config(&self) -> Option<ConfigFile> {
        self.config.clone().file()
    }

    /// With the configuration file of the environment, where no other is named.
    pub(super) fn with_default(mut self, config: Option<PathBuf>) -> Self {
        self.config.or_default(config);
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::{Command, parse_from};

    #[test]
    fn what_to_adopt_and_how_to_read_it() {
        let arguments = ["larder", "adopt", "d", "--key-is", "$host$uri", "-H", "Accept: a/b"];
        let command = parse_from(arguments, Some("/e.toml".into())).unwrap();
        let Command::Adopt(adopt) = command else { panic!("{command:?}") };
        assert_eq!(adopt.config().map(|file| file.path), Some("/e.toml".into()));
        assert_eq!((adopt.dir, adopt.zone), ("d".into(), None));
        assert_eq!(adopt.key_is.as_deref(), Some("$host$uri"));
        assert_eq!(adopt.headers, [("Accept".to_owned(), "a/b".to_owned())]);
        for wrong in [&["larder", "adopt"][..], &["larder", "adopt", "d", "-H", "x"]] {
            assert_eq!(parse_from(wrong, None).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }
}
