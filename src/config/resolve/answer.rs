//! What answers a route's requests, and what is done to answers after.
//! (nginx: proxy_pass, add_header, error_page, proxy_redirect, proxy_cookie_*)

use std::net::SocketAddr;

use http::HeaderValue;

use super::rewrite::begins_with_scheme;
use super::route::proxy_pass;
use super::{Report, Scope, files, flag, respond, tls};
use crate::config::address::ProxyTarget;
use crate::config::answers::{
    AddedField, Compared, CookieFlags, ErrorPage, ExpiresOf, Finish, Origin, PageAt, PageStatus,
    Replacement,
};
use crate::config::fault::Problem;
use crate::config::file::{self, CookieFlag, RedirectRule, Settings};
use crate::config::proxy_url::ProxyUrl;
use crate::config::read::At;
use crate::config::report::Span;
use crate::config::template::{Part, Template};
use crate::config::words::is_framing;
use crate::config::{Action, ByRequest, Expires, PathMatch, ProxyPass};

/// What answers; `None` once the report says why nothing does.
pub(super) fn action(
    item: &At<file::Route>,
    settings: &Settings,
    scope: &mut Scope,
    report: &mut Report,
) -> Option<Action> {
    let route = &item.value;
    let spans = [
        ("proxy", route.proxy.as_ref().map(|at| at.span)),
        ("static", route.r#static.as_ref().map(|at| at.span)),
        ("respond", route.respond.as_ref().map(|at| at.span)),
        ("redirect", route.redirect.as_ref().map(|at| at.span)),
    ];
    let mut said = spans.iter().filter_map(|(name, span)| Some((name, (*span)?)));
    let first = said.next();
    if let (Some((one, _)), Some((other, span))) = (first, said.next()) {
        let problem = Problem::new(format!("a route has either `{one}` or `{other}`"));
        report.error(span, problem.help("one of them answers, leave the other out"));
    }
    if first.is_none() && !report.has_errors_below(item.span) && !report.illegible {
        let problem = Problem::new("nothing answers here");
        report.error(item.span, problem.help("add `proxy`, `static`, `respond` or `redirect`"));
    }
    if let Some(strip) = route.strip_prefix.as_ref().filter(|_| route.proxy.is_none()) {
        report.error(strip.span, Problem::new("has no effect without `proxy`"));
    }
    if let Some(proxy) = &route.proxy {
        return proxied(proxy, (route, settings), scope, report)
            .map(|proxy| Action::Proxy(Box::new(proxy)));
    }
    if let Some(written) = settings.r#static.as_ref().filter(|_| route.r#static.is_some()) {
        if caches(settings) {
            let problem = Problem::new("files are not cached: `zone` has no effect here");
            report.warn(written.span, problem.help("set `cache.zone = \"off\"` for this route"));
        }
        let files = files::files(written, scope, report)?;
        let is_found = route.path.as_ref().is_some_and(|path| path.value.literal().is_some());
        let is_pattern =
            route.path.as_ref().is_some_and(|path| matches!(path.value, PathMatch::Regex(_)));
        let is_file = is_pattern && files.by_request.is_some();
        if files.alias && is_file && !files.try_files.is_empty() {
            let problem = Problem::new("`try_files` has no effect beside this `alias`");
            report.error(written.span, problem.help("it says which file answers: use `root`"));
        }
        if files.alias && !is_found && !is_file {
            let problem = Problem::new("`alias` stands for the beginning of a path");
            report.error(written.span, problem.help("here none is matched: use `root`"));
        }
        return Some(Action::Static(files));
    }
    if let Some(at) = &route.respond {
        return respond::respond(at, settings, scope, report).map(Action::Respond);
    }
    route.redirect.as_ref().and_then(|at| respond::redirect(at, report)).map(Action::Redirect)
}

fn caches(settings: &Settings) -> bool {
    let zone = settings.cache.as_ref().and_then(|cache| cache.value.zone.as_ref());
    zone.is_some_and(|zone| zone.value.0.literal() != Some("off"))
}

