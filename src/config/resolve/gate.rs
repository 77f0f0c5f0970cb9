//! Who asks, and what that client may: defaults, names, and what cannot work together.

use std::collections::HashMap;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderName, Method, StatusCode};

use super::{Report, Scope, flag, number, route, size, timeout};
use crate::address::Address;
use crate::config::address::{Listen, ProxyTarget};
use crate::config::fault::{Problem, nearest};
use crate::config::file::{self, AuthTo, SetName, Settings};
use crate::config::proxy_url::ProxyUrl;
use crate::config::read::{At, List, Named, OrOff, Size, SizeOf};
use crate::config::template::{Template, Variable};
use crate::config::words::{MethodName, is_framing};
use crate::config::{
    AuthBasic, AuthRequest, AuthTarget, Gate, Limit, LimitConn, LimitReq, Others, PathMatch,
    ProxyProtocolIn, Rate, RateLimit, RealIp, RealIpSource, Refusal, Route, Users,
};

/// `[limit.NAME]`, in the order of the file.
pub(super) fn limits(named: Option<&At<Named<file::Limit>>>, report: &mut Report) -> Vec<Limit> {
    let mut limits = Vec::new();
    for (name, table) in named.iter().flat_map(|named| &named.value.0) {
        let Some(key) = &table.value.key else { continue };
        limits.push(Limit {
            name: name.value.clone(),
            key: key.value.clone(),
            rate_millis: table.value.rate.as_ref().map(|rate| rate.value.0),
            entries: entries(table.value.size.as_ref(), report),
        });
    }
    limits
}

fn entries(at: Option<&At<Size>>, report: &mut Report) -> usize {
    let bytes = size(at, "10m");
    if let Some(at) = at.filter(|_| !(LIMIT_BYTES_MIN..=LIMIT_BYTES_MAX).contains(&bytes)) {
        report.error(at.span, Problem::new("must be from 32k to 1g"));
    }
    (bytes / ENTRY_BYTES) as usize
}

/// What a route asks of requests.
pub(super) fn gate(settings: &Settings, scope: &mut Scope, report: &mut Report) -> Gate {
    let gate = Gate {
        real_ip: on(settings.real_ip.as_ref()).map(real_ip),
        limit_req: limit_req(settings.limit_req.as_ref(), scope, report),
        limit_req_refusal: refusal(
            settings.limit_req_status.as_ref(),
            settings.limit_req_dry_run.as_ref(),
            report,
        ),
        limit_conn: limit_conn(settings.limit_conn.as_ref(), scope, report),
        limit_conn_refusal: refusal(
            settings.limit_conn_status.as_ref(),
            settings.limit_conn_dry_run.as_ref(),
            report,
        ),
        access: settings.access.iter().flat_map(|list| list.value.values()).copied().collect(),
        others: None,
        satisfy_any: settings.satisfy.as_ref().is_some_and(|satisfy| satisfy.value.any),
        auth_basic: on(settings.auth_basic.as_ref()).and_then(|table| auth_basic(table, report)),
        auth_request: on(settings.auth_request.as_ref())
            .and_then(|table| auth_request(table, scope, report)),
        limit_rate: rate(settings.limit_rate.as_ref(), settings.limit_rate_after.as_ref()),
    };
    warn_of_hidden(settings, &gate, report);
    gate
}

/// The methods that a route takes, and what is asked of others; empty and `None` where it takes all.
pub(super) fn methods(at: Option<&At<file::Methods>>) -> (Vec<Method>, Option<Others>) {
    match at.map(|at| &at.value) {
        None => (Vec::new(), None),
        Some(file::Methods::Only(list)) => (with_head(list), None),
        Some(file::Methods::But(table)) => {
            let but = table.allow.as_ref().map_or_else(Vec::new, |list| with_head(&list.value));
            let rules = table.others.iter().flat_map(|list| list.value.values());
            (Vec::new(), Some(Others { but, access: rules.copied().collect() }))
        }
    }
}

