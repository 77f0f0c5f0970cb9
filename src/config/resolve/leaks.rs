//! Warnings of the known ways to give one client what is another's. Whatever is warned of here
//! works as it is written; each warning says in one line what comes of it.

use std::collections::HashMap;

use http::header::{self, HeaderName};

use super::Report;
use crate::address::Address;
use crate::config::fault::Problem;
use crate::config::file;
use crate::config::read::{At, List};
use crate::config::report::Span;
use crate::config::template::{Template, Variable};
use crate::config::words::IgnoredField;
use crate::config::{Cache, PathMatch, Route, Site};
use crate::semantics::rules::Semantics;

/// A key that is the same for all hosts.
pub(super) struct Hostless {
    pub(super) site: usize,
    /// The site answers for more than one.
    pub(super) several_hosts: bool,
    zone: Template,
    key: Template,
    span: Span,
    proxy_host: String,
    /// The upstream is told which host was asked, so its answers may differ.
    told_host: bool,
}

/// Warns of what a route does by itself.
pub(super) fn warn_of_route(table: &file::Cache, route: &Route, report: &mut Report) {
    let Some(cache) = &route.cache else { return };
    warn_of_ignored(table, route, cache, report);
    warn_of_key(table, route, cache, report);
    warn_of_methods(table, cache, report);
    warn_of_bypass(table, cache, report);
    warn_of_partition(table, cache, report);
    warn_of_destination(table, route, cache, report);
    let knows_authorization = !cache.partition.is_empty()
        || has(&cache.no_cache, says_authorization)
        || cache.key.all_variables().any(says_authorization);
    let semantics = table.semantics.as_ref();
    if let Some(at) = semantics.filter(|at| at.value == Semantics::Nginx && !knows_authorization) {
        let problem = Problem::new("answers to authorised requests will be stored for all");
        let help = "nginx does not look at `Authorization`: add `$http_authorization` to `no_cache` and `bypass`, or to `partition`";
        report.warn(at.span, problem.help(help));
    }
}

/// The key of a route, if there is no host in it.
pub(super) fn hostless(table: &file::Cache, route: &Route) -> Option<Hostless> {
    let (cache, span) = (route.cache.as_ref()?, table.key.as_ref()?.span);
    let set = route.set_header.iter().map(|(_, template)| template);
    let proxy_host = &route.action.proxy()?.host;
    (!cache.key.variables().any(is_host)).then(|| Hostless {
        site: 0,
        several_hosts: false,
        zone: cache.zone.clone(),
        key: cache.key.clone(),
        span,
        proxy_host: proxy_host.clone(),
        told_host: set.flat_map(Template::all_variables).any(is_host),
    })
}

/// Warns of hosts that share entries although their answers differ.
pub(super) fn warn_of_hostless(keys: &[Hostless], report: &mut Report) {
    for one in keys {
        let by_site = one.key.variables().any(|v| *v == Variable::ServerName);
        let by_proxy = one.key.variables().any(|v| *v == Variable::ProxyHost);
        let clashes = |other: &Hostless| {
            let other_origin = other.proxy_host != one.proxy_host;
            other.site != one.site
                && can_be_one(&one.zone, &other.zone)
                && if by_proxy {
                    !other_origin && one.told_host
                } else {
                    other_origin || one.told_host
                }
        };
        let problem = if !by_site && keys.iter().any(clashes) {
            Problem::new("sites share entries: they share the zone, and the key has no host")
                .help("clients of one site get answers of the other: add `$host`")
        } else if one.several_hosts && one.told_host {
            Problem::new("the hosts of this site share entries: the key has no `$host`")
                .help("the upstream is told the host, so its answers may differ: add `$host`")
        } else {
            continue;
        };
        report.warn(one.span, problem);
    }
}

/// Warns of a site that answers for hosts of another one, on an address of its own, out of the same
/// zone: `$host` alone does not tell whose answer an entry is.
pub(super) fn warn_of_borrowed_hosts(spans: &[Span], sites: &[Site], report: &mut Report) {
    let who = WhoAnswers::new(sites);
    for (one, span) in spans.iter().enumerate() {
        if who.takes_from(one).any(|other| share_entries(&sites[one], &sites[other])) {
            let problem =
                Problem::new("sites share entries: this one answers for hosts of another too");
            let help = "who names the other's host here fills its entries from this upstream: add `$proxy_host` to `key`, or set `strict = true`";
            report.warn(*span, problem.help(help));
        }
    }
}

/// Which sites answer for a name, and which for all hosts of an address. There may be thousands, so
/// they are not compared with each other.
struct WhoAnswers<'a> {
    sites: &'a [Site],
    of_name: HashMap<String, Vec<usize>>,
    default_of: HashMap<Address, usize>,
}

