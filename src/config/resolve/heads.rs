//! What the heads of messages look like that go out.

use super::{Report, flag};
use crate::config::fault::Problem;
use crate::config::file::{DateFrom, HeaderCase, Settings};
use crate::config::heads::Heads;
use crate::spelling::Spelling;

pub(super) fn heads(settings: &Settings, report: &mut Report) -> Heads {
    let preserves =
        settings.header_case.as_ref().is_some_and(|case| case.value == HeaderCase::Preserve);
    let server = settings.server_header.as_ref().and_then(|at| {
        if at.value.as_bytes().is_empty() {
            return None;
        }
        if at.value.to_str().is_err() {
            let problem = Problem::new("cannot be the value of `Server`");
            report.error(at.span, problem.help("letters of ASCII only"));
        }
        Some(at.value.clone())
    });
    Heads {
        spelling: preserves.then(|| spelling(settings)),
        cache_status: flag(settings.cache_status.as_ref(), true),
        via: flag(settings.via.as_ref(), true),
        server,
        date_now: settings.date.as_ref().is_some_and(|date| date.value == DateFrom::Now),
    }
}

/// How the operator spells names.
fn spelling(settings: &Settings) -> Spelling {
    let set = settings.set_header.iter().flat_map(|pairs| &pairs.value.0).map(|(name, _)| name);
    let added = settings.add_header.iter().flat_map(|pairs| &pairs.value.0).map(|(name, _)| name);
    let names = set.chain(added).map(|name| &name.value);
    let told = settings.status_header.as_ref().and_then(|at| at.value.0.as_ref());
    Spelling::of(names.chain(told).map(|name| name.spelled.as_bytes())).unwrap_or_default()
}