/// Who may ask for a resource may ask for its head.
fn with_head(list: &List<MethodName>) -> Vec<Method> {
    let named = list.values();
    let mut methods: Vec<Method> = named.map(|name| name.0.clone()).collect();
    if methods.contains(&Method::GET) && !methods.contains(&Method::HEAD) {
        methods.push(Method::HEAD);
    }
    methods
}

fn on<T>(at: Option<&At<OrOff<T>>>) -> Option<&T> {
    match &at?.value {
        OrOff::On(table) => Some(table),
        OrOff::Off => None,
    }
}

fn real_ip(table: &file::RealIp) -> RealIp {
    let from = table.from.iter().flat_map(|from| from.value.values());
    RealIp {
        from: from.map(|net| net.0).collect(),
        source: table
            .header
            .as_ref()
            .map_or(RealIpSource::Field(X_REAL_IP), |header| header.value.clone()),
        recursive: flag(table.recursive.as_ref(), false),
    }
}

fn limit_req(
    list: Option<&At<List<file::LimitReq>>>,
    scope: &mut Scope,
    report: &mut Report,
) -> Vec<LimitReq> {
    let mut found: Vec<LimitReq> = Vec::new();
    for At { value: table, .. } in list.iter().flat_map(|list| &list.value.items) {
        let Some(zone) = &table.zone else { continue };
        let Some(limit) = named(zone, scope, report) else { continue };
        let same = found.iter().any(|other| other.limit == limit);
        check_once(same, zone, report);
        if scope.limits[limit].rate_millis.is_none() {
            let problem = Problem::new(format!("limit `{}` has no `rate`", zone.value));
            report.error(zone.span, problem.help("`limit_req` counts requests over time"));
        }
        found.push(LimitReq {
            limit,
            burst: number(table.burst.as_ref(), 0, 0..=BURST_MAX, report),
            delay: table.delay.as_ref().map_or(Some(0), |delay| delay.value.0),
        });
    }
    found
}

fn limit_conn(
    list: Option<&At<List<file::LimitConn>>>,
    scope: &mut Scope,
    report: &mut Report,
) -> Vec<LimitConn> {
    let mut found: Vec<LimitConn> = Vec::new();
    for At { value: table, .. } in list.iter().flat_map(|list| &list.value.items) {
        let (Some(zone), Some(connections)) = (&table.zone, &table.connections) else { continue };
        let Some(limit) = named(zone, scope, report) else { continue };
        check_once(found.iter().any(|other| other.limit == limit), zone, report);
        let connections = number(Some(connections), 1, 1..=65535, report);
        found.push(LimitConn { limit, connections });
    }
    found
}

fn check_once(same: bool, zone: &At<String>, report: &mut Report) {
    if same {
        report.error(zone.span, Problem::new(format!("limit `{}` is listed twice", zone.value)));
    }
}

/// The number of a limit.
fn named(zone: &At<String>, scope: &mut Scope, report: &mut Report) -> Option<usize> {
    scope.used.insert(format!("limit {}", zone.value));
    let number = scope.limits.iter().position(|limit| limit.name == zone.value);
    if number.is_none() {
        let names: Vec<&str> = scope.limits.iter().map(|limit| limit.name.as_str()).collect();
        let problem = Problem::new(format!("there is no limit `{}`", zone.value));
        let problem = match nearest(&zone.value, names.iter().copied()) {
            None if names.is_empty() => {
                problem.help(format!("declare it with a table `[limit.{}]`", zone.value))
            }
            _ => problem.choices(&zone.value, &names),
        };
        report.error(zone.span, problem);
    }
    number
}

fn refusal(status: Option<&At<u32>>, dry_run: Option<&At<bool>>, report: &mut Report) -> Refusal {
    let number = number(status, 503, 400..=599, report);
    let status = u16::try_from(number).ok().and_then(|number| StatusCode::from_u16(number).ok());
    Refusal { status: status.unwrap_or(Refusal::default().status), dry_run: flag(dry_run, false) }
}

