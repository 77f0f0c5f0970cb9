//! `larder inspect`: what a running server has stored for a request, in memory and on disk.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use crate::admin::client;
use crate::admin::explain::Question;
use crate::admin::inspect::{Inspection, Parts, Place, Response, StoredFile};
use crate::cli::Inspect;
use crate::commands::amounts::{bytes, count};
use crate::commands::explain::{describe_stored, line};
use crate::commands::{self, EXIT_FAILURE, Failure};

/// Asks the server and prints what it says.
///
/// # Errors
///
/// The server is not running, the request is none that it answers from a cache, or a file is
/// damaged.
pub fn run(arguments: &Inspect) -> Result<(), Failure> {
    let question =
        Question { url: arguments.url.clone(), method: None, headers: arguments.headers.clone() };
    question.request().map_err(Failure::new)?;
    let document = serde_json::to_vec(&question).map_err(Failure::new)?;
    let answer = commands::block_on(client::post(&arguments.admin, "/v1/inspect", document))??;
    commands::show(&answer, arguments.json, describe)?;
    let is_damaged = serde_json::from_slice(&answer.body).is_ok_and(|all| is_damaged(&all));
    if is_damaged { Err(Failure { status: EXIT_FAILURE, problem: None }) } else { Ok(()) }
}

fn is_damaged(all: &Inspection) -> bool {
    let places = std::iter::once(&all.selected).chain(&all.others);
    let files = places.filter_map(|place| place.file.as_ref());
    let list = all.list.iter().filter_map(|list| list.file.as_ref());
    files.chain(list).any(|file| file.state == "damaged")
}

fn describe(all: &Inspection) -> String {
    let mut text = String::new();
    line(&mut text, "key", &format!("{}  ({})", all.key, all.hash));
    line(&mut text, "zone", &all.zone);
    if let Some(list) = &all.list {
        let by = if list.by.is_empty() { "nothing".to_owned() } else { list.by.join(", ") };
        let variants = count(list.variants as u64, "variant", "variants");
        line(&mut text, "list", &format!("{variants}, told apart by {by}"));
        list.file.iter().for_each(|file| describe_file(&mut text, file));
        line(&mut text, "selected", &all.selected.hash);
    }
    let place = &all.selected;
    match &place.response {
        None => line(&mut text, "stored", "nothing"),
        Some(response) => describe_response(&mut text, response, &place.state),
    }
    line(&mut text, "memory", if place.in_memory { "yes" } else { "no" });
    place.file.iter().for_each(|file| describe_file(&mut text, file));
    for place in std::iter::once(place).filter(|_| all.list.is_some()).chain(&all.others) {
        let mark = if place.hash == all.selected.hash { "*" } else { " " };
        line(&mut text, "variant", &format!("{mark} {}", in_short(place)));
    }
    text
}

fn describe_response(text: &mut String, response: &Response, state: &str) {
    describe_stored(text, &response.stored);
    if state == "purged" {
        let _ = writeln!(text, "{BOLD}{:<14}{BOLD:#}{RED}purged{RED:#}, to be removed", "state");
    }
    if let Some(since) = &response.soft_purged {
        line(text, "purged", &format!("softly, stale since {since}"));
    }
    if let Some((first, total)) = response.part {
        let of = total.map_or("an unknown length".to_owned(), |total| total.to_string());
        line(text, "part", &format!("from byte {first} of {of}"));
    }
    for (name, value) in &response.fields {
        line(text, "field", &format!("{name}: {value}"));
    }
    if !response.tags.is_empty() {
        line(text, "tags", &format!("{}, hashed", response.tags.join(" ")));
    }
    line(text, "generation", &response.generation.to_string());
}

fn describe_file(text: &mut String, file: &StoredFile) {
    let style = if file.state == "ok" { GREEN } else { RED };
    let StoredFile { path, state, problem, .. } = file;
    let problem = problem.as_ref().map_or(String::new(), |problem| format!(": {problem}"));
    let _ = writeln!(text, "{BOLD}{:<14}{BOLD:#}{path}  {style}{state}{style:#}{problem}", "file");
    if state == "damaged" {
        line(text, "", "it was put aside, the next request asks the origin");
    }
    if let Some(parts) = &file.parts {
        describe_parts(text, parts);
    }
}

fn describe_parts(text: &mut String, parts: &Parts) {
    let Parts { file_bytes, body_bytes, slot, sequence, chunks, .. } = parts;
    line(text, "size", &format!("{}, {body_bytes} bytes of them body", bytes(*file_bytes)));
    let other = match parts.other_slot.as_deref() {
        None => String::new(),
        Some(other) => {
            format!(", slot {} is {other}", if slot == "A" { "B" } else { "A" })
        }
    };
    line(text, "head", &format!("slot {slot} counts, sequence {sequence}{other}"));
    if let Some(ok) = parts.chunks_ok {
        let rest = if parts.verified { "" } else { "; there was no time for the others" };
        line(text, "checksums", &format!("{ok} of {chunks} chunks ok{rest}"));
    }
}

/// One variant in one line.
fn in_short(place: &Place) -> String {
    let mut text = format!("{}  {}", place.hash, place.state);
    if let Some(response) = &place.response {
        let stored = &response.stored;
        let _ = write!(text, " {} s  {}", stored.ttl_s.abs(), stored.status);
        let _ = write!(text, "  {} bytes", stored.body_bytes);
    }
    if place.in_memory {
        text.push_str("  memory");
    }
    if let Some(file) = &place.file {
        let _ = write!(text, "  file {}", file.state);
    }
    text
}

const BOLD: Style = Style::new().bold();
const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();
