//! What the head of an answer looks like, where the operator says so: `Server`, `Date`, whether there
//! is `Cache-Status`, and how names are spelled.

use http::{HeaderValue, Response, header};

use super::deliver::{Answer, CACHE_STATUS};
use crate::body::Body;
use crate::config::heads::Heads;
use crate::semantics::date::{Timestamp, http_date};
use crate::spelling::{Spelled, Spelling};

/// Makes the head of an answer look like this. `now` is by the wall clock.
pub(super) fn dress(answer: &mut Answer, heads: &Heads, now: impl Fn() -> Timestamp) {
    if !heads.changes_answers() {
        return;
    }
    let is_own = answer.zone.is_none() && answer.upstream.is_none();
    if is_own && !heads.cache_status {
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
        && let Ok(date) = HeaderValue::try_from(http_date(now()).to_string())
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
