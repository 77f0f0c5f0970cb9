//! In which zone a request is cached: nearly always the one of its route.
//! (nginx: proxy_cache with variables)

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::call::Call;
use super::route::Cache;
use crate::config::template::Template;
use crate::semantics::date::Timestamp;
use crate::semantics::reason::Reason;

/// Where a route caches.
#[derive(Default)]
pub struct Caching {
    /// One for each zone it may be: none, one, or those that its template could name.
    caches: Vec<Arc<Cache>>,
    by_request: Option<ByRequest>,
}

struct ByRequest {
    zone: Template,
    /// Where in `caches` the zone of a name is.
    numbers: HashMap<Vec<u8>, usize>,
    /// When the log was last told of a name that is none, in seconds.
    told_s: AtomicU64,
}

impl Caching {
    /// Always in this one.
    pub fn always(cache: Arc<Cache>) -> Self {
        Self { caches: vec![cache], by_request: None }
    }

    /// In that of these which the request names by `zone`.
    pub fn by_request(zone: Template, caches: Vec<Arc<Cache>>) -> Self {
        let names = caches.iter().map(|cache| cache.zone.name.clone().into_bytes());
        let numbers = names.zip(0..).collect();
        Self { caches, by_request: Some(ByRequest { zone, numbers, told_s: AtomicU64::new(0) }) }
    }

    /// That of the zone with this name, where requests name one.
    pub fn named(&self, name: &[u8]) -> Option<&Arc<Cache>> {
        self.caches.get(*self.by_request.as_ref()?.numbers.get(name)?)
    }

    /// The one in which all answers rest, if it is always the same.
    pub(super) fn always_one(&self) -> Option<&Arc<Cache>> {
        self.caches.first().filter(|_| self.by_request.is_none())
    }

    /// All zones that answers of the route may rest in; empty where it does not cache.
    pub fn all(&self) -> &[Arc<Cache>] {
        &self.caches
    }
}

impl<'a> Call<'a> {
    /// Where this request is cached.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) fn cache(&self) -> Result<&'a Arc<Cache>, Reason> {
        let caching = &self.route.caching;
        match &caching.by_request {
            None => caching.caches.first().ok_or(Reason::CacheOff),
            Some(by_request) => self.cache_named(by_request),
        }
    }

    fn cache_named(&self, by_request: &ByRequest) -> Result<&'a Arc<Cache>, Reason> {
        let mut name = Vec::new();
        by_request.zone.write(self, &mut name);
        if name.is_empty() || name == b"off" {
            return Err(Reason::CacheOff);
        }
        self.route.caching.named(&name).ok_or_else(|| {
            by_request.tell(&name, self.now);
            Reason::UnknownZone
        })
    }
}

impl ByRequest {
    /// Clients may choose the name, so it is told in bounded number and length.
    fn tell(&self, name: &[u8], now: Timestamp) {
        let (now_s, told_s) = (now.secs(), self.told_s.load(Ordering::Relaxed));
        // A clock that stepped back must not silence this for longer.
        if (told_s..told_s.saturating_add(TELL_EVERY_S)).contains(&now_s)
            || self.told_s.swap(now_s, Ordering::Relaxed) == now_s
        {
            return;
        }
        let shown = name[..name.len().min(NAME_SHOWN_BYTES_MAX)].escape_ascii();
        tracing::warn!(zone = %shown, "a request names no zone and is not cached");
    }
}

const TELL_EVERY_S: u64 = 60;
const NAME_SHOWN_BYTES_MAX: usize = 64;
