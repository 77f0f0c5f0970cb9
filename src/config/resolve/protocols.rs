//! HTTP/2 and upgrades: what the keys mean.

use http::{HeaderName, header};

use super::{Report, bytes, duration, flag, number};
use crate::config::Http2;
use crate::config::fault::Problem;
use crate::config::file::{self, FieldName, Http2Table, Settings};
use crate::config::read::{At, List, Pairs};
use crate::config::template::{Part, Template, Variable};

/// What clients may do over HTTP/2; `None` where they may not speak it.
pub(super) fn http2(written: Option<&At<file::Http2>>, report: &mut Report) -> Option<Http2> {
    let table = match written.map(|at| &at.value) {
        Some(file::Http2::Switch(false)) => return None,
        Some(file::Http2::Limits(table)) => table.clone(),
        Some(file::Http2::Switch(true)) | None => Http2Table::default(),
    };
    // RFC 9113 section 6.9.2: a window below 65,535 bytes costs uploads a round trip each; one of
    // a connection cannot be smaller.
    let connection_window =
        bytes(table.connection_window.as_ref(), "1m", 65_535..=WINDOW_MAX, report);
    let window = bytes(table.window.as_ref(), "64k", 1..=WINDOW_MAX, report);
    Some(Http2 {
        streams: number(table.streams.as_ref(), 128, 1..=STREAMS_MAX, report),
        window_bytes: u32::try_from(window).unwrap_or(u32::MAX),
        connection_window_bytes: u32::try_from(connection_window).unwrap_or(u32::MAX),
        control_frames: number(table.control_frames.as_ref(), 1000, 100..=u32::MAX, report),
        ping: duration(table.ping.as_ref(), "60s"),
    })
}

/// Whether the requests of a route may become tunnels. nginx's `proxy_set_header Upgrade
/// $http_upgrade` says so too.
pub(super) fn upgrade(settings: &Settings, report: &mut Report) -> bool {
    let pairs = settings.set_header.iter().flat_map(|pairs| &pairs.value.0);
    let mut asked = false;
    let upgrades = pairs.filter(|(name, _)| name.value.name == header::UPGRADE);
    for template in upgrades.flat_map(|(_, values)| &values.value.items) {
        let parts = template.value.parts.as_slice();
        asked = !parts.is_empty();
        let is_usual =
            matches!(parts, [Part::Variable(Variable::Http(name))] if *name == "upgrade");
        if asked && !is_usual {
            let problem = Problem::new("`Upgrade` can be nothing but `$http_upgrade` here");
            report.error(template.span, problem.help("or leave it out, and set `upgrade = true`"));
        }
    }
    flag(settings.upgrade.as_ref(), asked)
}

/// Whether what a route sets of this field is done by `upgrade` instead.
pub(super) fn is_done_by_upgrade(
    name: &HeaderName,
    pairs: Option<&At<Pairs<FieldName, List<Template>>>>,
) -> bool {
    let sets_upgrade = || {
        let mut names =
            pairs.iter().flat_map(|pairs| &pairs.value.0).map(|(name, _)| &name.value.name);
        names.any(|name| name == header::UPGRADE)
    };
    name == header::UPGRADE || (name == header::CONNECTION && sets_upgrade())
}

/// The largest there is (RFC 9113 section 6.9.1).
const WINDOW_MAX: usize = (1 << 31) - 1;
/// Far above what a client has use for.
const STREAMS_MAX: u32 = 65_536;