fn proxied(
    proxy: &At<ProxyUrl>,
    (route, settings): (&file::Route, &Settings),
    scope: &mut Scope,
    report: &mut Report,
) -> Option<ProxyPass> {
    let bind = settings.upstream_bind.as_ref().and_then(|at| at.value.0);
    let known = |target: ProxyTarget, scope: &mut Scope, report: &mut Report| {
        let target = At { value: target, span: proxy.span };
        let (own, all) = (route.upstream_tls.as_ref(), settings.upstream_tls.as_ref());
        let tls = tls::upstream(&target, own, all, report);
        proxy_pass(&target, (tls, bind), scope, report)
    };
    let mut pass = match proxy.value.clone() {
        ProxyUrl::Plain(target) => known(target, scope, report),
        ProxyUrl::Target(target, uri) => {
            let pass = known(target, scope, report);
            let by_request =
                ByRequest { upstream: None, candidates: Vec::new(), target: Some(uri) };
            ProxyPass { by_request: Some(by_request), ..pass }
        }
        ProxyUrl::Upstream(upstream, target) => {
            by_request(proxy.span, (upstream, target), bind, scope, report)
        }
    };
    let path = &route.path.as_ref()?.value;
    let uri = pass.uri.is_some();
    if uri && path.literal().is_none() {
        let problem = Problem::new("a path here cannot replace what was matched");
        let help = "a regular expression and a name match no beginning: leave the path out, or write it with captures as in `http://app/$1`";
        report.error(proxy.span, problem.help(help));
    }
    if let Some(strip) = route.strip_prefix.as_ref().filter(|strip| strip.value) {
        let problem = if uri || pass.by_request.is_some() {
            Some("the path in `proxy` replaces the prefix already")
        } else if path.literal().is_none() {
            Some("there is no prefix to strip")
        } else {
            None
        };
        problem.into_iter().for_each(|text| report.error(strip.span, Problem::new(text)));
        pass.strip_prefix = true;
        pass.uri = Some("/".to_owned());
    }
    Some(pass)
}

/// Whom requests may name: what is declared, and nobody else.
fn by_request(
    span: Span,
    (upstream, target): (Template, Option<Template>),
    bind: Option<SocketAddr>,
    scope: &mut Scope,
    report: &mut Report,
) -> ProxyPass {
    let declared = scope.upstreams.all.iter().map(|upstream| &upstream.name);
    let possible = declared.filter(|name| !name.contains(':') && upstream.can_give(name));
    let names: Vec<_> = possible.cloned().collect();
    let spoken = |name: String| (name.clone(), scope.spoken(&name, (None, bind)));
    let candidates: Vec<_> = names.into_iter().map(spoken).collect();
    if candidates.is_empty() {
        let problem = Problem::new("there is no upstream that this could name");
        let help = "a request may name none but those that are declared with `[upstream.NAME]`";
        report.error(span, problem.help(help));
    }
    scope.used.extend(candidates.iter().map(|(name, _)| format!("upstream {name}")));
    ProxyPass {
        upstream: String::new(),
        https: false,
        host: String::new(),
        uri: None,
        strip_prefix: false,
        by_request: Some(ByRequest { upstream: Some(upstream), candidates, target }),
    }
}

/// What is done to answers.
pub(super) fn finish(
    settings: &Settings,
    (path, action): (&PathMatch, &Action),
    report: &mut Report,
) -> Finish {
    let pairs = settings.error_page.iter().flat_map(|pages| &pages.value.0);
    let error_page: Vec<_> = pairs
        .filter_map(|(statuses, page)| {
            let statuses = statuses.value.0.clone();
            error_page(&page.value.0, page.span, statuses, report)
        })
        .collect();
    let intercept_errors = flag(settings.intercept_errors.as_ref(), false);
    if let Some(at) = settings.intercept_errors.as_ref().filter(|at| at.value)
        && error_page.is_empty()
    {
        let problem = Problem::new("has no effect: there is no `error_page`");
        report.warn(at.span, problem.help("list the statuses there that are to be replaced"));
    }
    let cookies = |rules: Option<&At<file::CookieRules>>| {
        let rules = rules.iter().flat_map(|rules| &rules.value.0);
        let rule =
            rules.map(|(from, to)| Replacement { from: from.value.clone(), to: to.value.clone() });
        rule.collect()
    };
    Finish {
        expires: settings.expires.as_ref().and_then(|at| match &at.value {
            file::ExpiresOf::Fixed(Expires::Off) => None,
            file::ExpiresOf::Fixed(expires) => Some(ExpiresOf::Fixed(*expires)),
            file::ExpiresOf::Template(template) => Some(ExpiresOf::Template(template.clone())),
        }),
        add_header: added(settings.add_header.as_ref(), report),
        error_page,
        intercept_errors,
        origin: origin(settings, report),
        location: locations(settings, path, action.proxy(), report),
        cookie_domain: cookies(settings.cookie_domain.as_ref()),
        cookie_path: cookies(settings.cookie_path.as_ref()),
        cookie_flags: cookie_flags(settings),
    }
}

/// The fields of `add_header`.
pub(super) fn added(pairs: Option<&At<file::AddedFields>>, report: &mut Report) -> Vec<AddedField> {
    let mut added = Vec::new();
    for (name, values) in pairs.iter().flat_map(|pairs| &pairs.value.0) {
        if is_framing(&name.value.name) {
            let problem = Problem::new(format!("`{}` cannot be added", name.value.name));
            report.error(name.span, problem.help("it says where an answer ends"));
        }
        for field in &values.value.items {
            let Some(value) = &field.value.0.value else { continue };
            let literal = value.value.literal().map(HeaderValue::from_str);
            if let Some(Err(_)) = literal {
                let problem = Problem::new("cannot be the value of a field");
                report.error(value.span, problem.help("it has a control character"));
            }
            added.push(AddedField {
                name: name.value.name.clone(),
                value: value.value.clone(),
                literal: literal.and_then(Result::ok),
                always: flag(field.value.0.always.as_ref(), false),
            });
        }
    }
    added
}

