//! From a configuration to what answers requests: a generation. What is as in the one before is
//! taken from there.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::StartError;
use super::entry::Serving;
use super::logs;
use super::tls::Tls;
use crate::address::Address;
use crate::cache::Zone;
use crate::client::Loads;
use crate::clock::Clock;
use crate::config::{self, AuthTarget, Config, ProxyProtocolIn, limits_at};
use crate::files::Files;
use crate::observe::access::AccessLog;
use crate::observe::logs::Logs;
use crate::observe::metrics::Metrics;
use crate::proxy::gate::Gate;
use crate::proxy::gate::basic::Basic;
use crate::proxy::gate::limit::Limit;
use crate::proxy::hosts::Hosts;
use crate::proxy::key::Keying;
use crate::proxy::route::{Cache, Forward, Route, Site};
use crate::proxy::zone::Caching;
use crate::proxy::{Proxy, Worker};
use crate::tls::Entrance;
use crate::upstream::{Group, Pool};

/// What one configuration became. A request holds its worker's part to the end, so one that is
/// under way ends as it began.
pub(super) struct Generation {
    /// 1 for the one of the start.
    pub(super) number: u64,
    pub(super) config: Config,
    pub(super) workers: Vec<Arc<Worker>>,
    pub(super) metrics: Metrics,
    /// As the configuration has them; two that write in the same way to the same place are one.
    pub(super) logs: Vec<Arc<AccessLog>>,
    pub(super) tls: Tls,
    client_limits: Vec<Arc<Limit>>,
    /// By address, as it is configured.
    hosts: Vec<(Address, Arc<Hosts>, Option<Arc<Entrance>>)>,
}

impl Generation {
    /// Makes what `config` asks for; may block. What did not change goes on from `before`: zones,
    /// groups with their health, connections to peers, counters, the access log. Zones that changed
    /// are closed before they are opened anew, since a folder has one owner.
    ///
    /// # Errors
    /// What cannot be had. Then nothing was changed.
    pub(super) fn new(
        config: Config,
        clock: &Clock,
        loads: &Loads,
        before: Option<&Self>,
    ) -> Result<Self, StartError> {
        let known = before.map(|before| (&*before.config.log.access, &*before.logs));
        let logs = logs::open(&config.log.access, clock, known)?;
        let groups = groups(&config, clock, before);
        let client_limits = client_limits(&config, before);
        let tls = Tls::read(&config, &groups, clock, before.map(|before| &before.tls))?;
        if let Some(before) = before {
            rehearse(&config, (&client_limits, &groups), clock, before)?;
        }
        let zones = zones(&config, clock, before);
        let sites = RouteParts::new(&config, &client_limits, &zones, &groups).sites()?;
        let of_scheme = |tls| {
            let pairs = config.sites.iter().zip(&sites);
            let some = pairs.filter(move |(settings, _)| {
                settings.listen.iter().any(|address| settings.tls_at.contains(address) == tls)
            });
            Hosts::new(None, some.map(|(settings, site)| (settings, Arc::clone(site))))
        };
        let metrics = match before {
            None => Metrics::new(config.workers, config.zones.len()),
            Some(before) => before.metrics.renumbered(&before.numbers_of(&config.zones)),
        };
        let proxy = Arc::new(Proxy {
            clock: clock.clone(),
            loads: Arc::clone(loads),
            metrics: metrics.clone(),
            limits: config.limits.clone(),
            temp_path: config.temp_path.clone(),
            logs: logs::for_all(&config.log),
            hosts: of_scheme(false),
            hosts_tls: of_scheme(true),
            zones,
            groups,
        });
        tls.take_over(&config)?;
        let worker = |number| worker(number, &proxy, (&config, &metrics), &logs, before);
        Ok(Self {
            number: before.map_or(1, |before| before.number + 1),
            workers: (0..config.workers).map(worker).collect(),
            client_limits,
            hosts: hosts(&config, &sites, &tls),
            tls,
            metrics,
            logs,
            config,
        })
    }

    /// What all workers share.
    pub(super) fn proxy(&self) -> &Arc<Proxy> {
        &self.workers[0].proxy
    }

