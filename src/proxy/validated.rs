//! What a validation says: the stored response is still good, or it is not. (RFC 9111 section 4.3)

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, StatusCode, header};

use super::deliver::Source;
use super::error::Error;
use super::fetch::{Fetch, Fetched};
use crate::cache::lock::Outcome;
use crate::cache::lookup::Found;
use crate::semantics::compressing;
use crate::semantics::freshness::Times;
use crate::semantics::no_vary_search::says_the_same;
use crate::semantics::reason::Reason;
use crate::semantics::stale::{self, Failure};
use crate::semantics::storable::Storable;
use crate::semantics::stored::Stored;
use crate::semantics::validation::{self, Head};

impl Fetch {
    /// Asks whether what is stored is still good, if there is something to ask with.
    pub(super) fn make_conditional(&mut self) -> bool {
        let rules = &self.cache.settings.rules;
        self.stale.as_ref().is_some_and(|found| {
            validation::make_conditional(&found.stored, rules, self.request.headers_mut())
        })
    }

    /// Whether a 304 is about what is stored.
    pub(super) fn is_about_ours(&self, not_modified: &HeaderMap) -> bool {
        let rules = &self.cache.settings.rules;
        let not_modified = &*self.as_ours(not_modified);
        let ours = |found: &Found| validation::is_about(&found.stored, rules, not_modified);
        self.stale.as_ref().is_some_and(ours)
    }

    /// Whether what is stored is a better answer than one with this status.
    pub(super) fn stale_stands_in_for(&self, status: StatusCode) -> bool {
        let (rules, status) = (&self.cache.settings.rules, status.as_u16());
        let now = self.call.view().now;
        stale::is_failure(status, rules)
            && self.stale.as_ref().is_some_and(|found| {
                stale::may_stand_in(&found.stored, rules, Failure::Status(status), now)
            })
    }

    /// What an origin says of its body, made to fit what is stored of it.
    fn as_ours<'a>(&self, fields: &'a HeaderMap) -> Cow<'a, HeaderMap> {
        let Some(found) = &self.stale else { return Cow::Borrowed(fields) };
        let (stored, compresses) =
            (&found.stored, self.call.view().route.settings.compress.is_some());
        let varies = compresses && compressing::varies_by_coding(&stored.fields);
        if !stored.coded_here && !varies {
            return Cow::Borrowed(fields);
        }
        let mut fitting = fields.clone();
        if stored.coded_here {
            compressing::fit_coded(&mut fitting);
        }
        // Where it says nothing, what is stored stays.
        if fitting.contains_key(header::VARY) {
            compressing::add_vary(&mut fitting);
        }
        Cow::Owned(fitting)
    }

    /// The origin says that what is stored is still good.
    pub(super) async fn not_modified(&self, not_modified: &HeaderMap, times: Times) -> Fetched {
        let Some(found) = &self.stale else {
            return self.failed(Error::Upstream(Failure::InvalidHeader));
        };
        if self.dont_store == Some(Reason::RequestNoStore) {
            self.permit.settle(Outcome::Alone);
            return Fetched::Freshened(found.clone());
        }
        let rules = &self.cache.settings.rules;
        let not_modified = &*self.as_ours(not_modified);
        match validation::freshen(&found.stored, not_modified, self.asked(), rules, times) {
            Storable::Yes(stored) if says_the_same(&found.stored.fields, &stored.fields) => {
                let (zone, coded_here) = (&self.cache.zone, found.stored.coded_here);
                let ours = found.stored.spelling.as_ref();
                let spelling = ours.and_then(|spelling| spelling.among(&stored.fields));
                let generation = self.generation;
                let stored = Stored { generation, coded_here, spelling, ..*stored };
                let may_store = zone.may_store(&self.key.text, &stored);
                let freshen = || zone.store.freshen(found.at, &found.entry, stored.clone());
                let entry = self.permit.unless_purged(|| may_store.then(freshen)).flatten();
                let fresh = match entry {
                    Some(entry) => Found { entry, stored: Arc::new(stored), ..found.clone() },
                    None => found.clone(),
                };
                self.permit.settle(Outcome::Freshened(fresh.clone()));
                Fetched::Freshened(fresh)
            }
            Storable::No(Reason::Authorization) => {
                // Said to this client only: it neither freshens what is for all nor ends it.
                self.permit.settle(Outcome::Alone);
                Fetched::Freshened(found.clone())
            }
            _ => {
                // Good for this answer, but not to be kept any longer, or not under this key.
                self.cache.zone.store.remove(found.at).await;
                self.permit.settle(Outcome::Alone);
                Fetched::Freshened(found.clone())
            }
        }
    }

    /// What an answer to `HEAD` does to the response to `GET` that is stored (RFC 9111 section
    /// 4.3.5): freshens it, or shows that it is out of date.
    pub(super) async fn head(
        &self,
        status: StatusCode,
        fields: &HeaderMap,
        times: Times,
    ) -> Option<Fetched> {
        let found = self.stale.as_ref().filter(|_| self.cache.settings.rules.update_from_head)?;
        let length = Source::Rest(found.body.clone()).length()?;
        match validation::head(&found.stored, length, status, &self.as_ours(fields)) {
            Head::Same => Some(self.not_modified(fields, times).await),
            Head::Nothing => None,
            Head::Other => {
                self.cache.zone.store.remove(found.at).await;
                None
            }
        }
    }
}