fn error_page(
    table: &file::ErrorPageTable,
    span: Span,
    statuses: Vec<std::ops::RangeInclusive<u16>>,
    report: &mut Report,
) -> Option<ErrorPage> {
    if statuses.iter().any(|range| *range.start() < 300) {
        let problem = Problem::new("a status below 300 is no error");
        report.error(span, problem.help("list statuses from 300 to 599"));
    }
    let to = table.to.as_ref()?;
    let first = match to.value.parts.first() {
        Some(Part::Literal(text)) => text.as_str(),
        _ => "",
    };
    let at = if let (Some(name), Some(_)) = (first.strip_prefix('@'), to.value.literal()) {
        PageAt::Named(name.to_owned())
    } else if first.starts_with('/') {
        PageAt::Uri(to.value.clone())
    } else if ["http://", "https://"].iter().any(|scheme| first.starts_with(scheme))
        || begins_with_scheme(&to.value)
    {
        PageAt::Url(to.value.clone())
    } else {
        let problem = Problem::new("leads to no page");
        report.error(to.span, problem.help("write `/page.html`, `@name`, or a URL"));
        return None;
    };
    let status = match table.status.as_ref() {
        None => PageStatus::Kept,
        Some(At { value: file::PageStatus::OfPage, .. }) => PageStatus::OfPage,
        Some(At { value: file::PageStatus::Set(number), span }) => {
            PageStatus::Set(respond::status(&At { value: *number, span: *span }, 200, 599, report)?)
        }
    };
    Some(ErrorPage { statuses, to: at, status })
}

/// What stands before a path that a client is sent to.
fn origin(settings: &Settings, report: &mut Report) -> Option<Origin> {
    let at = settings.absolute_redirect.as_ref()?;
    match &at.value {
        file::AbsoluteRedirect::Is(is) => is.then_some(Origin::Asked),
        file::AbsoluteRedirect::Written(template) => {
            let literal = matches!(template.parts.first(), Some(Part::Literal(text)) if text.starts_with("http"));
            if !literal && !begins_with_scheme(template) {
                let problem = Problem::new("is not the beginning of a URL");
                report.error(
                    at.span,
                    problem.help("as in `https://example.com` or `$scheme://$host:8080`"),
                );
            }
            Some(Origin::Written(template.clone()))
        }
    }
}

/// nginx's `default` is what leads back from the upstream's URL to the route's path.
fn locations(
    settings: &Settings,
    path: &PathMatch,
    proxy: Option<&ProxyPass>,
    report: &mut Report,
) -> Vec<Replacement> {
    let Some(proxy) = proxy else { return Vec::new() };
    let default = || {
        // What requests say is not known here, and nginx has no default either.
        let known = proxy.by_request.is_none();
        known.then(|| default_location(path, proxy))
    };
    let Some(rules) = &settings.proxy_redirect else { return default().into_iter().collect() };
    let mut replacements = Vec::new();
    for rule in &rules.value.0 {
        match &rule.value {
            RedirectRule::Rule(rule) => {
                let pair = rule.from.as_ref().zip(rule.to.as_ref());
                replacements.extend(pair.map(|(from, to)| Replacement {
                    from: from.value.clone(),
                    to: to.value.clone(),
                }));
            }
            RedirectRule::Default => {
                let known = default();
                if known.is_none() {
                    let problem = Problem::new("there is no default where `proxy` has variables");
                    report.warn(rule.span, problem);
                }
                replacements.extend(known);
            }
        }
    }
    replacements
}

fn default_location(path: &PathMatch, proxy: &ProxyPass) -> Replacement {
    let literal = |text: String| Template { parts: vec![Part::Literal(text)] };
    let scheme = if proxy.https { "https" } else { "http" };
    let from = |uri: &str| Compared::Text(literal(format!("{scheme}://{}{uri}", proxy.host)));
    match (&proxy.uri, path.literal()) {
        (Some(_), Some(prefix)) if proxy.strip_prefix => {
            let to = format!("{}/", prefix.trim_end_matches('/'));
            Replacement { from: from("/"), to: literal(to) }
        }
        (Some(uri), Some(prefix)) => {
            Replacement { from: from(uri), to: literal(prefix.to_owned()) }
        }
        _ => Replacement { from: from("/"), to: literal("/".to_owned()) },
    }
}

fn cookie_flags(settings: &Settings) -> Vec<CookieFlags> {
    let pairs = settings.cookie_flags.iter().flat_map(|pairs| &pairs.value.0);
    let flags = pairs.map(|(name, words)| {
        let name = name.value.clone();
        let mut flags = CookieFlags { name, secure: None, http_only: None, same_site: None };
        for word in words.value.values() {
            match word {
                CookieFlag::Secure(on) => flags.secure = Some(*on),
                CookieFlag::HttpOnly(on) => flags.http_only = Some(*on),
                CookieFlag::SameSite(kind) => flags.same_site = Some(*kind),
            }
        }
        flags
    });
    flags.collect()
}
