//! From the configuration as it is written to what is meant: defaults, inheritance, names.
//!
//! Every default value is in these files, and in the reference `config.example.toml`.

mod zone;
mod upstream;
mod tls;
mod balance;
mod site;
mod route;
mod protocols;
mod bodies;
mod cache;
mod gate;
mod heads;
pub(super) mod logs;
mod query;
mod files;
mod leaks;
mod answer;
mod respond;
mod rewrite;
pub(crate) mod map;

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::clients;
use super::fault::{Problem, nearest};
use super::file::{Admin, File, Server, Settings};
use super::read::{At, Named, Size, Timeout};
use super::report::Report;
use super::units;
use super::{
    AdminAddress, ClientLimits, Config, Limit, Limits, Log, MediaTypes, OddHeaders, Resolver,
    Upstream, Zone,
};

/// What `file` means. Only worth something if the report has no errors afterwards.
pub(crate) fn resolve(file: &File, report: &mut Report) -> Config {
    check_unique(file.zone.as_ref(), "zone", report);
    check_unique(file.upstream.as_ref(), "upstream", report);
    check_unique(file.limit.as_ref(), "limit", report);
    check_unique(file.access_log.as_ref(), "access_log", report);
    let server = file.server.as_ref().map(|at| at.value.clone()).unwrap_or_default();
    let resolver = server.resolver.as_ref();
    let resolver = resolver.map_or(Resolver::System, |at| upstream::resolver(at, report));
    let (limits, body_timeout) =
        (limits(&server, report), timeout(server.body_timeout.as_ref(), "60s"));
    let mut scope = Scope {
        of_clients: (limits.of_clients(), body_timeout),
        limits: gate::limits(file.limit.as_ref(), report),
        log: logs::logs(file, report),
        zones: zone::zones(file.zone.as_ref(), report),
        upstreams: Upstreams::new(upstream::upstreams(file.upstream.as_ref(), &resolver, report)),
        spoken: HashMap::new(),
        resolver,
        used: BTreeSet::new(),
        hostless: Vec::new(),
        media_types: Vec::new(),
    };
    let defaults = file.defaults.as_ref().map(|at| at.value.clone()).unwrap_or_default();
    let mut sites = site::sites(file.site.as_ref(), &defaults, &mut scope, report);
    clients::settle(&mut sites, &limits);
    warn_of_unused(file, &scope, report);
    scope.zones.iter_mut().for_each(|zone| zone.sendfile = limits.sendfile);
    Config {
        workers: workers(&server, report),
        shutdown_timeout: duration(server.shutdown_timeout.as_ref(), "30s"),
        limits,
        temp_path: bodies::temp_path(server.temp_path.as_ref(), report),
        pid: server.pid.as_ref().map(|pid| report.path(pid.span, &pid.value)),
        log: scope.log,
        zones: scope.zones,
        upstreams: scope.upstreams.all,
        client_limits: scope.limits,
        sites,
        certificate_poll: duration(server.certificate_poll.as_ref(), "5s"),
        admin: admin(file.admin.as_ref()),
    }
}

/// What names in routes can mean.
struct Scope {
    zones: Vec<Zone>,
    /// What `[server]` says that a route may change; the time between two reads of a body.
    of_clients: (ClientLimits, Duration),
    limits: Vec<Limit>,
    log: Log,
    /// Those that are declared, then those that a `proxy` with an address stands for.
    upstreams: Upstreams,
    /// Upstreams that routes forward to, and the names of each as it is spoken to.
    spoken: HashMap<String, Vec<String>>,
    /// Who knows the addresses of names, where an upstream does not say.
    resolver: Resolver,
    /// Zones and upstreams that a route names, as `zone api`.
    used: BTreeSet<String>,
    /// Keys that are the same for all hosts.
    hostless: Vec<leaks::Hostless>,
    /// Those that routes have, each once: they may be many, and routes as well.
    media_types: Vec<Arc<MediaTypes>>,
}

/// Upstreams, and where each is by its name: there may be thousands.
struct Upstreams {
    all: Vec<Upstream>,
    numbers: HashMap<String, usize>,
}

impl Upstreams {
    fn new(declared: Vec<Upstream>) -> Self {
        let mut upstreams = Self { all: Vec::new(), numbers: HashMap::new() };
        declared.into_iter().for_each(|upstream| upstreams.add(upstream));
        upstreams
    }

    /// Adds one. Of two that have the same name the first is found.
    fn add(&mut self, upstream: Upstream) {
        self.numbers.entry(upstream.name.clone()).or_insert(self.all.len());
        self.all.push(upstream);
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }
}

impl Scope {
    /// The name of the upstream that an address stands for, which is the address.
    fn of_address(&mut self, address: &str, report: &mut Report) -> String {
        if self.upstreams.number(address).is_none() {
            self.upstreams.add(upstream::of_address(address, &self.resolver, report));
        }
        address.to_owned()
    }

    /// Reports a zone that does not exist.
    fn check_zone(&mut self, settings: &Settings, report: &mut Report) {
        let Some(name) = settings.cache.as_ref().and_then(|cache| cache.value.zone.as_ref()) else {
            return;
        };
        let template = &name.value.0;
        let possible = self.zones.iter().filter(|zone| template.can_give(&zone.name));
        let possible: Vec<_> = possible.map(|zone| format!("zone {}", zone.name)).collect();
        if !possible.is_empty() || template.literal() == Some("off") {
            return self.used.extend(possible);
        }
        let names: Vec<&str> = self.zones.iter().map(|zone| zone.name.as_str()).collect();
        let problem = match template.literal() {
            None => Problem::new("there is no zone that this could name")
                .help("declare one with a table `[zone.NAME]`"),
            Some(name) => {
                let problem = Problem::new(format!("there is no zone `{name}`"));
                match nearest(name, names.iter().copied()) {
                    None if names.is_empty() => {
                        problem.help(format!("declare it with a table `[zone.{name}]`"))
                    }
                    _ => problem.choices(name, &names),
                }
            }
        };
        report.error(name.span, problem);
    }
}

