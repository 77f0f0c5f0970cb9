//! What the proxy says of a request, as the document that the operator gets.

use crate::admin::explain::{self, Explanation};
use crate::proxy::explain::{At, Cached, Explanation as Facts};
use crate::semantics::advice::advice;
use crate::semantics::date::{Timestamp, http_date};
use crate::semantics::rules::Semantics;
use crate::semantics::stored::LifetimeFrom;

/// The document.
pub(super) fn document(facts: Facts) -> Explanation {
    let told = advice(facts.now.reason);
    let now = explain::Outcome {
        status: facts.now.status.map(|status| status.word().to_owned()),
        asks_origin: facts.now.asks_origin,
        reason: facts.now.reason.name().to_owned(),
        why: told.why.to_owned(),
        change: told.change.map(ToOwned::to_owned),
    };
    let at = (facts.line > 0).then(|| format!("{}:{}", facts.file, facts.line));
    Explanation {
        site: facts.site,
        route: explain::Route { path: facts.route, at, upstream: facts.upstream },
        cache: facts.cached.map(|cached| cache(&cached, facts.asked)),
        now,
    }
}

fn cache(cached: &Cached, asked: Timestamp) -> explain::Cache {
    explain::Cache {
        zone: cached.zone.clone(),
        semantics: match cached.semantics {
            Semantics::Rfc9111 => "rfc9111",
            Semantics::Nginx => "nginx",
        }
        .to_owned(),
        key: cached.key.clone(),
        hash: cached.at.to_string(),
        // A list that varies by nothing is only what slices have in common.
        vary: cached.variants.as_ref().filter(|list| !list.names.is_empty()).map(|list| {
            explain::Vary {
                by: list.names.iter().map(ToString::to_string).collect(),
                variants: list.hashes.len(),
            }
        }),
        stored: cached.stored.as_ref().map(|at| stored(at, asked)),
        not_stored: cached.refusal.as_ref().map(|refusal| {
            let told = advice(refusal.reason);
            explain::NotStored {
                ago_s: asked.since(refusal.at).as_secs(),
                status: refusal.status,
                reason: refusal.reason.name().to_owned(),
                why: told.why.to_owned(),
                said: refusal.said.clone(),
            }
        }),
        hit_for_miss: cached.hit_for_miss,
    }
}

pub(super) fn stored(at: &At, asked: Timestamp) -> explain::Stored {
    let stored = &at.stored;
    let has = [("ETag", stored.etag()), ("Last-Modified", stored.last_modified())];
    let validators = has.into_iter().filter(|(_, value)| value.is_some());
    let (fresh_for, stale_for) = (stored.fresh_for(asked), stored.stale_for(asked));
    explain::Stored {
        status: stored.status.as_u16(),
        tier: if at.in_memory { "memory" } else { "disk" }.to_owned(),
        body_bytes: at.body_bytes,
        received: http_date(stored.received).to_string(),
        age_s: stored.age(asked).as_secs(),
        lifetime_s: stored.lifetime.as_secs(),
        lifetime_from: if stored.no_cache && stored.lifetime.is_zero() {
            "Cache-Control: no-cache".to_owned()
        } else {
            rule(stored.lifetime_from).to_owned()
        },
        ttl_s: fresh_for.as_secs() as i64 - stale_for.as_secs() as i64,
        stale_while_revalidate_s: stored.stale_while_revalidate.as_secs(),
        stale_if_error_s: stored.stale_if_error.as_secs(),
        no_cache: stored.no_cache,
        must_revalidate: stored.must_revalidate,
        validators: validators.map(|(name, _)| name.to_owned()).collect(),
    }
}

/// The rule that gave a lifetime, in the operator's words.
fn rule(from: LifetimeFrom) -> &'static str {
    match from {
        LifetimeFrom::Nothing => "nothing: it is stored only to be validated",
        LifetimeFrom::XAccelExpires => "X-Accel-Expires",
        LifetimeFrom::SMaxAge => "Cache-Control: s-maxage",
        LifetimeFrom::MaxAge => "Cache-Control: max-age",
        LifetimeFrom::Expires => "Expires",
        LifetimeFrom::Targeted => "a targeted field",
        LifetimeFrom::Surrogate => "Surrogate-Control",
        LifetimeFrom::Valid => "`valid` of the route",
        LifetimeFrom::Heuristic => "a tenth of the time since Last-Modified (`heuristic`)",
    }
}
