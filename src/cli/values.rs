//! Arguments as values.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use http::uri::Authority;

use crate::config::{self, AdminAddress, units};

/// In a type of its own, since clap takes an `Option` for an argument that may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AdminChoice(pub(super) Option<AdminAddress>);

pub(super) fn time(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(|problem| problem.reason)
}

pub(super) fn origin(text: &str) -> Result<Uri, String> {
    let example = "expected an origin such as `http://127.0.0.1:3000`";
    let uri: Uri = text.parse().map_err(|error| format!("{error}; {example}"))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err(example.to_owned()),
    }
    let plain = |authority: &Authority| {
        let port_is_good = authority.port_u16().is_some() || authority.as_str() == authority.host();
        !authority.host().is_empty() && !authority.as_str().contains('@') && port_is_good
    };
    if !uri.authority().is_some_and(plain) || uri.query().is_some() {
        return Err(example.to_owned());
    }
    Ok(uri)
}

/// `Name: value`, as curl takes it.
pub(super) fn field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("expected `Name: value`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

pub(super) fn admin_or_none(text: &str) -> Result<AdminChoice, String> {
    Ok(AdminChoice(if text == "none" { None } else { Some(admin(text)?) }))
}

pub(super) fn admin(text: &str) -> Result<AdminAddress, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return match path {
            "" => Err("no path after `unix:`".to_owned()),
            path => Ok(AdminAddress::Unix(PathBuf::from(path))),
        };
    }
    let example = "expected an address such as `127.0.0.1:9145` or `unix:/run/larder.sock`";
    let address: SocketAddr = text.parse().map_err(|_| example.to_owned())?;
    if !address.ip().to_canonical().is_loopback() {
        return Err("only a loopback address may be used".to_owned());
    }
    Ok(AdminAddress::Tcp(address))
}

/// Where the operator's listener is if nothing says where.
pub(super) fn default_admin() -> AdminAddress {
    AdminAddress::Tcp(config::ADMIN_DEFAULT)
}