fn check_unique<T>(named: Option<&At<Named<T>>>, what: &str, report: &mut Report) {
    let mut seen = BTreeSet::new();
    for (name, _) in named.iter().flat_map(|named| &named.value.0) {
        if !seen.insert(&name.value) {
            report.error(
                name.span,
                Problem::new(format!("{what} `{}` is declared in another file too", name.value)),
            );
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.value.is_empty() || !name.value.chars().all(plain) || name.value == "off" {
            report.error(
                name.span,
                Problem::new(format!("`{}` cannot be the name of a {what}", name.value))
                    .help("use letters, digits, `-`, `_` and `.`"),
            );
        }
    }
}

/// With an error somewhere, it may be that which keeps a name from being used.
fn warn_of_unused(file: &File, scope: &Scope, report: &mut Report) {
    if report.has_errors() {
        return;
    }
    let zones = file.zone.iter().flat_map(|named| &named.value.0).map(|(name, _)| ("zone", name));
    let upstreams = file.upstream.iter().flat_map(|named| &named.value.0);
    let limits = file.limit.iter().flat_map(|named| &named.value.0);
    let logs = file.access_log.iter().flat_map(|named| &named.value.0);
    let others = upstreams
        .map(|(name, _)| ("upstream", name))
        .chain(limits.map(|(name, _)| ("limit", name)))
        .chain(logs.map(|(name, _)| ("access_log", name)));
    for (what, name) in zones.chain(others) {
        if !scope.used.contains(&format!("{what} {}", name.value)) {
            report.warn(name.span, Problem::new(format!("no route uses {what} `{}`", name.value)));
        }
    }
}

fn workers(server: &Server, report: &mut Report) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cores = u32::try_from(cores).unwrap_or(1).min(WORKERS_MAX);
    number(server.workers.as_ref(), cores, 1..=WORKERS_MAX, report) as usize
}

fn limits(server: &Server, report: &mut Report) -> Limits {
    let bytes_max = 1..=1 << 30;
    Limits {
        connections: number(server.connections.as_ref(), 16384, 1..=u32::MAX, report) as usize,
        connections_per_client: number(
            server.connections_per_client.as_ref(),
            0,
            0..=u32::MAX,
            report,
        ) as usize,
        header_timeout: timeout(server.header_timeout.as_ref(), "60s"),
        keepalive_timeout: duration(server.keepalive_timeout.as_ref(), "75s"),
        keepalive_requests: number(server.keepalive_requests.as_ref(), 1000, 1..=u32::MAX, report)
            .into(),
        keepalive_time: timeout(server.keepalive_time.as_ref(), "1h"),
        send_timeout: timeout(server.send_timeout.as_ref(), "60s"),
        sendfile: flag(server.sendfile.as_ref(), false),
        header_bytes_max: bytes(server.max_header_size.as_ref(), "32k", bytes_max.clone(), report),
        headers_max: number(server.max_headers.as_ref(), 100, 1..=32768, report) as usize,
        odd_headers: server.odd_headers.as_ref().map_or(OddHeaders::Pass, |at| at.value),
        uri_bytes_max: bytes(server.max_uri.as_ref(), "8k", bytes_max, report),
        http2: protocols::http2(server.http2.as_ref(), report),
    }
}

/// Without `[admin]` no port is opened that nobody named.
fn admin(admin: Option<&At<Admin>>) -> Option<AdminAddress> {
    match admin?.value.listen.as_ref() {
        Some(listen) => listen.value.0.clone(),
        None => Some(AdminAddress::Tcp(super::ADMIN_DEFAULT)),
    }
}

/// The value as written or the default, which is written as the operator would.
fn duration(at: Option<&At<Duration>>, default: &str) -> Duration {
    at.map_or_else(|| units::duration(default).unwrap_or_default(), |at| at.value)
}

fn timeout(at: Option<&At<Timeout>>, default: &str) -> Duration {
    at.map_or_else(|| units::duration(default).unwrap_or_default(), |at| at.value.0)
}

fn size(at: Option<&At<Size>>, default: &str) -> u64 {
    at.map_or_else(|| units::size(default).unwrap_or_default(), |at| at.value.0)
}

fn flag(at: Option<&At<bool>>, default: bool) -> bool {
    at.map_or(default, |at| at.value)
}

/// As `size`, for what is kept in memory as one piece.
fn bytes(
    at: Option<&At<Size>>,
    default: &str,
    range: RangeInclusive<usize>,
    report: &mut Report,
) -> usize {
    let bytes = usize::try_from(size(at, default)).unwrap_or(usize::MAX);
    if let Some(at) = at.filter(|_| !range.contains(&bytes)) {
        let (min, max) = range.into_inner();
        report.error(at.span, Problem::new(format!("must be from {min} byte to {}m", max >> 20)));
    }
    bytes
}

fn number(
    at: Option<&At<u32>>,
    default: u32,
    range: RangeInclusive<u32>,
    report: &mut Report,
) -> u32 {
    let Some(at) = at else { return default };
    if !range.contains(&at.value) {
        let (min, max) = range.into_inner();
        let problem = match max {
            u32::MAX => Problem::new(format!("must be at least {min}")),
            _ => Problem::new(format!("must be from {min} to {max}")),
        };
        report.error(at.span, problem);
    }
    at.value
}

/// Far above any number of cores that helps.
const WORKERS_MAX: u32 = 1024;
