//! `/v1/upstreams`: how the peers do, and taking them out and back by hand.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::admin::peers::Upstream;
use crate::upstream;

/// The answer: all upstreams, or the one that was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstreams {
    /// By name.
    pub upstreams: BTreeMap<String, Upstream>,
}

/// The document of a `POST`: what is wanted of a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The name of the upstream; one that a route names by its address has that as its name.
    pub upstream: String,
    /// The address of the peer as configured, with its port; absent: all peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// What it is to be.
    pub state: State,
}

/// What a peer is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It gets requests, whatever it did before.
    Up,
    /// It gets no new requests.
    Drain,
    /// It gets none at all.
    Down,
}

impl Change {
    /// # Errors
    /// The text is no such document, and what one looks like.
    pub(super) fn read(text: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(text).map_err(|error| {
            let expected = r#"{"upstream": "NAME", "peer": "host:port", "state": "drain"}"#;
            format!("expected `{expected}`: {error}")
        })
    }
}

impl From<State> for upstream::State {
    fn from(state: State) -> Self {
        match state {
            State::Up => Self::Up,
            State::Drain => Self::Drain,
            State::Down => Self::Down,
        }
    }
}
