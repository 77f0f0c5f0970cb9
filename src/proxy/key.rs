//! The key of a request: the text of the route's template, with what counts of the query, with
//! hashes in place of secrets, and with the hash of who asks behind it. (nginx: proxy_cache_key)

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, Method};

use super::at_hand;
use super::call::Call;
use super::facts::protocol;
use super::outgoing;
use super::route::Cache;
use super::way::escaped;
use crate::cache::lookup::Key;
use crate::cache::queries::Rule;
use crate::config;
use crate::config::template::{Facts, Template, Variable};
use crate::semantics::key::KeyHash;
use crate::semantics::no_vary_search;
use crate::semantics::secret::PARTITION_MARK;
use crate::semantics::selecting::Comparison;

/// What there is to do for a route's keys, worked out when the configuration is loaded.
pub struct Keying {
    /// The text of the template is the key.
    plain: bool,
    /// Parts of the key are hashes of secrets.
    hashes: bool,
    /// How requests are told apart where responses vary.
    pub(super) comparison: Comparison,
    /// Responses may say which parts of the query they do not depend on.
    pub(super) learns: bool,
    /// What a plain GET says is enough for its key, and for whether it is answered from here.
    pub(super) takes_plain_get: bool,
    /// Whether some of `partition` say who the client is. Then only these make a request
    /// somebody's: all who send the same language are not one client.
    has_identities: bool,
}

impl Keying {
    /// What there is to do for the keys of a route that caches like this.
    pub fn new(settings: &config::Cache) -> Self {
        let variables = || settings.key.variables();
        let hashes = !settings.partition.is_empty() || variables().any(Variable::is_secret);
        // These are written in another way than a request has them.
        let decodes = variables().any(|variable| {
            use Variable::{Capture, Map, Named, Uri};
            matches!(variable, Uri | Map(_) | Capture(_) | Named(_))
        });
        let maps = variables().any(|variable| matches!(variable, Variable::Map(_)));
        let plain = settings.query.is_all() && !hashes && !decodes;
        Self {
            plain,
            takes_plain_get: plain && at_hand::takes_plain_get(settings),
            hashes,
            comparison: Comparison::of(&settings.rules),
            // What a map makes of the query, no rule of an origin can say.
            learns: settings.rules.no_vary_search && !maps && variables().any(Variable::has_query),
            has_identities: settings.partition.iter().any(says_who),
        }
    }
}

impl Cache {
    /// Does now what the first request would have to wait for.
    pub fn prepare(&self) {
        if self.keying.hashes {
            self.zone.store.secret();
        }
    }
}

impl<'a> Call<'a> {
    /// The key of this request in the route's cache.
    pub(super) fn key(&self, cache: &Cache) -> Key {
        let nothing_learnt = !cache.keying.learns || cache.zone.queries.is_empty();
        let is_as_sent = self.original.is_none() && !self.is_rewritten();
        if cache.keying.plain && nothing_learnt && is_as_sent {
            let mut text = Vec::with_capacity(KEY_CAPACITY);
            cache.settings.key.write(self, &mut text);
            return Key { comparison: cache.keying.comparison, ..Key::new(text) };
        }
        if nothing_learnt || self.request.uri.query().is_none() {
            return self.own_key(cache);
        }
        match cache.zone.queries.rule(self.base(cache)) {
            Some(rule) => self.key_by(cache, &rule),
            None => self.own_key(cache),
        }
    }

    /// The keys under which answers to reading this request's target are stored: one, or one for
    /// each method where the key holds the method; and the own ones, where responses said that
    /// they are good for other queries as well.
    pub(super) fn keys_for_reading(&self, cache: &Cache) -> Vec<Key> {
        let mut request = self.request.clone();
        let mut keys: Vec<Key> = Vec::with_capacity(2);
        for method in [Method::GET, Method::HEAD] {
            request.method = method;
            let call = Call { request: &request, ..*self };
            let key = call.key(cache);
            let own = key.rule.is_some().then(|| call.own_key(cache));
            for key in std::iter::once(key).chain(own) {
                if keys.iter().all(|known| known.hash != key.hash) {
                    keys.push(key);
                }
            }
        }
        keys
    }

