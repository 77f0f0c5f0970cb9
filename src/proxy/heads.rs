//! What the head of an answer looks like, where the operator says so: `Server`, `Date`, whether there
//! is `Cache-Status`, and how names are spelled.

use std::cell::RefCell;

use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use super::deliver::{Answer, CACHE_STATUS};
use super::finish;
use crate::body::Body;
use crate::config;
use crate::config::answers::{AddedField, Finish};
use crate::config::heads::Heads;
use crate::config::template::{Facts, Variable};
use crate::semantics::date::{Timestamp, http_date};
use crate::semantics::status::{CacheStatus, FRESH};
use crate::spelling::{Spelled, Spelling};

/// Makes the head of an answer look like this. `now` is by the wall clock.
pub(super) fn dress(answer: &mut Answer, heads: &Heads, now: impl Fn() -> Timestamp) {
    if !heads.changes_answers() {
        return;
    }
    if answer.is_own && !heads.cache_status {
        answer.response.headers_mut().remove(CACHE_STATUS);
    }
    say(&mut answer.response, heads, now);
}

/// Says in a response what all of them say.
pub(super) fn say(response: &mut Response<Body>, heads: &Heads, now: impl Fn() -> Timestamp) {
    let fields = response.headers_mut();
    if let Some(server) = &heads.server {
        fields.insert(header::SERVER, server.clone());
    }
    if heads.date_now
        && let Some(date) = date(now())
    {
        fields.insert(header::DATE, date);
    }
    let extensions = response.extensions_mut();
    // One that another route has dressed already keeps what came with it.
    let dressed = extensions.remove::<Spelled>().and_then(|spelled| spelled.sent);
    let sent = extensions.remove::<Spelling>().or(dressed);
    if let Some(spelled) = spelled(heads, sent) {
        extensions.insert(spelled);
    }
}

/// How the names of a message are spelled that came with these.
pub(super) fn spelled(heads: &Heads, sent: Option<Spelling>) -> Option<Spelled> {
    heads.spelling.clone().map(|own| Spelled { own, sent })
}

/// What a field says that names this time.
pub(super) fn date(now: Timestamp) -> Option<HeaderValue> {
    with_date(now, HeaderValue::clone)
}

/// The same for who only reads it. It is written once a second by each worker.
pub(super) fn with_date<T>(now: Timestamp, read: impl FnOnce(&HeaderValue) -> T) -> Option<T> {
    DATE.with_borrow_mut(|last| {
        if last.as_ref().is_none_or(|(second, _)| *second != now.secs()) {
            let date = HeaderValue::try_from(http_date(now).to_string()).ok();
            *last = date.map(|date| (now.secs(), date));
        }
        last.as_ref().map(|(_, date)| read(date))
    })
}

thread_local! {
    /// The second that was asked for last, and its date.
    static DATE: RefCell<Option<(u64, HeaderValue)>> = const { RefCell::new(None) };
}

/// The fields of ours that answers at hand have, as a route's answers spell them.
pub struct Lines {
    pub(super) accept_ranges: Line,
    pub(super) age: Line,
    pub(super) server: Option<Line>,
    pub(super) date: Line,
    pub(super) cache_status: Line,
    pub(super) told: Option<Line>,
    /// What the route adds; `None`: that, or what else is done to answers last, is known only with
    /// the request.
    pub(super) added: Option<Added>,
    pub(super) close: Line,
    pub(super) length: Line,
}

impl Lines {
    /// Those of this route.
    pub(super) fn new(settings: &config::Route) -> Self {
        let heads = &settings.heads;
        let line = |name: &HeaderName, value: &[u8]| Line::new(name, heads, value);
        let told = |name| line(name, CacheStatus::Hit.word().as_bytes());
        Self {
            accept_ranges: line(&header::ACCEPT_RANGES, b"bytes"),
            age: line(&header::AGE, b""),
            server: heads.server.as_ref().map(|value| line(&header::SERVER, value.as_bytes())),
            date: line(&header::DATE, b""),
            cache_status: line(&CACHE_STATUS, FRESH),
            told: settings.status_header.as_ref().map(told),
            added: Added::new(&settings.finish, heads),
            close: line(&header::CONNECTION, b"close"),
            length: line(&header::CONTENT_LENGTH, b""),
        }
    }
}

/// Fields that a route adds, where all of its hits get the same. (nginx: add_header)
pub(super) struct Added(Box<[AddedLine]>);

struct AddedLine {
    line: Line,
    /// Whatever the status.
    always: bool,
}

impl Added {
    /// `None` where not all hits get the same.
    fn new(finish: &Finish, heads: &Heads) -> Option<Self> {
        if finish.expires.is_some() {
            return None;
        }
        let mut lines = Vec::with_capacity(finish.add_header.len());
        for field in &finish.add_header {
            let value = value_for_hits(field)?;
            // As for any answer: what is empty, or no value, is not added.
            if !value.is_empty() && HeaderValue::from_bytes(&value).is_ok() {
                let line = Line::new(&field.name, heads, &value);
                lines.push(AddedLine { line, always: field.always });
            }
        }
        Some(Self(lines.into()))
    }

    /// Writes those that an answer with this status gets.
    pub(super) fn write(&self, status: StatusCode, spelled: Spellings<'_>, out: &mut Vec<u8>) {
        let is_usual = finish::is_usual(status);
        for added in &self.0 {
            if is_usual || added.always {
                added.line.write(spelled, b"", out);
            }
        }
    }
}

/// The value of an added field, if it is the same for all hits.
fn value_for_hits(field: &AddedField) -> Option<Vec<u8>> {
    if field.value.variables().any(|variable| *variable != Variable::UpstreamCacheStatus) {
        return None;
    }
    let mut value = Vec::new();
    field.value.write(&AnyHit, &mut value);
    Some(value)
}

/// What is known of any hit before it is asked for.
struct AnyHit;

impl Facts for AnyHit {
    fn write(&self, variable: &Variable, out: &mut Vec<u8>) {
        if let Variable::UpstreamCacheStatus = variable {
            out.extend_from_slice(CacheStatus::Hit.word().as_bytes());
        }
    }
}

/// The beginning of a field's line, as far as it is always the same.
pub(super) struct Line {
    text: Box<[u8]>,
    name_length: usize,
    /// The operator says how the name is spelled, whatever came.
    is_own: bool,
}

impl Line {
    fn new(name: &HeaderName, heads: &Heads, value: &[u8]) -> Self {
        let mut text = name.as_str().as_bytes().to_vec();
        let is_own = heads.spelling.as_ref().is_some_and(|own| {
            own.respell(None, &mut text);
            own.spell(&mut text)
        });
        let name_length = text.len();
        text.extend_from_slice(b": ");
        text.extend_from_slice(value);
        Self { text: text.into(), name_length, is_own }
    }

    /// Writes it, and what is still to be said behind it.
    pub(super) fn write(&self, spelled: Spellings<'_>, rest: &[u8], out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(&self.text);
        if let Some((_, Some(sent))) = spelled
            && !self.is_own
        {
            sent.spell(&mut out[begin..][..self.name_length]);
        }
        out.extend_from_slice(rest);
        out.extend_from_slice(b"\r\n");
    }
}

/// How the names of an answer are spelled, if they are: as the operator's, then as those that came.
pub(super) type Spellings<'a> = Option<(&'a Spelling, Option<&'a Spelling>)>;
