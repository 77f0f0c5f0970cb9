//! A request answered from a file. (nginx: ngx_http_static_module, ngx_http_try_files_module)

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use hyper::body::Incoming;

use super::call::Call;
use super::compress;
use super::deliver::{self, Answer, Source};
use super::error::{Error, plain};
use super::gate;
use super::outgoing::escaped;
use super::partial;
use super::route::{self, Route};
use super::{Worker, admit};
use crate::config::template::{Part, Template};
use crate::config::{Autoindex, Fallback};
use crate::files::{Asked, Files, Found, FoundFile, Wanted, expires, kind, listing};
use crate::interim::Gap;
use crate::semantics::coding::Accepted;
use crate::semantics::compressing;
use crate::semantics::date::{Timestamp, http_date};
use crate::semantics::reason::Reason;
use crate::semantics::stored::Stored;

/// What comes of looking for a file.
enum Looked {
    Answered(Box<Answer>),
    /// Another route of the site answers.
    Elsewhere(Elsewhere),
}

/// Who answers where no file does.
enum Elsewhere {
    /// The route of this name.
    Named(Arc<Route>),
    /// The route for this target.
    Target(Uri),
}

/// Answers from the route's files, or hands over to the route that its `try_files` end with.
pub(super) async fn answer(call: Call<'_>, gap: &Gap, body: Incoming) -> Result<Answer, Error> {
    let Some(files) = &call.route.files else { return Err(Error::NotFound) };
    match look(&call, files).await? {
        Looked::Answered(answer) => {
            admit::body(&call, body)?;
            Ok(*answer)
        }
        Looked::Elsewhere(_) if call.turns == TURNS_MAX => {
            tracing::warn!(path = call.path, "`try_files` lead from one to another without end");
            Err(Error::Internal)
        }
        Looked::Elsewhere(Elsewhere::Named(route)) => {
            hand_over(Call { route: &route, ..call }, call.route, gap, body).await
        }
        Looked::Elsewhere(Elsewhere::Target(uri)) => {
            let mut request = call.request.clone();
            request.uri = uri;
            let path = route::normalized(request.uri.path()).ok_or(Error::BadRequest("path"))?;
            let route = call.site.find(&path).ok_or(Error::NotFound)?;
            let other = Call { route, request: &request, path: &path, ..call };
            hand_over(other, call.route, gap, body).await
        }
    }
}

/// Lets another route answer, if the request passes what that asks. (nginx: an internal redirect)
async fn hand_over(
    call: Call<'_>,
    from: &Arc<Route>,
    gap: &Gap,
    body: Incoming,
) -> Result<Answer, Error> {
    let call = Call { turns: call.turns + 1, ..call };
    match &call.route.gate {
        Some(gate) if !Arc::ptr_eq(call.route, from) => {
            Box::pin(gate::pass(call, gate, None, gap, body)).await
        }
        _ => Box::pin(Worker::routed(call, gap, body)).await,
    }
}

/// Looks for a file, and answers with it.
async fn look(call: &Call<'_>, files: &Arc<Files>) -> Result<Looked, Error> {
    let accepted = Accepted::of(&call.request.headers);
    let asked = Asked { paths: paths(call, files), accepted };
    let found = files.find(asked).await.map_err(|error| {
        tracing::warn!(path = call.path, %error, "a file cannot be opened");
        Error::Internal
    })?;
    let answer = match found {
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
    };
    Ok(Looked::Answered(Box::new(answer)))
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
fn instead(call: &Call<'_>, files: &Files) -> Result<Looked, Error> {
    match &files.settings.fallback {
        Fallback::Status(StatusCode::NOT_FOUND) => Err(Error::NotFound),
        Fallback::Status(StatusCode::FORBIDDEN) => Err(Error::Forbidden),
        Fallback::Status(status) => {
            let response = plain(*status, wall(call));
            let answer = Answer::own(response, Reason::File, None);
            Ok(Looked::Answered(Box::new(answer)))
        }
        Fallback::Named(name) => {
            let route = call.site.named(name).ok_or(Error::Internal)?;
            Ok(Looked::Elsewhere(Elsewhere::Named(Arc::clone(route))))
        }
        Fallback::Path(template) => {
            let mut text = Vec::new();
            template.write(call, &mut text);
            let text = String::from_utf8(text).map_err(|_| Error::NotFound)?;
            let (path, query) = text.split_once('?').unwrap_or((&text, ""));
            let mut target = escaped(path);
            if !query.is_empty() {
                target.push('?');
                target.push_str(query);
            }
            let uri = target.parse().map_err(|_| Error::BadRequest("target"))?;
            Ok(Looked::Elsewhere(Elsewhere::Target(uri)))
        }
    }
}

/// Answers with a file.
fn file(call: &Call<'_>, files: &Files, found: FoundFile) -> Answer {
    let FoundFile { file, name, coding, varies } = found;
    let mut fields = own_fields(call);
    fields.insert(header::CONTENT_TYPE, kind::content_type(&files.settings, &name));
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
    let response = deliver::of_our_own(call, &stored, &source);
    Answer::own(response, Reason::File, None)
}

/// A folder is asked for with a slash, so that links in it lead into it.
fn with_slash(call: &Call<'_>, path: &str) -> Result<Answer, Error> {
    let mut location = escaped(path);
    if let Some(query) = call.request.uri.query() {
        location.push('?');
        location.push_str(query);
    }
    let mut response = plain(StatusCode::MOVED_PERMANENTLY, wall(call));
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
    if let Ok(date) = HeaderValue::try_from(http_date(wall(call)).to_string()) {
        fields.insert(header::DATE, date);
    }
    fields
}

fn wall(call: &Call<'_>) -> Timestamp {
    Timestamp::from(call.worker.proxy.clock.wall())
}

/// Room for all that is said of a file.
const FIELDS: usize = 16;
/// nginx: how often a request is handed over from one route to another.
const TURNS_MAX: usize = 10;
