//! `[[site]]`: which hosts on which addresses. (nginx: server)

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;

use super::{Report, Scope, flag, gate, leaks, rewrite, route, tls};
use crate::address::Address;
use crate::config::address::Listen;
use crate::config::fault::Problem;
use crate::config::file::{self, Settings, TryFile};
use crate::config::read::{At, List};
use crate::config::report::Span;
use crate::config::{HostName, PathMatch, Route, Site};
use crate::tls::settings::{Termination, VerifyClient};

/// The sites as they are meant.
pub(super) fn sites(
    written: Option<&At<List<file::Site>>>,
    defaults: &Settings,
    scope: &mut Scope,
    report: &mut Report,
) -> Vec<Site> {
    scope.check_zone(defaults, report);
    let items = written.map(|list| list.value.items.as_slice()).unwrap_or_default();
    if items.is_empty() && !written.is_some_and(|list| list.value.broken) {
        let problem = Problem::new("there is no `[[site]]`");
        report.error_of_file(0, problem.help("a site says where to listen and what to forward"));
    }
    let mut claims = Claims::default();
    let mut sites = Vec::new();
    for (number, item) in items.iter().enumerate() {
        claims.add(&item.value, item.span, report);
        let first = scope.hostless.len();
        let Some(site) = site(item, defaults, scope, report) else { continue };
        for key in &mut scope.hostless[first..] {
            (key.site, key.several_hosts) = (number, !matches!(*site.names, [HostName::Exact(_)]));
        }
        sites.push(site);
    }
    leaks::warn_of_hostless(&scope.hostless, report);
    claims.settle_nameless(items, &mut sites, report);
    gate::check_listeners(items, report);
    let spans: Vec<_> = items.iter().map(|item| item.span).collect();
    leaks::warn_of_borrowed_hosts(&spans, &sites, report);
    sites
}

fn site(
    item: &At<file::Site>,
    defaults: &Settings,
    scope: &mut Scope,
    report: &mut Report,
) -> Option<Site> {
    let site = &item.value;
    let own = site.defaults.as_ref().map(|at| at.value.clone()).unwrap_or_default();
    scope.check_zone(&own, report);
    let outer = route::inherit(&own, defaults);
    let written = site.route.as_ref().map(|list| list.value.items.as_slice()).unwrap_or_default();
    let mut routes: Vec<Route> = Vec::new();
    let mut paths = HashMap::new();
    for item in written {
        let Some(route) = route::route(item, &outer, scope, report) else { continue };
        check_path(&mut paths, &route, item, report);
        routes.push(route);
    }
    check_names(&routes, (written, &outer), report);
    check_within(&routes, written, report);
    gate::check_asked_routes(written, &routes, report);
    if let Some(redirect) = &site.redirect {
        let other = item.value.route.as_ref().filter(|list| !list.value.items.is_empty());
        if let Some(list) = other {
            let problem = Problem::new("a site that redirects has no routes");
            let span = list.value.items.first().map_or(list.span, |route| route.span);
            report
                .error(span, problem.help("leave either out; `redirect` may be one of the routes"));
        }
        let all = whole(item.span, |route| route.redirect = Some(redirect.clone()));
        routes.extend(route::route(&all, &outer, scope, report));
    } else if written.is_empty() && !site.route.as_ref().is_some_and(|list| list.value.broken) {
        let span = site.route.as_ref().map_or(item.span, |list| list.span);
        report.error(span, Problem::new("a site needs at least one route"));
    }
    let nowhere = whole(item.span, |route| {
        let status = Some(At { value: 404, span: item.span });
        let table = file::RespondTable { status, ..Default::default() };
        route.respond = Some(At { value: file::Respond(table), span: item.span });
    });
    let names = site.name.iter().flat_map(|names| names.value.values());
    check_tls(site, report);
    let tls = tls::termination(site, report);
    Some(Site {
        listen: addresses(site).iter().map(|at| at.address).collect(),
        default_at: addresses(site).iter().filter(|at| at.default).map(|at| at.address).collect(),
        tls_at: addresses(site).iter().filter(|at| at.tls).map(|at| at.address).collect(),
        proxy_protocol: gate::named_by_proxies(site),
        names: names.flat_map(|names| names.0.clone()).collect(),
        strict: flag(site.strict.as_ref(), false),
        rewrite: rewrite::rewrites(site.rewrite.as_ref(), &outer, scope, report),
        base: route::route(&nowhere, &outer, scope, report)?,
        isolated: isolated(site, tls.as_ref(), report),
        tls,
        http2: flag(site.http2.as_ref(), true),
        header_timeout: site.header_timeout.as_ref().map(|at| at.value.0),
        routes,
    })
}

