//! From a configuration to the parts that run.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use super::StartError;
use super::source::OperatorView;
use crate::cache::Zone;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::listener::bind;
use crate::observe::access::AccessLog;
use crate::observe::metrics::Metrics;
use crate::proxy::key::Keying;
use crate::proxy::route::{Cache, Forward, Hosts, Route, Site};
use crate::proxy::zone::Caching;
use crate::proxy::{Proxy, Worker};
use crate::upstream::{Group, Pool};

/// Everything that lives as long as the server.
pub(super) struct Parts {
    pub(super) workers: Vec<Arc<Worker>>,
    pub(super) entrances: Vec<Entrance>,
    pub(super) access: Option<AccessLog>,
    pub(super) view: Arc<OperatorView>,
}

/// One address that is listened on.
pub(super) struct Entrance {
    pub(super) address: SocketAddr,
    /// One for each worker.
    pub(super) listeners: Vec<TcpListener>,
    pub(super) hosts: Arc<Hosts>,
}

pub(super) fn parts(config: &Config, clock: &Clock) -> Result<Parts, StartError> {
    // Addresses first: a server that cannot listen must not open the folders of one that does.
    let bound = bind_all(config)?;
    let access = config.log.access.as_ref().map(|access| open_log(access, clock)).transpose()?;
    let zones: Vec<_> = config.zones.iter().map(|zone| Zone::open(zone, clock.clone())).collect();
    let groups: Vec<_> =
        config.upstreams.iter().map(|group| Group::new(group, clock.clone())).collect();
    let routes = RouteParts { config, zones: &zones, groups: &groups };
    let sites = config.sites.iter().map(|site| routes.site(site)).collect::<Result<Vec<_>, _>>()?;
    let pairs = config.sites.iter().zip(&sites);
    let hosts = Hosts::new(pairs.map(|(settings, site)| (settings, Arc::clone(site))));
    let proxy = Arc::new(Proxy {
        clock: clock.clone(),
        limits: config.limits.clone(),
        zones,
        groups,
        hosts,
    });
    let metrics = Arc::new(Metrics::new(config.workers, config.zones.len()));
    let worker = |number| {
        let pool = |group| Pool::new(group, clock.clone());
        Arc::new(Worker {
            proxy: Arc::clone(&proxy),
            pools: config.upstreams.iter().map(pool).collect(),
            shard: metrics.shard(number),
            access: access.as_ref().map(|access| Arc::new(access.for_worker())),
        })
    };
    let workers: Vec<_> = (0..config.workers).map(worker).collect();
    let entrances = entrances(config, bound, &sites);
    let losses = access.as_ref().map(AccessLog::loss_counter);
    let view = Arc::new(OperatorView::new(Arc::clone(&workers[0]), metrics, losses));
    Ok(Parts { workers, entrances, access, view })
}

type Bound = Vec<(SocketAddr, Vec<TcpListener>)>;

/// Binds every address of every site, in order, each once.
fn bind_all(config: &Config) -> Result<Bound, StartError> {
    let mut bound: Bound = Vec::new();
    for address in config.sites.iter().flat_map(|site| &site.listen) {
        if bound.iter().any(|(known, _)| known == address) {
            continue;
        }
        let listeners = bind(*address, config.workers)
            .map_err(|error| StartError(format!("cannot listen on `{address}`: {error}")))?;
        bound.push((*address, listeners));
    }
    Ok(bound)
}

fn entrances(config: &Config, bound: Bound, sites: &[Arc<Site>]) -> Vec<Entrance> {
    let entrance = |(configured, listeners): (SocketAddr, Vec<TcpListener>)| {
        let address = listeners[0].local_addr().unwrap_or(configured);
        let pairs = config.sites.iter().zip(sites);
        let here = pairs.filter(|(site, _)| site.listen.contains(&configured));
        let hosts = Hosts::new(here.map(|(site, ready)| (site, Arc::clone(ready))));
        Entrance { address, listeners, hosts: Arc::new(hosts) }
    };
    bound.into_iter().map(entrance).collect()
}

fn open_log(access: &config::AccessLog, clock: &Clock) -> Result<AccessLog, StartError> {
    AccessLog::open(access, clock.clone()).map_err(|error| {
        let path =
            access.path.as_ref().map_or("standard output".into(), |path| path.to_string_lossy());
        StartError(format!("cannot write the access log `{path}`: {error}"))
    })
}

struct RouteParts<'a> {
    config: &'a Config,
    zones: &'a [Arc<Zone>],
    groups: &'a [Arc<Group>],
}

impl RouteParts<'_> {
    fn site(&self, settings: &config::Site) -> Result<Arc<Site>, StartError> {
        let routes = settings.routes.iter().map(|route| self.route(route));
        let routes = routes.collect::<Result<_, _>>()?;
        Ok(Arc::new(Site::new(settings, self.route(&settings.base)?, routes)))
    }

    fn route(&self, settings: &config::Route) -> Result<Arc<Route>, StartError> {
        let proxy = settings.action.proxy();
        let candidates = proxy.and_then(|proxy| Some(&proxy.by_request.as_ref()?.candidates));
        let forwards = candidates.into_iter().flatten();
        let forwards = forwards.map(|name| Ok((name.clone(), self.forward(name)?)));
        let known = proxy.filter(|proxy| !proxy.upstream.is_empty());
        let caching = settings.cache.as_ref().map(|cache| self.caching(cache)).transpose()?;
        Ok(Arc::new(Route {
            forward: known.map(|proxy| self.forward(&proxy.upstream)).transpose()?,
            forwards: forwards.collect::<Result<_, StartError>>()?,
            caching: caching.unwrap_or_default(),
            ..Route::new(settings.clone())
        }))
    }

    fn forward(&self, upstream: &str) -> Result<Forward, StartError> {
        let names = self.config.upstreams.iter().map(|upstream| &upstream.name);
        let group_number = named(names, upstream)?;
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
    names
        .position(|name| name == wanted)
        .ok_or_else(|| StartError(format!("nothing is named `{wanted}`")))
}