    /// Whether answers to this request's target may rest under the keys of other queries.
    pub(super) fn may_have_rule(&self, cache: &Cache) -> bool {
        let queries = &cache.zone.queries;
        // Each partition learns for itself.
        let known =
            || !cache.settings.partition.is_empty() || queries.rule(self.base(cache)).is_some();
        cache.keying.learns && !queries.is_empty() && known()
    }

    /// The key of this request, and the hash of that of its own query.
    pub(super) fn key_and_own(&self, cache: &Cache) -> (Key, KeyHash) {
        let key = self.key(cache);
        let own = if key.rule.is_some() { self.own_key(cache).hash } else { key.hash };
        (key, own)
    }

    /// The key to store a response under that was asked for by the key `asked`, if that is another
    /// one: what the response says of queries counts, not what an earlier one said.
    pub(super) fn key_to_store(
        &self,
        cache: &Cache,
        asked: &Key,
        response: &HeaderMap,
    ) -> Option<Key> {
        if !cache.keying.learns {
            return None;
        }
        let key = match (no_vary_search::rule(response), &asked.rule) {
            (None, None) => return None,
            (None, Some(_)) => {
                cache.zone.queries.forget(self.base(cache));
                self.own_key(cache)
            }
            (Some(selection), _) => {
                let rule = Arc::new(Rule::new(selection, response, self.now));
                cache.zone.queries.learn(self.base(cache), &rule);
                self.key_by(cache, &rule)
            }
        };
        (key.hash != asked.hash).then_some(key)
    }

    /// The key of this request's own query, whatever responses say.
    fn own_key(&self, cache: &Cache) -> Key {
        let query = self.request.uri.query().filter(|_| !cache.settings.query.is_all());
        let query = query.map(|query| cache.settings.query.of(query));
        self.key_with(cache, query.as_deref())
    }

    /// The key of all requests whose queries are the same by a rule.
    fn key_by(&self, cache: &Cache, rule: &Arc<Rule>) -> Key {
        let sent = self.request.uri.query().unwrap_or("");
        let own = cache.settings.query.of(sent);
        let selected = rule.selection.of(&own);
        if selected == own {
            return self.own_key(cache);
        }
        Key { rule: Some(Arc::clone(rule)), ..self.key_with(cache, Some(&selected)) }
    }

    /// Stands for all queries of this request's target.
    fn base(&self, cache: &Cache) -> KeyHash {
        self.key_with(cache, Some("")).hash
    }

    /// The key with this query, or with that which was sent.
    fn key_with(&self, cache: &Cache, query: Option<&str>) -> Key {
        let facts = KeyFacts { call: self, query, cache };
        let mut text = Vec::with_capacity(KEY_CAPACITY);
        cache.settings.key.write(&facts, &mut text);
        if self.original.is_some() {
            // What is answered about a request must never be taken for the answer to it.
            text.extend_from_slice(ASKED_MARK);
        }
        let partitioned = self.write_partition(cache, &mut text);
        Key { partitioned, comparison: cache.keying.comparison, ..Key::new(text) }
    }

    /// Appends who asks, if anybody in particular; whether that is so. Behind the text, so that
    /// what begins with a URL still does.
    fn write_partition(&self, cache: &Cache, text: &mut Vec<u8>) -> bool {
        let mut values: Vec<Vec<u8>> = Vec::new();
        let (mut any, mut identified) = (false, false);
        for template in &cache.settings.partition {
            let mut value = Vec::new();
            template.write(self, &mut value);
            any |= !value.is_empty();
            identified |= !value.is_empty() && (!cache.keying.has_identities || says_who(template));
            values.push(value);
        }
        if any {
            let values = values.iter().map(Vec::as_slice);
            let hash = cache.zone.store.secret().hash("partition", values);
            text.extend_from_slice(format!("{PARTITION_MARK}{hash}").as_bytes());
        }
        identified
    }
}

