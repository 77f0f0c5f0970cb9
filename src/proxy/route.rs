//! Which route of a site answers for a path. (nginx: location)

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode};

use super::gate::Gate;
use super::heads::Lines;
use super::hidden::Hidden;
use super::key::Keying;
use super::location::Changed;
use super::prefixes::{Below, Prefixes};
use super::zone::Caching;
use crate::cache::Zone;
use crate::config::answers::Redirect;
use crate::config::hostnames::HostNames;
use crate::config::pattern::{Captured, Pattern, Patterns};
use crate::config::template::{Part, Template, Variable};
use crate::config::{self, Action, HostName, PathMatch};
use crate::files::Files;
use crate::observe::logs::Logs;
use crate::tls::settings::VerifyClient;
use crate::upstream::Group;

/// A site and its routes.
pub struct Site {
    /// The first of its names (nginx: $server_name).
    pub name: String,
    /// Answers only over connections that were made for it, and these only for itself.
    pub isolated: bool,
    /// Answers nobody without a certificate.
    pub verifies: bool,
    /// Answers where no route does, and before one is found.
    pub base: Arc<Route>,
    /// What is done to paths before a route is looked for.
    pub(super) rewrite: Vec<config::answers::Rewrite>,
    /// Nothing but the path says how a request goes on, unless its route says more.
    pub(super) is_plain: bool,
    names: HostNames<()>,
    exact: HashMap<String, Arc<Route>>,
    prefixes: Prefixes,
    patterns: Patterns,
    by_pattern: Vec<Arc<Route>>,
    /// Some expressions are tried below some prefixes only.
    has_within: bool,
    named: HashMap<String, Arc<Route>>,
}

/// A route with what it needs at hand.
pub struct Route {
    /// As configured.
    pub settings: config::Route,
    /// What it forwards to, if it does and always to the same.
    pub forward: Option<Forward>,
    /// What it forwards to by name, where requests say it.
    pub forwards: HashMap<String, Forward>,
    /// The files that it answers from, if it does.
    pub files: Option<Arc<Files>>,
    /// `Allow` where it does not take all methods.
    pub allow: Option<HeaderValue>,
    /// Response fields that are changed for clients.
    pub changed: Changed,
    /// Nothing but the path says how a request goes on.
    pub is_plain: bool,
    /// Something is done to its answers.
    pub finishes: bool,
    /// How it caches, if it does.
    pub caching: Caching,
    /// Response fields that clients do not get.
    pub hidden: Hidden,
    /// Response fields that are ours, as they are written.
    pub lines: Lines,
    /// The access logs that its requests are in, if they are in any.
    pub logs: Option<Arc<Logs>>,
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

impl Route {
    /// A route with what it needs at hand, that forwards to nothing and does not cache.
    pub fn new(settings: config::Route) -> Self {
        let methods = settings.methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        Self {
            hidden: Hidden::new(&settings.hide_header),
            lines: Lines::new(&settings),
            changed: Changed::new(&settings.finish),
            allow: HeaderValue::try_from(methods).ok().filter(|_| !settings.methods.is_empty()),
            forward: None,
            forwards: HashMap::new(),
            files: None,
            caching: Caching::default(),
            is_plain: is_plain(&settings),
            finishes: settings.finish.is_needed(),
            logs: None,
            gate: None,
            hides_authorization: false,
            settings,
        }
    }

    /// A route that sends clients to `path`.
    fn with_slash(&self, path: &str) -> Self {
        let location = vec![
            Part::Literal(super::way::escaped_path(path)),
            Part::Variable(Variable::IsArgs),
            Part::Variable(Variable::Args),
        ];
        let to = Template { parts: location };
        let redirect = Redirect { to, status: StatusCode::MOVED_PERMANENTLY };
        let (cache, purge, rewrite) = (None, None, Vec::new());
        let action = Action::Redirect(redirect);
        let settings = config::Route { action, cache, purge, rewrite, ..self.settings.clone() };
        Self { logs: self.logs.clone(), ..Self::new(settings) }
    }

    /// Where it forwards to, as the configuration has it (nginx: $proxy_host).
    pub(super) fn proxy_host(&self) -> &str {
        self.settings.action.proxy().map_or("", |proxy| &proxy.host)
    }