impl<'a> WhoAnswers<'a> {
    fn new(sites: &'a [Site]) -> Self {
        let mut of_name: HashMap<_, Vec<_>> = HashMap::new();
        let mut default_of: HashMap<Address, usize> = HashMap::new();
        for (number, site) in sites.iter().enumerate() {
            for name in &site.names {
                of_name.entry(name.to_string()).or_default().push(number);
            }
            for address in &site.listen {
                let default = default_of.entry(*address).or_insert(number);
                if site.default_at.contains(address)
                    && !sites[*default].default_at.contains(address)
                {
                    *default = number;
                }
            }
        }
        Self { sites, of_name, default_of }
    }

    /// The sites for whose hosts this one answers where they do not listen themselves.
    fn takes_from(&self, one: usize) -> impl Iterator<Item = usize> {
        let site = &self.sites[one];
        let answers_all =
            move |address: &&Address| !site.strict && self.default_of.get(address) == Some(&one);
        let all_at = site.listen.iter().filter(answers_all);
        let others = all_at.flat_map(move |address| {
            (0..self.sites.len()).filter(move |other| !self.sites[*other].listen.contains(address))
        });
        let named = site.names.iter().filter_map(move |name| self.of_name.get(&name.to_string()));
        let named = named.flatten().copied().filter(move |other| {
            site.listen.iter().any(|address| !self.sites[*other].listen.contains(address))
        });
        others.chain(named).filter(move |other| *other != one)
    }
}

/// Whether an answer of one site's upstream may rest under a key of another site, whose upstream is
/// another one.
fn share_entries(one: &Site, other: &Site) -> bool {
    use Variable::{ProxyHost, ServerAddr, ServerName, ServerPort};
    let tells = |key: &Template| {
        key.variables().any(|v| matches!(v, ProxyHost | ServerAddr | ServerName | ServerPort))
    };
    cached(one).filter(|(cache, _)| !tells(&cache.key)).any(|(cache, proxy_host)| {
        cached(other).any(|(other, other_host)| {
            other.key == cache.key
                && other_host != proxy_host
                && can_be_one(&cache.zone, &other.zone)
        })
    })
}

/// How the routes of a site cache that forward, and to what host.
fn cached(site: &Site) -> impl Iterator<Item = (&Cache, &str)> {
    site.routes.iter().filter_map(|route| {
        let (cache, proxy) = (route.cache.as_ref()?, route.action.proxy()?);
        Some((cache, proxy.host.as_str()))
    })
}

fn warn_of_ignored(table: &file::Cache, route: &Route, cache: &Cache, report: &mut Report) {
    let asks_who = [&cache.partition, &cache.bypass, &cache.no_cache]
        .into_iter()
        .any(|templates| has(templates, Variable::is_secret))
        || cache.key.variables().any(Variable::is_secret);
    let is_field = |variable: &Variable| matches!(variable, Variable::Http(_));
    let has_field = cache.key.all_variables().any(is_field) || has(&cache.partition, is_field);
    for At { value, span } in items(table.ignore_headers.as_ref()) {
        let (reason, help) = match value {
            IgnoredField::SetCookie if !route.hide_header.contains(&header::SET_COOKIE) => (
                "answers that set a cookie will be stored",
                "one client's cookie goes to all: add `hide_header = \"Set-Cookie\"`",
            ),
            IgnoredField::CacheControl if !asks_who => (
                "`private` and `no-store` answers will be stored",
                "one client's answer goes to all: add what tells clients apart to `bypass` and `no_cache`, as `$cookie_session`",
            ),
            IgnoredField::Vary if !has_field => (
                "all clients will get the same variant",
                "add what answers vary by to `key`, as `$http_accept_language`",
            ),
            _ => continue,
        };
        report.warn(*span, Problem::new(reason).help(help));
    }
}

fn warn_of_key(table: &file::Cache, route: &Route, cache: &Cache, report: &mut Report) {
    let Some(At { span, .. }) = table.key.as_ref() else { return };
    let any = |wanted: fn(&Variable) -> bool| cache.key.variables().any(wanted);
    let has_path = any(|v| {
        matches!(
            v,
            Variable::RequestUri | Variable::Request | Variable::Uri | Variable::UpstreamUri
        )
    });
    // One who names single parameters has thought of the others.
    let has_query =
        any(|v| v.has_query() && *v != Variable::IsArgs || matches!(v, Variable::Arg(_)));
    let (reason, help) = if !has_path && !matches!(route.path, PathMatch::Exact(_)) {
        ("all paths of this route share entries", "the key has none: add `$request_uri`")
    } else if !has_query {
        (
            "all queries of a path share entries",
            "the key has none: add `$is_args$args`; single parameters can be left out with `query`",
        )
    } else {
        return;
    };
    report.warn(*span, Problem::new(reason).help(help));
}

fn warn_of_methods(table: &file::Cache, cache: &Cache, report: &mut Report) {
    let has_method = |v: &Variable| matches!(v, Variable::RequestMethod | Variable::Request);
    if cache.key.variables().any(has_method) {
        return;
    }
    for At { value, span } in items(table.methods.as_ref()) {
        if matches!(value.as_str(), "GET" | "HEAD") {
            continue;
        }
        let problem = Problem::new(format!("answers to `{value}` and `GET` share entries"));
        report.warn(*span, problem.help("add `$request_method` to `key`"));
    }
}