/// The facts of a request as its key has them.
struct KeyFacts<'a> {
    call: &'a Call<'a>,
    /// In place of the query that was sent; empty is none.
    query: Option<&'a str>,
    cache: &'a Cache,
}

impl Facts for KeyFacts<'_> {
    fn write(&self, variable: &Variable, out: &mut Vec<u8>) {
        if variable.is_secret() {
            return self.write_hashed(variable, out);
        }
        if *variable == Variable::Uri {
            let path = path_in_key(self.call.path, self.call.request.uri.path());
            return out.extend_from_slice(path.as_bytes());
        }
        if let Variable::Map(map) = variable {
            return map.write_value(self.call, self, out);
        }
        if matches!(variable, Variable::Capture(_) | Variable::Named(_)) {
            let start = out.len();
            self.call.write(variable, out);
            // Decoded as the path is, and so not to be taken for a query.
            let text = escaped(&out[start..], b"%?");
            out.truncate(start);
            return out.extend_from_slice(text.as_bytes());
        }
        if *variable == Variable::UpstreamUri && self.call.original.is_none() {
            // An empty one in place of what was sent is none.
            let own = self.query.filter(|query| !query.is_empty());
            let query = if self.query.is_some() { own } else { self.call.request.uri.query() };
            return out.extend_from_slice(outgoing::uri(self.call, query).as_bytes());
        }
        let rewritten = || self.call.request.uri.query().unwrap_or("");
        // What a request was rewritten to is what its answer is of.
        let query = self.query.or_else(|| self.call.is_rewritten().then(rewritten));
        let own = || variable.has_query() && self.call.original.is_none();
        let Some(query) = query.filter(|_| own()) else {
            return self.call.write(variable, out);
        };
        let request = self.call.request;
        let (path, mark) = (request.uri.path(), if query.is_empty() { "" } else { "?" });
        let (method, version) = (request.method.as_str(), protocol(request.version));
        let texts: &[&str] = match variable {
            Variable::Args => &[query],
            Variable::IsArgs => &[mark],
            Variable::Request => &[method, " ", path, mark, query, " ", version],
            _ => &[path, mark, query],
        };
        texts.iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
    }
}

impl KeyFacts<'_> {
    /// What is absent stays the empty text.
    fn write_hashed(&self, variable: &Variable, out: &mut Vec<u8>) {
        let start = out.len();
        self.call.write(variable, out);
        if out.len() > start {
            let hash = self.cache.zone.store.secret().hash("key", std::iter::once(&out[start..]));
            out.truncate(start);
            out.extend_from_slice(hash.to_string().as_bytes());
        }
    }
}

/// A decoded path as keys have it: what was a decoded `?` is not taken for the beginning of a query,
/// and what has no letters of its own once it is decoded stays as it was `sent`.
pub(super) fn path_in_key<'a>(path: &'a str, sent: &'a str) -> Cow<'a, str> {
    if path.contains(char::REPLACEMENT_CHARACTER) {
        return Cow::Borrowed(sent);
    }
    if !path.contains(['?', '%']) {
        return Cow::Borrowed(path);
    }
    Cow::Owned(path.replace('%', "%25").replace('?', "%3F"))
}

/// Whether a value of this tells one client from all others.
fn says_who(template: &Template) -> bool {
    template.variables().any(Variable::is_secret)
}

/// Behind the key of a request that asks about another one. No URL has such a byte.
const ASKED_MARK: &[u8] = b"\0auth_request";

/// Most keys fit without growing.
pub(super) const KEY_CAPACITY: usize = 192;
