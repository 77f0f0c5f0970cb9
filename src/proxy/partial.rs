//! How much of a stored response a client gets: all of it, one part, several. (RFC 9110 section 14)

use std::ops::Range;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use super::call::Call;
use super::deliver::{Source, insert_length};
use super::route::Cache;
use crate::body::Body;
use crate::cache::fill::Fill;
use crate::cache::lookup::Found;
use crate::semantics::directives::members;
use crate::semantics::multipart::Multipart;
use crate::semantics::precondition::Met;
use crate::semantics::range::Wanted;
use crate::semantics::rules::RangeReading;
use crate::semantics::stored::Stored;
use crate::semantics::{partial, precondition, range};

/// Gives the response its body, as far as the client wants it; the head says which part it is.
/// Nothing forbids that of what has no cache.
pub(super) fn as_wanted(
    call: &Call<'_>,
    cache: Option<&Cache>,
    response: &mut Response<Body>,
    (stored, source): (&Stored, &Source),
) {
    match wanted(call, cache, stored, source) {
        Wanted::Whole => whole(call, response, source),
        Wanted::Part(part) => one(call, response, (stored, source), part),
        Wanted::Several(parts) => match several(call, response, (stored, source), &parts) {
            Some(()) => {}
            None => whole(call, response, source),
        },
        Wanted::Unsatisfiable => unsatisfiable(response, source),
    }
}

/// Cuts the one range that the client wants out of a whole response that is passed on, where the
/// operator forces ranges.
pub(super) fn cut_if_forced(call: &Call<'_>, response: &mut Response<Body>) {
    if call.cache().is_ok_and(|cache| cache.settings.force_ranges) {
        cut_passed(call, response);
    }
}

/// Cuts the one range that the client wants out of a whole response that is passed on. What comes
/// is of use once only, so several ranges get the whole.
pub(super) fn cut_passed(call: &Call<'_>, response: &mut Response<Body>) {
    if call.request.method == Method::HEAD {
        return;
    }
    let Some(length) = http_body::Body::size_hint(response.body()).exact() else { return };
    if response.status() == StatusCode::OK {
        let wanted = wanted_of_whole(call, response.headers(), length);
        cut(response, length, wanted);
    }
}

/// What the client wants of a whole of this length, if it is still what its condition names.
pub(super) fn wanted_of_whole(call: &Call<'_>, fields: &HeaderMap, length: u64) -> Wanted {
    match asked(call) {
        Some(value) if precondition::if_range_holds(&call.request.headers, fields) => {
            let reads = if reads_as_nginx(call) { range::wanted_as_nginx } else { range::wanted };
            reads(value.as_bytes(), length)
        }
        _ => Wanted::Whole,
    }
}

/// Makes a whole response of this length the range that is wanted of it.
fn cut(response: &mut Response<Body>, length: u64, wanted: Wanted) {
    match wanted {
        Wanted::Whole | Wanted::Several(_) => {}
        Wanted::Part(part) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let content = format!("bytes {}-{}/{length}", part.start, part.end - 1);
            insert_content_range(response.headers_mut(), content);
            response.headers_mut().remove(header::CONTENT_LENGTH);
            let whole = std::mem::take(response.body_mut());
            *response.body_mut() = whole.cut(part);
        }
        Wanted::Unsatisfiable => {
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            insert_content_range(response.headers_mut(), format!("bytes */{length}"));
            response.headers_mut().remove(header::CONTENT_LENGTH);
            *response.body_mut() = Body::empty();
        }
    }
}

/// What a client waits for of a response that is on its way.
pub(super) struct Wants {
    /// The first byte that it gets; nothing where it gets none.
    pub(super) first: Option<u64>,
    /// Where that begins for which it waits longest.
    pub(super) furthest: u64,
}

/// What the client wants of a response that is on its way.
pub(super) fn wants_of(call: &Call<'_>, cache: &Cache, fill: &Arc<Fill>) -> Wants {
    let whole = Wants { first: Some(0), furthest: 0 };
    let (stored, nothing) = (&fill.stored, Wants { first: None, furthest: 0 });
    if !call.wants_all {
        let met = precondition::met(&call.request.headers, stored, &cache.settings.rules);
        if met != Met::Yes || call.request.method == Method::HEAD {
            return nothing;
        }
    }
    let Some(value) = asked(call) else { return whole };
    if stored.part.is_some() || stored.status != StatusCode::OK || !may_cut(cache, &stored.fields) {
        return whole;
    }
    let Some(length) = fill.length else {
        let holds = precondition::if_range_holds(&call.request.headers, &stored.fields);
        let furthest = holds.then(|| range::furthest(value.as_bytes())).flatten();
        return Wants { furthest: furthest.unwrap_or(0), ..whole };
    };
    match wanted_of_whole(call, &stored.fields, length) {
        Wanted::Whole => whole,
        Wanted::Part(part) => Wants { first: Some(part.start), furthest: part.start },
        Wanted::Several(parts) => {
            let starts = || parts.iter().map(|part| part.start);
            let is_given = can_give(&Source::Fill(Arc::clone(fill)), &parts);
            let first = starts().min().filter(|_| is_given);
            Wants { first: first.or(Some(0)), furthest: starts().max().unwrap_or(0) }
        }
        Wanted::Unsatisfiable => nothing,
    }
}

/// Whether what was found has what the client asks for: the whole does, a stored part only for a
/// range within it.
pub(super) fn is_enough(call: &Call<'_>, found: &Found) -> bool {
    found.stored.part.is_none() || wanted_of_part(call, &found.stored, found.body.len()).is_some()
}