    /// What a worker answers with on an address of the configuration.
    pub(super) fn serving(&self, address: Address, worker: usize) -> Serving {
        let here = self.hosts.iter().find(|(known, ..)| *known == address);
        Serving {
            worker: Arc::clone(&self.workers[worker]),
            hosts: here.map(|(_, hosts, _)| Arc::clone(hosts)).unwrap_or_default(),
            tls: here.and_then(|(.., tls)| tls.clone()),
            limits: Arc::new(limits_at(&self.config.sites, &self.config.limits, address)),
            proxy_protocol: proxy_protocol(&self.config, address),
        }
    }

    /// The addresses that are listened on, each once.
    pub(super) fn addresses(&self) -> impl Iterator<Item = Address> {
        self.hosts.iter().map(|(address, ..)| *address)
    }

    /// For each of other zones the number that it has here.
    fn numbers_of(&self, zones: &[config::Zone]) -> Vec<Option<usize>> {
        let number =
            |zone: &config::Zone| self.config.zones.iter().position(|it| it.name == zone.name);
        zones.iter().map(number).collect()
    }
}

/// How connections to an address begin; sites that share one agree on this.
fn proxy_protocol(config: &Config, address: Address) -> Option<Arc<ProxyProtocolIn>> {
    let mut named = config.sites.iter().flat_map(|site| &site.proxy_protocol);
    named.find(|(at, _)| *at == address).map(|(_, how)| Arc::new(how.clone()))
}

/// What clients have asked for so far counts on, where the limit is the same.
fn client_limits(config: &Config, before: Option<&Generation>) -> Vec<Arc<Limit>> {
    let limit = |settings: &config::Limit| {
        let mut known = before.iter().flat_map(|before| &before.client_limits);
        let kept = known.find(|limit| limit.settings == *settings);
        kept.map_or_else(|| Arc::new(Limit::new(settings)), Arc::clone)
    };
    config.client_limits.iter().map(limit).collect()
}

