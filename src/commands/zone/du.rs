//! `larder zone du`: what takes the room on disk.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};

use serde::Serialize;

use super::{are_all_there, done, each_file, shown, text_of};
use crate::cache::offline::{Offline, Standing};
use crate::cli::zone::Du;
use crate::clock::Clock;
use crate::commands::Failure;
use crate::commands::amounts::bytes;
use crate::config;
use crate::store::disk::audit::{self, Seen, What};

/// Sums up the zones' files and prints the sums.
///
/// # Errors
/// A folder cannot be looked at.
pub fn run(arguments: &Du, zones: Vec<config::Zone>) -> Result<(), Failure> {
    let (mut all_is_well, mut documents) = (true, Vec::new());
    for zone in zones {
        let mut sums = Sums::new(zone, arguments.depth);
        let zone = sums.offline.zone().clone();
        all_is_well &= are_all_there(&zone);
        each_file(&zone, &mut |folder, seen| {
            sums.add(folder, seen);
            Ok(())
        })?;
        documents.push(sums.document(arguments.top));
    }
    let mut out = BufWriter::new(anstream::stdout());
    if arguments.json {
        serde_json::to_writer(&mut out, &documents).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        documents.iter().try_for_each(|document| print(&mut out, document))?;
    }
    out.flush()?;
    done(all_is_well)
}

/// Files and what they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Sum {
    files: u64,
    disk_bytes: u64,
}

/// One zone's, as it is printed.
#[derive(Debug, Serialize)]
struct Document {
    zone: String,
    #[serde(flatten)]
    total: Sum,
    /// Part of the entries below.
    purged: Sum,
    /// What begins with each, the largest first.
    entries: Vec<Named>,
    /// Beginnings that are not among them.
    more: u64,
    /// What is no entry, by what it is.
    others: Vec<Named>,
    folders: Vec<Named>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Named {
    name: String,
    #[serde(flatten)]
    sum: Sum,
}

struct Sums {
    offline: Offline,
    depth: usize,
    folders: Vec<Sum>,
    groups: BTreeMap<Box<[u8]>, Sum>,
    /// Groups that there was no more room for.
    not_grouped: Sum,
    purged: Sum,
    others: BTreeMap<&'static str, Sum>,
}

impl Sum {
    fn add(&mut self, disk_bytes: u64) {
        self.files += 1;
        self.disk_bytes += disk_bytes;
    }
}

impl Sums {
    fn new(zone: config::Zone, depth: usize) -> Self {
        let folders = vec![Sum::default(); zone.folders.len()];
        let offline = Offline::open(zone, Clock::Real);
        let (groups, others) = (BTreeMap::new(), BTreeMap::new());
        let (not_grouped, purged) = (Sum::default(), Sum::default());
        Self { offline, depth, folders, groups, not_grouped, purged, others }
    }

    fn add(&mut self, folder: usize, seen: Seen) {
        self.folders[folder].add(seen.disk_bytes);
        let other = match seen.what {
            What::Entry(hash) => match audit::head(&seen.path, hash) {
                Ok((found, _)) => {
                    if self.offline.standing(folder, hash, &found) == Standing::Purged {
                        self.purged.add(seen.disk_bytes);
                    }
                    return self.group(&found.head.key, seen.disk_bytes);
                }
                Err(_) => "cannot be read",
            },
            What::Unreadable(_) => "cannot be read",
            What::Misplaced(_) => "in the wrong place",
            What::Temporary => "being written, or left over",
            What::Quarantined => "put aside as damaged",
            What::Own => "of the zone itself",
            What::Unknown => "unknown",
        };
        self.others.entry(other).or_default().add(seen.disk_bytes);
    }

    fn group(&mut self, key: &[u8], disk_bytes: u64) {
        let has_room = self.groups.len() < GROUPS_MAX;
        for (number, group) in groups(key, self.depth).enumerate() {
            if let Some(sum) = self.groups.get_mut(group) {
                sum.add(disk_bytes);
            } else if has_room {
                self.groups.insert(group.into(), Sum { files: 1, disk_bytes });
            } else if number == 0 {
                self.not_grouped.add(disk_bytes);
            }
        }
    }

