//! Which route would serve what rests under a key of nginx's, and by which key of its own?

use std::cell::Cell;

use super::reading::{Known, Ours, Reading, Said};
use crate::config::heads::Heads;
use crate::config::template::{Part, Template, Variable};
use crate::config::{Cache, Config, HostName, PathMatch, Route, Site};
use crate::semantics::secret::Secret;

/// The routes that work with a zone.
pub(super) struct Routes<'a> {
    routes: Vec<Serving<'a>>,
}

/// One of them, and how keys are read for it.
struct Serving<'a> {
    site: &'a Site,
    route: &'a Route,
    cache: &'a Cache,
    known: Known,
    reading: Reading,
}

/// Where a response belongs.
#[derive(Clone, Debug)]
pub(super) struct Target<'a> {
    /// The key that a request for it has here.
    pub(super) key: Vec<u8>,
    /// How its route caches.
    pub(super) cache: &'a Cache,
    /// What the heads of its route's answers look like.
    pub(super) heads: &'a Heads,
    /// The host that it is of, as far as it is known.
    pub(super) host: String,
    /// It answered a HEAD, which has a key of its own.
    pub(super) is_head: bool,
    /// The bytes that a slice was asked for, its first and its last.
    pub(super) slice: Option<(u64, u64)>,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nowhere {
    /// No route of the zone has such a key.
    NoRoute,
    /// It may mean one thing or another.
    Ambiguous,
}

impl<'a> Routes<'a> {
    /// The routes of a zone; `key_is` is nginx's template where it is not that of the route.
    ///
    /// # Errors
    /// Why nothing that nginx stored would ever be found.
    pub(super) fn of(config: &'a Config, zone: &str, key_is: Option<&str>) -> Result<Self, String> {
        let key_is = key_is.map(template).transpose()?;
        let (mut routes, mut why_not) = (Vec::new(), Vec::new());
        for site in &config.sites {
            for route in &site.routes {
                let Some(cache) = &route.cache else { continue };
                if !cache.zone.can_give(zone) {
                    continue;
                }
                match Serving::new(config, site, (route, cache), key_is.as_ref()) {
                    Ok(serving) => routes.push(serving),
                    Err(why) => why_not.push(format!("route `{}`: {why}", route.path)),
                }
            }
        }
        match (routes.is_empty(), why_not.is_empty()) {
            (false, _) => Ok(Self { routes }),
            (true, false) => Err(why_not.join("; ")),
            (true, true) => Err(format!("no route has `cache.zone = \"{zone}\"`")),
        }
    }

    /// Where the response with this key of nginx's belongs. Secrets in keys are hashed with the
    /// `secret` of the zone, which is asked for if there are any.
    pub(super) fn find(
        &self,
        key: &[u8],
        secret: &dyn Fn() -> &'a Secret,
    ) -> Result<Target<'a>, Nowhere> {
        let mut best: Option<(Rank, Result<Target<'a>, Nowhere>)> = None;
        for serving in &self.routes {
            let Some((rank, target)) = serving.target(key, secret) else { continue };
            match &mut best {
                Some((known, _)) if *known > rank => {}
                Some((known, found)) if *known == rank => {
                    let same =
                        matches!((&*found, &target), (Ok(one), Ok(other)) if one.key == other.key);
                    if !same {
                        *found = Err(Nowhere::Ambiguous);
                    }
                }
                _ => best = Some((rank, target)),
            }
        }
        best.map_or(Err(Nowhere::NoRoute), |(_, target)| target)
    }
}

/// How well a route fits: host, kind of its path, length of that.
type Rank = (u8, u8, usize);

