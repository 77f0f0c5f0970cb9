//! `[[site.route]]`: what is done with some paths, and what it inherits. (nginx: location)

use std::sync::Arc;

use http::header::HOST;
use http::{HeaderName, Method};

use super::upstream::Spoken;
use super::{
    Report, Scope, answer, bodies, cache, files, flag, gate, heads, leaks, logs, number, protocols,
    rewrite, size, timeout, upstream,
};
use crate::config::address::ProxyTarget;
use crate::config::fault::{Problem, nearest};
use crate::config::file::{self, FieldName, Settings};
use crate::config::read::{At, List, Pairs, Table};
use crate::config::template::{Template, Variable};
use crate::config::words::is_framing;
use crate::config::{ClientLimits, PathMatch, ProxyPass, Route, SentBody, SentOn, Timeouts};

/// The settings of a level: those of its own, then those around it. `timeout`, `cache`, `static`
/// and `upstream_tls` are merged key by key, `set_header` is replaced as a whole, as in nginx.
pub(super) fn inherit(own: &Settings, outer: &Settings) -> Settings {
    Settings {
        r#static: merged(own.r#static.as_ref(), outer.r#static.as_ref()),
        timeout: merged(own.timeout.as_ref(), outer.timeout.as_ref()),
        cache: merged(own.cache.as_ref(), outer.cache.as_ref()),
        upstream_tls: merged(own.upstream_tls.as_ref(), outer.upstream_tls.as_ref()),
        ..own.over(outer)
    }
}

/// The route as it is meant; `None` if what it is for or where it leads could not be read.
pub(super) fn route(
    item: &At<file::Route>,
    outer: &Settings,
    scope: &mut Scope,
    report: &mut Report,
) -> Option<Route> {
    let own = item.value.settings();
    scope.check_zone(&own, report);
    let settings = inherit(&own, outer);
    // What is not asked of an upstream is not stored.
    let caches = item.value.proxy.is_some();
    let cache = cache::cache(settings.cache.as_ref(), report).filter(|_| caches);
    if let Some(table) = own.cache.as_ref().filter(|table| {
        let zone = settings.cache.as_ref().and_then(|cache| cache.value.zone.as_ref());
        caches && zone.is_none() && table.value.zone.is_none()
    }) {
        let problem = Problem::new("this route does not cache: no `zone` is set");
        report.warn(table.span, problem.help("add `zone = \"NAME\"` of a `[zone.NAME]`"));
    }
    let purge = cache.is_some().then(|| cache::purge(settings.cache.as_ref())).flatten();
    let upgrade = protocols::upgrade(&settings, report);
    let heads = heads::heads(&settings, report);
    let set_header = set_header(settings.set_header.as_ref(), report);
    files::check_stored(settings.compress.as_ref(), cache.as_ref(), report);
    let mut gate = gate::gate(&settings, scope, report);
    let (methods, others) = gate::methods(item.value.methods.as_ref());
    gate.others = others;
    let action = answer::action(item, &settings, scope, report);
    let path = item.value.path.as_ref()?.value.clone();
    let action = action?;
    let route = Route {
        within: within(item, &path, report),
        methods,
        accel_redirect: flag(settings.accel_redirect.as_ref(), false),
        internal: flag(item.value.internal.as_ref(), false),
        ranges_max: number(settings.max_ranges.as_ref(), 32, 0..=32, report) as usize,
        logs: logs::of_route(&settings, scope, report),
        rewrite: rewrite::rewrites(item.value.rewrite.as_ref(), &settings, scope, report),
        finish: answer::finish(&settings, (&path, &action), report),
        file: report.file(item.span).to_owned(),
        line: report.line(item.span),
        action,
        set_header,
        sent_on: sent_on(&settings, report),
        heads,
        timeout: timeouts(settings.timeout.as_ref()),
        upstream_rate: gate::rate(settings.upstream_rate.as_ref(), None).map(Box::new),
        trying: upstream::trying(&settings, report),
        request_body_bytes_max: match size(settings.max_body.as_ref(), "1m") {
            // nginx: 0 does not check.
            0 => u64::MAX,
            bytes => bytes,
        },
        body_timeout: settings.body_timeout.as_ref().map_or(scope.of_clients.1, |at| at.value.0),
        client: client(&settings, scope.of_clients.0, report),
        bodies: bodies::bodies(&settings, report),
        status_header: settings.status_header.and_then(|at| at.value.0).map(|name| name.name),
        upgrade,
        compress: files::compress(settings.compress.as_ref(), report),
        hide_header: cache::hidden(settings.cache.as_ref()),
        cache,
        gate,
        purge,
        path,
    };
    if let Some(table) = settings.cache.as_ref().filter(|_| caches) {
        leaks::warn_of_route(&table.value, &route, report);
        scope.hostless.extend(leaks::hostless(&table.value, &route));
    }
    Some(route)
}

/// What its requests say of their connections, where that is written around it.
fn client(
    settings: &Settings,
    server: ClientLimits,
    report: &mut Report,
) -> Option<Arc<ClientLimits>> {
    let least = 1..=u32::MAX;
    let requests = settings.keepalive_requests.as_ref();
    let requests = requests.map(|at| number(Some(at), 1000, least, report).into());
    let own = ClientLimits {
        keepalive_timeout: settings
            .keepalive_timeout
            .as_ref()
            .map_or(server.keepalive_timeout, |at| at.value),
        keepalive_requests: requests.unwrap_or(server.keepalive_requests),
        keepalive_time: settings
            .keepalive_time
            .as_ref()
            .map_or(server.keepalive_time, |at| at.value.0),
        send_timeout: settings.send_timeout.as_ref().map_or(server.send_timeout, |at| at.value.0),
    };
    (own != server).then(|| Arc::new(own))
}