fn auth_basic(table: &file::AuthBasic, report: &mut Report) -> Option<AuthBasic> {
    let realm = table.realm.as_ref()?;
    if realm.value.chars().any(char::is_control) {
        report.error(realm.span, Problem::new("a realm has no control characters"));
    }
    let written = table.users.as_ref()?;
    let users = match &written.value {
        file::Users::File(path) => Users::File(report.path(written.span, path)),
        file::Users::Table(users) => {
            for (name, _) in users.iter().filter(|(name, _)| name.value.contains(':')) {
                let problem = Problem::new(format!("`{}` has a colon in it", name.value));
                report.error(name.span, problem.help("a name of basic authentication has none"));
            }
            let pair =
                |(name, hash): &(At<String>, At<String>)| (name.value.clone(), hash.value.clone());
            Users::Table(users.iter().map(pair).collect())
        }
    };
    let forward = flag(table.forward.as_ref(), true);
    Some(AuthBasic { realm: realm.value.clone(), users, forward })
}

fn auth_request(
    table: &file::AuthRequest,
    scope: &mut Scope,
    report: &mut Report,
) -> Option<AuthRequest> {
    let to = table.to.as_ref()?;
    let to = match &to.value {
        AuthTo::Own(uri) => AuthTarget::Own(uri.clone()),
        AuthTo::Upstream(target) => {
            let uri = target.uri.clone().unwrap_or_else(|| "/".to_owned());
            let target = ProxyTarget { uri: None, ..target.clone() };
            let path = PathMatch::Prefix("/".to_owned());
            let own = file::Route {
                path: Some(At { value: path, span: to.span }),
                proxy: Some(At { value: ProxyUrl::Plain(target), span: to.span }),
                ..file::Route::default()
            };
            let own = At { value: own, span: to.span };
            let route = route::route(&own, &Settings::default(), scope, report)?;
            AuthTarget::Upstream { route: Box::new(route), uri }
        }
    };
    let (mut set, mut told) = (Vec::new(), Vec::new());
    for (name, template) in table.set.iter().flat_map(|set| &set.value.0) {
        match &name.value {
            SetName::Field(field) if is_framing(field) || *field == http::header::HOST => {
                let problem = Problem::new(format!("`{field}` cannot be set"));
                report.error(name.span, problem.help("it says where a request ends, or goes"));
            }
            SetName::Field(field) => set.push((field.clone(), template.value.clone())),
            SetName::Variable(name) => told.push((name.as_str().into(), template.value.clone())),
        }
    }
    let timeout: Duration = timeout(table.timeout.as_ref(), "60s");
    let original = flag(table.original.as_ref(), true);
    Some(AuthRequest { to, set, told, timeout, original })
}

pub(super) fn rate(rate: Option<&At<SizeOf>>, after: Option<&At<Size>>) -> Option<RateLimit> {
    let after_bytes = size(after, "0");
    let (bytes_per_s, by_request) = match rate.map(|at| &at.value) {
        None | Some(SizeOf::Fixed(Size(0))) => return None,
        Some(SizeOf::Fixed(size)) => (size.0, None),
        Some(SizeOf::Template(template)) => (0, Some(template.clone())),
    };
    Some(RateLimit { rate: Rate { bytes_per_s, after_bytes }, by_request })
}

/// What is hidden from the upstream, and told to it all the same.
fn warn_of_hidden(settings: &Settings, gate: &Gate, report: &mut Report) {
    if !gate.hides_authorization() {
        return;
    }
    for (name, values) in settings.set_header.iter().flat_map(|pairs| &pairs.value.0) {
        let tells = |variable: &Variable| matches!(variable, Variable::Http(field) if *field == AUTHORIZATION);
        if values.value.values().flat_map(Template::variables).any(tells) {
            let problem = Problem::new("`forward = false` of `auth_basic` hides `Authorization`");
            report.error(
                name.span,
                problem.help("answers are shared then: leave this field out, or `forward`"),
            );
        }
    }
}

