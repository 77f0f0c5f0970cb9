//! Purges: `PURGE`, and on the operator's word. (nginx: proxy_cache_purge)
//!
//! ```text
//!  PURGE /a           {"url": ...}      all variants of a URL; removed at once, and counted
//!  PURGE /a/*         {"prefix": ...}   |
//!  PURGE, Cache-Tag   {"tags": ...}     | one record in the zone's invalidation log for each
//!                     {"all": true}     |
//! ```

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};

use super::Worker;
use super::call::{Call, OwnedCall};
use super::deliver::Answer;
use super::error::{Error, own_handling, plain, tell_handling};
use super::prefix::{NoPrefix, Prefix};
use super::route::{Cache, Route};
use crate::body::Body;
use crate::cache::Zone;
use crate::cache::list::Listed;
use crate::cache::log::Scope;
use crate::cache::purge::{Purged, Wanted, What};
use crate::config::is_in;
use crate::semantics::date::Timestamp;
use crate::semantics::reason::Reason;
use crate::semantics::tags;

/// Purges what the request names: the tags in its fields, else all URLs that begin with its path
/// if that ends with `*`, else its URL. 200 with how many responses there were where that is
/// known; 404 if there were none.
///
/// # Errors
/// 405 where the route does not purge, 403 for a client that may not.
pub(super) async fn purge(call: &Call<'_>) -> Result<Answer, Error> {
    let caches = allowed_with_named(call)?;
    let fields = &call.request.headers;
    let how = How { soft: is_soft(fields), dry_run: false };
    let tags: Vec<_> = tags::named(fields).collect();
    let purged = if !tags.is_empty() {
        Ok(by_tags(caches.iter().map(|cache| &cache.zone), tags, how).await)
    } else if call.request.uri.query().is_none() && call.request_uri().ends_with('*') {
        let prefix = Prefix::of(call);
        let routes = prefix.routes(call.site).into_iter();
        let routes: Vec<_> = routes.filter(|route| !route.caching.all().is_empty()).collect();
        routes.iter().try_for_each(|route| allowed(call, route).map(drop))?;
        by_prefix(call, &prefix, &routes, how).await
    } else {
        Ok(by_url(call, &caches, how).await)
    };
    let client = call.remote.host();
    let uri = call.request_uri();
    Ok(match purged {
        Ok(purged) => {
            let (scope, soft) = (purged.scope, purged.soft);
            tracing::info!(%client, purged = purged.responses, scope, soft, uri, "purge");
            Answer::own(told(&purged, call), Reason::Purge, None)
        }
        Err(problem) => {
            tracing::info!(%client, uri, %problem, "purge refused");
            let document = format!("{{\"error\":\"{problem}\"}}\n");
            let response = json(StatusCode::BAD_REQUEST, document, call);
            Answer::own(response, Reason::Purge, None)
        }
    })
}

/// Purges on the operator's word.
///
/// # Errors
/// Why nothing can be purged, in words for the operator.
pub(super) async fn on_word(worker: &Arc<Worker>, wanted: &Wanted) -> Result<Purged, String> {
    let how = How { soft: wanted.soft, dry_run: wanted.dry_run };
    let zones = &worker.proxy.zones;
    match &wanted.what {
        What::Url(url) => purge_url(worker, url, false, how).await,
        What::Prefix(url) => purge_url(worker, url, true, how).await,
        What::Tags(tags, zone) => {
            let zone = named(zones, zone.as_deref())?;
            let tags = tags.iter().map(|tag| tags::of_text(tag)).collect();
            Ok(by_tags(std::iter::once(zone), tags, how).await)
        }
        What::All(zone) => {
            let zone = named(zones, zone.as_deref())?;
            Ok(by_scopes(&[(zone, vec![Scope::All])], "all", how).await)
        }
    }
}

/// How to purge.
#[derive(Clone, Copy)]
struct How {
    soft: bool,
    dry_run: bool,
}

