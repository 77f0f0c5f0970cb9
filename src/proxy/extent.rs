//! How much of a resource is asked of the origin, and what its answer is good for.
//! (RFC 9111 sections 3.3 and 3.4; nginx: proxy_cache_max_range_offset, slice)

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as HttpBody;

use super::call::{Call, OwnedCall};
use super::compress::Compressing;
use super::deliver::Source;
use super::outgoing::{self, Told};
use super::route::Cache;
use super::slice::Slice;
use crate::body::Body;
use crate::cache::fill::Fill;
use crate::cache::lookup::{Found, Key, Lookup};
use crate::semantics::date::Timestamp;
use crate::semantics::freshness::Times;
use crate::semantics::partial as parts;
use crate::semantics::partial::ContentRange;
use crate::semantics::range;
use crate::semantics::reason::Reason;
use crate::semantics::rules::Rules;
use crate::semantics::storable::{Asked, Storable, storable, storable_part};
use crate::semantics::stored::Stored;
use crate::spelling::Spelling;
use crate::upstream;

/// How much is asked for.
#[derive(Clone)]
pub(super) enum Extent {
    /// All of it, whatever the client asked for.
    Whole,
    /// The range that the client asked for.
    AsAsked,
    /// What a stored part lacks.
    RestOf(Found),
    /// One slice of it.
    Slice(Arc<Slice>),
}

impl Extent {
    /// What completes a part that was found and is not enough: its rest, if the answer can be of
    /// use, else everything.
    pub(super) fn completing(call: &Call<'_>, found: &Found) -> Self {
        if call.request.method != Method::GET {
            return Self::Whole;
        }
        let length = found.body.len();
        match parts::rest(&found.stored, length) {
            // A stale part is worth the question only if the answer can prove that it fits.
            Some((_, validator))
                if validator.is_some() || !found.stored.fresh_for(call.now).is_zero() =>
            {
                Self::RestOf(found.clone())
            }
            _ => Self::Whole,
        }
    }

    /// Whether a client's range is to be passed on rather than the whole fetched for it.
    pub(super) fn passes(call: &Call<'_>, cache: &Cache) -> bool {
        let Some(offset) = cache.settings.max_range_offset else { return false };
        let value = call.request.headers.get(header::RANGE);
        let is_get = call.request.method == Method::GET;
        is_get && value.is_some_and(|value| range::begins_behind(value.as_bytes(), offset))
    }

    /// Whether it is one slice.
    pub(super) fn is_slice(&self) -> bool {
        matches!(self, Self::Slice(_))
    }

    /// How the answer may be compressed: slices are parts of the body as it is, and a client's own
    /// range is cut out of that.
    pub(super) fn compressing(&self, cache: &Cache) -> Compressing {
        match self {
            _ if cache.settings.slice.is_some() => Compressing::Never,
            Self::Slice(_) => Compressing::Never,
            Self::AsAsked => Compressing::ForOthers,
            Self::Whole | Self::RestOf(_) => Compressing::Yes,
        }
    }

    /// Whether requests for other parts could make use of what is asked for like this.
    pub(super) fn is_shared(&self) -> bool {
        !matches!(self, Self::AsAsked)
    }

    /// Whether what another request fetches is of use: the slice's origin sent everything.
    pub(super) fn takes(&self, fill: &Fill) -> bool {
        matches!(self, Self::Slice(_))
            && fill.stored.part.is_none()
            && !fill.stored.fields.contains_key(header::VARY)
    }

    /// The key under which an answer rests: what is no slice rests where the whole does.
    pub(super) fn key<'a>(&'a self, stored: &Stored, key: &'a Key) -> &'a Key {
        match self {
            Self::Slice(slice) if stored.part.is_none() => &slice.of,
            _ => key,
        }
    }

    /// Sends a request that asks for the whole as one for this much.
    ///
    /// # Errors
    /// As `upstream::send`.
    pub(super) async fn send(
        &self,
        call: &OwnedCall,
        mut request: Request<()>,
        told: Told<'_>,
    ) -> Result<upstream::Reply, upstream::Failure> {
        let fields = request.headers_mut();
        match self {
            Self::Whole => {}
            Self::AsAsked => {
                for name in [header::RANGE, header::IF_RANGE] {
                    for value in call.view().request.headers.get_all(&name) {
                        fields.append(name.clone(), value.clone());
                    }
                }
            }
            Self::Slice(slice) => drop(fields.insert(header::RANGE, slice.asked())),
            Self::RestOf(found) => return complete(found, call, request, told).await,
        }
        send(call, request, told).await
    }

