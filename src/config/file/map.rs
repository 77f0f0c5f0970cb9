//! `[map.NAME]` as it is written.

use crate::config::HostName;
use crate::config::address::Names;
use crate::config::fault::Problem;
use crate::config::pattern::Pattern;
use crate::config::read::{FromText, Pairs, table};
use crate::config::template::Template;

table! {
    /// `[map.NAME]`
    Map(key) {
        key: Template,
        values: Pairs<MapKey, Template>,
        default: Template,
        hostnames: bool,
    }
}

/// What is compared with the text that is looked up.
#[derive(Clone, Debug)]
pub(crate) enum MapKey {
    /// In lower case; may be the name of hosts.
    Text(String),
    Pattern(Pattern),
}

impl FromText for MapKey {
    fn from_text(text: &str) -> Result<Self, Problem> {
        if let Some(pattern) = text.strip_prefix('~') {
            let any_case = pattern.strip_prefix('*');
            let pattern = Pattern::new(any_case.unwrap_or(pattern), any_case.is_some())?;
            return Ok(Self::Pattern(pattern));
        }
        // nginx: what begins with one of its signs is written with a backslash before it.
        Ok(Self::Text(text.strip_prefix('\\').unwrap_or(text).to_ascii_lowercase()))
    }
}

impl MapKey {
    /// The names that it stands for, where texts may be `hostnames`.
    pub(crate) fn names(&self, hostnames: bool) -> Vec<HostName> {
        match self {
            Self::Pattern(pattern) => vec![HostName::Pattern(pattern.clone())],
            Self::Text(text) if hostnames && text.contains(['*', '.']) => {
                let names = Names::from_text(text).map(|names| names.0);
                names.unwrap_or_else(|_| vec![HostName::Exact(text.clone())])
            }
            Self::Text(text) => vec![HostName::Exact(text.clone())],
        }
    }
}
