//! Answers that a route gives itself: a text, another URL. (nginx: return)

use http::{HeaderValue, Response, StatusCode, header};

use super::call::Call;
use super::deliver::Answer;
use super::error::{Error, own_handling, plain, tell_handling};
use super::location::whole;
use super::way::escaped;
use crate::body::Body;
use crate::client::HangUp;
use crate::config::answers::{ContentType, Redirect, Respond};
use crate::config::template::Template;
use crate::semantics::date::Timestamp;
use crate::semantics::reason::Reason;

/// The answer of a route with `respond`.
pub(super) fn respond(call: &Call<'_>, respond: &Respond) -> Result<Answer, Error> {
    if respond.status.as_u16() == HANG_UP {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = respond.status;
        response.extensions_mut().insert(HangUp);
        return Ok(Answer::own(response, Reason::Respond, None));
    }
    let Some(body) = &respond.body else {
        // An error without a text is one that `error_page` may replace.
        if respond.status.as_u16() >= 300 {
            return Err(Error::Plain(respond.status));
        }
        return Ok(answer(call, respond.status, (Body::empty(), None)));
    };
    let mut text = Vec::new();
    body.write(call, &mut text);
    let content_type = match &respond.content_type {
        ContentType::Fixed(kind) => Some(kind.clone()),
        ContentType::ByPath(types) => types.of(call.path),
    };
    Ok(answer(call, respond.status, (Body::full(text), content_type)))
}

/// The answer of a route with `redirect`.
pub(super) fn redirect(call: &Call<'_>, redirect: &Redirect) -> Result<Answer, Error> {
    redirected(call, redirect.status, location(call, &redirect.to))
}

/// `Location` of a template. What no URL holds is escaped, line ends first of all.
pub(super) fn location(call: &Call<'_>, to: &Template) -> String {
    let mut text = Vec::new();
    to.write(call, &mut text);
    escaped(&text, b"")
}

/// Sends a client to another URL.
pub(super) fn redirected(
    call: &Call<'_>,
    status: StatusCode,
    location: String,
) -> Result<Answer, Error> {
    let location = HeaderValue::try_from(whole(call, location))
        .map_err(|_| Error::BadRequest("redirect location"))?;
    let mut response = plain(status, now(call));
    tell_handling(&mut response, own_handling(Reason::Respond));
    response.headers_mut().insert(header::LOCATION, location);
    Ok(Answer::own(response, Reason::Respond, None).unexpected(call.request))
}

fn answer(
    call: &Call<'_>,
    status: StatusCode,
    (body, content_type): (Body, Option<HeaderValue>),
) -> Answer {
    let mut response = plain(status, now(call));
    *response.body_mut() = body;
    match content_type {
        Some(value) => drop(response.headers_mut().insert(header::CONTENT_TYPE, value)),
        None => drop(response.headers_mut().remove(header::CONTENT_TYPE)),
    }
    tell_handling(&mut response, own_handling(Reason::Respond));
    Answer::own(response, Reason::Respond, None).unexpected(call.request)
}

fn now(call: &Call<'_>) -> Timestamp {
    Timestamp::from(call.worker.proxy.clock.wall())
}

/// nginx's status for "no answer at all".
const HANG_UP: u16 = 444;
