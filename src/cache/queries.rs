//! What responses said of queries that get the same answer, by the rest of the key.
//! (No-Vary-Search)
//!
//! A rule only helps to find: what is found must say the same itself. So this may forget anything,
//! and does at a restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;
use moka::sync::Cache;

use crate::semantics::key::KeyHash;
use crate::semantics::no_vary_search::says_the_same;
use crate::semantics::query::Selection;

/// A response's word on queries.
#[derive(Debug)]
pub struct Rule {
    /// What of a query counts.
    pub selection: Selection,
    /// The field that said so.
    said: HeaderMap,
}

/// The rules of one zone, bounded.
pub struct Queries {
    /// There may be rules: nothing else is looked at as long as no response ever had one.
    any: AtomicBool,
    rules: Cache<u128, Arc<Rule>>,
}

impl Rule {
    /// The rule that these fields of a response give.
    pub fn new(selection: Selection, response: &HeaderMap) -> Self {
        let mut said = HeaderMap::new();
        for line in response.get_all(NO_VARY_SEARCH) {
            said.append(NO_VARY_SEARCH, line.clone());
        }
        Self { selection, said }
    }

    /// Whether a response gives this rule.
    pub fn is_said_by(&self, response: &HeaderMap) -> bool {
        says_the_same(&self.said, response)
    }
}

impl Queries {
    /// No rules yet.
    pub(super) fn new() -> Self {
        Self { any: AtomicBool::new(false), rules: Cache::new(RULES_MAX) }
    }

    /// Whether no response had a rule so far. On the hit path.
    pub fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Relaxed)
    }

    /// The last rule for queries of this key.
    pub fn rule(&self, base: KeyHash) -> Option<Arc<Rule>> {
        self.rules.get(&base.0)
    }

    /// Takes note of a rule.
    pub fn learn(&self, base: KeyHash, rule: &Arc<Rule>) {
        let known = self.rules.get(&base.0);
        if known.is_none_or(|known| !known.is_said_by(&rule.said)) {
            self.rules.insert(base.0, Arc::clone(rule));
        }
        self.any.store(true, Ordering::Relaxed);
    }

    /// Responses for this key do not say it any more.
    pub fn forget(&self, base: KeyHash) {
        self.rules.invalidate(&base.0);
    }
}

const NO_VARY_SEARCH: &str = "no-vary-search";
const RULES_MAX: u64 = 65_536;
