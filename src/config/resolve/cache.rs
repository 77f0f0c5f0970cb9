//! `[site.route.cache]`. (nginx: proxy_cache_*)

use std::collections::BTreeSet;
use std::time::Duration;

use http::{HeaderName, Method};

use super::{Report, duration, flag, number, query};
use crate::config::fault::Problem;
use crate::config::file;
use crate::config::read::{At, List, OrOff, Size};
use crate::config::template::Template;
use crate::config::words::{Failure, IgnoredField, RequestDirectives, Statuses, ValidTable};
use crate::config::{Cache, Clients};
use crate::semantics::rules::{Heuristic, IgnoredFields, Rules, Semantics, UseStale, Valid};

/// How a route caches; `None` without a zone or with `off`.
pub(super) fn cache(table: Option<&At<file::Cache>>, report: &mut Report) -> Option<Cache> {
    let table = &table?.value;
    let zone = table.zone.as_ref().filter(|zone| zone.value.0.literal() != Some("off"))?;
    let semantics = table.semantics.as_ref().map(|at| at.value).unwrap_or_default();
    let key = table.key.as_ref().map_or_else(default_key, |key| key.value.clone());
    Some(Cache {
        zone: zone.value.0.clone(),
        query: query::selection(table.query.as_ref(), &key, report),
        key,
        partition: templates(table.partition.as_ref()),
        methods: methods(table.methods.as_ref()),
        convert_head: flag(table.convert_head.as_ref(), true),
        bypass: templates(table.bypass.as_ref()),
        no_cache: templates(table.no_cache.as_ref()),
        min_uses: number(table.min_uses.as_ref(), 1, 1..=u32::MAX, report),
        lock: flag(table.lock.as_ref(), semantics == Semantics::Rfc9111),
        lock_timeout: duration(table.lock_timeout.as_ref(), "5s"),
        lock_age: duration(table.lock_age.as_ref(), "5s"),
        hold_down: duration(table.hold_down.as_ref(), "1s"),
        finish_max: finish_max(table.finish_max.as_ref()),
        max_range_offset: bytes_or_off(table.max_range_offset.as_ref()),
        force_ranges: flag(table.force_ranges.as_ref(), false),
        slice: slice(table.slice.as_ref(), report),
        rules: rules(table, semantics, report),
    })
}

/// What a semantics stands for, with what the operator says besides.
fn rules(table: &file::Cache, semantics: Semantics, report: &mut Report) -> Rules {
    let preset = Rules::of(semantics);
    let targeted = table.targeted.as_ref().map(|list| list.value.values().cloned().collect());
    let directives = table.request_directives.as_ref();
    Rules {
        targeted: targeted.unwrap_or(preset.targeted),
        request_directives: directives.is_some_and(|at| at.value == RequestDirectives::Obey),
        normalize_vary: flag(table.normalize_vary.as_ref(), preset.normalize_vary),
        valid: valid(table.valid.as_ref(), report),
        ignore: ignored(table.ignore_headers.as_ref(), preset.ignore),
        use_stale: use_stale(table.use_stale.as_ref(), report),
        heuristic: flag(table.heuristic.as_ref(), false).then_some(HEURISTIC),
        revalidate: flag(table.revalidate.as_ref(), preset.revalidate),
        background_update: flag(table.background_update.as_ref(), preset.background_update),
        ..preset
    }
}

/// Fields that clients do not get: nginx's own, and those of `hide_header`, less `pass_header`.
pub(super) fn hidden(table: Option<&At<file::Cache>>) -> Vec<HeaderName> {
    let names = |list: Option<&At<List<HeaderName>>>| -> Vec<HeaderName> {
        list.iter().flat_map(|list| list.value.values()).cloned().collect()
    };
    let table = table.map(|table| &table.value);
    let passed = names(table.and_then(|table| table.pass_header.as_ref()));
    let mut hidden: Vec<_> = HIDDEN.into_iter().filter(|name| !passed.contains(name)).collect();
    for name in names(table.and_then(|table| table.hide_header.as_ref())) {
        if !hidden.contains(&name) {
            hidden.push(name);
        }
    }
    hidden
}

/// Who may send `PURGE` to a route that caches.
pub(super) fn purge(table: Option<&At<file::Cache>>) -> Option<Vec<Clients>> {
    match table?.value.purge.as_ref().map(|purge| &purge.value) {
        Some(OrOff::Off) => None,
        Some(OrOff::On(purge)) => {
            let nets = purge.from.iter().flat_map(|from| from.value.values());
            Some(nets.map(|net| net.0).collect())
        }
        None => {
            Some(LOOPBACK.iter().filter_map(|net| Some(Clients::Net(net.parse().ok()?))).collect())
        }
    }
}

/// Unlike nginx's, with the client's host: two sites with one upstream must not share entries.
fn default_key() -> Template {
    Template::compile(DEFAULT_KEY).unwrap_or(Template { parts: Vec::new() })
}

/// Off is no limit.
fn finish_max(value: Option<&At<OrOff<Size>>>) -> u64 {
    value.map_or(FINISH_BYTES_MAX, |_| bytes_or_off(value).unwrap_or(u64::MAX))
}

