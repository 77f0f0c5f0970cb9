//! Access logs, checked: where lines go and what they look like. (nginx: access_log, log_format)

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::template::Template;

/// Where and how much is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A level or a filter of the event log, for example `info`.
    pub level: String,
    /// Where the event log goes; `None` is standard error (nginx: error_log).
    pub error: Option<PathBuf>,
    /// The access logs, the one for all first where there is one.
    pub access: Vec<AccessLog>,
    /// The number of the access log that routes have which say nothing else.
    pub access_for_all: Option<usize>,
}

impl Log {
    /// An event log alone.
    pub fn of_events(level: &str, error: Option<PathBuf>) -> Self {
        Self { level: level.to_owned(), error, access: Vec::new(), access_for_all: None }
    }
}

/// An access log (nginx: access_log).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// What routes call it; empty for the one that routes have which say nothing else.
    pub name: String,
    /// Where the lines go; `None` is standard output.
    pub path: Option<PathBuf>,
    /// What a line looks like.
    pub format: AccessFormat,
    /// Bytes that one worker holds back before it hands them to the writer.
    pub buffer_bytes: usize,
    /// Lines are written no later than this after they were made.
    pub flush: Duration,
}

impl AccessLog {
    /// Whether lines of both are written in the same way to the same place.
    pub fn is_written_as(&self, other: &Self) -> bool {
        (&self.path, self.buffer_bytes, self.flush)
            == (&other.path, other.buffer_bytes, other.flush)
    }
}

/// What access log lines look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    /// nginx's `combined`, byte for byte.
    Combined,
    /// `combined`, then cache status, request time, upstream time and reason.
    Cache,
    /// The operator's own (nginx: log_format).
    Own(Arc<OwnFormat>),
}

/// A text for each line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnFormat {
    /// The text.
    pub text: Template,
    /// How the values in it are written.
    pub escape: Escape,
}

/// How values of variables are written, so that none is taken for something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Escape {
    /// `"`, `\`, control characters and all that is not ASCII as `\xHH`; `-` for what is not there.
    #[default]
    Default,
    /// As in a string of JSON; nothing for what is not there.
    Json,
    /// As they are; nothing for what is not there.
    None,
}

/// An access log that a route has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTo {
    /// Its number.
    pub number: usize,
    /// Only where this is neither empty nor `0` (nginx: if).
    pub when: Option<Template>,
}