/// The addresses of a configuration, in order, each once.
pub(super) fn addresses(config: &Config) -> Vec<Address> {
    let mut addresses = Vec::new();
    for address in config.sites.iter().flat_map(|site| &site.listen) {
        if !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    addresses
}

fn hosts(
    config: &Config,
    sites: &[Arc<Site>],
    tls: &Tls,
) -> Vec<(Address, Arc<Hosts>, Option<Arc<Entrance>>)> {
    let hosts = |address: Address| {
        let pairs = config.sites.iter().zip(sites);
        let here = pairs.filter(|(site, _)| site.listen.contains(&address));
        let hosts = Hosts::new(Some(address), here.map(|(site, ready)| (site, Arc::clone(ready))));
        (address, Arc::new(hosts), tls.entrance(config, address))
    };
    addresses(config).into_iter().map(hosts).collect()
}

fn worker(
    number: usize,
    proxy: &Arc<Proxy>,
    (config, metrics): (&Config, &Metrics),
    logs: &[Arc<AccessLog>],
    before: Option<&Generation>,
) -> Arc<Worker> {
    let same = before.and_then(|before| before.workers.get(number));
    let known: HashMap<_, _> = same.map_or_else(HashMap::new, |worker| {
        worker.proxy.groups.iter().map(Arc::as_ptr).zip(&worker.pools).collect()
    });
    let pool = |(group, settings): (&Arc<Group>, _)| {
        let kept = known.get(&Arc::as_ptr(group)).map(|pool| Arc::clone(pool));
        kept.unwrap_or_else(|| Pool::new(settings, proxy.clock.clone()))
    };
    let logs_before = before.map_or(&[][..], |before| &before.logs);
    Arc::new(Worker {
        proxy: Arc::clone(proxy),
        pools: proxy.groups.iter().zip(&config.upstreams).map(pool).collect(),
        shard: metrics.shard(number),
        logs: logs::writers(logs, logs_before, same.map_or(&[], |worker| &worker.logs)),
    })
}

fn groups(config: &Config, clock: &Clock, before: Option<&Generation>) -> Vec<Arc<Group>> {
    let known: HashMap<_, _> = before.map_or_else(HashMap::new, |before| {
        let named = before.config.upstreams.iter().map(|settings| (&settings.name, settings));
        named.zip(&before.proxy().groups).map(|((name, at), group)| (name, (at, group))).collect()
    });
    let group = |settings: &config::Upstream| {
        let same = known.get(&settings.name).filter(|(before, _)| *before == settings);
        let kept = same.map(|(_, group)| Arc::clone(group));
        kept.unwrap_or_else(|| Group::new(settings, clock.clone()))
    };
    config.upstreams.iter().map(group).collect()
}

/// The zone that goes on as it is. Not one whose folders were given free.
fn kept(settings: &config::Zone, before: &Generation) -> Option<Arc<Zone>> {
    let number = before.config.zones.iter().position(|it| it == settings)?;
    let zone = &before.proxy().zones[number];
    (!zone.has_left()).then(|| Arc::clone(zone))
}

fn zones(config: &Config, clock: &Clock, before: Option<&Generation>) -> Vec<Arc<Zone>> {
    let before_zones = before.map(|before| before.config.zones.iter().zip(&before.proxy().zones));
    let goes = |(settings, zone): &(&config::Zone, &Arc<Zone>)| {
        !config.zones.contains(settings) || zone.has_left()
    };
    let parted = before_zones.into_iter().flatten().filter(goes);
    let parted: Vec<_> = parted
        .map(|(settings, zone)| {
            tracing::info!(zone = settings.name, "the zone is closed");
            (settings, zone.leave())
        })
        .collect();
    let zone = |settings: &config::Zone| {
        let kept = before.and_then(|before| kept(settings, before));
        kept.unwrap_or_else(|| Zone::open(settings, clock.clone()))
    };
    let zones: Vec<_> = config.zones.iter().map(zone).collect();
    for (settings, leaving) in parted {
        let heirs = config.zones.iter().zip(&zones).filter(|(zone, _)| inherits(zone, settings));
        leaving.to(heirs.map(|(_, zone)| Arc::clone(zone)).collect());
    }
    zones
}

/// Whether what one zone stored may be found in another one.
fn inherits(zone: &config::Zone, from: &config::Zone) -> bool {
    let has = |path: &PathBuf| from.folders.iter().any(|folder| folder.path == *path);
    zone.name == from.name || zone.folders.iter().any(|folder| has(&folder.path))
}

/// Makes the routes once for nothing, with stand-ins for the zones that are to be opened: once a
/// zone is closed there is no way back.
fn rehearse(
    config: &Config,
    (limits, groups): (&[Arc<Limit>], &[Arc<Group>]),
    clock: &Clock,
    before: &Generation,
) -> Result<(), StartError> {
    if config.zones.iter().all(|zone| kept(zone, before).is_some()) {
        return Ok(());
    }
    let stand_in = |settings: &config::Zone| {
        let in_memory = config::Zone { folders: Vec::new(), ..settings.clone() };
        kept(settings, before).unwrap_or_else(|| Zone::open(&in_memory, clock.clone()))
    };
    let zones: Vec<_> = config.zones.iter().map(stand_in).collect();
    RouteParts::new(config, limits, &zones, groups).sites().map(drop)
}

struct RouteParts<'a> {
    config: &'a Config,
    limits: &'a [Arc<Limit>],
    basics: RefCell<Vec<(config::AuthBasic, Arc<Basic>)>>,
    zones: &'a [Arc<Zone>],
    groups: &'a [Arc<Group>],
    /// Where among these an upstream is: sites with one each make many.
    group_numbers: HashMap<&'a str, usize>,
}

impl<'a> RouteParts<'a> {
    fn new(
        config: &'a Config,
        limits: &'a [Arc<Limit>],
        zones: &'a [Arc<Zone>],
        groups: &'a [Arc<Group>],
    ) -> Self {
        let names = config.upstreams.iter().map(|upstream| upstream.name.as_str());
        let group_numbers = names.zip(0..).collect();
        Self { config, limits, basics: RefCell::default(), zones, groups, group_numbers }
    }

    fn sites(&self) -> Result<Vec<Arc<Site>>, StartError> {
        self.config.sites.iter().map(|site| self.site(site)).collect()
    }

