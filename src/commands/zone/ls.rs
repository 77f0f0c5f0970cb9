//! `larder zone ls`: the responses on disk.

use std::cmp::Reverse;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::{are_all_there, done, each_file, shown, text_of};
use crate::cache::offline::{Offline, Standing};
use crate::cli::zone::{Ls, Sort};
use crate::clock::Clock;
use crate::commands::amounts::{bytes, count, duration};
use crate::commands::{Failure, note};
use crate::config;
use crate::semantics::date::Timestamp;
use crate::semantics::key::KeyHash;
use crate::semantics::stored::Stored;
use crate::store::disk::audit::{self, Seen, What};
use crate::store::disk::format::{Found, VERSION};
use crate::store::disk::head::Meaning;

/// Lists what is in the zones.
///
/// # Errors
/// A folder cannot be looked at, or there is too much to be sorted.
pub fn run(arguments: &Ls, zones: Vec<config::Zone>) -> Result<(), Failure> {
    let mut out = BufWriter::new(anstream::stdout());
    let (several, mut all_is_well) = (zones.len() > 1, true);
    for zone in zones {
        if several && !arguments.json {
            writeln!(out, "{}:", zone.name)?;
        }
        let mut listing = Listing {
            arguments,
            offline: Offline::open(zone, Clock::Real),
            rows: Vec::new(),
            rows_bytes: 0,
            printed: 0,
            left_out: LeftOut::default(),
            out: &mut out,
        };
        let is_whole = listing.run()?;
        let (printed, left_out) = (listing.printed, listing.left_out);
        out.flush()?;
        // What was left out says enough.
        if is_whole && printed == 0 && left_out == LeftOut::default() {
            note(&nothing(arguments.prefix.as_deref()));
        }
        left_out.tell();
        all_is_well &= is_whole;
    }
    done(all_is_well)
}

/// One zone's.
struct Listing<'a> {
    arguments: &'a Ls,
    offline: Offline,
    rows: Vec<Row>,
    rows_bytes: usize,
    printed: u64,
    left_out: LeftOut,
    out: &'a mut dyn Write,
}

/// How much was not listed, by why.
#[derive(Default, PartialEq, Eq)]
struct LeftOut {
    purged: u64,
    lost: u64,
    unreadable: u64,
}

/// One response.
#[derive(Serialize)]
struct Row {
    zone: String,
    key: String,
    hash: String,
    variant_of: Option<String>,
    status: u16,
    body_bytes: u64,
    age_s: u64,
    /// Below zero when it is stale.
    ttl_s: i64,
    state: &'static str,
    /// Why no request finds it.
    why: Option<&'static str>,
    file: String,
    content_type: Option<String>,
    etag: Option<String>,
    tags: usize,
    generation: u64,
    format: u16,
}

impl Listing<'_> {
    /// Whether all folders could be looked at.
    fn run(&mut self) -> Result<bool, Failure> {
        let zone = self.offline.zone().clone();
        let all = are_all_there(&zone);
        each_file(&zone, &mut |folder, seen| self.file(folder, seen))?;
        let mut rows = std::mem::take(&mut self.rows);
        match self.arguments.sort {
            Sort::Key => {
                rows.sort_by(|one, other| (&one.key, &one.hash).cmp(&(&other.key, &other.hash)))
            }
            Sort::Size => rows.sort_by_key(|row| Reverse(row.body_bytes)),
            Sort::Age => rows.sort_by_key(|row| row.age_s),
            Sort::None => {}
        }
        for row in rows {
            self.print(&row)?;
        }
        Ok(all)
    }

    fn file(&mut self, folder: usize, seen: Seen) -> Result<(), Failure> {
        let What::Entry(hash) = seen.what else {
            self.left_out.unreadable += u64::from(matches!(seen.what, What::Unreadable(_)));
            return Ok(());
        };
        let (found, layout) = match audit::head(&seen.path, hash) {
            Ok(found) => found,
            Err(problem) => {
                self.left_out.unreadable += u64::from(!problem.is_missing());
                return Ok(());
            }
        };
        let prefix = self.arguments.prefix.as_deref().unwrap_or_default();
        if !found.head.key.starts_with(prefix.as_bytes()) {
            return Ok(());
        }
        let standing = self.offline.standing(folder, hash, &found);
        let is_left_out = match standing {
            Standing::List => return Ok(()),
            Standing::Found(_) => false,
            Standing::Purged => {
                self.left_out.purged += 1;
                true
            }
            Standing::Lost(_) => {
                self.left_out.lost += 1;
                true
            }
        };
        if is_left_out && !self.arguments.all {
            return Ok(());
        }
        let zone = self.offline.zone().name.clone();
        let Some(row) = row(zone, seen.path, hash, (&found, layout.body_bytes), standing) else {
            return Ok(());
        };
        if self.arguments.sort == Sort::None {
            return self.print(&row);
        }
        self.rows_bytes += row.memory_bytes();
        self.rows.push(row);
        if self.rows_bytes > ROWS_BYTES_MAX {
            return Err(Failure::new(format!(
                "more than {} responses are too many to sort; `--sort none` lists them as they are \
                 found, `--prefix` lists some",
                self.rows.len()
            )));
        }
        Ok(())
    }

    fn print(&mut self, row: &Row) -> Result<(), Failure> {
        self.printed += 1;
        if self.arguments.json {
            serde_json::to_writer(&mut *self.out, row).map_err(std::io::Error::from)?;
            return Ok(self.out.write_all(b"\n")?);
        }
        if self.printed == 1 {
            writeln!(self.out, "STATUS        SIZE          AGE  STATE              KEY")?;
        }
        let Row { status, key, .. } = row;
        let (size, age, state) = (bytes(row.body_bytes), duration(row.age_s), row.state_text());
        write!(self.out, "{status:>6}  {size:>10}  {age:>11}  {state:<17}  {key}")?;
        match &row.variant_of {
            Some(_) => writeln!(self.out, "  (variant {})", &row.hash[..8])?,
            None => writeln!(self.out)?,
        }
        if self.arguments.long {
            let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            writeln!(
                self.out,
                "        {}\n        type {}  etag {}  {}  generation {}  format {}",
                row.file,
                or_none(&row.content_type),
                or_none(&row.etag),
                count(row.tags as u64, "tag", "tags"),
                row.generation,
                row.format,
            )?;
        }
        Ok(())
    }
}

