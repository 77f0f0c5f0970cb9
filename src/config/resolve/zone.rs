//! `[zone.NAME]`. (nginx: proxy_cache_path)

use super::{Report, flag, number, size, timeout};
use crate::config::fault::Problem;
use crate::config::file;
use crate::config::read::{At, Named};
use crate::config::{Folder, Zone};

/// The zones as they are meant.
pub(super) fn zones(named: Option<&At<Named<file::Zone>>>, report: &mut Report) -> Vec<Zone> {
    let mut zones: Vec<Zone> = Vec::new();
    for (name, table) in named.iter().flat_map(|named| &named.value.0) {
        let zone = zone(name, &table.value, report);
        check_folders(&zone, &table.value, &zones, report);
        zones.push(zone);
    }
    zones
}

fn zone(name: &At<String>, zone: &file::Zone, report: &mut Report) -> Zone {
    let folders = folders(zone, report);
    let memory_bytes = size(zone.memory.as_ref(), "64m");
    if memory_bytes == 0 && zone.path.is_none() {
        let problem = Problem::new(format!("zone `{}` has no place to store in", name.value));
        report.error(name.span, problem.help("give it a `path`, some `memory`, or both"));
    }
    if zone.path.is_none() {
        warn_of_disk_keys(zone, report);
    }
    if let Some(max) = zone.max_size.as_ref().filter(|max| max.value.0 == 0) {
        let problem = Problem::new("nothing can be stored in 0 bytes");
        report.error(max.span, problem.help("leave `path` out for memory only"));
    }
    Zone {
        name: name.value.clone(),
        folders,
        levels: zone.levels.as_ref().map_or_else(|| vec![1, 2], |at| at.value.0.clone()),
        memory_bytes,
        memory_object_bytes_max: size(zone.memory_max_object.as_ref(), "1m"),
        disk_bytes_max: zone.max_size.as_ref().map(|at| at.value.0),
        disk_bytes_min_free: size(zone.min_free.as_ref(), "0"),
        inactive: timeout(zone.inactive.as_ref(), "10m"),
        use_temp_path: flag(zone.use_temp_path.as_ref(), false),
        fsync: zone.fsync.as_ref().map(|at| at.value).unwrap_or_default(),
        open_files: number(zone.open_files.as_ref(), OPEN_FILES, 0..=OPEN_FILES_MAX, report),
        // What `[server]` says comes later.
        sendfile: false,
    }
}

fn folders(zone: &file::Zone, report: &mut Report) -> Vec<Folder> {
    let Some(list) = &zone.path else { return Vec::new() };
    if list.value.items.is_empty() && !list.value.broken {
        let problem = Problem::new("no folder is named");
        report.error(list.span, problem.help("leave `path` out for memory only"));
    }
    let folders = list.value.values().filter_map(|folder| {
        let path = folder.0.path.as_ref()?;
        Some(Folder {
            path: report.path(path.span, &path.value),
            weight: number(folder.0.weight.as_ref(), 1, 1..=65535, report),
        })
    });
    folders.collect()
}

fn warn_of_disk_keys(zone: &file::Zone, report: &mut Report) {
    let spans = [
        zone.levels.as_ref().map(|at| at.span),
        zone.max_size.as_ref().map(|at| at.span),
        zone.min_free.as_ref().map(|at| at.span),
        zone.use_temp_path.as_ref().map(|at| at.span),
        zone.fsync.as_ref().map(|at| at.span),
        zone.open_files.as_ref().map(|at| at.span),
    ];
    for span in spans.into_iter().flatten() {
        let problem = Problem::new("has no effect in a zone without `path`");
        report.warn(span, problem.help("the size of the memory is `memory`"));
    }
}

/// Two disk tiers must not clean up each other's files.
fn check_folders(zone: &Zone, table: &file::Zone, others: &[Zone], report: &mut Report) {
    let written: Vec<_> = table.path.iter().flat_map(|list| list.value.values()).collect();
    let written = written.iter().filter_map(|folder| folder.0.path.as_ref());
    for (number, (folder, written)) in zone.folders.iter().zip(written).enumerate() {
        let mine = zone.folders[..number].iter().map(|folder| (folder, zone));
        let theirs = others.iter().flat_map(|other| other.folders.iter().map(move |f| (f, other)));
        for (other, owner) in mine.chain(theirs) {
            let what = match (
                folder.path.starts_with(&other.path),
                other.path.starts_with(&folder.path),
            ) {
                (true, true) => "is a folder of",
                (true, false) => "is inside a folder of",
                (false, true) => "contains a folder of",
                (false, false) => continue,
            };
            let (whose, help) = if owner.name == zone.name {
                ("this zone".to_owned(), "name each once; none lies in another")
            } else {
                (format!("zone `{}`", owner.name), "give every zone folders of its own")
            };
            let problem = Problem::new(format!("`{}` {what} {whose}", written.value));
            return report.error(written.span, problem.help(help));
        }
    }
}

/// With usual heads they take some 10 MiB, and nearly as much of the kernel's memory.
const OPEN_FILES: u32 = 4096;
const OPEN_FILES_MAX: u32 = 1_000_000;