/// Who answers may depend on more than answers are found by.
fn warn_of_destination(table: &file::Cache, route: &Route, cache: &Cache, report: &mut Report) {
    let by_request = route.action.proxy().and_then(|proxy| proxy.by_request.as_ref());
    let Some((by_request, zone)) = by_request.zip(table.zone.as_ref()) else { return };
    let who = cache.partition.iter().chain([&cache.key]);
    let known: Vec<_> = who.flat_map(Template::all_variables).collect();
    // The name of the upstream stands for all that gives it.
    let upstream = by_request.upstream.as_ref().filter(|_| !known.contains(&&Variable::ProxyHost));
    let is_open = |variable: &&Variable| {
        use Variable::{
            Arg, Args, Capture, IsArgs, Map, Named, Request, RequestUri, UpstreamUri, Uri,
        };
        let of_url = matches!(
            variable,
            Arg(_)
                | Args
                | Capture(_)
                | IsArgs
                | Map(_)
                | Named(_)
                | Request
                | RequestUri
                | UpstreamUri
                | Uri
        );
        !of_url && !known.contains(variable)
    };
    let templates = upstream.into_iter().chain(&by_request.target);
    if let Some(open) = templates.flat_map(Template::all_variables).find(is_open) {
        let problem = Problem::new(format!("`{open}` says who answers, and is not in the key"));
        report.warn(zone.span, problem.help("one client's answer goes to others: add it to `key`"));
    }
}

/// What is fetched past the cache is stored all the same.
fn warn_of_bypass(table: &file::Cache, cache: &Cache, report: &mut Report) {
    if !cache.partition.is_empty() {
        return;
    }
    // Of these, RFC 9111 lets nothing be stored that is not for all.
    let by_itself =
        |variable: &Variable| cache.rules.authorization_forbids && says_authorization(variable);
    let covered = |variable: &Variable| {
        let covers = |other: &Variable| other == variable || is_cookies(other, variable);
        has(&cache.no_cache, covers) || cache.key.all_variables().any(covers)
    };
    for At { value, span } in items(table.bypass.as_ref()) {
        let leaks = |variable: &&Variable| {
            variable.is_secret() && !by_itself(variable) && !covered(variable)
        };
        if value.variables().any(|variable| leaks(&variable)) {
            let problem = Problem::new("what is fetched because of this is stored for all");
            report.warn(*span, problem.help("add it to `no_cache` too"));
        }
    }
}

fn warn_of_partition(table: &file::Cache, cache: &Cache, report: &mut Report) {
    let says_who = |variable: &Variable| match variable {
        Variable::Http(name) => !COMMON.contains(name),
        Variable::RemoteAddr => true,
        other => other.is_secret(),
    };
    let list = table.partition.as_ref().filter(|_| !cache.partition.is_empty());
    let proofs = || {
        let variables = cache.partition.iter().flat_map(Template::variables);
        variables.filter(|variable| says_authorization(variable))
    };
    let names_only = proofs().count() > 0 && proofs().all(|proof| *proof == Variable::RemoteUser);
    if let Some(list) = list.filter(|_| names_only) {
        let problem = Problem::new("who sends a user's name gets that user's answers");
        let help =
            "no password is checked here: use `$http_authorization` instead of `$remote_user`";
        report.warn(list.span, problem.help(help));
    }
    if let Some(list) = list.filter(|_| !has(&cache.partition, says_who)) {
        let problem = Problem::new("nothing in `partition` says who the client is");
        let help = "private answers go to all clients that send the same: add it to `key` instead";
        report.warn(list.span, problem.help(help));
    }
}

fn items<T>(list: Option<&At<List<T>>>) -> &[At<T>] {
    list.map_or(&[], |list| &list.value.items)
}

fn has(templates: &[Template], wanted: impl Fn(&Variable) -> bool) -> bool {
    templates.iter().flat_map(Template::all_variables).any(wanted)
}

/// Whether two routes may cache in one zone.
fn can_be_one(one: &Template, other: &Template) -> bool {
    match (one.literal(), other.literal()) {
        (Some(name), _) => other.can_give(name),
        (None, Some(name)) => one.can_give(name),
        (None, None) => true,
    }
}

fn is_host(variable: &Variable) -> bool {
    match variable {
        Variable::Http(name) => *name == header::HOST,
        other => *other == Variable::Host,
    }
}

fn says_authorization(variable: &Variable) -> bool {
    match variable {
        Variable::Http(name) => *name == header::AUTHORIZATION,
        other => *other == Variable::RemoteUser,
    }
}

/// Whether `all` is all cookies, and `one` is one.
fn is_cookies(all: &Variable, one: &Variable) -> bool {
    matches!(one, Variable::Cookie(_)) && *all == Variable::Http(header::COOKIE)
}

/// Fields that many clients send alike.
const COMMON: [HeaderName; 7] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::ACCEPT_LANGUAGE,
    header::HOST,
    header::ORIGIN,
    header::REFERER,
    header::USER_AGENT,
];
