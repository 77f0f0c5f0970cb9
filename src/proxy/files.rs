//! A request answered from a file. (nginx: ngx_http_static_module, ngx_http_try_files_module)

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use hyper::body::Incoming;

use super::call::Call;
use super::compress;
use super::deliver::{self, Answer, Source};
use super::error::{Error, plain};
use super::heads;
use super::inside::Next;
use super::location::whole;
use super::way::escaped_path;
use super::{admit, partial};
use crate::config::template::{Part, Template};
use crate::config::{Autoindex, Fallback};
use crate::files::{Asked, Files, Found, FoundFile, Wanted, expires, listing};
use crate::semantics::coding::Accepted;
use crate::semantics::compressing;
use crate::semantics::date::{Timestamp, http_date};
use crate::semantics::reason::Reason;
use crate::semantics::stored::Stored;

/// Answers from the route's files.
///
/// # Errors
/// `Error::Inside` where `try_files` end with another route, or another path.
pub(super) async fn answer(call: Call<'_>, body: &mut Option<Incoming>) -> Result<Answer, Error> {
    let Some(files) = &call.route.files else { return Err(Error::NotFound) };
    let answer = look(&call, files).await?;
    // It is not read, but too large a one is refused.
    if body.take().is_some() {
        admit::length(&call)?;
    }
    Ok(answer)
}

/// Looks for a file, and answers with it.
async fn look(call: &Call<'_>, files: &Arc<Files>) -> Result<Answer, Error> {
    let accepted = Accepted::of(&call.request.headers);
    let Ok(place) = files.place(call) else { return instead(call, files) };
    let asked = Asked { paths: paths(call, files), place, accepted };
    let found = files.find(asked).await.map_err(|error| {
        tracing::warn!(path = call.path, %error, "a file cannot be opened");
        Error::Internal
    })?;
    Ok(match found {
        Found::Nothing => return instead(call, files),
        Found::Refused => return Err(Error::Forbidden),
        _ if ![Method::GET, Method::HEAD].contains(&call.request.method) => not_allowed(call),
        Found::File(found) => file(call, files, found),
        Found::WithoutSlash(path) => with_slash(call, &path)?,
        Found::Folder(..) if files.settings.autoindex == Autoindex::Off => {
            return Err(Error::Forbidden);
        }
        Found::Folder(folder, path) => {
            let page = listing::list(files, folder, path).await.map_err(|error| {
                tracing::warn!(path = call.path, %error, "a folder cannot be listed");
                Error::Internal
            })?;
            let mut fields = own_fields(call);
            fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(page.content_type));
            let source = Source::Rest(crate::store::Body::Memory(page.text));
            whole_or_part(call, fields, source)
        }
    })
}

/// The paths that are looked for. What is no text is nowhere.
fn paths(call: &Call<'_>, files: &Files) -> Vec<(String, Wanted)> {
    let tried = &files.settings.try_files;
    if tried.is_empty() {
        return vec![(call.path.to_owned(), Wanted::Any)];
    }
    let path = |template: &Template| {
        let mut text = Vec::new();
        template.write(call, &mut text);
        let mut text = String::from_utf8(text).ok()?;
        let is_folder =
            matches!(template.parts.last(), Some(Part::Literal(end)) if end.ends_with('/'));
        if is_folder {
            text.pop();
        }
        Some((text, if is_folder { Wanted::Folder } else { Wanted::File }))
    };
    tried.iter().filter_map(path).collect()
}

/// What answers where nothing is found.
fn instead(call: &Call<'_>, files: &Files) -> Result<Answer, Error> {
    let next = match &files.settings.fallback {
        Fallback::Status(StatusCode::NOT_FOUND) => return Err(Error::NotFound),
        Fallback::Status(StatusCode::FORBIDDEN) => return Err(Error::Forbidden),
        Fallback::Status(status) => {
            return Ok(Answer::own(plain(*status, wall(call)), Reason::File, None));
        }
        Fallback::Named(name) => Next::Named(name.clone()),
        Fallback::Path(template) => {
            let mut text = Vec::new();
            template.write(call, &mut text);
            let text = String::from_utf8(text).map_err(|_| Error::NotFound)?;
            match text.split_once('?') {
                Some((path, query)) => Next::Uri(path.to_owned(), Some(query.to_owned())),
                None => Next::Uri(text, None),
            }
        }
    };
    Err(Error::Inside(Box::new(next)))
}

/// Answers with a file.
fn file(call: &Call<'_>, files: &Files, found: FoundFile) -> Answer {
    let FoundFile { file, name, coding, varies } = found;
    let mut fields = own_fields(call);
    if let Some(kind) = files.settings.media_types.of(&name) {
        fields.insert(header::CONTENT_TYPE, kind);
    }
    if let Ok(date) = HeaderValue::try_from(http_date(file.modified()).to_string()) {
        fields.insert(header::LAST_MODIFIED, date);
    }
    if let Some(etag) = file.etag(coding) {
        fields.insert(header::ETAG, etag);
    }
    fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(coding) = coding {
        fields.insert(header::CONTENT_ENCODING, coding.value());
    }
    if varies {
        compressing::add_vary(&mut fields);
    }
    expires::tell(&mut fields, files.settings.expires, file.modified(), wall(call));
    let length = file.len();
    let coded = call.route.settings.compress.as_ref().and_then(|settings| {
        let whole = (StatusCode::OK, Some(length));
        let coding = compress::chosen(call, settings, whole, &mut fields)?;
        // A part is one of the file as it is.
        (partial::asked(call).is_none()).then_some((settings, coding))
    });
    if let Some((_, coding)) = coded {
        // Before conditions are looked at: they are about what is sent.
        compressing::describe(&mut fields, coding);
    }
    let mut answer = whole_or_part(call, fields, Source::File(file));
    if let Some((settings, coding)) = coded
        && answer.response.status() == StatusCode::OK
    {
        compress::encode(&mut answer.response, settings, coding);
    }
    answer
}

/// Answers with as much as the client wants, if its conditions hold.
fn whole_or_part(call: &Call<'_>, fields: HeaderMap, source: Source) -> Answer {
    let stored = Stored::as_it_is(StatusCode::OK, fields, call.now);
    let exact = call.route.files.as_ref().is_some_and(|files| files.settings.exact_dates);
    let response = deliver::of_our_own(call, (&stored, &source), exact);
    Answer::own(response, Reason::File, None)
}

/// A folder is asked for with a slash, so that links in it lead into it.
fn with_slash(call: &Call<'_>, path: &str) -> Result<Answer, Error> {
    let mut location = escaped_path(path);
    if let Some(query) = call.request.uri.query() {
        location.push('?');
        location.push_str(query);
    }
    let mut response = plain(StatusCode::MOVED_PERMANENTLY, wall(call));
    let location = whole(call, location);
    let location = HeaderValue::try_from(location).map_err(|_| Error::BadRequest("target"))?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(Answer::own(response, Reason::File, None))
}

fn not_allowed(call: &Call<'_>) -> Answer {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, wall(call));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    Answer::own(response, Reason::Refused, None)
}

/// What every answer of ours says.
fn own_fields(call: &Call<'_>) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(FIELDS);
    fields.insert(header::SERVER, HeaderValue::from_static("larder"));
    if let Some(date) = heads::date(wall(call)) {
        fields.insert(header::DATE, date);
    }
    fields
}

fn wall(call: &Call<'_>) -> Timestamp {
    Timestamp::from(call.worker.proxy.clock.wall())
}

/// Room for all that is said of a file.
const FIELDS: usize = 16;