fn bytes_or_off(value: Option<&At<OrOff<Size>>>) -> Option<u64> {
    match value?.value {
        OrOff::Off => None,
        OrOff::On(size) => Some(size.0),
    }
}

/// Slices smaller than this cost more in heads than they save.
fn slice(value: Option<&At<OrOff<Size>>>, report: &mut Report) -> Option<u64> {
    let bytes = bytes_or_off(value)?;
    if !(SLICE_BYTES_MIN..=SLICE_BYTES_MAX).contains(&bytes) {
        report.error(value?.span, Problem::new("must be from 4k to 1g"));
    }
    Some(bytes)
}

fn templates(list: Option<&At<List<Template>>>) -> Vec<Template> {
    list.iter().flat_map(|list| list.value.values()).cloned().collect()
}

/// nginx, too, adds GET and HEAD to every list.
fn methods(list: Option<&At<List<Method>>>) -> Vec<Method> {
    let mut methods = vec![Method::GET, Method::HEAD];
    for method in list.iter().flat_map(|list| list.value.values()) {
        if !methods.contains(method) {
            methods.push(method.clone());
        }
    }
    methods
}

fn valid(table: Option<&At<ValidTable>>, report: &mut Report) -> Vec<Valid> {
    let mut taken = BTreeSet::new();
    let mut lines = Vec::new();
    for (statuses, lifetime) in table.iter().flat_map(|table| &table.value.0) {
        warn_of_taken(statuses, &mut taken, report);
        let line = |range: &std::ops::RangeInclusive<u16>| Valid {
            statuses: range.clone(),
            lifetime: lifetime.value,
        };
        lines.extend(statuses.value.0.iter().map(line));
    }
    lines
}

/// Warns of statuses that all have an earlier line, which is the one that counts.
fn warn_of_taken(statuses: &At<Statuses>, taken: &mut BTreeSet<u16>, report: &mut Report) {
    for range in &statuses.value.0 {
        let new = range.clone().filter(|status| taken.insert(*status)).count();
        if new > 0 {
            continue;
        }
        let shown = match (*range.start(), *range.end()) {
            (100, 999) => "any".to_owned(),
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        };
        let problem = Problem::new(format!("`{shown}` never counts: earlier lines name it all"));
        report.warn(statuses.span, problem.help("the first line that names a status counts"));
    }
}

fn ignored(list: Option<&At<List<IgnoredField>>>, mut ignored: IgnoredFields) -> IgnoredFields {
    for field in list.iter().flat_map(|list| list.value.values()) {
        match field {
            IgnoredField::CacheControl => ignored.cache_control = true,
            IgnoredField::Expires => ignored.expires = true,
            IgnoredField::XAccelExpires => ignored.x_accel_expires = true,
            IgnoredField::Vary => ignored.vary = true,
            IgnoredField::SurrogateControl => ignored.surrogate_control = true,
            IgnoredField::SetCookie => ignored.set_cookie = true,
            // Of no concern to what is stored: see `bodies`.
            IgnoredField::XAccelBuffering => {}
        }
    }
    ignored
}

fn use_stale(list: Option<&At<List<Failure>>>, report: &mut Report) -> UseStale {
    let mut stale = UseStale::default();
    for word in list.iter().flat_map(|list| &list.value.items) {
        match word.value {
            // nginx, too, lets `off` stand beside others and count for nothing.
            Failure::Off => {}
            Failure::Error => stale.error = true,
            Failure::Timeout => stale.timeout = true,
            Failure::InvalidHeader => stale.invalid_header = true,
            Failure::Updating => stale.updating = true,
            Failure::Status(status) => {
                stale.statuses.insert(status);
            }
            Failure::NonIdempotent => {
                let problem = Problem::new("`non_idempotent` lets no stale entry stand in");
                report.error(word.span, problem.help("it belongs to `next_upstream`"));
            }
        }
    }
    stale
}

/// nginx: what proxy_hide_header hides without being told, but for `Date` and `Server`, which
/// nginx writes anew and we pass on; and what is written for surrogates only.
const HIDDEN: [HeaderName; 8] = [
    HeaderName::from_static("surrogate-control"),
    HeaderName::from_static("surrogate-key"),
    HeaderName::from_static("x-pad"),
    HeaderName::from_static("x-accel-expires"),
    HeaderName::from_static("x-accel-redirect"),
    HeaderName::from_static("x-accel-limit-rate"),
    HeaderName::from_static("x-accel-buffering"),
    HeaderName::from_static("x-accel-charset"),
];

/// Everything but what is very large, or has no end.
const FINISH_BYTES_MAX: u64 = 1 << 30;
const SLICE_BYTES_MIN: u64 = 4 << 10;
const SLICE_BYTES_MAX: u64 = 1 << 30;
const DEFAULT_KEY: &str = "$scheme://$host$request_uri";
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// What is guessed is fresh for a minute at least and a day at most.
const HEURISTIC: Heuristic =
    Heuristic { min: Duration::from_secs(60), max: Duration::from_secs(86_400) };
