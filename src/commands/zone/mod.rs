//! `larder zone`: the files of a zone, read where they lie, beside a running server or without one.

pub mod ls;
pub mod du;
pub mod verify;

use std::path::Path;

use super::{EXIT_FAILURE, Failure, report, stored};
use crate::cli::zone::{Where, Zone};
use crate::config;
use crate::store::disk::audit::{self, Seen};

/// Looks at the files of one zone or several, and prints what was asked for.
///
/// # Errors
/// There is no such zone, it cannot be looked at, or what was found is no good.
pub fn run(zone: &Zone) -> Result<(), Failure> {
    let zones = zones(zone.at())?;
    match zone {
        Zone::Ls(ls) => ls::run(ls, zones),
        Zone::Du(du) => du::run(du, zones),
        Zone::Verify(verify) => verify::run(verify, zones),
    }
}

/// The zones that are meant; each has a folder.
fn zones(at: &Where) -> Result<Vec<config::Zone>, Failure> {
    if let (None, Some(zone)) = (at.stored.config(), &at.zone) {
        return Err(Failure::usage(format!("say where zone `{zone}` is: `-c larder.toml`")));
    }
    let config = stored::config(&at.stored)?;
    let names: Vec<_> = config.zones.iter().map(|zone| format!("`{}`", zone.name)).collect();
    let mut zones = config.zones;
    if let Some(name) = &at.zone {
        zones.retain(|zone| zone.name == *name);
        if zones.is_empty() {
            let names = names.join(", ");
            return Err(Failure::usage(format!("no zone is called `{name}`; there are {names}")));
        }
    }
    zones.retain(|zone| !zone.folders.is_empty());
    if zones.is_empty() {
        return Err(Failure::new("what is stored rests in memory only: there are no files"));
    }
    Ok(zones)
}

/// Says which of the zone's folders cannot be looked at; whether all can.
fn are_all_there(zone: &config::Zone) -> bool {
    let missing = missing(zone);
    missing.iter().for_each(|problem| report(problem));
    missing.is_empty()
}

/// What is wrong with each of the zone's folders that cannot be looked at.
pub(super) fn missing(zone: &config::Zone) -> Vec<String> {
    let problem = |folder: &config::Folder| {
        let (name, path) = (&zone.name, folder.path.display());
        match audit::look_for_zone(&folder.path) {
            Ok(true) => None,
            Ok(false) => Some(format!("zone {name}: no server has stored anything in {path}")),
            Err(error) => Some(format!("zone {name}: {path}: {error}")),
        }
    };
    zone.folders.iter().filter_map(problem).collect()
}

/// Calls `with` for every file in the zone's folders, which are given by their numbers.
///
/// # Errors
/// Those of `with`.
fn each_file(
    zone: &config::Zone,
    with: &mut dyn FnMut(usize, Seen) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let folders = zone.folders.iter().enumerate();
    for (number, folder) in folders.filter(|(_, folder)| audit::is_of_zone(&folder.path)) {
        audit::walk(&folder.path, &zone.levels, &mut |seen| with(number, seen))?;
    }
    Ok(())
}

/// The status for what was said already.
fn done(all_is_well: bool) -> Result<(), Failure> {
    if all_is_well { Ok(()) } else { Err(Failure { status: EXIT_FAILURE, problem: None }) }
}

/// Bytes of clients and origins as a terminal can show them, on one line.
fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

/// A path for a document, which holds text only.
fn text_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_terminal_should_get_is_shown_as_what_it_is() {
        assert_eq!(
            shown(b"http://a/'x'?q=\"1\"\x1b[2J\n\0\xff"),
            "http://a/'x'?q=\"1\"\\x1b[2J\\x0a\\x00\\xff"
        );
    }
}
