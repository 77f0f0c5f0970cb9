//! What is stored for a request, as the document that the operator gets.

use http::HeaderName;
use http::header::SET_COOKIE;

use super::explain;
use crate::admin::inspect::{Inspection, List, Parts, Place, Response, StoredFile};
use crate::cache::inspect::{Place as Facts, Response as Found};
use crate::cache::log::{self, Verdict};
use crate::proxy::explain::At;
use crate::proxy::inspect::Inspection as All;
use crate::semantics::date::{Timestamp, http_date};
use crate::store::disk::format::OtherSlot;
use crate::store::disk::resting::{Resting, State};

/// The document.
pub(super) fn document(all: &All) -> Inspection {
    let asked = all.asked;
    let list = all.inspected.list.as_ref().map(|(variants, at)| List {
        by: variants.names.iter().map(ToString::to_string).collect(),
        variants: variants.hashes.len(),
        in_memory: at.in_memory,
        file: at.on_disk.as_ref().map(file),
    });
    Inspection {
        zone: all.zone.clone(),
        key: all.key.clone(),
        hash: all.hash.to_string(),
        list,
        selected: place(&all.inspected.selected, asked),
        others: all.inspected.others.iter().map(|facts| place(facts, asked)).collect(),
    }
}

fn place(facts: &Facts, asked: Timestamp) -> Place {
    let response = facts.response.as_ref().map(|found| response(found, facts.in_memory, asked));
    let state = match (&facts.response, &response) {
        (Some(found), _) if found.verdict == Verdict::Gone => "purged",
        (_, Some(response)) if response.stored.ttl_s > 0 => "fresh",
        (_, Some(_)) => "stale",
        (_, None) => "absent",
    };
    Place {
        hash: facts.at.to_string(),
        state: state.to_owned(),
        in_memory: facts.in_memory,
        response,
        file: facts.on_disk.as_ref().map(file),
    }
}

fn response(found: &Found, in_memory: bool, asked: Timestamp) -> Response {
    let (stored, soft_purged) = match found.verdict {
        Verdict::Stale(since) => {
            (log::ended(&found.stored, since).into(), Some(http_date(since).to_string()))
        }
        Verdict::Valid | Verdict::Gone => (found.stored.clone(), None),
    };
    let fields = stored.fields.iter().map(|(name, value)| {
        let shown = if HIDDEN.contains(name) {
            format!("({} bytes, not shown)", value.len())
        } else {
            value.as_bytes().iter().map(shown).collect()
        };
        (name.to_string(), shown)
    });
    Response {
        soft_purged,
        fields: fields.collect(),
        tags: stored.tags.iter().map(|tag| format!("{tag:016x}")).collect(),
        generation: stored.generation,
        part: stored.part.as_ref().map(|part| (part.first, part.total)),
        stored: explain::stored(&At { stored, in_memory, body_bytes: found.body_bytes }, asked),
    }
}

/// A byte of a field's value, which need not be text.
fn shown(byte: &u8) -> String {
    match byte {
        b' '..=b'~' => char::from(*byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    }
}

fn file(resting: &Resting) -> StoredFile {
    let (state, problem) = match &resting.state {
        State::Absent => ("absent", None),
        State::Waiting => ("waiting", None),
        State::Head(_) | State::Read(_) => ("ok", None),
        State::Damaged(part) => ("damaged", Some(part.clone())),
        State::OtherVersion => ("other version", None),
        State::Unreadable(error) => ("unreadable", Some(error.clone())),
    };
    let examined = match &resting.state {
        State::Read(examined) => Some(examined),
        _ => None,
    };
    let parts = resting.state.head().map(|(found, layout)| Parts {
        file_bytes: layout.file_bytes(),
        body_bytes: layout.body_bytes,
        slot: if found.in_b { "B" } else { "A" }.to_owned(),
        sequence: found.slot.sequence,
        other_slot: examined.map(|examined| {
            match examined.other_slot {
                OtherSlot::Empty => "empty",
                OtherSlot::Older => "older",
                OtherSlot::Torn => "torn",
            }
            .to_owned()
        }),
        chunks: layout.chunks(),
        chunks_ok: examined.map(|examined| examined.chunks_ok),
        verified: examined.is_some_and(|examined| examined.body_ok),
    });
    StoredFile {
        path: resting.path.display().to_string(),
        folder: resting.folder.display().to_string(),
        state: state.to_owned(),
        problem,
        parts,
    }
}

/// Fields whose values let whoever has them act for a client.
const HIDDEN: [HeaderName; 4] = [
    SET_COOKIE,
    HeaderName::from_static("set-cookie2"),
    HeaderName::from_static("authentication-info"),
    HeaderName::from_static("proxy-authentication-info"),
];