async fn purge_url(
    worker: &Arc<Worker>,
    url: &Uri,
    is_prefix: bool,
    how: How,
) -> Result<Purged, String> {
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    let host = url.authority().map_or("", |authority| authority.as_str());
    let mut target = target.to_owned();
    if is_prefix && url.query().is_none() && !target.ends_with('*') {
        target.push('*');
    }
    let request = Request::get(target).header(header::HOST, host).body(());
    let (mut request, ()) = request.map_err(|error| error.to_string())?.into_parts();
    url.scheme().cloned().map(|scheme| request.extensions.insert(scheme));
    let owned = OwnedCall::of_operator(worker, request).await?;
    let call = owned.view();
    let (site, route, path) = (call.site, call.route, call.path);
    let no_cache = || format!("the route of `{path}` has no cache");
    if is_prefix {
        let prefix = Prefix::of(&call);
        let mut routes = prefix.routes(site);
        routes.retain(|route| !route.caching.all().is_empty());
        if routes.is_empty() {
            return Err(no_cache());
        }
        return by_prefix(&call, &prefix, &routes, how)
            .await
            .map_err(|problem| problem.to_string());
    }
    let routes = std::iter::once(route).chain(call.site.all_named());
    let caches: Vec<_> = routes.flat_map(|route| route.caching.all()).cloned().collect();
    if caches.is_empty() {
        return Err(no_cache());
    }
    Ok(by_url(&call, &caches, how).await)
}

/// The caches of the request's route, and of those that it may be sent on to as it is.
fn allowed_with_named(call: &Call<'_>) -> Result<Vec<Arc<Cache>>, Error> {
    let caching = |route: &&Arc<Route>| !route.caching.all().is_empty();
    let named: Vec<_> = call.site.all_named().filter(caching).collect();
    if call.route.caching.all().is_empty() && !named.is_empty() {
        let caches: Result<Vec<_>, _> = named.into_iter().map(|r| allowed(call, r)).collect();
        return caches.map(|caches| caches.concat());
    }
    let mut caches = allowed(call, call.route)?.to_vec();
    for route in named {
        caches.extend_from_slice(allowed(call, route)?);
    }
    Ok(caches)
}

/// The caches of a route, where they may be purged by whoever sent the request.
fn allowed<'a>(call: &Call<'_>, route: &'a Route) -> Result<&'a [Arc<Cache>], Error> {
    let caches = route.caching.all();
    let Some(allowed) = route.settings.purge.as_ref().filter(|_| !caches.is_empty()) else {
        return Err(Error::MethodNotAllowed);
    };
    let client = call.remote.host();
    if !is_in(allowed, call.remote) {
        tracing::warn!(%client, "purge refused: not an allowed address");
        return Err(Error::Forbidden);
    }
    Ok(caches)
}

/// From every zone that may have it.
async fn by_url(call: &Call<'_>, caches: &[Arc<Cache>], how: How) -> Purged {
    for cache in caches.iter().filter(|_| !how.dry_run) {
        cache.zone.purge_begins(None);
    }
    let keys = caches
        .iter()
        .flat_map(|cache| call.keys_for_reading(cache).into_iter().map(move |key| (cache, key)));
    if how.dry_run {
        let mut listed = Listed::default();
        for (cache, key) in keys {
            let alive = cache.zone.count_alive(&key).await;
            let text = String::from_utf8_lossy(&key.text).into_owned();
            listed.keys.extend((alive > 0).then_some((text, alive)));
        }
        return Purged { scope: "url", listed: Some(listed), ..Purged::default() };
    }
    let (mut responses, mut durable) = (0, true);
    for (cache, key) in keys {
        let (covered, lasts) = if how.soft {
            cache.zone.soften(&key).await
        } else {
            cache.zone.purge(&key, None).await
        };
        responses += covered;
        durable &= lasts;
    }
    Purged {
        scope: "url",
        soft: how.soft,
        responses: Some(responses),
        zones: caches.iter().map(|cache| cache.zone.name.clone()).collect(),
        not_durable: !durable,
        listed: None,
    }
}