    /// Whether the answer may be stored.
    pub(super) fn storable(
        &self,
        asked: Asked,
        response: &Response<Body>,
        rules: &Rules,
        times: Times,
    ) -> Storable {
        let (status, fields) = (response.status(), response.headers());
        if matches!(self, Self::AsAsked) && !rules.store_parts {
            return Storable::No(Reason::RangeOffset);
        }
        if status == StatusCode::PARTIAL_CONTENT {
            return self.storable_part(asked, response, rules, times);
        }
        if status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Storable::No(Reason::Status);
        }
        storable(asked, status, fields, rules, times)
    }

    fn storable_part(
        &self,
        asked: Asked,
        response: &Response<Body>,
        rules: &Rules,
        times: Times,
    ) -> Storable {
        let no = Storable::No(Reason::Partial);
        let fields = response.headers();
        // Without a length nobody knows at the end whether all of it came.
        let length = response.body().size_hint().exact().filter(|length| *length > 0);
        let (Some(came), Some(length)) = (ContentRange::of(fields), length) else { return no };
        if let Self::Slice(slice) = self {
            if !slice.is(came, length) {
                return no;
            }
            // A slice is our way to store a whole, so the operator's lifetime for a 200 is its.
            return match storable(asked, StatusCode::OK, fields, rules, times) {
                Storable::Yes(mut stored) => {
                    stored.status = StatusCode::PARTIAL_CONTENT;
                    stored.part = Some(Box::new(came.part()));
                    Storable::Yes(stored)
                }
                Storable::No(_) => storable_part(asked, fields, rules, times, came.part()),
            };
        }
        if !rules.store_parts || length > came.length() {
            return no;
        }
        storable_part(asked, fields, rules, times, came.part())
    }
}

/// Whether storing this part would take the place of a fresh whole.
pub(super) async fn is_less(call: &OwnedCall, cache: &Cache, key: &Key, stored: &Stored) -> bool {
    // The key of a slice has nothing but the slice.
    if stored.part.is_none() || cache.settings.slice.is_some() {
        return false;
    }
    let view = call.view();
    let now = Timestamp::from(view.worker.proxy.clock.now());
    match cache.zone.lookup(key, &view.request.headers).await {
        Lookup::Found(found) => {
            found.stored.part.is_none() && !found.stored.fresh_for(now).is_zero()
        }
        Lookup::Absent { .. } | Lookup::AskDisk => false,
    }
}

/// Asks for what a stored part lacks. What fits comes back as the whole that the two make; when
/// what comes neither fits nor is the whole, that is asked for instead.
async fn complete(
    found: &Found,
    call: &OwnedCall,
    request: Request<()>,
    told: Told<'_>,
) -> Result<upstream::Reply, upstream::Failure> {
    let length = found.body.len();
    let Some((range, validator)) = parts::rest(&found.stored, length) else {
        return send(call, request, told).await;
    };
    let mut rest = request.clone();
    rest.headers_mut().insert(header::RANGE, range);
    if let Some(validator) = validator {
        rest.headers_mut().insert(header::IF_RANGE, HeaderValue::clone(validator));
    }
    let mut reply = send(call, rest, told).await?;
    let (status, came) = (reply.response.status(), reply.response.body().size_hint().exact());
    if parts::completes(&found.stored, length, status, reply.response.headers(), came) {
        let (head, body) = reply.response.into_parts();
        let first = Source::Rest(found.body.clone()).body(0..length);
        let total = length.saturating_add(came.unwrap_or(0));
        reply.response = Response::new(Body::join(vec![first, body], total));
        *reply.response.version_mut() = head.version;
        if let Some(spelling) = head.extensions.get::<Spelling>() {
            reply.response.extensions_mut().insert(spelling.clone());
        }
        *reply.response.headers_mut() = parts::combined_fields(&found.stored.fields, &head.headers);
        return Ok(reply);
    }
    if matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE) {
        drop(reply);
        return send(call, request, told).await;
    }
    Ok(reply)
}

async fn send(
    call: &OwnedCall,
    request: Request<()>,
    told: Told<'_>,
) -> Result<upstream::Reply, upstream::Failure> {
    let view = call.view();
    let body = outgoing::body(&view, Body::empty());
    outgoing::send(&view, request.map(|()| body), told).await
}
