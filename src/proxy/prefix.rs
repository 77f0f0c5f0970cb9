//! What the keys of all URLs that begin alike begin with.
//!
//! The route's template is evaluated up to its first variable that holds the URL, and cut behind
//! that: whatever follows differs from request to request. What stands before it must be the same
//! for all requests, or the purge would silently find nothing.

use std::fmt;
use std::sync::Arc;

use http::{HeaderName, Method, header};

use super::call::Call;
use super::key::path_in_key;
use super::outgoing;
use super::route::{Cache, Route, Site};
use crate::config::template::{Facts, Part, Variable};

/// The beginning of a URL.
pub(super) struct Prefix<'a> {
    /// Path and query, as they were sent.
    target: &'a str,
    /// The path, decoded and without dot segments.
    path: &'a str,
    /// The query's beginning, where the path is whole.
    query: Option<&'a str>,
}

/// Why a route's keys cannot be purged by prefix: in words for the operator.
pub(super) struct NoPrefix(String);

impl<'a> Prefix<'a> {
    /// What a request's target begins, which ends with `*` unless it has a query.
    pub(super) fn of(call: &Call<'a>) -> Self {
        let cut = |text: &'a str| text.strip_suffix('*').unwrap_or(text);
        match call.request.uri.query() {
            None => Self { target: cut(call.request_uri()), path: cut(call.path), query: None },
            query => Self { target: call.request_uri(), path: call.path, query },
        }
    }

    /// The routes that URLs with this prefix may be for.
    pub(super) fn routes(&self, site: &'a Site) -> Vec<&'a Arc<Route>> {
        match self.query {
            None => site.below(self.path).collect(),
            Some(_) => site.find(self.path).into_iter().chain(site.all_named()).collect(),
        }
    }

    /// What the keys in `cache` of all URLs with this prefix begin with: once, or once for each
    /// method that reads.
    ///
    /// # Errors
    /// The key has something before the URL that a purge cannot know, or no URL at all, or responses
    /// rest under the keys of other queries.
    pub(super) fn keys(&self, call: &Call<'_>, cache: &Cache) -> Result<Vec<Vec<u8>>, NoPrefix> {
        if self.query.is_some() && !cache.settings.query.is_all() {
            return Err(NoPrefix::no_query());
        }
        if self.query.is_some() && call.may_have_rule(cache) {
            return Err(NoPrefix::of_rule());
        }
        let mut request = call.request.clone();
        let mut keys = Vec::with_capacity(2);
        for method in [Method::GET, Method::HEAD] {
            request.method = method;
            let key = self.key(&Call { request: &request, ..*call }, &cache.settings.key.parts)?;
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    fn key(&self, call: &Call<'_>, parts: &[Part]) -> Result<Vec<u8>, NoPrefix> {
        let mut key = Vec::with_capacity(self.target.len() + KEY_CAPACITY);
        let mut in_query = false;
        for part in parts {
            let variable = match part {
                Part::Literal(text) => {
                    key.extend_from_slice(text.as_bytes());
                    continue;
                }
                Part::Variable(variable) => variable,
            };
            match variable {
                Variable::Request => {
                    key.extend_from_slice(call.request.method.as_str().as_bytes());
                    key.push(b' ');
                    key.extend_from_slice(self.target.as_bytes());
                    return Ok(key);
                }
                Variable::RequestUri => {
                    key.extend_from_slice(self.target.as_bytes());
                    return Ok(key);
                }
                Variable::UpstreamUri if !is_by_request(call.route) => {
                    let own = outgoing::replaced(call.route, self.path);
                    let query = self.query.filter(|_| own.is_some());
                    key.extend_from_slice(own.as_deref().unwrap_or(self.target).as_bytes());
                    for text in query.iter().flat_map(|query| ["?", query]) {
                        key.extend_from_slice(text.as_bytes());
                    }
                    return Ok(key);
                }
                Variable::Uri if !in_query => {
                    let sent = self.target.split('?').next().unwrap_or(self.target);
                    key.extend_from_slice(path_in_key(self.path, sent).as_bytes());
                    if self.query.is_none() {
                        return Ok(key);
                    }
                    in_query = true;
                }
                Variable::IsArgs if in_query => key.push(b'?'),
                Variable::Args if in_query => {
                    key.extend_from_slice(self.query.unwrap_or("").as_bytes());
                    return Ok(key);
                }
                known if is_same_for_host(known) => call.write(known, &mut key),
                unknown => return Err(NoPrefix::unknown(unknown)),
            }
        }
        if in_query {
            return Err(NoPrefix::no_query());
        }
        Err(NoPrefix("the key of its route does not hold the URL".to_owned()))
    }
}

impl NoPrefix {
    fn no_query() -> Self {
        Self("the key of its route does not hold the query as it is".to_owned())
    }

    fn of_rule() -> Self {
        Self(
            "answers for its path stand for several queries (No-Vary-Search), purge the path"
                .into(),
        )
    }

    fn unknown(variable: &Variable) -> Self {
        Self(format!(
            "the key of its route has `{variable}` before the URL, which no purge can know"
        ))
    }
}

impl fmt::Display for NoPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot purge by prefix: {}", self.0)
    }
}

/// Whether requests say where they go.
fn is_by_request(route: &Route) -> bool {
    route.settings.action.proxy().is_some_and(|proxy| proxy.by_request.is_some())
}

/// Whether a variable gives a purge what it gives every request for the same host.
fn is_same_for_host(variable: &Variable) -> bool {
    const HOST: &HeaderName = &header::HOST;
    match variable {
        Variable::Scheme
        | Variable::Https
        | Variable::Host
        | Variable::ServerName
        | Variable::ProxyHost
        | Variable::ProxyPort
        | Variable::RequestMethod
        | Variable::Hostname
        | Variable::UpstreamCacheStatus
        | Variable::Tried(_)
        | Variable::UpstreamHttp(_)
        | Variable::SentHttp(_)
        | Variable::Status => true,
        Variable::Map(map) => map.variables().into_iter().all(is_same_for_host),
        Variable::Http(name) => name == HOST,
        _ => false,
    }
}

/// What stands before the URL fits mostly.
const KEY_CAPACITY: usize = 64;
