//! What is done to an answer last: fields that the route adds, and error pages.
//! (nginx: add_header, error_page, proxy_intercept_errors)

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::call::Call;
use super::deliver::Answer;
use super::error::Error;
use super::facts;
use super::heads;
use super::inside::Next;
use super::own;
use super::route;
use crate::config::Expires;
use crate::config::answers::{AddedField, ErrorPage, ExpiresOf, Finish, PageAt, PageStatus};
use crate::config::template::{Facts, Variable};
use crate::files::expires;
use crate::observe::exchange::Logged;
use crate::observe::line::write_tried;
use crate::semantics::date::{Timestamp, parse_http_date};

/// What answers instead of an error.
pub(super) struct Page {
    /// Where it is.
    pub(super) next: Next,
    /// The error.
    pub(super) status: StatusCode,
    /// The status that goes out; `None` is that of the page.
    pub(super) as_status: Option<StatusCode>,
    /// What the client is told of the error besides.
    pub(super) told: HeaderMap,
}

/// The page that answers instead, if one does: for errors of our own, for answers of the upstream
/// where the route intercepts them, and never for what is a page itself.
pub(super) fn page_for(call: &Call<'_>, result: &Result<Answer, Error>) -> Option<Page> {
    let finish = &call.route.settings.finish;
    if !call.route.finishes || call.way.is_some_and(|way| way.is_for_error) {
        return None;
    }
    let (code, status) = failed(call, result)?;
    let page = listed(&finish.error_page, code)?;
    let next = match &page.to {
        PageAt::Url(_) => return None,
        PageAt::Named(name) => Next::Named(name.clone()),
        PageAt::Uri(uri) => {
            let mut target = Vec::new();
            uri.write(call, &mut target);
            let target = String::from_utf8_lossy(&target).into_owned();
            let (path, args) = match target.split_once('?') {
                Some((path, args)) => (path, Some(args.to_owned())),
                None => (target.as_str(), None),
            };
            Next::Uri(route::normalized(path)?.into_owned(), args)
        }
    };
    let as_status = match page.status {
        PageStatus::Kept => Some(status),
        PageStatus::OfPage => None,
        PageStatus::Set(status) => Some(status),
    };
    Some(Page { next, status, as_status, told: told(call, result) })
}

