//! `tls` of a site and `upstream_tls` of a route. (nginx: ssl_*, proxy_ssl_*)
//!
//! The files they name are read here as well, so that what is wrong with them is told with its
//! place before anything runs.

use super::{Report, flag};
use crate::config::address::ProxyTarget;
use crate::config::fault::Problem;
use crate::config::file::{self, SiteTls, TlsVersion, UpstreamTls};
use crate::config::read::{At, List};
use crate::config::report::Span;
use crate::tls::settings::{Files, Termination, Upstream, VerifyClient, Versions};
use crate::tls::{self, Connector, Reloadable, Which};

/// How a site ends the TLS of its clients; `None` where it does not.
pub(super) fn termination(site: &file::Site, report: &mut Report) -> Option<Termination> {
    let list = site.tls.as_ref()?;
    let errors = report.errors();
    let tables: Vec<&SiteTls> = list.value.values().collect();
    if tables.is_empty() && !list.value.broken {
        let problem = Problem::new("a site with `tls` needs a certificate");
        report.error(list.span, problem.help("tls = { certificate = \"FILE\", key = \"FILE\" }"));
    }
    let certificates = tables
        .iter()
        .filter_map(|table| files(table.certificate.as_ref(), table.key.as_ref(), report));
    let certificates: Vec<_> = certificates.collect();
    let protocols = once(tables.iter().map(|table| table.protocols.as_ref()), "protocols", report);
    let client_ca = once(tables.iter().map(|table| table.client_ca.as_ref()), "client_ca", report);
    let crl = once(tables.iter().map(|table| table.client_crl.as_ref()), "client_crl", report);
    let verify =
        once(tables.iter().map(|table| table.verify_client.as_ref()), "verify_client", report);
    let tickets =
        once(tables.iter().map(|table| table.session_tickets.as_ref()), "session_tickets", report);
    let settings = Termination {
        certificates,
        versions: versions(protocols, report),
        verify_client: verify.map_or(VerifyClient::Off, |at| at.value),
        client_ca: client_ca.map(|at| report.path(at.span, &at.value)),
        client_crl: crl.map(|at| report.path(at.span, &at.value)),
        session_tickets: flag(tickets, true),
    };
    check_clients(&settings, verify, client_ca.or(crl), report);
    let complete = settings.certificates.len() == list.value.items.len() && !list.value.broken;
    if complete && !tables.is_empty() && report.errors() == errors && report.reads_certificates() {
        let place = |which| place(which, &tables, [client_ca, crl], list.span);
        match tls::Site::read(&settings, false) {
            Ok(read) => warn(&read, place(Which::Certificate(0)), report),
            Err(problem) => error(problem, place, report),
        }
    }
    Some(settings)
}

/// What stands in one of the tables of a site and is for all of them.
fn once<'a, T>(
    all: impl Iterator<Item = Option<&'a At<T>>>,
    key: &str,
    report: &mut Report,
) -> Option<&'a At<T>> {
    let mut all = all.flatten();
    let first = all.next()?;
    for other in all {
        let problem = Problem::new(format!("`{key}` is set already"));
        report.error(other.span, problem.help("it is for the whole site, whatever certificate"));
    }
    Some(first)
}

fn files(
    certificate: Option<&At<String>>,
    key: Option<&At<String>>,
    report: &Report,
) -> Option<Files> {
    let (certificate, key) = certificate.zip(key)?;
    Some(Files {
        certificate: report.path(certificate.span, &certificate.value),
        key: report.path(key.span, &key.value),
    })
}

fn versions(list: Option<&At<List<TlsVersion>>>, report: &mut Report) -> Versions {
    let Some(list) = list else { return Versions::ALL };
    if list.value.items.is_empty() && !list.value.broken {
        report.error(list.span, Problem::new("at least one version must be spoken"));
    }
    let has = |version| list.value.values().any(|spoken| *spoken == version);
    Versions { tls12: has(TlsVersion::Tls12), tls13: has(TlsVersion::Tls13) }
}

