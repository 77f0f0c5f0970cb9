//! `[log]`, `[access_log.NAME]`, and which of them a route has. (nginx: access_log, log_format)

use std::sync::Arc;

use super::{Scope, bytes, timeout};
use crate::config::fault::Problem;
use crate::config::file::{AccessTable, File, Format, LogRef, Settings};
use crate::config::read::{At, OrOff};
use crate::config::report::Report;
use crate::config::{AccessFormat, AccessLog, Log, LogTo, OwnFormat};

/// What is logged, and where.
pub(crate) fn logs(file: &File, report: &mut Report) -> Log {
    let log = file.log.as_ref().map(|at| at.value.clone()).unwrap_or_default();
    let mut access = Vec::new();
    if let Some(At { value: OrOff::On(table), span }) = &log.access {
        access.push(access_log("", &At { value: table.0.clone(), span: *span }, report));
    }
    let access_for_all = (!access.is_empty()).then_some(0);
    for (name, table) in file.access_log.iter().flat_map(|named| &named.value.0) {
        access.push(access_log(&name.value, table, report));
    }
    let error = log.error.filter(|path| path.value != STANDARD_ERROR);
    Log {
        level: log.level.map_or_else(|| "info".to_owned(), |level| level.value.0),
        error: error.map(|path| report.path(path.span, &path.value)),
        access,
        access_for_all,
    }
}

fn access_log(name: &str, at: &At<AccessTable>, report: &mut Report) -> AccessLog {
    let access = &at.value;
    let path = access.path.as_ref().filter(|path| path.value != "-");
    let format = access.format.as_ref().map(|format| &format.value);
    if let (Some(escape), None | Some(Format::Combined | Format::Cache)) = (&access.escape, format)
    {
        let problem = Problem::new("`escape` is for a `format` of your own");
        report.error(escape.span, problem.help("write the format as a text with variables"));
    }
    let escape = access.escape.as_ref().map(|at| at.value).unwrap_or_default();
    AccessLog {
        name: name.to_owned(),
        path: path.map(|path| report.path(path.span, &path.value)),
        format: match format {
            None | Some(Format::Combined) => AccessFormat::Combined,
            Some(Format::Cache) => AccessFormat::Cache,
            Some(Format::Own(text)) => {
                AccessFormat::Own(Arc::new(OwnFormat { text: text.clone(), escape }))
            }
        },
        buffer_bytes: bytes(access.buffer.as_ref(), "64k", 0..=1 << 30, report),
        flush: timeout(access.flush.as_ref(), "1s"),
    }
}

/// The logs of a route.
pub(super) fn of_route(settings: &Settings, scope: &mut Scope, report: &mut Report) -> Vec<LogTo> {
    let list = match settings.access_log.as_ref().map(|at| &at.value) {
        None => {
            let for_all = scope.log.access_for_all;
            return for_all.map(|number| LogTo { number, when: None }).into_iter().collect();
        }
        Some(OrOff::Off) => return Vec::new(),
        Some(OrOff::On(list)) => list,
    };
    list.items.iter().filter_map(|item| log_to(&item.value, scope, report)).collect()
}

fn log_to(LogRef(table): &LogRef, scope: &mut Scope, report: &mut Report) -> Option<LogTo> {
    let name = table.to.as_ref()?;
    let names: Vec<&str> = scope.log.access.iter().map(|log| log.name.as_str()).collect();
    let Some(number) = names.iter().position(|known| *known == name.value) else {
        let known: Vec<&str> = names.into_iter().filter(|name| !name.is_empty()).collect();
        let problem = Problem::new(format!("there is no access log `{}`", name.value));
        let problem = if known.is_empty() {
            problem.help(format!("declare it with a table `[access_log.{}]`", name.value))
        } else {
            problem.choices(&name.value, &known)
        };
        report.error(name.span, problem);
        return None;
    };
    scope.used.insert(format!("access_log {}", name.value));
    Some(LogTo { number, when: table.when.as_ref().map(|at| at.value.clone()) })
}

/// Where the event log goes by default.
const STANDARD_ERROR: &str = "stderr";