/// Why the list is empty.
fn nothing(prefix: Option<&str>) -> String {
    match prefix {
        None => "nothing is listed".to_owned(),
        Some(prefix) => format!(
            "nothing is listed below `{prefix}`: it is compared with keys, which have no port \
             unless `key` says so"
        ),
    }
}

impl LeftOut {
    fn tell(&self) {
        let Self { purged, lost, unreadable } = *self;
        if purged > 0 {
            note(&format!(
                "{} purged and wait to be removed: --all",
                count(purged, "response was", "responses were")
            ));
        }
        if lost > 0 {
            note(&format!(
                "{} found by no request any more: --all",
                count(lost, "response is", "responses are")
            ));
        }
        if unreadable > 0 {
            note(&format!(
                "{} not be read: larder zone verify",
                count(unreadable, "file could", "files could")
            ));
        }
    }
}

/// `None` for what is no response.
fn row(
    zone: String,
    path: PathBuf,
    hash: KeyHash,
    (found, body_bytes): (&Found, u64),
    standing: Standing,
) -> Option<Row> {
    let Meaning::Response(as_written) = &found.head.meaning else { return None };
    let (state, why, stored): (_, _, &Stored) = match &standing {
        Standing::Found(stored) => ("found", None, stored),
        Standing::Purged => ("purged", None, as_written),
        Standing::Lost(why) => ("lost", Some(*why), as_written),
        Standing::List => return None,
    };
    let now = Timestamp::from(Clock::Real.now());
    let primary = KeyHash::of(&found.head.key);
    let field = |value: Option<&http::HeaderValue>| value.map(|value| shown(value.as_bytes()));
    let (fresh_for, stale_for) = (stored.fresh_for(now), stored.stale_for(now));
    let is_fresh = !fresh_for.is_zero();
    Some(Row {
        zone,
        key: shown(&found.head.key),
        hash: hash.to_string(),
        variant_of: (hash != primary).then(|| primary.to_string()),
        status: stored.status.as_u16(),
        body_bytes,
        age_s: stored.age(now).as_secs(),
        ttl_s: fresh_for.as_secs() as i64 - stale_for.as_secs() as i64,
        state: match state {
            "found" if stored.no_cache => "no-cache",
            "found" if is_fresh => "fresh",
            "found" => "stale",
            other => other,
        },
        why,
        file: text_of(&path),
        content_type: field(stored.fields.get(http::header::CONTENT_TYPE)),
        etag: field(stored.etag()),
        tags: stored.tags.len(),
        generation: stored.generation,
        format: VERSION,
    })
}

impl Row {
    fn state_text(&self) -> String {
        match self.state {
            state @ ("fresh" | "stale") => {
                format!("{state} {}", duration(self.ttl_s.unsigned_abs()))
            }
            state => state.to_owned(),
        }
    }

    /// What it takes, roughly.
    fn memory_bytes(&self) -> usize {
        let texts = [&self.zone, &self.key, &self.hash, &self.file].map(String::len);
        let fields = [&self.variant_of, &self.content_type, &self.etag];
        let fields = fields.map(|field| field.as_ref().map_or(0, String::len));
        size_of::<Self>() + texts.iter().chain(&fields).sum::<usize>()
    }
}

/// About half a million responses.
const ROWS_BYTES_MAX: usize = 256 << 20;