/// An expression that is to be tried below a prefix that no route has is never tried.
fn check_within(routes: &[Route], written: &[At<file::Route>], report: &mut Report) {
    let prefixes: Vec<&str> = routes
        .iter()
        .filter(|route| matches!(route.path, PathMatch::Prefix(_) | PathMatch::Final(_)))
        .filter_map(|route| route.path.literal())
        .collect();
    for within in written.iter().filter_map(|item| item.value.within.as_ref()) {
        for prefix in
            within.value.items.iter().filter(|one| !prefixes.contains(&one.value.as_str()))
        {
            let problem = Problem::new(format!("no route has the prefix `{}`", prefix.value));
            report.error(prefix.span, problem.choices(&prefix.value, &prefixes));
        }
    }
}

/// A route for all paths that is not written as one, with what `set` says.
fn whole(span: Span, set: impl FnOnce(&mut file::Route)) -> At<file::Route> {
    let path = PathMatch::Prefix("/".to_owned());
    let mut value = file::Route { path: Some(At { value: path, span }), ..file::Route::default() };
    set(&mut value);
    At { value, span }
}

/// A certificate that one site asks for must not be got around by asking another site first.
fn isolated(site: &file::Site, tls: Option<&Termination>, report: &mut Report) -> bool {
    let verifies = tls.is_some_and(|tls| tls.verify_client != VerifyClient::Off);
    match &site.isolated {
        Some(at) if at.value && site.tls.is_none() => {
            let problem = Problem::new("a site without `tls` cannot be isolated");
            report.error(at.span, problem.help("only TLS says which site a connection is for"));
            false
        }
        Some(at) if !at.value && verifies => {
            let problem = Problem::new("a site that verifies clients is isolated");
            let help = "else a connection made for another site would do without a certificate";
            report.error(at.span, problem.help(help));
            true
        }
        at => verifies || flag(at.as_ref(), false),
    }
}

/// A route must have a path of its own. `paths` has the lines of those before it.
fn check_path(
    paths: &mut HashMap<String, usize>,
    route: &Route,
    item: &At<file::Route>,
    report: &mut Report,
) {
    let of_location = match &route.path {
        // nginx: `/p` and `^~ /p` are one location.
        PathMatch::Prefix(path) | PathMatch::Final(path) => path.clone(),
        other => other.to_string(),
    };
    let first = match paths.entry(of_location) {
        Entry::Vacant(entry) => {
            entry.insert(route.line);
            return;
        }
        Entry::Occupied(first) => *first.get(),
    };
    if let Some(path) = item.value.path.as_ref().filter(|path| route.path == path.value) {
        let problem = Problem::new(format!("path `{}` has a route already", path.value));
        report.error(path.span, problem.help(format!("see line {first}")));
    }
}

/// What `try_files` hands over to must be there.
fn check_names(
    routes: &[Route],
    (written, outer): (&[At<file::Route>], &Settings),
    report: &mut Report,
) {
    let known = |name: &str| {
        routes.iter().any(|route| matches!(&route.path, PathMatch::Named(known) if known == name))
    };
    let lists =
        written.iter().filter_map(|item| item.value.r#static.as_ref()?.value.0.try_files.as_ref());
    let inherited = outer.r#static.as_ref().and_then(|at| at.value.0.try_files.as_ref());
    let is_used = written.iter().any(|item| item.value.r#static.is_some());
    let lists = lists.chain(inherited.filter(|_| is_used));
    for item in lists.flat_map(|list| &list.value.items) {
        let TryFile::Named(name) = &item.value else { continue };
        if !known(name) {
            let problem = Problem::new(format!("this site has no route `@{name}`"));
            report.error(item.span, problem.help(format!("give one `path = \"@{name}\"`")));
        }
    }
}

/// An address that a site listens at.
struct ListenAt {
    address: Address,
    /// Where that is written.
    span: Option<Span>,
    tls: bool,
    default: bool,
}

/// Where a site listens. Where an entry says whether it has TLS, those that do not say have none.
fn addresses(site: &file::Site) -> Vec<ListenAt> {
    let default = flag(site.default.as_ref(), false);
    let has_tls = site.tls.is_some();
    let Some(list) = &site.listen else {
        let address = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 8080)));
        return vec![ListenAt { address, span: None, tls: has_tls, default }];
    };
    let is_said = list.value.values().any(|listen| listen.tls.is_some());
    let entry = |at: &At<Listen>| {
        let span = Some(at.span);
        let tls = has_tls && if is_said { at.value.tls == Some(true) } else { true };
        let default = default || at.value.default;
        let listen_at = move |address: &Address| ListenAt { address: *address, span, tls, default };
        at.value.addresses.iter().map(listen_at).collect::<Vec<_>>()
    };
    list.value.items.iter().flat_map(entry).collect()
}

