//! `PURGE`: removes what is stored for a URL. (nginx: proxy_cache_purge)

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode, Uri, header};

use super::call::Call;
use super::deliver::Answer;
use super::error::{Error, plain};
use super::route::Cache;
use super::{Connection, Worker, admit, route};
use crate::body::Body;
use crate::semantics::date::Timestamp;
use crate::semantics::reason::Reason;

/// Removes all variants of the request's URL from both tiers: 200 with how many there were, 404 if
/// there were none.
///
/// # Errors
/// 405 where the route does not purge, 403 for a client that may not.
pub(super) async fn purge(call: &Call<'_>) -> Result<Answer, Error> {
    let caches = call.route.caching.all();
    let Some(allowed) = call.route.settings.purge.as_ref().filter(|_| !caches.is_empty()) else {
        return Err(Error::MethodNotAllowed);
    };
    let client = call.connection.remote.ip().to_canonical();
    if !allowed.iter().any(|network| network.contains(&client)) {
        tracing::warn!(%client, "purge refused: not an allowed address");
        return Err(Error::Forbidden);
    }
    let purged = remove(call, caches).await;
    tracing::info!(%client, purged, uri = call.request_uri(), "purge");
    Ok(Answer::own(told(purged, call), Reason::Purge, None))
}

/// Removes all variants of a URL, on the operator's word.
///
/// # Errors
/// Why nothing can be removed, in words for the operator.
pub(super) async fn purge_url(worker: &Arc<Worker>, url: &Uri) -> Result<u64, String> {
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    let host = url.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(target).header(header::HOST, host).body(());
    let (request, ()) = request.map_err(|error| error.to_string())?.into_parts();
    let host = admit::admit(&request, &worker.proxy.limits)
        .map_err(|error| format!("not a URL that is served here: {}", error.status()))?;
    let site = worker.proxy.hosts.find(&host).ok_or_else(|| format!("no site for `{host}`"))?;
    let path = route::normalized(request.uri.path()).ok_or("not a path")?;
    let route = site.find(&path).ok_or_else(|| format!("no route for `{path}`"))?;
    let caches = route.caching.all();
    if caches.is_empty() {
        return Err(format!("the route of `{path}` has no cache"));
    }
    let nobody = SocketAddr::from(([127, 0, 0, 1], 0));
    let call = Call {
        worker,
        site,
        route,
        request: &request,
        host: &host,
        path: &path,
        connection: Connection { remote: nobody, local: nobody },
        now: Timestamp::from(worker.proxy.clock.now()),
    };
    Ok(remove(&call, caches).await)
}

/// From every zone that may have it.
async fn remove(call: &Call<'_>, caches: &[Arc<Cache>]) -> u64 {
    let mut purged = 0;
    for cache in caches {
        for key in call.keys_for_reading(cache) {
            purged += cache.zone.purge(&key).await;
        }
    }
    purged
}

fn told(purged: u64, call: &Call<'_>) -> Response<Body> {
    let status = if purged == 0 { StatusCode::NOT_FOUND } else { StatusCode::OK };
    let mut response = plain(status, call.now);
    *response.body_mut() = Body::full(format!("{{\"purged\":{purged}}}\n"));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
