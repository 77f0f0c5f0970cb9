//! `[site.route.cache]`. (nginx: proxy_cache_*)

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use ipnet::IpNet;

use super::{Report, duration, flag, number};
use crate::config::Cache;
use crate::config::fault::Problem;
use crate::config::file;
use crate::config::read::{At, List, OrOff};
use crate::config::template::Template;
use crate::config::words::{Failure, IgnoredField, Statuses, ValidTable};
use crate::semantics::rules::{Heuristic, IgnoredFields, Rules, UseStale, Valid};

/// How a route caches; `None` without a zone or with `off`.
pub(super) fn cache(table: Option<&At<file::Cache>>, report: &mut Report) -> Option<Cache> {
    let table = &table?.value;
    let zone = table.zone.as_ref().filter(|zone| zone.value != "off")?;
    let ignore = ignored(table.ignore_headers.as_ref(), report);
    Some(Cache {
        zone: zone.value.clone(),
        key: table.key.as_ref().map_or_else(default_key, |key| key.value.clone()),
        methods: methods(table.methods.as_ref()),
        convert_head: flag(table.convert_head.as_ref(), true),
        bypass: templates(table.bypass.as_ref()),
        no_cache: templates(table.no_cache.as_ref()),
        min_uses: number(table.min_uses.as_ref(), 1, 1..=u32::MAX, report),
        lock: flag(table.lock.as_ref(), true),
        lock_timeout: duration(table.lock_timeout.as_ref(), "5s"),
        rules: Rules {
            valid: valid(table.valid.as_ref(), report),
            ignore,
            use_stale: use_stale(table.use_stale.as_ref(), report),
            heuristic: flag(table.heuristic.as_ref(), false).then_some(HEURISTIC),
            revalidate: flag(table.revalidate.as_ref(), true),
            background_update: flag(table.background_update.as_ref(), false),
        },
    })
}

/// Who may send `PURGE` to a route that caches.
pub(super) fn purge(table: Option<&At<file::Cache>>) -> Option<Vec<IpNet>> {
    match table?.value.purge.as_ref().map(|purge| &purge.value) {
        Some(OrOff::Off) => None,
        Some(OrOff::On(purge)) => {
            let nets = purge.from.iter().flat_map(|from| from.value.values());
            Some(nets.map(|net| net.0).collect())
        }
        None => Some(LOOPBACK.iter().filter_map(|net| net.parse().ok()).collect()),
    }
}

/// Unlike nginx's, with the client's host: two sites with one upstream must not share entries.
fn default_key() -> Template {
    Template::compile(DEFAULT_KEY).unwrap_or(Template { parts: Vec::new() })
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

fn ignored(list: Option<&At<List<IgnoredField>>>, report: &mut Report) -> IgnoredFields {
    let mut ignored = IgnoredFields::default();
    for field in list.iter().flat_map(|list| &list.value.items) {
        match field.value {
            IgnoredField::CacheControl => ignored.cache_control = true,
            IgnoredField::Expires => ignored.expires = true,
            IgnoredField::XAccelExpires => ignored.x_accel_expires = true,
            IgnoredField::Vary => ignored.vary = true,
            IgnoredField::SetCookie => {
                ignored.set_cookie = true;
                let problem = Problem::new("answers that set a cookie will be stored");
                report.warn(
                    field.span,
                    problem
                        .help("make sure that no cookie of this route is a secret of one client"),
                );
            }
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

const DEFAULT_KEY: &str = "$scheme://$host$request_uri";
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// What is guessed is fresh for a minute at least and a day at most.
const HEURISTIC: Heuristic =
    Heuristic { min: Duration::from_secs(60), max: Duration::from_secs(86_400) };