impl<'a> Serving<'a> {
    fn new(
        config: &Config,
        site: &'a Site,
        (route, cache): (&'a Route, &'a Cache),
        key_is: Option<&Template>,
    ) -> Result<Self, String> {
        if !cache.partition.is_empty() {
            return Err("`cache.partition` gives each client entries of his own".to_owned());
        }
        let template = key_is.unwrap_or(&cache.key);
        let known = known(config, site, route, template, &cache.key);
        let reading = Reading::new(template, &known).map_err(|_| "the template is too long")?;
        let missing = cache.key.variables().find(|variable| !reading.gives(variable, &known));
        if let Some(missing) = missing {
            return Err(format!("nginx's keys do not say what `{missing}` of `cache.key` is"));
        }
        Ok(Self { site, route, cache, known, reading })
    }

    /// What it makes of a key, and how well it fits; `None` where it is not for it.
    fn target(
        &self,
        key: &[u8],
        secret: &dyn Fn() -> &'a Secret,
    ) -> Option<(Rank, Result<Target<'a>, Nowhere>)> {
        let (key, slice) = self.without_slice(key);
        let [most, least] = self.reading.read(key, &self.known)?;
        let rank = self.rank(&most)?;
        let (one, other) = (self.key(&most, secret), self.key(&least, secret));
        let target = match (one, other) {
            (Some(one), Some(other)) if one == other => {
                let host = most.value(&Variable::Host).map(String::from_utf8_lossy);
                let host = host.map(String::from).or_else(|| only_name(self.site));
                let (cache, host) = (self.cache, host.unwrap_or_default());
                let is_head = most.value(&Variable::RequestMethod) == Some(b"HEAD");
                Ok(Target { key: one, cache, heads: &self.route.heads, host, is_head, slice })
            }
            (None, None) => Err(Nowhere::NoRoute),
            _ => Err(Nowhere::Ambiguous),
        };
        Some((rank, target))
    }

    /// The key of the whole, and which slice of it this is the key of: nginx has its range at the
    /// end (nginx: $slice_range).
    fn without_slice<'k>(&self, key: &'k [u8]) -> (&'k [u8], Option<(u64, u64)>) {
        let whole = || {
            self.cache.slice?;
            let at = memchr::memmem::rfind(key, b"bytes=")?;
            let (first, last) = str::from_utf8(&key[at + 6..]).ok()?.split_once('-')?;
            Some((&key[..at], Some((first.parse().ok()?, last.parse().ok()?))))
        };
        whole().unwrap_or((key, None))
    }

    fn key(&self, said: &Said<'_>, secret: &dyn Fn() -> &'a Secret) -> Option<Vec<u8>> {
        let hash = |value: &[u8]| secret().hash("key", std::iter::once(value));
        let query = &self.cache.query;
        let ours = Ours { said, query, hash: &hash, failed: Cell::new(false) };
        let mut key = Vec::new();
        self.cache.key.write(&ours, &mut key);
        (!ours.failed.get()).then_some(key)
    }

    /// How well it fits what a key says of host and path; `None` where it is not for that.
    fn rank(&self, said: &Said<'_>) -> Option<Rank> {
        let host = match said.value(&Variable::Host) {
            Some(host) => {
                let host = String::from_utf8_lossy(host);
                let named = self.site.names.iter().filter(|name| is_for(name, &host));
                named.map(|name| if matches!(name, HostName::Exact(_)) { 2 } else { 1 }).max()
            }
            None => None,
        };
        let Some(path) = said.path() else { return Some((host.unwrap_or(0), 0, 0)) };
        let path = said.decoded_path().unwrap_or_else(|| path.to_vec());
        let path = String::from_utf8_lossy(&path);
        let (kind, length) = match &self.route.path {
            PathMatch::Exact(own) => (path == *own).then_some((4, own.len()))?,
            PathMatch::Final(own) => path.starts_with(own).then_some((3, own.len()))?,
            PathMatch::Regex(own) => own.is_match(&path).then_some((2, 0))?,
            PathMatch::Prefix(own) => path.starts_with(own).then_some((1, own.len()))?,
            PathMatch::Named(_) => (0, 0),
        };
        Some((host.unwrap_or(0), kind, length))
    }
}

