//! `larder upstream`: how the servers of a running server do, and taking them out and back.

use std::fmt::Write as _;

use http::StatusCode;

use super::stats::{lines, state, style, table};
use crate::admin::client;
use crate::admin::peers::{Peer, Upstream as Group};
use crate::admin::upstreams::{Change, State, Upstreams};
use crate::cli::upstream::{self, Upstream};
use crate::commands::{self, Failure};

/// Asks the server, and prints how the servers do then.
///
/// # Errors
/// The server is not running, or there is no such upstream or server.
pub fn run(arguments: &Upstream) -> Result<(), Failure> {
    match arguments {
        Upstream::Ls(ls) => list(ls),
        Upstream::Drain(change) => set(change, State::Drain),
        Upstream::Up(change) => set(change, State::Up),
        Upstream::Down(change) => set(change, State::Down),
    }
}

fn list(ls: &upstream::Ls) -> Result<(), Failure> {
    let mut answer = commands::block_on(client::get(&ls.ask.admin, "/v1/upstreams"))??;
    if let Some(name) = ls.name.as_ref().filter(|_| answer.status == StatusCode::OK) {
        let mut all: Upstreams = serde_json::from_slice(&answer.body)
            .map_err(|error| Failure::new(format!("the answer cannot be read: {error}")))?;
        all.upstreams.retain(|other, _| other == name);
        if all.upstreams.is_empty() {
            return Err(Failure::new(format!("no upstream `{name}`")));
        }
        answer.body = serde_json::to_vec(&all).map_err(Failure::new)?;
        answer.body.push(b'\n');
    }
    commands::show(&answer, ls.ask.json, describe)
}

fn set(change: &upstream::Change, state: State) -> Result<(), Failure> {
    let upstream::Which { upstream, peer } = change.which.clone();
    let text = serde_json::to_vec(&Change { upstream, peer, state }).map_err(Failure::new)?;
    let answer = commands::block_on(client::post(&change.ask.admin, "/v1/upstreams", text))??;
    commands::show(&answer, change.ask.json, describe)
}

fn describe(document: &Upstreams) -> String {
    let header =
        ["upstream", "server", "state", "addresses", "active", "requests", "fails", "unavail"];
    let mut table = table(&header, 4);
    let mut styles = vec![anstyle::Style::new()];
    for (name, group) in &document.upstreams {
        let Group { peers, .. } = group;
        for peer in peers {
            table.add_row(row(name, peer));
            styles.push(style(peer));
        }
    }
    let mut text = String::new();
    for (line, style) in lines(&table).zip(styles) {
        let _ = writeln!(text, "{style}{line}{style:#}");
    }
    text
}

fn row(name: &str, peer: &Peer) -> [String; 8] {
    let addresses = if peer.addresses.is_empty() && peer.lookup_failures > 0 {
        "unknown".to_owned()
    } else {
        peer.addresses.join(" ")
    };
    [
        name.to_owned(),
        peer.address.clone(),
        state(peer).to_owned(),
        addresses,
        peer.active.to_string(),
        peer.requests.to_string(),
        peer.fails.to_string(),
        peer.unavail.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::peers::PeerState;
    use crate::cli::upstream::{Ask, Ls};
    use crate::config::AdminAddress;

    #[test]
    fn a_line_for_each_server() {
        let peer = |address: &str, state| Peer {
            address: address.to_owned(),
            state,
            requests: 7,
            ..Peer::default()
        };
        let named = Peer {
            addresses: vec!["10.0.0.1:80".to_owned(), "10.0.0.2:80".to_owned()],
            ..peer("app:80", PeerState::Up)
        };
        let lost = Peer { lookup_failures: 2, ..peer("gone:80", PeerState::Draining) };
        let peers = vec![named, lost, peer("unix:/run/a.sock", PeerState::Down)];
        let upstreams = [("api".to_owned(), Group { peers, ..Group::default() })].into();
        let text = describe(&Upstreams { upstreams });
        let text = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(text, TABLE, "got:\n{text}");
    }

    #[test]
    fn a_server_that_is_not_running_is_status_3() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = AdminAddress::Tcp(listener.local_addr().unwrap());
        drop(listener);
        let ls = Upstream::Ls(Ls { name: None, ask: Ask { admin, json: false } });
        assert_eq!(run(&ls).unwrap_err().status, 3);
    }

    const TABLE: &str = "\
upstream  server            state     addresses                active  requests  fails  unavail
api       app:80            up        10.0.0.1:80 10.0.0.2:80       0         7      0        0
api       gone:80           draining  unknown                       0         7      0        0
api       unix:/run/a.sock  down                                    0         7      0        0
";
}