/// What the client is told of an error, whatever answers in its place.
fn told(call: &Call<'_>, result: &Result<Answer, Error>) -> HeaderMap {
    let mut told = HeaderMap::new();
    if let Err(error) = result {
        error.tell(&mut told);
        // As for any refusal: `Answer::unexpected`.
        if call.request.headers.contains_key(header::EXPECT) {
            told.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
    told
}

/// What an error page may replace: what it is listed by, and the status that clients get.
fn failed(call: &Call<'_>, result: &Result<Answer, Error>) -> Option<(u16, StatusCode)> {
    match result {
        Err(error) => Some((error.page_code(), error.status())),
        Ok(answer) => {
            let status = answer.response.status();
            let intercepts = !answer.is_own && intercepts(&call.route.settings.finish, status);
            intercepts.then_some((status.as_u16(), status))
        }
    }
}

/// Whether something else answers in place of a stored response that goes out with this status.
pub(super) fn replaces(finish: &Finish, status: StatusCode) -> bool {
    intercepts(finish, status) && listed(&finish.error_page, status.as_u16()).is_some()
}

fn intercepts(finish: &Finish, status: StatusCode) -> bool {
    finish.intercept_errors && status.as_u16() >= 300
}

fn listed(pages: &[ErrorPage], code: u16) -> Option<&ErrorPage> {
    let is_listed =
        |page: &&ErrorPage| page.statuses.iter().any(|statuses| statuses.contains(&code));
    pages.iter().find(is_listed)
}

/// Makes an answer ready to go out; errors become one.
pub(super) fn finish(call: &Call<'_>, result: Result<Answer, Error>) -> Answer {
    let mut answer = finished(call, result);
    if call.route.logs.is_some() {
        answer.logged = logged(call, &answer);
    }
    answer
}

/// Where the exchange is logged, with what its lines say.
pub(super) fn logged(call: &Call<'_>, answer: &Answer) -> Option<Box<Logged>> {
    let logs = Arc::clone(call.route.logs.as_ref()?);
    let fields = &call.request.headers;
    let is_there =
        |variable: &Variable| matches!(variable, Variable::Http(name) if fields.contains_key(name));
    let mut kept = logs.keep(&OfAnswer { call, answer }, is_there);
    if logs.counts_head {
        kept.head_bytes = facts::head_length(STATUS_LINE, answer.response.headers());
    }
    Some(Box::new(Logged { logs, kept }))
}

fn finished(call: &Call<'_>, result: Result<Answer, Error>) -> Answer {
    let of_rule = call.way.and_then(|way| way.added.as_deref());
    if !call.route.finishes && of_rule.is_none() {
        return dressed(call, result);
    }
    let result = match elsewhere(call, &result) {
        Some(location) => sent_away(call, location, &result),
        None => result,
    };
    let mut answer = dressed(call, result);
    let finish = &call.route.settings.finish;
    if let Some(by) = &finish.expires {
        expire(call, by, &mut answer);
    }
    add(call, of_rule.unwrap_or(&finish.add_header), &mut answer);
    answer
}

/// An answer with the head that the route wants.
fn dressed(call: &Call<'_>, result: Result<Answer, Error>) -> Answer {
    let mut answer = own_error(call, result);
    let wall = || Timestamp::from(call.worker.proxy.clock.wall());
    heads::dress(&mut answer, &call.route.settings.heads, wall);
    if let Some(limits) = &call.route.settings.client {
        answer.response.extensions_mut().insert(Arc::clone(limits));
    }
    answer
}

/// An answer of our own on a route that tells how it came about tells it as well.
fn own_error(call: &Call<'_>, result: Result<Answer, Error>) -> Answer {
    result.unwrap_or_else(|error| {
        let now = Timestamp::from(call.worker.proxy.clock.wall());
        error.answer(now).told(&call.route.settings).unexpected(call.request)
    })
}

/// The status and `Location` of an error page that is elsewhere.
fn elsewhere(call: &Call<'_>, result: &Result<Answer, Error>) -> Option<(StatusCode, String)> {
    let finish = &call.route.settings.finish;
    if call.way.is_some_and(|way| way.is_for_error) {
        return None;
    }
    let (code, _) = failed(call, result)?;
    let page = listed(&finish.error_page, code)?;
    let PageAt::Url(url) = &page.to else { return None };
    let status = match page.status {
        PageStatus::Set(status) if [301, 302, 303, 307, 308].contains(&status.as_u16()) => status,
        _ => StatusCode::FOUND,
    };
    Some((status, own::location(call, url)))
}

fn sent_away(
    call: &Call<'_>,
    (status, location): (StatusCode, String),
    result: &Result<Answer, Error>,
) -> Result<Answer, Error> {
    let mut answer = own::redirected(call, status, location)?;
    answer.response.headers_mut().extend(told(call, result));
    Ok(answer)
}

/// Says how long browsers may keep an answer.
fn expire(call: &Call<'_>, by: &ExpiresOf, answer: &mut Answer) {
    if !is_usual(answer.response.status()) {
        return;
    }
    let expires = match by {
        ExpiresOf::Fixed(expires) => Some(*expires),
        ExpiresOf::Template(template) => {
            let mut text = Vec::new();
            template.write(&OfAnswer { call, answer }, &mut text);
            str::from_utf8(&text).ok().and_then(Expires::parse)
        }
    };
    let now = Timestamp::from(call.worker.proxy.clock.wall());
    let fields = answer.response.headers_mut();
    let modified = fields.get(header::LAST_MODIFIED);
    // Where nothing says when it was changed, it was just now.
    let modified = modified.and_then(|date| parse_http_date(date.as_bytes(), now)).unwrap_or(now);
    if let Some(expires) = expires {
        expires::tell(fields, expires, modified, now);
    }
}

fn add(call: &Call<'_>, fields: &[AddedField], answer: &mut Answer) {
    let is_usual = is_usual(answer.response.status());
    // A template may ask for fields, those that were added just now among them.
    let mut text = Vec::new();
    for field in fields.iter().filter(|field| field.always || is_usual) {
        let value = match &field.literal {
            Some(value) => Some(value.clone()),
            None => {
                text.clear();
                field.value.write(&OfAnswer { call, answer }, &mut text);
                HeaderValue::from_bytes(&text).ok()
            }
        };
        // Of two times to come back only the operator's is said.
        if field.name == header::RETRY_AFTER && answer.is_own {
            answer.response.headers_mut().remove(header::RETRY_AFTER);
        }
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            answer.response.headers_mut().append(field.name.clone(), value);
        }
    }
}

/// Whether fields are added to answers with this status without `always`.
pub(super) fn is_usual(status: StatusCode) -> bool {
    USUAL.contains(&status.as_u16())
}

/// The facts of a request and of its answer.
struct OfAnswer<'a> {
    call: &'a Call<'a>,
    answer: &'a Answer,
}

impl Facts for OfAnswer<'_> {
    fn write(&self, variable: &Variable, out: &mut Vec<u8>) {
        let (answer, fields) = (self.answer, self.answer.response.headers());
        let mut text = |text: &str| out.extend_from_slice(text.as_bytes());
        match variable {
            Variable::UpstreamCacheStatus => text(answer.cache.map_or("", |cache| cache.word())),
            Variable::Status => text(answer.response.status().as_str()),
            Variable::Tried(what) => write_tried(*what, &answer.tried, out),
            Variable::UpstreamHttp(name) if !answer.is_own => {
                write_field(fields, name, out);
            }
            Variable::UpstreamCookie(name) if !answer.is_own => {
                facts::write_set_cookie(fields, name, out);
            }
            Variable::SentHttp(name) => write_field(fields, name, out),
            Variable::Map(map) => map.write(self, out),
            other => self.call.write(other, out),
        }
    }
}

fn write_field(fields: &HeaderMap, name: &HeaderName, out: &mut Vec<u8>) {
    for (number, value) in fields.get_all(name).iter().enumerate() {
        if number > 0 {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(value.as_bytes());
    }
}

/// Bytes of `HTTP/1.1 200 OK`, more or less.
const STATUS_LINE: usize = 15;
/// The statuses that fields are added to without `always` (nginx: add_header).
const USUAL: [u16; 10] = [200, 201, 204, 206, 301, 302, 303, 304, 307, 308];
