//! What a route or a rule answers itself: a text, another URL. (nginx: return)

use http::{HeaderValue, StatusCode};

use super::Report;
use crate::config::answers::{Redirect, Respond};
use crate::config::fault::Problem;
use crate::config::file;
use crate::config::read::At;

/// A text; `None` once the report says why there is none.
pub(super) fn respond(at: &At<file::Respond>, report: &mut Report) -> Option<Respond> {
    let table = &at.value.0;
    let status = status(table.status.as_ref()?, 200, 599, report)?;
    let content_type = table.r#type.as_ref().map(|at| at.value.clone());
    Some(Respond {
        status,
        body: table.body.as_ref().map(|at| at.value.clone()),
        content_type: content_type.unwrap_or(HeaderValue::from_static("text/plain; charset=utf-8")),
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
