//! Whether a connection may be used for a site: over TLS a client says which site it wants before it
//! sends a request, and what it had to show depends on that. (RFC 9110 section 7.4)

use std::sync::Arc;

use super::error::{Error, NO_CERTIFICATE};
use super::hosts::Hosts;
use super::route::Site;
use crate::client::{Connection, Verified};

/// Checks a request for `site` that came over this connection.
///
/// # Errors
/// 421 where one of the two sites is isolated and they are not the same; 400 where the site wants a
/// certificate that the client has not shown, or the client speaks no TLS where it should.
pub(super) fn check(hosts: &Hosts, site: &Arc<Site>, connection: &Connection) -> Result<(), Error> {
    if connection.misplaced {
        return Err(Error::Misplaced);
    }
    if !hosts.isolates {
        return Ok(());
    }
    let tls = connection.tls.as_ref().ok_or(Error::Misdirected)?;
    let wanted = hosts.find(tls.server_name.as_deref().unwrap_or(""));
    let is_same = wanted.is_some_and(|wanted| Arc::ptr_eq(wanted, site));
    if !is_same && (site.isolated || wanted.is_some_and(|wanted| wanted.isolated)) {
        return Err(Error::Misdirected);
    }
    let shown = &tls.certificate;
    if !site.isolated || !(shown.refused || site.verifies && shown.verified != Verified::Success) {
        return Ok(());
    }
    // In nginx's words.
    Err(Error::Certificate(match shown.verified {
        Verified::None => NO_CERTIFICATE,
        _ => "The SSL certificate error",
    }))
}
