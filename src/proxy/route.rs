//! Which site answers for a host, and which of its routes for a path. (nginx: server, location)

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderName, header};

use super::gate::Gate;
use super::key::Keying;
use super::zone::Caching;
use crate::cache::Zone;
use crate::config::{self, Fallback, HostName, PathMatch};
use crate::files::Files;
use crate::semantics::fields::Names;
use crate::tls::settings::VerifyClient;
use crate::upstream::Group;

/// The sites that one listener answers for, or something of each.
#[derive(Clone)]
pub struct Hosts<T = Arc<Site>> {
    exact: HashMap<String, T>,
    /// The longest first.
    suffixes: Vec<(String, T)>,
    /// For hosts that no site names; `None` refuses them.
    fallback: Option<T>,
    /// One of them is isolated.
    pub isolates: bool,
    /// One of them takes HTTP/2.
    http2: bool,
}

/// A site and its routes.
pub struct Site {
    /// The first of its names (nginx: $server_name).
    pub name: String,
    /// Answers only over connections that were made for it, and these only for itself.
    pub isolated: bool,
    /// Answers nobody without a certificate.
    pub verifies: bool,
    exact: HashMap<String, Arc<Route>>,
    /// The longest first.
    prefixes: Vec<(String, Arc<Route>)>,
    /// Those that only other routes hand over to.
    named: HashMap<String, Arc<Route>>,
}

/// A route with what it needs at hand.
pub struct Route {
    /// As configured.
    pub settings: config::Route,
    /// What it forwards to, if it does.
    pub forward: Option<Forward>,
    /// The files that it answers from, if it does.
    pub files: Option<Arc<Files>>,
    /// How it caches, if it does.
    pub caching: Caching,
    /// Response fields that clients do not get.
    pub hidden: Hidden,
    /// What requests must pass, if anything.
    pub gate: Option<Box<Gate>>,
    /// The upstream does not see who asks, so what it answers is for all.
    pub hides_authorization: bool,
}

/// The upstream group of a route.
pub struct Forward {
    /// Itself.
    pub group: Arc<Group>,
    /// Its number among the proxy's groups.
    pub group_number: usize,
}

/// Fields that clients do not get, each with the bits that say whether it may be there.
pub struct Hidden {
    pub(super) fields: Vec<(Names, HeaderName)>,
    /// Those of `X-Accel-Limit-Rate`, which is obeyed, hidden or not.
    pub(super) limit_rate: Names,
}

/// How a route caches in one zone.
pub struct Cache {
    /// As configured.
    pub settings: config::Cache,
    /// How keys are made.
    pub keying: Keying,
    /// Where.
    pub zone: Arc<Zone>,
    /// The number of that zone among the proxy's zones.
    pub zone_number: usize,
}

impl Hidden {
    /// These.
    pub fn new(names: &[HeaderName]) -> Self {
        let bits = |name| if ADDED.contains(name) { Names::ANY } else { Names::one(name) };
        let fields = names.iter().map(|name| (bits(name), name.clone())).collect();
        Self { fields, limit_rate: Names::one(&X_ACCEL_LIMIT_RATE) }
    }
}

/// How fast the origin wants a response to go out.
pub(super) const X_ACCEL_LIMIT_RATE: HeaderName = HeaderName::from_static("x-accel-limit-rate");

/// What may come to a response's fields on their way out.
const ADDED: [HeaderName; 4] =
    [header::AGE, header::CONTENT_LENGTH, header::CONTENT_RANGE, header::CONTENT_TYPE];

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        let (exact, suffixes) = (HashMap::new(), Vec::new());
        Self { exact, suffixes, fallback: None, isolates: false, http2: false }
    }
}

impl<T: Clone> Hosts<T> {
    /// The hosts of a listener: every site that listens there, in the order of the configuration.
    pub fn new<'a>(sites: impl Iterator<Item = (&'a config::Site, T)>) -> Self {
        let mut hosts = Self::default();
        let mut fallback: Option<(bool, bool, T)> = None;
        for (settings, site) in sites {
            hosts.isolates |= settings.isolated;
            hosts.http2 |= settings.http2;
            for name in &settings.names {
                match name {
                    HostName::Exact(name) => {
                        hosts.exact.entry(name.clone()).or_insert_with(|| site.clone());
                    }
                    HostName::Suffix(suffix) => {
                        hosts.suffixes.push((suffix.clone(), site.clone()));
                    }
                }
            }
            // nginx: the one that says so is the default; else the first of the address.
            if fallback.as_ref().is_none_or(|(default, ..)| settings.default && !default) {
                fallback = Some((settings.default, settings.strict, site));
            }
        }
        hosts.suffixes.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        hosts.fallback = fallback.and_then(|(_, strict, site)| (!strict).then_some(site));
        hosts
    }

    /// Whether a client may speak HTTP/2 here without having agreed on it.
    pub fn takes_http2(&self) -> bool {
        self.http2
    }

    /// The site for a host; `None` where it must be refused.
    pub fn find(&self, host: &str) -> Option<&T> {
        if self.exact.is_empty() && self.suffixes.is_empty() {
            return self.fallback.as_ref();
        }
        let suffix = || self.suffixes.iter().find(|(suffix, _)| host.ends_with(suffix.as_str()));
        self.exact.get(host).or_else(|| suffix().map(|(_, site)| site)).or(self.fallback.as_ref())
    }
}

