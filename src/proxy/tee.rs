//! A response on its way into a fill.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, Response, header};
use http_body::Body as HttpBody;

use super::accel;
use super::call::{Call, OwnedCall};
use super::fetch::Survival;
use super::incoming;
use super::route::Cache;
use super::serve::any_is_true;
use crate::body::Body;
use crate::cache::Refusal;
use crate::cache::lock::{Outcome, Permit};
use crate::cache::lookup::Key;
use crate::cache::writer::Writer;
use crate::config::template::{Template, Variable};
use crate::semantics::advice;
use crate::semantics::date::Timestamp;
use crate::semantics::key::KeyHash;
use crate::semantics::reason::Reason;
use crate::semantics::rules::Rules;
use crate::semantics::status::CacheStatus;
use crate::semantics::stored::Stored;
use crate::semantics::vary;

/// A response that came without anybody waiting for it, and where it goes.
pub(super) struct Beside<'a> {
    pub(super) call: &'a Arc<OwnedCall>,
    pub(super) cache: &'a Arc<Cache>,
    pub(super) key: Key,
    /// From before the origin was asked.
    pub(super) permit: Permit,
}

impl Beside<'_> {
    /// Stores the response, and gives it back to be passed on.
    pub(super) async fn store(
        mut self,
        stored: Stored,
        response: Response<Body>,
    ) -> Response<Body> {
        let (zone, view) = (Arc::clone(&self.cache.zone), self.call.view());
        let names = names(&stored, &self.cache.settings.rules);
        let at = zone.place(&self.key, names, &view.request.headers, &mut self.permit).await;
        self.permit.settle(Outcome::Alone);
        let (head, mut body) = response.into_parts();
        let length = body.size_hint().exact();
        let mut writer = Writer::begin(&zone, self.permit, &self.key.text, at, stored, length);
        let follower = writer.fill().follow(0..u64::MAX);
        let (shard, number) = (Arc::clone(&view.worker.shard), self.cache.zone_number);
        let mut survival = Survival::of(self.cache);
        tokio::spawn(async move {
            let goes_on = |writer: &Writer, bytes| survival.lets(writer, bytes);
            match incoming::pump(&mut body, &mut writer, goes_on).await {
                Ok(bytes) => {
                    if writer.complete().await {
                        shard.count_stored(number, CacheStatus::Miss, bytes);
                    }
                }
                Err(why) => why.tell(writer),
            }
        });
        Response::from_parts(head, Body::stream(follower))
    }
}

/// What besides the response and the request says against storing it.
pub(super) fn not_to_be_stored(
    call: &Call<'_>,
    cache: &Cache,
    response: &Response<Body>,
) -> Option<Reason> {
    if any_is_true(call, &cache.settings.no_cache) {
        return Some(Reason::NoCacheRule);
    }
    if accel::is_said(call, response.headers()) {
        return Some(Reason::SentOn);
    }
    if varies_by_what_is_set(call, cache, response.headers()) {
        return Some(Reason::VarySetHeader);
    }
    let length = response.body().size_hint().exact();
    let too_large = length.is_some_and(|length| length > cache.zone.store.body_bytes_max());
    too_large.then_some(Reason::TooLarge)
}

/// Remembers for `explain` why a response is not stored.
pub(super) fn note_refusal(
    call: &Call<'_>,
    cache: &Cache,
    at: KeyHash,
    response: &Response<Body>,
    reason: Reason,
) {
    let said = advice::field_of(reason).and_then(|name| {
        let value = response.headers().get(&name)?.as_bytes();
        let value = String::from_utf8_lossy(&value[..value.len().min(SAID_BYTES_MAX)]);
        Some(format!("{name}: {value}"))
    });
    let now = Timestamp::from(call.worker.proxy.clock.now());
    let refusal = Refusal { at: now, status: response.status().as_u16(), reason, said };
    cache.zone.note_refusal(at, refusal);
}

/// Whether a response differs by a field that the origin does not get from the client: variants are
/// told apart by what clients send, so two of them would share what is for one.
fn varies_by_what_is_set(call: &Call<'_>, cache: &Cache, response: &HeaderMap) -> bool {
    let (settings, set) = (&cache.settings, &call.route.settings.set_header);
    if set.is_empty() || settings.rules.ignore.vary || !response.contains_key(header::VARY) {
        return false;
    }
    let names = vary::names(response, settings.rules.vary).unwrap_or_default();
    let in_key = |variable: &Variable| {
        let who = settings.partition.iter().flat_map(Template::variables);
        settings.key.variables().chain(who).any(|known| known == variable)
    };
    set.iter().filter(|(name, _)| names.contains(name)).any(|(name, template)| {
        let is_sent =
            |variable: &Variable| matches!(variable, Variable::Http(sent) if sent == name);
        template
            .variables()
            .any(|variable| !is_same_for_route(variable) && !is_sent(variable) && !in_key(variable))
    })
}

/// Whether a variable gives the same for all requests of a route.
fn is_same_for_route(variable: &Variable) -> bool {
    use Variable::{ProxyHost, ProxyPort, Scheme, ServerName};
    matches!(variable, Scheme | ServerName | ProxyHost | ProxyPort)
}

/// The request fields that tell a response's variants apart.
pub(super) fn names(stored: &Stored, rules: &Rules) -> Vec<HeaderName> {
    if rules.ignore.vary {
        return Vec::new();
    }
    vary::names(&stored.fields, rules.vary).unwrap_or_default()
}

/// Of a response field that is remembered for `explain`.
const SAID_BYTES_MAX: usize = 200;