fn wanted(call: &Call<'_>, cache: Option<&Cache>, stored: &Stored, source: &Source) -> Wanted {
    let (Some(_), Some(length)) = (asked(call), source.length()) else { return Wanted::Whole };
    if stored.part.is_some() {
        // A part that was just fetched and is not what was asked for is passed on as it came, and
        // so is all of one: an origin that promises more than it sends is taken at its word.
        let part = wanted_of_part(call, stored, length).filter(|part| *part != (0..length));
        return part.map_or(Wanted::Whole, Wanted::Part);
    }
    let may_cut = cache.is_none_or(|cache| may_cut(cache, &stored.fields));
    if stored.status != StatusCode::OK || !may_cut {
        return Wanted::Whole;
    }
    match wanted_of_whole(call, &stored.fields, length) {
        Wanted::Several(parts) if !can_give(source, &parts) => Wanted::Whole,
        wanted => wanted,
    }
}

/// The part of a stored part, counted from its own first byte.
fn wanted_of_part(call: &Call<'_>, stored: &Stored, length: u64) -> Option<Range<u64>> {
    let value = asked(call)?;
    let holds = precondition::if_range_holds(&call.request.headers, &stored.fields);
    holds.then(|| partial::within(value.as_bytes(), stored, length))?
}

/// The client's `Range`. Only a GET has one (RFC 9110 section 14.2), but in nginx a HEAD too, and only
/// one line of it.
pub(super) fn asked<'a>(call: &Call<'a>) -> Option<&'a HeaderValue> {
    if call.wants_all {
        return None;
    }
    let value = call.request.headers.get(header::RANGE)?;
    let lines = call.request.headers.get_all(header::RANGE).iter().count();
    let most = call.route.settings.ranges_max;
    let is_within = value.as_bytes().split(|byte| *byte == b',').count() <= most;
    let has_one = match call.request.method {
        Method::GET => true,
        Method::HEAD => reads_as_nginx(call),
        _ => false,
    };
    (has_one && lines == 1 && is_within).then_some(value)
}

fn reads_as_nginx(call: &Call<'_>) -> bool {
    call.cache().is_ok_and(|cache| cache.settings.rules.ranges == RangeReading::Strict)
}

/// Whether the operator lets us cut what came with these fields.
fn may_cut(cache: &Cache, fields: &HeaderMap) -> bool {
    let settings = &cache.settings;
    let bytes = |line: &HeaderValue| {
        members(line.as_bytes()).any(|unit| unit.eq_ignore_ascii_case(b"bytes"))
    };
    !settings.rules.ranges_need_accept_ranges
        || settings.force_ranges
        || fields.get_all(header::ACCEPT_RANGES).iter().any(bytes)
}

/// What is on its way is held for its slowest follower: one that jumps back would have to wait for
/// itself.
fn can_give(source: &Source, parts: &[Range<u64>]) -> bool {
    let is_behind = |pair: &[Range<u64>]| pair[0].end <= pair[1].start;
    !matches!(source, Source::Fill(_)) || parts.windows(2).all(is_behind)
}

fn whole(call: &Call<'_>, response: &mut Response<Body>, source: &Source) {
    let length = source.length();
    if call.request.method == Method::HEAD {
        insert_length(response.headers_mut(), length);
    } else {
        *response.body_mut() = source.body(0..length.unwrap_or(u64::MAX));
    }
}

fn one(
    call: &Call<'_>,
    response: &mut Response<Body>,
    (stored, source): (&Stored, &Source),
    part: Range<u64>,
) {
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let (offset, total) = match &stored.part {
        None => (0, source.length()),
        Some(place) => (place.first, place.total),
    };
    // The place is the origin's word, and may be any number.
    let first = part.start.saturating_add(offset);
    let last = part.end.saturating_sub(1).saturating_add(offset);
    let total = total.map_or_else(|| "*".to_owned(), |total| total.to_string());
    insert_content_range(response.headers_mut(), format!("bytes {first}-{last}/{total}"));
    if call.request.method == Method::HEAD {
        insert_length(response.headers_mut(), Some(part.end.saturating_sub(part.start)));
    } else {
        *response.body_mut() = source.body(part);
    }
}

/// `None`, and nothing done, for what cannot be framed.
fn several(
    call: &Call<'_>,
    response: &mut Response<Body>,
    (stored, source): (&Stored, &Source),
    ranges: &[Range<u64>],
) -> Option<()> {
    let content_type = stored.fields.get(header::CONTENT_TYPE);
    let boundary = fastrand::u128(..);
    let total = source.length().unwrap_or(0);
    let multipart = Multipart::new(ranges, total, content_type, boundary)?;
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, multipart.content_type);
    fields.remove(header::CONTENT_RANGE);
    if call.request.method == Method::HEAD {
        insert_length(fields, Some(multipart.length));
        return Some(());
    }
    let mut parts = Vec::with_capacity(ranges.len() * 2 + 1);
    for (head, range) in multipart.heads.into_iter().zip(ranges) {
        parts.push(Body::full(head));
        parts.push(source.body(range.clone()));
    }
    parts.push(Body::full(multipart.end));
    *response.body_mut() = Body::join(parts, multipart.length);
    Some(())
}

fn unsatisfiable(response: &mut Response<Body>, source: &Source) {
    *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    let content = format!("bytes */{}", source.length().unwrap_or(0));
    insert_content_range(response.headers_mut(), content);
}

pub(super) fn insert_content_range(fields: &mut HeaderMap, content: String) {
    if let Ok(content) = HeaderValue::try_from(content) {
        fields.insert(header::CONTENT_RANGE, content);
    }
}