    /// Whether it takes a method.
    pub(super) fn takes(&self, method: &Method) -> bool {
        self.allow.is_none() || self.settings.methods.contains(method)
    }
}

/// Whether nothing but the path says where a request of such a route goes.
fn is_plain(settings: &config::Route) -> bool {
    let by_request = settings.action.proxy().is_some_and(|proxy| proxy.by_request.is_some());
    let captures = match &settings.path {
        PathMatch::Regex(pattern) => pattern.has_groups(),
        _ => false,
    };
    let told = settings.gate.auth_request.as_ref().is_some_and(|ask| !ask.told.is_empty());
    settings.rewrite.is_empty() && !by_request && !captures && !settings.internal && !told
}

impl Site {
    /// A site with its routes made ready, and the one that answers where there is none.
    pub fn new(settings: &config::Site, base: Arc<Route>, routes: Vec<Arc<Route>>) -> Self {
        let has_groups = |name: &HostName| match name {
            HostName::Pattern(pattern) => pattern.has_groups(),
            _ => false,
        };
        let mut site = Self {
            name: settings.names.first().map_or_else(String::new, ToString::to_string),
            isolated: settings.isolated,
            verifies: settings
                .tls
                .as_ref()
                .is_some_and(|tls| tls.verify_client == VerifyClient::On),
            base,
            rewrite: settings.rewrite.clone(),
            is_plain: settings.rewrite.is_empty() && !settings.names.iter().any(has_groups),
            names: HostNames::new(settings.names.iter().map(|name| (name.clone(), ()))),
            exact: HashMap::new(),
            prefixes: Prefixes::default(),
            patterns: Patterns::default(),
            by_pattern: Vec::new(),
            has_within: false,
            named: HashMap::new(),
        };
        let (mut prefixes, mut patterns) = (Vec::new(), Vec::new());
        for route in routes {
            match route.settings.path.clone() {
                PathMatch::Exact(path) => drop(site.exact.insert(path, route)),
                PathMatch::Named(name) => drop(site.named.insert(name, route)),
                PathMatch::Prefix(path) | PathMatch::Final(path) => prefixes.push((path, route)),
                PathMatch::Regex(pattern) => {
                    patterns.push(pattern);
                    site.has_within |= !route.settings.within.is_empty();
                    site.by_pattern.push(route);
                }
            }
        }
        site.patterns = Patterns::new(patterns);
        site.prefixes = Prefixes::new(prefixes);
        site.add_slashes();
        site
    }

    /// nginx: where a prefix that ends with a slash is forwarded, the path without it is sent there.
    fn add_slashes(&mut self) {
        for Below { prefix, route, .. } in &self.prefixes.0 {
            let Some(bare) = prefix.strip_suffix('/').filter(|bare| !bare.is_empty()) else {
                continue;
            };
            let taken = self.exact.contains_key(bare) || self.prefixes.has(bare);
            if !taken && route.settings.action.proxy().is_some() {
                self.exact.insert(bare.to_owned(), Arc::new(route.with_slash(prefix)));
            }
        }
    }

    /// The routes for which paths that begin with `prefix` may be: the one that it has itself, all
    /// below it, and those of which it cannot be told. Normalised, or the beginning of a normalised
    /// path.
    pub fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Arc<Route>> {
        let longest = self.prefixes.longest(prefix);
        let below = self.prefixes.0.iter().filter(move |below| {
            below.prefix.starts_with(prefix) && below.prefix.len() > prefix.len()
        });
        let exact = self.exact.iter().filter(move |(path, _)| path.starts_with(prefix));
        let below = below.map(|below| &below.route).chain(exact.map(|(_, route)| route));
        longest.into_iter().chain(below).chain(&self.by_pattern).chain(self.named.values())
    }

    /// The route for a normalised path: the exact one; else the first whose expression it has,
    /// unless the longest prefix says that none is tried; else the one with the longest prefix.
    pub fn find(&self, path: &str) -> Option<&Arc<Route>> {
        self.find_with(path).map(|(route, _)| route)
    }

    /// The same, with the expression that found it.
    pub(super) fn find_with(&self, path: &str) -> Option<(&Arc<Route>, Option<&Pattern>)> {
        if let Some(route) = self.exact.get(path) {
            return Some((route, None));
        }
        let prefix = self.prefixes.longest(path);
        if !self.patterns.is_empty()
            && let Some(number) = self.first_pattern(path, prefix)
        {
            return Some((&self.by_pattern[number], Some(self.patterns.get(number))));
        }
        prefix.map(|route| (route, None))
    }

    /// The first expression that a path has, of those that are tried for this longest prefix.
    fn first_pattern(&self, path: &str, prefix: Option<&Arc<Route>>) -> Option<usize> {
        let is_final =
            prefix.is_some_and(|route| matches!(route.settings.path, PathMatch::Final(_)));
        if !self.has_within {
            return if is_final { None } else { self.patterns.first(path) };
        }
        let literal = prefix.and_then(|route| route.settings.path.literal());
        self.patterns.first_of(path, |number| match &*self.by_pattern[number].settings.within {
            [] => !is_final,
            prefixes => prefixes.iter().any(|one| Some(one.as_str()) == literal),
        })
    }

    /// The route with this name.
    pub(super) fn named(&self, name: &str) -> Option<&Arc<Route>> {
        self.named.get(name)
    }

    /// All routes that are reached by name only.
    pub(super) fn all_named(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.named.values()
    }

    /// What the site's name captures of a host.
    pub(super) fn captured_of(&self, host: &str) -> Option<Captured> {
        self.names.find(host, host)?.pattern?.captures(host)
    }
}

/// A path as nginx matches it: percent-encoding decoded, dot segments resolved, runs of slashes
/// merged. `None` for one that leaves the root, or that is no text once decoded.
pub fn normalized(path: &str) -> Option<Cow<'_, str>> {
    if is_normal(path.as_bytes()) {
        return Some(Cow::Borrowed(path));
    }
    let decoded = percent_decoded(path.as_bytes())?;
    without_detours(&decoded).map(Cow::Owned)
}

/// A decoded path with its dot segments resolved and runs of slashes merged. `None` for one that
/// leaves the root or does not begin there.
pub(super) fn without_detours(decoded: &[u8]) -> Option<String> {
    if !decoded.starts_with(b"/") || decoded.contains(&0) {
        return None;
    }
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
    Some(String::from_utf8_lossy(&normal).into_owned())
}

/// One pass: nearly every path is normal already.
pub(super) fn is_normal(path: &[u8]) -> bool {
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
