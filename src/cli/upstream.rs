//! `larder upstream`: what is asked about servers, and what is done with them by hand.

use clap::{Args, Subcommand};

use super::ADMIN_DEFAULT;
use super::examples::{UPSTREAM_EXAMPLES, UPSTREAM_LS_EXAMPLES};
use super::values::admin;
use crate::config::AdminAddress;

/// What to do with the servers of an upstream.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// List the servers, and how they do
    #[command(after_help = UPSTREAM_LS_EXAMPLES)]
    Ls(Ls),
    /// Send a server no new requests; those under way are finished
    #[command(after_help = UPSTREAM_EXAMPLES)]
    Drain(Change),
    /// Send a server requests again, whatever it did before
    #[command(after_help = UPSTREAM_EXAMPLES)]
    Up(Change),
    /// Send a server no requests at all
    #[command(after_help = UPSTREAM_EXAMPLES)]
    Down(Change),
}

/// Which servers to list.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Ls {
    /// Of one upstream [default: all]
    pub name: Option<String>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "would be shown as help")]
    pub ask: Ask,
}

/// Which servers to change.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// An upstream, or one server of it: `NAME` or `NAME/HOST:PORT`
    #[arg(value_name = "NAME[/SERVER]", value_parser = which)]
    pub which: Which,
    #[command(flatten)]
    #[expect(missing_docs, reason = "would be shown as help")]
    pub ask: Ask,
}

/// Whom to ask, and how to print the answer.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The server's operator listener: a loopback address or `unix:PATH`
    #[arg(long, value_name = "ADDR", default_value = ADMIN_DEFAULT, value_parser = admin)]
    pub admin: AdminAddress,
    /// Print the JSON document of `/v1/upstreams` instead of a table
    #[arg(long)]
    pub json: bool,
}

/// One upstream, or one server of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Which {
    /// The upstream.
    pub upstream: String,
    /// The server; `None` is all of them.
    pub peer: Option<String>,
}

/// A name has no slash, unless it is that of a socket, which is an upstream of its own.
fn which(text: &str) -> Result<Which, String> {
    let parts = if text.starts_with("unix:") { None } else { text.split_once('/') };
    let (upstream, peer) = parts.map_or((text, None), |(name, peer)| (name, Some(peer)));
    if upstream.is_empty() || peer == Some("") {
        return Err("expected `NAME` or `NAME/HOST:PORT`".to_owned());
    }
    Ok(Which { upstream: upstream.to_owned(), peer: peer.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn a_server_is_named_behind_its_upstream() {
        check("backend",                   Some(("backend", None)));
        check("backend/10.0.0.1:80",       Some(("backend", Some("10.0.0.1:80"))));
        check("backend/unix:/run/a.sock",  Some(("backend", Some("unix:/run/a.sock"))));
        check("127.0.0.1:3000",            Some(("127.0.0.1:3000", None)));
        check("unix:/run/a.sock",          Some(("unix:/run/a.sock", None)));
        check("",                          None);
        check("backend/",                  None);
        check("/10.0.0.1:80",              None);
    }

    #[track_caller]
    fn check(text: &str, expected: Option<(&str, Option<&str>)>) {
        let found = which(text).ok();
        let parts = found.as_ref().map(|which| (which.upstream.as_str(), which.peer.as_deref()));
        assert_eq!(parts, expected, "{text}");
    }
}
