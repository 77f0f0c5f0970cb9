//! What the operator asks of the process itself, and the documents of it.

use serde::{Deserialize, Serialize};

/// What the process is asked to do. (nginx: -s)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// End; answers under way have the configured time.
    Stop,
    /// End when the last answer under way is finished.
    Quit,
    /// Open the access log anew.
    Reopen,
}

/// The configuration in use, and what became of the last reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Its number; 1 is the one that the server started with.
    pub generation: u64,
    /// How many there are that requests under way still hold, this one included.
    pub alive: usize,
    /// When it was taken over, in seconds since 1970.
    pub loaded: u64,
    /// Why the last reload was not carried out; absent when it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// A reload that was carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The number of the configuration that is in use now.
    pub generation: u64,
    /// What works, but perhaps not as meant; what waits for a restart.
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl Control {
    /// What it is called, on the command line and in its path.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Quit => "quit",
            Self::Reopen => "reopen",
        }
    }

    /// Where it is asked for.
    pub fn path(self) -> String {
        format!("{PREFIX}{}", self.name())
    }

    /// What is asked for there, if it is one of these.
    pub(super) fn at(path: &str) -> Option<Self> {
        let name = path.strip_prefix(PREFIX)?;
        [Self::Stop, Self::Quit, Self::Reopen].into_iter().find(|control| control.name() == name)
    }
}

const PREFIX: &str = "/v1/";