impl Site {
    /// A site with its routes made ready.
    pub fn new(settings: &config::Site, routes: Vec<Arc<Route>>) -> Self {
        let mut site = Self {
            name: match settings.names.first() {
                Some(HostName::Exact(name)) => name.clone(),
                Some(HostName::Suffix(suffix)) => format!("*{suffix}"),
                None => String::new(),
            },
            isolated: settings.isolated,
            verifies: settings
                .tls
                .as_ref()
                .is_some_and(|tls| tls.verify_client == VerifyClient::On),
            exact: HashMap::new(),
            prefixes: Vec::new(),
            named: HashMap::new(),
        };
        for route in routes {
            match route.settings.path.clone() {
                PathMatch::Exact(path) => {
                    site.exact.insert(path, route);
                }
                PathMatch::Prefix(path) => site.prefixes.push((path, route)),
                PathMatch::Named(name) => drop(site.named.insert(name, route)),
            }
        }
        site.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        site
    }

    /// The routes for which paths that begin with `prefix` may be: the one that it has itself, and
    /// all below it. Normalised, or the beginning of a normalised path.
    pub fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Arc<Route>> {
        let longest = self.prefixes.iter().find(|(path, _)| prefix.starts_with(path.as_str()));
        let below = self
            .prefixes
            .iter()
            .filter(move |(path, _)| path.starts_with(prefix) && path.len() > prefix.len());
        let exact = self.exact.iter().filter(move |(path, _)| path.starts_with(prefix));
        longest
            .map(|(_, route)| route)
            .into_iter()
            .chain(below.map(|(_, r)| r))
            .chain(exact.map(|(_, r)| r))
            .map(|route| self.storing(route))
    }

    /// The route that stores what is asked of this one: where files come first, that to which it
    /// hands over the very same target.
    pub(super) fn storing<'a>(&'a self, route: &'a Arc<Route>) -> &'a Arc<Route> {
        match route.files.as_ref().map(|files| &files.settings.fallback) {
            Some(Fallback::Named(name)) => self.named(name).unwrap_or(route),
            _ => route,
        }
    }

    /// The route of this name, which begins with `@`.
    pub(super) fn named(&self, name: &str) -> Option<&Arc<Route>> {
        self.named.get(name)
    }

    /// The route for a normalised path: the exact one, else the one with the longest prefix.
    pub fn find(&self, path: &str) -> Option<&Arc<Route>> {
        if let Some(route) = self.exact.get(path) {
            return Some(route);
        }
        let prefix = self.prefixes.iter().find(|(prefix, _)| path.starts_with(prefix.as_str()));
        prefix.map(|(_, route)| route)
    }
}

/// A path as nginx matches it: percent-encoding decoded, dot segments resolved, runs of slashes
/// merged. `None` for one that leaves the root, or that is no text once decoded.
pub fn normalized(path: &str) -> Option<Cow<'_, str>> {
    if is_normal(path.as_bytes()) {
        return Some(Cow::Borrowed(path));
    }
    let decoded = percent_decoded(path.as_bytes())?;
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut is_folder = false;
    for segment in decoded.split(|byte| *byte == b'/').skip(1) {
        is_folder = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()?),
            _ => segments.push(segment),
        }
    }
    let mut normal = Vec::with_capacity(decoded.len());
    for segment in &segments {
        normal.push(b'/');
        normal.extend_from_slice(segment);
    }
    if is_folder || normal.is_empty() {
        normal.push(b'/');
    }
    // Bytes that are no UTF-8 can match no route of the configuration but the prefixes before them.
    Some(Cow::Owned(String::from_utf8_lossy(&normal).into_owned()))
}

/// One pass: nearly every path is normal already.
fn is_normal(path: &[u8]) -> bool {
    let mut before = 0;
    path.iter().all(|byte| {
        let detour = before == b'/' && matches!(byte, b'/' | b'.');
        before = *byte;
        *byte != b'%' && !detour
    })
}

fn percent_decoded(path: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            decoded.push(*first);
            rest = after;
            continue;
        }
        let digits = after.get(..2)?;
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        let byte = (digit(0)? * 16 + digit(1)?) as u8;
        if byte == 0 {
            return None;
        }
        decoded.push(byte);
        rest = &after[2..];
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rustfmt::skip]
    #[test]
    fn paths_are_matched_decoded_and_without_detours() {
        check("/a/b", Some("/a/b"));
        check("/a%2Fb", Some("/a/b"));
        check("/%61", Some("/a"));
        check("/a//b", Some("/a/b"));
        check("/a/./b", Some("/a/b"));
        check("/a/../b", Some("/b"));
        check("/a/%2e%2e/b", Some("/b"));
        check("/a/..", Some("/"));
        check("/a/b/", Some("/a/b/"));
        check("/a/b/.", Some("/a/b/"));
        check("//", Some("/"));
        check("/.hidden", Some("/.hidden"));
        check("/..", None);
        check("/a/../..", None);
        check("/%", None);
        check("/%zz", None);
        check("/%00", None);
    }

    #[track_caller]
    fn check(path: &str, expected: Option<&str>) {
        assert_eq!(normalized(path).as_deref(), expected, "{path}");
    }
}