    fn site(&self, settings: &config::Site) -> Result<Arc<Site>, StartError> {
        let routes = settings.routes.iter().map(|route| self.route(route));
        let routes = routes.collect::<Result<_, _>>()?;
        Ok(Arc::new(Site::new(settings, self.route(&settings.base)?, routes)))
    }

    fn route(&self, settings: &config::Route) -> Result<Arc<Route>, StartError> {
        let files = settings.action.files().map(|files| {
            Files::new(files, &settings.path).map_err(|error| {
                let root = files.root.display();
                StartError(format!(
                    "cannot serve files of `{root}`: this needs openat2 (Linux 5.6): {error}"
                ))
            })
        });
        let files = files.transpose()?;
        let proxy = settings.action.proxy();
        let candidates = proxy.and_then(|proxy| Some(&proxy.by_request.as_ref()?.candidates));
        let forwards = candidates.into_iter().flatten();
        let forwards = forwards.map(|(name, spoken)| Ok((name.clone(), self.forward(spoken)?)));
        let known = proxy.filter(|proxy| !proxy.upstream.is_empty());
        let caching = settings.cache.as_ref().map(|cache| self.caching(cache)).transpose()?;
        Ok(Arc::new(Route {
            gate: self.gate(&settings.gate)?,
            hides_authorization: settings.gate.hides_authorization(),
            forward: known.map(|proxy| self.forward(&proxy.upstream)).transpose()?,
            forwards: forwards.collect::<Result<_, StartError>>()?,
            files,
            caching: caching.unwrap_or_default(),
            logs: Logs::new(&settings.logs, &self.config.log.access).map(Arc::new),
            ..Route::new(settings.clone())
        }))
    }

    fn gate(&self, settings: &config::Gate) -> Result<Option<Box<Gate>>, StartError> {
        let basic = settings.auth_basic.as_ref().map(|basic| self.basic(basic)).transpose()?;
        let asked = settings.auth_request.as_ref().and_then(|ask| match &ask.to {
            AuthTarget::Upstream { route, .. } => Some(self.route(route)),
            AuthTarget::Own(_) => None,
        });
        Ok(Gate::new(settings, self.limits, basic, asked.transpose()?))
    }

    /// Routes with the same users share them, and what is known of their passwords.
    fn basic(&self, settings: &config::AuthBasic) -> Result<Arc<Basic>, StartError> {
        let mut known = self.basics.borrow_mut();
        if let Some((_, basic)) = known.iter().find(|(other, _)| other == settings) {
            return Ok(Arc::clone(basic));
        }
        let basic = Basic::open(settings).map_err(StartError)?;
        known.push((settings.clone(), Arc::clone(&basic)));
        Ok(basic)
    }

    fn forward(&self, upstream: &str) -> Result<Forward, StartError> {
        let number = self.group_numbers.get(upstream).copied();
        let group_number = number.ok_or_else(|| unknown(upstream))?;
        Ok(Forward { group: Arc::clone(&self.groups[group_number]), group_number })
    }

    fn caching(&self, settings: &config::Cache) -> Result<Caching, StartError> {
        let zones = self.config.zones.iter();
        if let Some(name) = settings.zone.literal() {
            let number = named(zones.map(|zone| &zone.name), name)?;
            return Ok(Caching::always(self.cache(settings, number)));
        }
        let possible = zones.enumerate().filter(|(_, zone)| settings.zone.can_give(&zone.name));
        let caches = possible.map(|(number, _)| self.cache(settings, number)).collect();
        Ok(Caching::by_request(settings.zone.clone(), caches))
    }

    fn cache(&self, settings: &config::Cache, zone_number: usize) -> Arc<Cache> {
        let cache = Cache {
            settings: settings.clone(),
            keying: Keying::new(settings),
            zone: Arc::clone(&self.zones[zone_number]),
            zone_number,
        };
        cache.prepare();
        Arc::new(cache)
    }
}

/// The number of a name; the configuration was checked, so it is there.
fn named<'a>(
    mut names: impl Iterator<Item = &'a String>,
    wanted: &str,
) -> Result<usize, StartError> {
    names.position(|name| name == wanted).ok_or_else(|| unknown(wanted))
}

fn unknown(name: &str) -> StartError {
    StartError(format!("nothing is named `{name}`"))
}