/// Where proxies in front name the clients of a site.
pub(super) fn named_by_proxies(site: &file::Site) -> Vec<(Address, ProxyProtocolIn)> {
    let entries = site.listen.iter().flat_map(|list| list.value.values());
    let named = |listen: &'_ Listen| {
        let how = listen.proxy_protocol.clone();
        listen.addresses.iter().filter_map(|address| Some((*address, how.clone()?))).collect()
    };
    entries.flat_map(|listen| -> Vec<_> { named(listen) }).collect()
}

/// Sites that share an address must agree on how connections to it begin.
pub(super) fn check_listeners(sites: &[At<file::Site>], report: &mut Report) {
    let mut known: HashMap<Address, &At<Listen>> = HashMap::new();
    let lists = sites.iter().filter_map(|site| site.value.listen.as_ref());
    let entries = lists.flat_map(|list| &list.value.items);
    let entries =
        entries.flat_map(|entry| entry.value.addresses.iter().map(move |at| (entry, *at)));
    for (entry, address) in entries {
        let first = *known.entry(address).or_insert(entry);
        let differs = first.value.proxy_protocol != entry.value.proxy_protocol;
        if differs && !address.is_any_port() {
            let problem = Problem::new(format!(
                "`proxy_protocol` of {address} is not the same as in another site"
            ));
            report.error(entry.span, problem.help(format!("see line {}", report.line(first.span))));
        }
    }
}

/// Warns of an `auth_request` that asks a route of this site which keeps one client's answer for
/// the others, or that is not there.
pub(super) fn check_asked_routes(
    written: &[At<file::Route>],
    routes: &[Route],
    report: &mut Report,
) {
    let asking = |route: &'_ &Route| route.gate.auth_request.is_some();
    for route in routes.iter().filter(asking) {
        let Some(AuthTarget::Own(uri)) = route.gate.auth_request.as_ref().map(|ask| &ask.to) else {
            continue;
        };
        let path = uri.split('?').next().unwrap_or(uri);
        let item = written.iter().find(|item| report.line(item.span) == route.line);
        let Some(span) = item.map(|item| item.span) else { continue };
        let Some(asked) = longest(routes, path) else {
            let problem = Problem::new(format!("`auth_request` asks `{uri}`, and no route has it"));
            report.error(
                span,
                problem.help("add a route for it, or ask a URL: `http://auth/verify`"),
            );
            continue;
        };
        let Some(cache) = &asked.cache else { continue };
        let tells = |templates: &[crate::config::template::Template]| {
            templates.iter().flat_map(|template| template.variables()).any(Variable::is_secret)
        };
        if !tells(std::slice::from_ref(&cache.key)) && !tells(&cache.partition) {
            let problem = Problem::new(format!(
                "what `{uri}` answers one client may let in others: it is cached, and shared"
            ));
            report.warn(
                span,
                problem.help("add what tells clients apart to `partition` of that route, as `$http_authorization` or `$cookie_session`"),
            );
        }
    }
}

fn longest<'a>(routes: &'a [Route], path: &str) -> Option<&'a Route> {
    let length = |route: &&Route| match &route.path {
        PathMatch::Exact(exact) if exact == path => Some(usize::MAX),
        PathMatch::Prefix(prefix) | PathMatch::Final(prefix) if path.starts_with(prefix) => {
            Some(prefix.len())
        }
        PathMatch::Regex(pattern) if pattern.is_match(path) => Some(path.len() + 1),
        _ => None,
    };
    routes.iter().filter(|route| length(route).is_some()).max_by_key(length)
}

const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// What one key takes, in the table and in what finds it there.
const ENTRY_BYTES: u64 = 64;
/// nginx: eight pages.
const LIMIT_BYTES_MIN: u64 = 32 << 10;
const LIMIT_BYTES_MAX: u64 = 1 << 30;
/// More is no limit.
const BURST_MAX: u32 = 1_000_000;
