//! What responses said of queries that get the same answer, by the rest of the key.
//! (No-Vary-Search)
//!
//! A rule only helps to find: what is found must say the same itself, and must have come when the rule
//! was known. So this may forget anything, and does at a restart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, HeaderValue};
use moka::sync::Cache;

use crate::semantics::date::Timestamp;
use crate::semantics::key::KeyHash;
use crate::semantics::no_vary_search::lines;
use crate::semantics::query::Selection;
use crate::semantics::stored::Stored;

/// A response's word on queries.
#[derive(Debug)]
pub struct Rule {
    /// What of a query counts.
    pub selection: Selection,
    /// The lines of the field that said so.
    said: Box<[HeaderValue]>,
    /// Since when it is known. What was stored before may have been purged by a query that nobody
    /// knew to be the same.
    since: Timestamp,
}

/// The rules of one zone, bounded.
pub struct Queries {
    /// There may be rules: nothing else is looked at as long as no response ever had one.
    any: AtomicBool,
    rules: Cache<u128, Arc<Rule>>,
}

impl Rule {
    /// The rule that these fields of a response give, which was asked for at `since`.
    pub fn new(selection: Selection, response: &HeaderMap, since: Timestamp) -> Self {
        Self { selection, said: lines(response).cloned().collect(), since }
    }

    /// Whether a response gives this rule, and came when it was known.
    pub fn is_said_by(&self, response: &Stored) -> bool {
        response.received >= self.since && lines(&response.fields).eq(&self.said)
    }

    /// About what it takes in memory.
    fn bytes(&self) -> u32 {
        let said: usize = self.said.iter().map(HeaderValue::len).sum();
        // Once as it was said, once as it is understood; names cost more than their letters.
        RULE_BYTES_MIN.saturating_add(u32::try_from(said).unwrap_or(u32::MAX).saturating_mul(4))
    }
}

impl Queries {
    /// No rules yet.
    pub(super) fn new() -> Self {
        let rules = Cache::builder()
            .max_capacity(RULES_BYTES_MAX)
            .weigher(|_, rule: &Arc<Rule>| rule.bytes())
            .build();
        Self { any: AtomicBool::new(false), rules }
    }

    /// Whether no response had a rule so far. On the hit path.
    pub fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Relaxed)
    }

    /// The last rule for queries of this key.
    pub fn rule(&self, base: KeyHash) -> Option<Arc<Rule>> {
        self.rules.get(&base.0)
    }

    /// Takes note of a rule; one that is known stays known since it was.
    pub fn learn(&self, base: KeyHash, rule: &Arc<Rule>) {
        let known = self.rules.get(&base.0);
        if known.is_none_or(|known| known.said != rule.said) {
            self.rules.insert(base.0, Arc::clone(rule));
        }
        self.any.store(true, Ordering::Relaxed);
    }

    /// Responses for this key do not say it any more.
    pub fn forget(&self, base: KeyHash) {
        self.rules.invalidate(&base.0);
    }
}

const RULE_BYTES_MIN: u32 = 256;

/// Room for some 50,000 rules of the usual length.
const RULES_BYTES_MAX: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::no_vary_search::rule;

    fn said(text: &'static str) -> Arc<Rule> {
        let mut fields = HeaderMap::new();
        fields.insert("no-vary-search", HeaderValue::from_static(text));
        Arc::new(Rule::new(rule(&fields).unwrap(), &fields, Timestamp::default()))
    }

    #[test]
    fn the_last_rule_counts_until_it_is_forgotten() {
        let queries = Queries::new();
        let (one, other) = (KeyHash(1), KeyHash(2));
        assert!(queries.is_empty() && queries.rule(one).is_none());
        queries.learn(one, &said("params"));
        queries.learn(one, &said("key-order"));
        assert!(!queries.is_empty());
        assert_eq!(queries.rule(one).unwrap().selection, said("key-order").selection);
        assert!(queries.rule(other).is_none());
        queries.forget(one);
        assert!(queries.rule(one).is_none());
    }
}
