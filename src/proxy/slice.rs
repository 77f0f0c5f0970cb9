//! Responses fetched and stored in slices. (nginx: ngx_http_slice_module)
//!
//! ```text
//!  serve
//!    | the whole is stored?         yes -> as on any other route
//!    | the slice in which the client's range begins, else the first: looked up, fetched, waited for
//!    |    206                       now the length is known, and what the client wants
//!    |    200                       this origin knows no ranges: stored and served as a whole
//!    |    416                       ask for the first slice, then for the whole
//!    v    else                      passed on
//!  stitch.rs   slice by slice, at most one ahead; all of one representation or none
//! ```
//!
//! Every slice is an entry of its own, with its own lifetime, lock and variants: a request of ours
//! goes the whole way for it. Only what the answer is put together from is decided here.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::call::{Call, OwnedCall};
use super::deliver::{self, Answer, insert_length};
use super::error::Error;
use super::extent::Extent;
use super::partial::{self, insert_content_range};
use super::route::Cache;
use super::serve::{self, Missed};
use super::stitch::{self, Stitched};
use crate::body::Body;
use crate::cache::lookup::{Key, Lookup};
use crate::cache::slices::slice_key;
use crate::semantics::date::Timestamp;
use crate::semantics::key::KeyHash;
use crate::semantics::partial::ContentRange;
use crate::semantics::range::{self, Spec, Wanted};
use crate::semantics::rules::{Preconditions, RangeReading};
use crate::semantics::stale::Failure;
use crate::semantics::status::{CacheStatus, Forwarded};

/// One slice of a response.
pub(super) struct Slice {
    /// The key of the whole.
    pub(super) of: Key,
    first: u64,
    /// Its last byte, unless the whole ends before.
    last: u64,
}

/// What is sliced, for one request.
pub(super) struct Sliced {
    pub(super) call: Arc<OwnedCall>,
    pub(super) cache: Arc<Cache>,
    /// The key of the whole.
    pub(super) key: Key,
    /// Bytes of a slice.
    pub(super) bytes: u64,
    /// Part of the keys of all slices.
    pub(super) nonce: u64,
    /// A rule said not to look.
    bypass: bool,
}

/// Bytes of the slices in which this request is answered, if it is.
pub(super) fn bytes(call: &Call<'_>, cache: &Cache) -> Option<u64> {
    let sliced = [Method::GET, Method::HEAD].contains(&call.request.method);
    cache.settings.slice.filter(|_| sliced)
}

/// Answers a request of a route with slices.
pub(super) async fn serve(
    call: Arc<OwnedCall>,
    cache: Arc<Cache>,
    bytes: u64,
) -> Result<Answer, Error> {
    let view = call.view();
    let key = view.key(&cache);
    let bypass = serve::any_is_true(&view, &cache.settings.bypass);
    if !bypass && let Some(lookup) = whole(&view, &cache, &key).await {
        let missed = Missed::new(&cache, key, Some(lookup));
        return serve::fetch_or_wait(Arc::clone(&call), Box::new(missed)).await;
    }
    let (nonce, is_new) = cache.zone.slices_of(&key).await;
    let sliced = Arc::new(Sliced { call: Arc::clone(&call), cache, key, bytes, nonce, bypass });
    let number = first_number(&view, bytes);
    let mut answer = sliced.get(number, None).await?;
    let mut got = number;
    let rules = &sliced.cache.settings.rules;
    // nginx passes on what the origin says of a slice that there is not.
    let is_passed = number > 0 && rules.ranges == RangeReading::Strict;
    let is_beyond = answer.response.status() == StatusCode::RANGE_NOT_SATISFIABLE;
    if is_beyond && number > 0 && !is_passed {
        // It has no such slice. The first one says how long it is, and whether it is still what
        // the client's condition names.
        answer = sliced.get(0, None).await?;
        got = 0;
    }
    match answer.response.status() {
        StatusCode::PARTIAL_CONTENT => put_together(sliced, got, answer),
        StatusCode::RANGE_NOT_SATISFIABLE if !is_passed => {
            // It has no byte at all, perhaps: as a whole that can be told.
            let lookup = Lookup::Absent { at: sliced.key.hash, other_variant: false };
            let missed = Missed::new(&sliced.cache, sliced.key.clone(), Some(lookup));
            serve::fetch_or_wait(call, Box::new(missed)).await
        }
        status => {
            // A condition of the client's says nothing of the slice, which may well be stored.
            let is_slice = [StatusCode::NOT_MODIFIED, StatusCode::PRECONDITION_FAILED];
            if is_new && !is_slice.contains(&status) {
                let Sliced { cache, key, nonce, .. } = &*sliced;
                cache.zone.forget_if_not_sliced(key, *nonce).await;
            }
            if view.request.method == Method::HEAD && !answer.response.body().is_empty() {
                let length = http_body::Body::size_hint(answer.response.body()).exact();
                *answer.response.body_mut() = Body::empty();
                insert_length(answer.response.headers_mut(), length);
            }
            partial::cut_passed(&view, &mut answer.response);
            Ok(answer)
        }
    }
}

/// The slice that an answer would begin with, and its key; `None` where the request is answered
/// from a whole, or no slice of this key is known. Changes nothing, so that `explain` can ask.
pub(super) async fn first(call: &Call<'_>, cache: &Cache, key: &Key) -> Option<(Key, Extent)> {
    let bytes = bytes(call, cache)?;
    if whole(call, cache, key).await.is_some() {
        return None;
    }
    let nonce = cache.zone.variants(key).await?.nonce;
    let slice = Slice::new(key, first_number(call, bytes), bytes)?;
    Some((slice.key(nonce), Extent::Slice(Arc::new(slice))))
}

