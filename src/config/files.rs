//! `static` and `compress` of a route, checked. (nginx: root, alias, index, try_files, expires,
//! gzip_static; gzip)

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::media_types::MediaTypes;
use super::template::Template;
use super::units;
use crate::semantics::coding::Coding;
use crate::semantics::compressing::Worth;

/// How a route answers from files.
#[derive(Clone, Debug)]
pub struct Static {
    /// The folder below which everything lies that is served.
    pub root: PathBuf,
    /// Where it is, where requests say it; then `root` is what they do not say.
    pub by_request: Option<Template>,
    /// The folder stands for the part of the path that the route matched (nginx: alias), instead of
    /// being put before all of it (nginx: root).
    pub alias: bool,
    /// What is served of a folder, the first that is there.
    pub index: Vec<String>,
    /// What is looked for; empty for the path itself.
    pub try_files: Vec<Template>,
    /// What answers when nothing of `try_files` is there.
    pub fallback: Fallback,
    /// Codings in which a file may lie beside itself, in order of preference.
    pub precompressed: Vec<Coding>,
    /// How long browsers may keep what they get.
    pub expires: Expires,
    /// Whether names that begin with a dot are served.
    pub dot_files: bool,
    /// Which symbolic links are followed.
    pub symlinks: Symlinks,
    /// What it is, by how its name ends.
    pub media_types: Arc<MediaTypes>,
    /// What a folder without index shows.
    pub autoindex: Autoindex,
    /// A file is not modified only if the client names its very date (nginx: if_modified_since
    /// exact).
    pub exact_dates: bool,
}

/// What answers when nothing is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// This status.
    Status(http::StatusCode),
    /// The route for this path, inside the site.
    Path(Template),
    /// The route of this name: `@app`.
    Named(String),
}

/// Which symbolic links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symlinks {
    /// None.
    Off,
    /// Those that stay below the root.
    Inside,
    /// All (nginx: disable_symlinks off).
    On,
}

/// What a folder without index shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Autoindex {
    /// Nothing: 403.
    Off,
    /// A page of links.
    Html,
    /// A list of names, times and sizes.
    Json,
}

/// How long browsers may keep a file (nginx: expires).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expires {
    /// Nothing is said.
    Off,
    /// It was over long ago.
    Epoch,
    /// Ten years.
    Max,
    /// It must be asked for each time.
    Never,
    /// From now on.
    After(Duration),
    /// From when it was changed.
    AfterChange(Duration),
    /// Until this time of the day, in seconds, UTC.
    DayTime(u64),
}

impl Expires {
    /// As it is written (nginx: expires).
    pub fn parse(text: &str) -> Option<Self> {
        let time = |text: &str| units::duration(text).ok();
        if let Some(after) = text.strip_prefix("modified") {
            let after = after.trim_start();
            return match after.strip_prefix('-') {
                // Before it was changed is before now.
                Some(before) => time(before).map(|_| Self::Never),
                None => time(after.strip_prefix('+').unwrap_or(after)).map(Self::AfterChange),
            };
        }
        if let Some(time_of_day) = text.strip_prefix('@') {
            let seconds = time(time_of_day)?.as_secs();
            return (seconds < DAY_S).then_some(Self::DayTime(seconds));
        }
        match text {
            "off" => Some(Self::Off),
            "epoch" => Some(Self::Epoch),
            "max" => Some(Self::Max),
            _ => match text.strip_prefix('-') {
                Some(before) => time(before).map(|_| Self::Never),
                None => time(text.strip_prefix('+').unwrap_or(text)).map(Self::After),
            },
        }
    }
}

const DAY_S: u64 = 86_400;

/// How a route compresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compress {
    /// In order of preference.
    pub codings: Vec<Coding>,
    /// Which responses.
    pub worth: Worth,
    /// 1 to 9
    pub gzip_level: u32,
    /// 0 to 11
    pub brotli_level: u32,
    /// 1 to 19
    pub zstd_level: u32,
}