async fn by_prefix(
    call: &Call<'_>,
    prefix: &Prefix<'_>,
    routes: &[&Arc<Route>],
    how: How,
) -> Result<Purged, NoPrefix> {
    let mut zones: Vec<(&Arc<Zone>, Vec<Scope>)> = Vec::new();
    let caches =
        routes.iter().flat_map(|route| route.caching.all().iter().map(move |cache| (route, cache)));
    for (route, cache) in caches {
        let keys = prefix.keys(&Call { route, ..*call }, cache)?;
        let scopes = keys.iter().map(|key| Scope::prefix(key));
        match zones.iter_mut().find(|(zone, _)| Arc::ptr_eq(zone, &cache.zone)) {
            Some((_, known)) => {
                let new: Vec<_> = scopes.filter(|scope| !known.contains(scope)).collect();
                known.extend(new);
            }
            None => zones.push((&cache.zone, scopes.collect())),
        }
    }
    Ok(by_scopes(&zones, "prefix", how).await)
}

async fn by_tags<'a>(
    zones: impl Iterator<Item = &'a Arc<Zone>>,
    mut tags: Vec<u64>,
    how: How,
) -> Purged {
    tags.sort_unstable();
    tags.dedup();
    let scopes: Vec<_> = tags.into_iter().map(Scope::Tag).collect();
    let zones: Vec<_> = zones.map(|zone| (zone, scopes.clone())).collect();
    by_scopes(&zones, "tag", how).await
}

async fn by_scopes(zones: &[(&Arc<Zone>, Vec<Scope>)], scope: &'static str, how: How) -> Purged {
    let names = zones.iter().map(|(zone, _)| zone.name.clone()).collect();
    let mut purged = Purged { scope, soft: how.soft, zones: names, ..Purged::default() };
    for (zone, scopes) in zones {
        if how.dry_run {
            let more = zone.list(scopes.clone()).await;
            purged.listed.get_or_insert_default().append(more);
        } else {
            purged.not_durable |= !zone.invalidate(scopes, how.soft).await;
        }
    }
    purged
}

fn named<'a>(zones: &'a [Arc<Zone>], name: Option<&str>) -> Result<&'a Arc<Zone>, String> {
    match (name, zones) {
        (Some(name), _) => {
            let zone = zones.iter().find(|zone| zone.name == name);
            zone.ok_or_else(|| format!("no zone is named `{name}`"))
        }
        (None, [zone]) => Ok(zone),
        (None, []) => Err("there is no zone".to_owned()),
        (None, _) => Err("there are several zones: name one".to_owned()),
    }
}

fn is_soft(fields: &HeaderMap) -> bool {
    let is_on = |name| fields.get(name).is_some_and(|value: &HeaderValue| value == "1");
    is_on(SOFT_PURGE) || is_on(FASTLY_SOFT_PURGE)
}

fn told(purged: &Purged, call: &Call<'_>) -> Response<Body> {
    let mut text = match purged.responses {
        Some(responses) => format!("{{\"purged\":{responses}"),
        None => format!("{{\"purged\":null,\"scope\":\"{}\"", purged.scope),
    };
    if purged.soft {
        text.push_str(",\"soft\":true");
    }
    if purged.not_durable {
        text.push_str(",\"durable\":false");
    }
    text.push_str("}\n");
    let nothing = purged.responses == Some(0);
    json(if nothing { StatusCode::NOT_FOUND } else { StatusCode::OK }, text, call)
}

fn json(status: StatusCode, document: String, call: &Call<'_>) -> Response<Body> {
    let mut response = plain(status, Timestamp::from(call.worker.proxy.clock.wall()));
    *response.body_mut() = Body::full(document);
    tell_handling(&mut response, own_handling(Reason::Purge));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

const SOFT_PURGE: HeaderName = HeaderName::from_static("soft-purge");
const FASTLY_SOFT_PURGE: HeaderName = HeaderName::from_static("fastly-soft-purge");
