//! What a route or a rule answers itself: a text, another URL. (nginx: return)

use http::{HeaderValue, StatusCode};

use super::{Report, Scope, files};
use crate::config::answers::{ContentType, Redirect, Respond};
use crate::config::fault::Problem;
use crate::config::file::{self, Settings};
use crate::config::read::{At, Table};

/// A text; `None` once the report says why there is none.
pub(super) fn respond(
    at: &At<file::Respond>,
    settings: &Settings,
    scope: &mut Scope,
    report: &mut Report,
) -> Option<Respond> {
    let table = &at.value.0;
    let status = status(table.status.as_ref()?, 200, 599, report)?;
    Some(Respond {
        status,
        body: table.body.as_ref().map(|at| at.value.clone()),
        content_type: match table.r#type.as_ref().map(|at| &at.value) {
            None => ContentType::Fixed(HeaderValue::from_static("text/plain; charset=utf-8")),
            Some(file::ContentType::Fixed(kind)) => ContentType::Fixed(kind.clone()),
            Some(file::ContentType::ByPath(own)) => {
                let outer = settings.r#static.as_ref().map(|at| at.value.0.types());
                let table = outer.map_or_else(|| (**own).clone(), |outer| own.over(&outer));
                ContentType::ByPath(files::media_types(&table, scope))
            }
        },
    })
}

/// Another URL; `None` once the report says why there is none.
pub(super) fn redirect(at: &At<file::Redirect>, report: &mut Report) -> Option<Redirect> {
    let table = &at.value;
    let status = match &table.status {
        None => StatusCode::FOUND,
        Some(at) => {
            let status = status(at, 300, 399, report)?;
            if ![301, 302, 303, 307, 308].contains(&status.as_u16()) {
                let problem = Problem::new(format!("{} sends nobody anywhere", at.value));
                report.error(at.span, problem.help("known here: 301, 302, 303, 307, 308"));
            }
            status
        }
    };
    let to = table.to.as_ref()?;
    if to.value.parts.is_empty() {
        report.error(to.span, Problem::new("is empty"));
    }
    Some(Redirect { to: to.value.clone(), status })
}

/// A status from `min` to `max`.
pub(super) fn status(at: &At<u32>, min: u16, max: u16, report: &mut Report) -> Option<StatusCode> {
    let number = u16::try_from(at.value).ok().filter(|status| (min..=max).contains(status));
    let status = number.and_then(|status| StatusCode::from_u16(status).ok());
    if status.is_none() {
        report.error(at.span, Problem::new(format!("must be from {min} to {max}")));
    }
    status
}