fn check_clients(
    settings: &Termination,
    verify: Option<&At<VerifyClient>>,
    ca: Option<&At<String>>,
    report: &mut Report,
) {
    let mode = settings.verify_client;
    if let (Some(verify), None) = (verify, &settings.client_ca)
        && matches!(mode, VerifyClient::On | VerifyClient::Optional)
    {
        let problem = Problem::new("clients cannot be verified without `client_ca`");
        report.error(verify.span, problem.help("name the file of their authorities"));
    }
    if let (Some(ca), VerifyClient::Off) = (ca, mode) {
        let problem = Problem::new("has no effect: no client is asked for a certificate");
        report.warn(ca.span, problem.help("add `verify_client = \"on\"` or `\"optional\"`"));
    }
    if let (Some(ca), None, Some(_)) = (ca, &settings.client_ca, &settings.client_crl) {
        report.error(ca.span, Problem::new("`client_crl` needs `client_ca`"));
    }
}

fn place(
    which: Which,
    tables: &[&SiteTls],
    [client_ca, crl]: [Option<&At<String>>; 2],
    all: Span,
) -> Span {
    let at = match which {
        Which::Certificate(at) => tables.get(at).and_then(|table| table.certificate.as_ref()),
        Which::Key(at) => tables.get(at).and_then(|table| table.key.as_ref()),
        Which::Authorities => client_ca,
        Which::Revoked => crl.or(client_ca),
        Which::Nothing => None,
    };
    at.map_or(all, |at| at.span)
}

/// How the upstream of a route is spoken to; `None` over `http://`. What the route says `own`ly is
/// in `settings`, with what it inherits.
pub(super) fn upstream(
    proxy: &At<ProxyTarget>,
    own: Option<&At<UpstreamTls>>,
    settings: Option<&At<UpstreamTls>>,
    report: &mut Report,
) -> Option<Upstream> {
    if !proxy.value.https {
        if let Some(own) = own {
            let problem = Problem::new("has no effect: `proxy` is no `https://`");
            report.warn(own.span, problem);
        }
        return None;
    }
    let errors = report.errors();
    let table = settings.map(|at| at.value.clone()).unwrap_or_default();
    let whole = settings.map_or(proxy.span, |at| at.span);
    if let (Some(only), None) | (None, Some(only)) = (&table.certificate, &table.key) {
        let problem = Problem::new("`certificate` and `key` go together");
        report.error(only.span, problem);
    }
    if let Some(verify) = table.verify.as_ref().filter(|verify| !verify.value) {
        let problem = Problem::new("whoever answers in the upstream's place is believed");
        report.warn(verify.span, problem.help("name its authority as `ca` instead"));
    }
    let host = &proxy.value.host;
    let host = if host.starts_with("unix:") { "localhost" } else { host };
    let settings = Upstream {
        name: table.name.as_ref().map_or_else(|| host.to_owned(), |at| at.value.clone()),
        verify: flag(table.verify.as_ref(), true),
        ca: table.ca.as_ref().map(|at| report.path(at.span, &at.value)),
        sni: flag(table.sni.as_ref(), true),
        identity: files(table.certificate.as_ref(), table.key.as_ref(), report),
        versions: versions(table.protocols.as_ref(), report),
        session_reuse: flag(table.session_reuse.as_ref(), true),
    };
    if !tls::is_name(&settings.name) {
        let span = table.name.as_ref().map_or(proxy.span, |at| at.span);
        let problem = Problem::new(format!("`{}` is no name of a server", settings.name));
        report
            .error(span, problem.help("a host name or an IP address, as `name` of `upstream_tls`"));
    } else if report.errors() == errors && report.reads_certificates() {
        check_files(&settings, &table, whole, report);
    }
    Some(settings)
}

fn check_files(settings: &Upstream, table: &UpstreamTls, whole: Span, report: &mut Report) {
    let connector = Connector::new(settings);
    let place = |which| {
        let at = match which {
            Which::Certificate(_) => table.certificate.as_ref(),
            Which::Key(_) => table.key.as_ref(),
            Which::Authorities => table.ca.as_ref(),
            Which::Revoked | Which::Nothing => None,
        };
        at.map_or(whole, |at| at.span)
    };
    match connector.read_again() {
        Ok(()) => warn(&connector, table.certificate.as_ref().map_or(whole, |at| at.span), report),
        Err(problem) => error(problem, place, report),
    }
}

fn error(problem: tls::Problem, place: impl Fn(Which) -> Span, report: &mut Report) {
    let told = Problem::new(problem.reason);
    let told = match problem.help {
        Some(help) => told.help(help),
        None => told,
    };
    report.error(place(problem.which), told);
}

fn warn(read: &impl Reloadable, span: Span, report: &mut Report) {
    for warning in read.warnings_now() {
        report.warn(span, Problem::new(warning));
    }
}
