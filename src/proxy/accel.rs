//! An answer of an upstream that says what answers in its place: a file that only it lets somebody have.
//! (nginx: X-Accel-Redirect)

use http::{HeaderMap, HeaderName, HeaderValue, Response, header};

use super::call::Call;
use super::deliver::Answer;
use super::error::Error;
use super::inside::Next;
use super::{Sent, route};
use crate::body::Body;

/// Where a response sends its request on to.
#[derive(Clone)]
struct Elsewhere(HeaderValue);

/// Whether a response says so, on a route that heeds it. What does is not stored.
pub(super) fn is_said(call: &Call<'_>, fields: &HeaderMap) -> bool {
    call.route.settings.accel_redirect && fields.contains_key(X_ACCEL_REDIRECT)
}

/// Notes what a response says, before the field is hidden.
pub(super) fn note(call: &Call<'_>, response: &mut Response<Body>) {
    if is_said(call, response.headers())
        && let Some(to) = response.headers_mut().remove(X_ACCEL_REDIRECT)
    {
        response.extensions_mut().insert(Elsewhere(to));
    }
}

/// The answer, or where the request goes on, with what of the answer's fields stays.
///
/// # Errors
/// `Error::Inside` where the request goes on; 404 where that is no path.
pub(super) fn go_on(answer: Answer, sent: &mut Sent<'_>) -> Result<Answer, Error> {
    let Some(Elsewhere(to)) = answer.response.extensions().get() else { return Ok(answer) };
    let next = next(to).ok_or(Error::NotFound)?;
    let fields = answer.response.headers();
    let kept = sent.kept.insert(Box::default());
    for name in &KEPT {
        kept.extend(fields.get_all(name).iter().map(|value| (name.clone(), value.clone())));
    }
    Err(Error::Inside(Box::new(Next::Read(Box::new(next)))))
}

/// A path with its query, or the name of a route.
fn next(to: &HeaderValue) -> Option<Next> {
    let to = std::str::from_utf8(to.as_bytes()).ok()?;
    if let Some(name) = to.strip_prefix('@') {
        return Some(Next::Named(name.to_owned()));
    }
    let (path, args) = match to.split_once('?') {
        Some((path, args)) => (path, Some(args.to_owned())),
        None => (to, None),
    };
    Some(Next::Uri(route::normalized(path)?.into_owned(), args))
}

/// Adds what stayed of the answer before this one. An error has cookies of it only.
pub(super) fn add_kept(answer: &mut Answer, kept: HeaderMap) {
    let of_upstream = !answer.is_own;
    let fails = answer.response.status().as_u16() >= 400;
    let fields = answer.response.headers_mut();
    let mut name = None;
    for (next, value) in kept {
        name = next.or(name);
        let Some(name) = &name else { continue };
        if *name == header::SET_COOKIE {
            fields.append(name.clone(), value);
            continue;
        }
        let is_of_body = *name != header::CONTENT_TYPE || fields.contains_key(name);
        if !fails && is_of_body && !(of_upstream && fields.contains_key(name)) {
            fields.insert(name.clone(), value);
        }
    }
}

const X_ACCEL_REDIRECT: HeaderName = HeaderName::from_static("x-accel-redirect");

/// What nginx keeps.
const KEPT: [HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::CONTENT_DISPOSITION,
    header::SET_COOKIE,
    header::ACCEPT_RANGES,
    header::CACHE_CONTROL,
    header::EXPIRES,
];