/// The prefixes that an expression is tried below.
fn within(item: &At<file::Route>, path: &PathMatch, report: &mut Report) -> Vec<String> {
    let Some(list) = &item.value.within else { return Vec::new() };
    if !matches!(path, PathMatch::Regex(_)) {
        let problem = Problem::new("has no effect: only regular expressions are tried");
        report.error(list.span, problem.help("a longer prefix counts by itself"));
    }
    list.value.values().cloned().collect()
}

fn merged<T: Table + Clone>(own: Option<&At<T>>, outer: Option<&At<T>>) -> Option<At<T>> {
    match (own, outer) {
        (Some(own), Some(outer)) => {
            Some(At { value: own.value.over(&outer.value), span: own.span })
        }
        (own, outer) => own.or(outer).cloned(),
    }
}

fn sent_on(settings: &Settings, report: &mut Report) -> SentOn {
    let method = settings.set_method.as_ref();
    if let Some(at) = method.filter(|at| at.value.0 == Method::HEAD) {
        let problem = Problem::new("its answers have no body, whatever the client asks for");
        report.error(at.span, problem.help("what is stored is asked for with `GET` anyway"));
    }
    if let (Some(_), Some(at)) = (&settings.set_body, &settings.pass_body)
        && at.value
    {
        let problem = Problem::new("has no effect: `set_body` stands for what the client sends");
        report.warn(at.span, problem.help("leave one of them out"));
    }
    SentOn {
        method: method.map(|at| at.value.0.clone()),
        fields: flag(settings.pass_headers.as_ref(), true),
        body: match &settings.set_body {
            Some(text) => SentBody::Text(text.value.clone()),
            None if flag(settings.pass_body.as_ref(), true) => SentBody::Own,
            None => SentBody::None,
        },
    }
}

fn timeouts(table: Option<&At<file::Timeouts>>) -> Timeouts {
    let table = table.map(|at| at.value.clone()).unwrap_or_default();
    Timeouts {
        connect: timeout(table.connect.as_ref(), "60s"),
        send: timeout(table.send.as_ref(), "60s"),
        read: timeout(table.read.as_ref(), "60s"),
    }
}

/// nginx sets `Host` to `$proxy_host` unless it is set to something else.
fn set_header(
    pairs: Option<&At<Pairs<FieldName, List<Template>>>>,
    report: &mut Report,
) -> Vec<(HeaderName, Template)> {
    let mut fields: Vec<(HeaderName, Template)> = Vec::new();
    for (name, values) in pairs.iter().flat_map(|pairs| &pairs.value.0) {
        let (name, span) = (&name.value.name, name.span);
        if fields.iter().any(|(other, _)| other == name) {
            let problem = Problem::new(format!("field `{name}` is set twice"));
            report.error(span, problem.help("upper and lower case are the same here"));
        }
        // `Connection` is a common line of nginx's tutorials; it does no harm.
        let sets_framing = is_framing(name) && name != http::header::CONNECTION;
        let is_empty = values.value.values().all(|template| template.parts.is_empty());
        if sets_framing && !is_empty {
            let problem = Problem::new(format!("`{name}` cannot be set"));
            report.error(span, problem.help("it says where a request ends"));
        }
        if !protocols::is_done_by_upgrade(name, pairs) {
            fields.extend(values.value.values().map(|value| (name.clone(), value.clone())));
        }
    }
    if fields.iter().all(|(name, _)| *name != HOST) {
        fields.insert(0, (HOST, Template::of(Variable::ProxyHost)));
    }
    fields
}

/// Finds the upstream, or makes one of the address.
pub(super) fn proxy_pass(
    proxy: &At<ProxyTarget>,
    spoken: Spoken,
    scope: &mut Scope,
    report: &mut Report,
) -> ProxyPass {
    let ProxyTarget { https, host, port, uri } = &proxy.value;
    let default_port = if *https { 443 } else { 80 };
    let declared = scope.upstreams.number(host).is_some();
    scope.used.insert(format!("upstream {host}"));
    if declared && port.is_some() {
        let problem = Problem::new(format!("upstream `{host}` has ports of its own"));
        report.error(proxy.span, problem.help("leave the port out, each server has one"));
    }
    let port = port.filter(|port| *port != default_port);
    let shown = port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
    if host.starts_with("unix:") {
        // nginx: what is asked over a socket is `localhost`.
        let base = scope.of_address(host, report);
        let upstream = scope.spoken(&base, spoken);
        let host = "localhost".to_owned();
        return pass(upstream, *https, host, uri.clone());
    }
    let base = if declared {
        host.clone()
    } else {
        warn_of_slip(proxy, scope, report);
        scope.of_address(&format!("{host}:{}", port.unwrap_or(default_port)), report)
    };
    let upstream = scope.spoken(&base, spoken);
    pass(upstream, *https, shown, uri.clone())
}

fn pass(upstream: String, https: bool, host: String, uri: Option<String>) -> ProxyPass {
    ProxyPass { upstream, https, host, uri, strip_prefix: false, by_request: None }
}

/// A word that is almost the name of an upstream is probably meant to be it.
fn warn_of_slip(proxy: &At<ProxyTarget>, scope: &Scope, report: &mut Report) {
    let host = &proxy.value.host;
    if proxy.value.port.is_some() || host.contains(['.', ':']) {
        return;
    }
    let names = scope.upstreams.all.iter().map(|upstream| upstream.name.as_str());
    let declared = names.filter(|name| !name.contains(':'));
    if let Some(near) = nearest(host, declared) {
        let problem = Problem::new(format!("`{host}` is no upstream; it is resolved as a host"));
        report.warn(proxy.span, problem.help(format!("did you mean `{near}`?")));
    }
}