    fn document(self, top: Option<usize>) -> Document {
        let zone = self.offline.zone();
        let named = |name: &str, sum: Sum| Named { name: name.to_owned(), sum };
        let mut entries: Vec<_> =
            self.groups.iter().map(|(name, sum)| named(&shown(name), *sum)).collect();
        // Those before others that begin like them, where they take the same.
        entries.sort_by_key(|named| Reverse(named.sum.disk_bytes));
        let more = entries.len().saturating_sub(top.unwrap_or(usize::MAX)) as u64;
        entries.truncate(top.unwrap_or(usize::MAX));
        let total = self.folders.iter().fold(Sum::default(), |total, folder| Sum {
            files: total.files + folder.files,
            disk_bytes: total.disk_bytes + folder.disk_bytes,
        });
        let folders = zone.folders.iter().zip(&self.folders);
        let not_grouped = (self.not_grouped.files > 0).then_some(("and others", self.not_grouped));
        let others = self.others.into_iter().chain(not_grouped);
        Document {
            zone: zone.name.clone(),
            total,
            purged: self.purged,
            entries,
            more,
            others: others.map(|(name, sum)| named(name, sum)).collect(),
            folders: folders.map(|(f, sum)| named(&text_of(&f.path), *sum)).collect(),
        }
    }
}

/// The beginnings of a key that it counts for: its host, then one part of the path more each, as
/// deep as that; all of it where it is no URL.
fn groups(key: &[u8], depth: usize) -> impl Iterator<Item = &[u8]> {
    let path = key.split(|byte| b"?\0".contains(byte)).next().unwrap_or(key);
    let host = memchr::memmem::find(path, b"://").map_or(0, |at| at + 3);
    let ends = memchr::memchr_iter(b'/', &path[host..]).map(move |at| host + at + 1);
    let whole = (!path[host..].contains(&b'/')).then_some(path.len());
    ends.chain(whole).take(depth).map(|end| &key[..end])
}

fn print(out: &mut dyn Write, document: &Document) -> std::io::Result<()> {
    let mut line = |name: &str, sum: Sum| {
        writeln!(out, "{:>10}  {:>9}  {name}", bytes(sum.disk_bytes), sum.files)
    };
    for Named { name, sum } in &document.entries {
        line(name, *sum)?;
    }
    for Named { name, sum } in &document.others {
        line(&format!("({name})"), *sum)?;
    }
    if document.folders.len() > 1 {
        for Named { name, sum } in &document.folders {
            line(name, *sum)?;
        }
    }
    line(&format!("zone {}", document.zone), document.total)?;
    if document.purged.files > 0 {
        line("of that purged and not removed yet", document.purged)?;
    }
    if document.more > 0 {
        writeln!(out, "and {} smaller", document.more)?;
    }
    Ok(())
}

/// Beginnings of keys that are told apart: about 20 MiB.
const GROUPS_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[rustfmt::skip]
    #[test]
    fn a_key_counts_for_its_host_and_the_folders_of_its_path() {
        //    key                    depth expected
        check("http://a/x/y/z?q=/r", 1,    "http://a/");
        check("http://a/x/y/z?q=/r", 3,    "http://a/ http://a/x/ http://a/x/y/");
        check("http://a/x/y/z?q=/r", 9,    "http://a/ http://a/x/ http://a/x/y/");
        check("http://a/x",          2,    "http://a/");
        check("http://a",            2,    "http://a");
        check("a.example/x/y",       2,    "a.example/ a.example/x/");
        check("/x\0bytes=0-9 1/2",   2,    "/");
        check("plain",               2,    "plain");
        check("",                    2,    "");
        check("http://a/x",          0,    "");
    }

    #[track_caller]
    fn check(key: &str, depth: usize, expected: &str) {
        let found: Vec<_> = groups(key.as_bytes(), depth).map(shown).collect();
        assert_eq!(found.join(" "), expected, "{key} {depth}");
    }
}