/// The template that an operator writes for nginx's. The range of a slice may stand at its end.
fn template(text: &str) -> Result<Template, String> {
    let whole =
        ["$slice_range", "${slice_range}"].iter().find_map(|range| text.strip_suffix(range));
    Template::compile(whole.unwrap_or(text)).map_err(|problem| {
        let help = problem.help.map(|help| format!(": {help}")).unwrap_or_default();
        format!("`--key-is`: {}{help}", problem.reason)
    })
}

/// What is the same for all keys of a route, read by a template of nginx's and to be written by
/// `ours`.
fn known(
    config: &Config,
    site: &Site,
    route: &Route,
    template: &Template,
    ours: &Template,
) -> Known {
    let mut known = Known::default();
    // A site may listen both with and without TLS; then only the key can say.
    let schemes = match (site.tls_at.is_empty(), site.listen.len() == site.tls_at.len()) {
        (true, _) => Some(("http", "")),
        (_, true) => Some(("https", "on")),
        _ => None,
    };
    if let Some((scheme, on)) = schemes {
        if ours.variables().any(|variable| *variable == Variable::Scheme) {
            known.fixed.push((Variable::Scheme, scheme.to_owned()));
        }
        known.fixed.push((Variable::Https, on.to_owned()));
    }
    let first = site.names.first().map(ToString::to_string).unwrap_or_default();
    known.fixed.push((Variable::ServerName, first));
    let names: Option<Vec<_>> = site.names.iter().map(exact).collect();
    match names.filter(|names| !names.is_empty()) {
        Some(names) if !answers_for_others(config, site) => {
            known.one_of.push((Variable::Host, names));
        }
        _ => {}
    }
    let says_host = template.variables().any(|variable| *variable == Variable::Host);
    if let Some(name) = only_name(site).filter(|_| !says_host) {
        known.fixed.push((Variable::Host, name));
    }
    if let Some(proxy) = route.action.proxy() {
        match &proxy.by_request {
            None => known.fixed.push((Variable::ProxyHost, proxy.host.clone())),
            Some(by_request) if !by_request.candidates.is_empty() => {
                let names = by_request.candidates.iter().map(|(name, _)| name.clone());
                known.one_of.push((Variable::ProxyHost, names.collect()));
            }
            Some(_) => {}
        }
        if let (true, Some(uri), Some(matched)) =
            (is_default(template), &proxy.uri, route.path.literal())
        {
            let slash = proxy.strip_prefix && !matched.ends_with('/');
            let itself = if slash { format!("{matched}/") } else { matched.to_owned() };
            known.replaced = Some((uri.clone(), itself));
        }
    }
    known
}

/// Whether it is what nginx takes where there is no `proxy_cache_key`; that has the URI that goes
/// upstream.
fn is_default(template: &Template) -> bool {
    let parts = &template.parts[..];
    matches!(
        parts,
        [Part::Literal(scheme), Part::Variable(Variable::ProxyHost), Part::Variable(Variable::RequestUri)]
            if scheme == "http://" || scheme == "https://"
    )
}

/// Whether a site answers for hosts that no site names.
fn answers_for_others(config: &Config, site: &Site) -> bool {
    let first_at = |address| config.sites.iter().find(|site| site.listen.contains(address));
    !site.default_at.is_empty()
        || site.listen.iter().any(|at| first_at(at).is_some_and(|first| std::ptr::eq(first, site)))
}

fn exact(name: &HostName) -> Option<String> {
    match name {
        HostName::Exact(name) => Some(name.clone()),
        _ => None,
    }
}

/// The host of a site that has one.
fn only_name(site: &Site) -> Option<String> {
    match &site.names[..] {
        [HostName::Exact(name)] => Some(name.clone()),
        _ => None,
    }
}

fn is_for(name: &HostName, host: &str) -> bool {
    match name {
        HostName::Exact(name) => name == host,
        HostName::Suffix(suffix) => host.ends_with(suffix),
        HostName::Prefix(prefix) => host.starts_with(prefix),
        HostName::Pattern(pattern) => pattern.is_match(host),
    }
}
