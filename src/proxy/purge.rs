//! `PURGE`: removes what is stored for a URL. (nginx: proxy_cache_purge)

use http::{HeaderValue, Response, StatusCode, header};

use super::call::Call;
use super::deliver::Answer;
use super::error::{Error, plain};
use crate::body::Body;
use crate::semantics::reason::Reason;

/// Removes all variants of the request's URL from both tiers: 200 with how many there were, 404 if
/// there were none.
///
/// # Errors
/// 405 where the route does not purge, 403 for a client that may not.
pub(super) async fn purge(call: &Call<'_>) -> Result<Answer, Error> {
    let (Some(cache), Some(allowed)) = (&call.route.cache, &call.route.settings.purge) else {
        return Err(Error::MethodNotAllowed);
    };
    let client = call.connection.remote.ip().to_canonical();
    if !allowed.iter().any(|network| network.contains(&client)) {
        tracing::warn!(%client, "purge refused: not an allowed address");
        return Err(Error::Forbidden);
    }
    let mut purged = 0;
    for key in call.keys_for_reading(cache) {
        purged += cache.zone.purge(&key).await;
    }
    tracing::info!(%client, purged, uri = call.request_uri(), "purge");
    Ok(Answer::own(told(purged, call), Reason::Purge, None))
}

fn told(purged: u64, call: &Call<'_>) -> Response<Body> {
    let status = if purged == 0 { StatusCode::NOT_FOUND } else { StatusCode::OK };
    let mut response = plain(status, call.now);
    *response.body_mut() = Body::full(format!("{{\"purged\":{purged}}}\n"));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