/// The slice in which the client's range begins, as far as the range alone says it.
fn first_number(call: &Call<'_>, bytes: u64) -> u64 {
    match partial::asked(call).and_then(|value| range::single(value.as_bytes())) {
        Some(Spec::From(from, _)) => from / bytes,
        _ => 0,
    }
}

/// What is stored under the key of the whole, if it can answer: an origin that knows no ranges gave
/// it, or there was no such thing to be sliced.
async fn whole(call: &Call<'_>, cache: &Cache, key: &Key) -> Option<Lookup> {
    let fields = &call.request.headers;
    let lookup = match cache.zone.lookup_at_hand(key, fields, call.now) {
        Lookup::AskDisk => cache.zone.lookup(key, fields).await,
        lookup => lookup,
    };
    let Lookup::Found(found) = &lookup else { return None };
    let is_whole = found.stored.status == StatusCode::OK;
    (is_whole || serve::is_fresh(call, cache, found))
        .then_some(lookup)
        .filter(|lookup| matches!(lookup, Lookup::Found(found) if found.stored.part.is_none()))
}

/// The answer to the client, now that one slice says what there is.
fn put_together(sliced: Arc<Sliced>, number: u64, answer: Answer) -> Result<Answer, Error> {
    let came = ContentRange::of(answer.response.headers());
    let first = number * sliced.bytes;
    let Some((came, total)) =
        came.and_then(|came| Some((came, came.total?))).filter(|(came, _)| came.first == first)
    else {
        return Err(Error::UpstreamAfter {
            failure: Failure::InvalidHeader,
            word: Some(CacheStatus::Miss),
            forwarded: Forwarded::UriMiss,
            tried: answer.tried,
        });
    };
    let call = Arc::clone(&sliced.call);
    let view = call.view();
    let (mut answer, body) = without_body(answer);
    let fields = answer.response.headers_mut();
    fields.remove(header::CONTENT_RANGE);
    let head: HeaderMap = fields.clone();
    let (status, wanted) = match partial::wanted_of_whole(&view, &head, total) {
        Wanted::Unsatisfiable => {
            insert_content_range(fields, format!("bytes */{total}"));
            *answer.response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            if sliced.cache.settings.rules.preconditions == Preconditions::Answer {
                deliver::leave_as_nginx(&mut answer.response);
            }
            return Ok(answer);
        }
        Wanted::Part(part) => {
            let content = format!("bytes {}-{}/{total}", part.start, part.end - 1);
            insert_content_range(fields, content);
            (StatusCode::PARTIAL_CONTENT, part)
        }
        Wanted::Whole | Wanted::Several(_) => (StatusCode::OK, 0..total),
    };
    if view.request.method == Method::HEAD {
        insert_length(fields, Some(wanted.end - wanted.start));
    } else {
        let from_cache = stitch::is_from_cache(&answer);
        let stitched = Stitched::new(sliced, (head, total), wanted);
        let body = stitched.beginning_with(came, body, from_cache);
        *answer.response.body_mut() = body;
    }
    *answer.response.status_mut() = status;
    Ok(answer)
}

fn without_body(mut answer: Answer) -> (Answer, Body) {
    let body = std::mem::take(answer.response.body_mut());
    (answer, body)
}

impl Sliced {
    /// One slice, looked up, fetched or waited for; of what is stored only this range, if it says
    /// so.
    ///
    /// # Errors
    /// No valid answer came.
    pub(super) async fn get(
        &self,
        number: u64,
        range: Option<HeaderValue>,
    ) -> Result<Answer, Error> {
        self.get_unless(number, range, self.bypass).await
    }

    /// The same from the origin, whatever is stored.
    pub(super) async fn get_anew(
        &self,
        number: u64,
        range: Option<HeaderValue>,
    ) -> Result<Answer, Error> {
        self.get_unless(number, range, true).await
    }

    async fn get_unless(
        &self,
        number: u64,
        range: Option<HeaderValue>,
        bypass: bool,
    ) -> Result<Answer, Error> {
        let slice = Slice::new(&self.key, number, self.bytes);
        let slice = slice.ok_or(Error::BadRequest("range"))?;
        // A long answer outlives what was fresh when it was asked for.
        let now = Timestamp::from(self.call.view().worker.proxy.clock.now());
        let call = self.call.for_slice(now, range);
        let key = slice.key(self.nonce);
        let lookup = (!bypass)
            .then(|| self.cache.zone.lookup_at_hand(&key, &call.view().request.headers, now));
        let missed = Missed::new(&self.cache, key, lookup);
        let missed = missed.asking_for(Extent::Slice(Arc::new(slice)));
        serve::fetch_or_wait(Arc::new(call), Box::new(missed)).await
    }
}

impl Slice {
    /// `None` for one beyond everything.
    fn new(of: &Key, number: u64, bytes: u64) -> Option<Self> {
        let first = number.checked_mul(bytes)?;
        let last = first.checked_add(bytes - 1)?;
        Some(Self { of: of.clone(), first, last })
    }

    /// What the origin is asked for it (nginx: $slice_range).
    pub(super) fn asked(&self) -> HeaderValue {
        let value = format!("bytes={}-{}", self.first, self.last);
        HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static("bytes=0-"))
    }

    /// Whether a part of so many bytes is this slice.
    pub(super) fn is(&self, came: ContentRange, length: u64) -> bool {
        let last = came.total.map(|total| self.last.min(total - 1));
        came.first == self.first && Some(came.last) == last && length == came.length()
    }

    fn key(&self, nonce: u64) -> Key {
        let text = slice_key(&self.of.text, (self.first, self.last), nonce);
        // Who asks, how variants are told apart, and what responses must say: as for the whole.
        let hash = KeyHash::of(&text);
        Key { text, hash, ..self.of.clone() }
    }
}