/// Reports addresses that are to have TLS without a certificate, and certificates for none.
fn check_tls(site: &file::Site, report: &mut Report) {
    let entries = site.listen.iter().flat_map(|list| &list.value.items);
    match &site.tls {
        None => {
            for entry in entries.filter(|entry| entry.value.tls == Some(true)) {
                let problem = Problem::new("this site has no `tls`");
                report.error(
                    entry.span,
                    problem.help("add `tls = { certificate = ..., key = ... }`"),
                );
            }
        }
        Some(tls) if addresses(site).iter().all(|at| !at.tls) => {
            let problem = Problem::new("no address of this site has TLS");
            report.error(tls.span, problem.help("add `tls = true` to one of `listen`"));
        }
        Some(_) => {}
    }
}

/// Who answers for what, to find two that claim the same.
#[derive(Default)]
struct Claims {
    /// By address and host; no host is for the site without names.
    hosts: HashMap<(Address, Option<String>), usize>,
    defaults: HashMap<Address, usize>,
    /// Whether an address is one of TLS, and the site that said so first.
    tls: HashMap<Address, (bool, usize)>,
}

impl Claims {
    fn add(&mut self, site: &file::Site, header: Span, report: &mut Report) {
        let line = report.line(header);
        let mut own = Vec::new();
        for ListenAt { address, span, tls: has_tls, default } in addresses(site) {
            if own.contains(&address) && !address.is_any_port() {
                let problem = Problem::new(format!("`{address}` is listed twice"));
                report.error(span.unwrap_or(header), problem);
                continue;
            }
            own.push(address);
            self.add_hosts(site, (address, span.unwrap_or(header)), line, report);
            let (tls, other) = *self.tls.entry(address).or_insert((has_tls, line));
            if tls != has_tls && !address.is_any_port() {
                let (here, there) = if tls { ("without", "with") } else { ("with", "without") };
                let problem = Problem::new(format!("{address} has sites with and without `tls`"));
                let help = format!("this one is {here}, that of line {other} is {there}");
                report.error(span.unwrap_or(header), problem.help(help));
            }
            if !default {
                continue;
            }
            if let Some(other) = self.defaults.insert(address, line) {
                let problem = Problem::new(format!("{address} has a default site already"));
                let for_all = site.default.as_ref().filter(|default| default.value);
                let span = for_all.map(|default| default.span).or(span).unwrap_or(header);
                report.error(span, problem.help(format!("see the site of line {other}")));
            }
        }
    }

    fn add_hosts(
        &mut self,
        site: &file::Site,
        (address, span): (Address, Span),
        line: usize,
        report: &mut Report,
    ) {
        let Some(names) = &site.name else {
            if let Some(other) = self.hosts.insert((address, None), line) {
                let problem =
                    Problem::new(format!("two sites without a `name` listen on {address}"));
                report.error(span, problem.help(format!("see the site of line {other}")));
            }
            return;
        };
        for at in &names.value.items {
            for name in &at.value.0 {
                let host = name.to_string();
                if let Some(other) = self.hosts.insert((address, Some(host.clone())), line) {
                    let shown = host.strip_prefix('*').unwrap_or(&host);
                    let problem =
                        Problem::new(format!("{address} has a site for `{shown}` already"));
                    report.error(at.span, problem.help(format!("see the site of line {other}")));
                }
            }
        }
    }

    /// A site without names is for all hosts, wherever it stands in the file: it is the default of
    /// its addresses, unless another one says that it is.
    fn settle_nameless(&self, items: &[At<file::Site>], sites: &mut [Site], report: &mut Report) {
        for (item, site) in items.iter().zip(sites) {
            if item.value.name.is_some() || site.default_at.len() == site.listen.len() {
                continue;
            }
            let others = |address: &&Address| {
                !site.default_at.contains(address) && self.defaults.contains_key(address)
            };
            let (taken, free): (Vec<_>, Vec<_>) = site.listen.iter().partition(others);
            let free: Vec<Address> = free.into_iter().copied().collect();
            let address = taken.first().copied().copied();
            site.default_at = free;
            let Some(address) = address else { continue };
            let problem = Problem::new(format!(
                "a site without a `name` never answers on {address}: another one is the default there"
            ));
            report.warn(item.span, problem.help("give it a `name`, or `default = true`"));
        }
    }
}
