//! From a configuration to certificates that are read, and to what watches over them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::StartError;
use crate::admin::stats;
use crate::clock::Clock;
use crate::config::Config;
use crate::proxy::route::Hosts;
use crate::tls::{Certificates, Counters, Entrance, Reloadable, Site};
use crate::upstream::Group;

/// Everything of TLS that lives as long as the server.
pub(super) struct Tls {
    /// One for each site of the configuration, where it has TLS.
    sites: Vec<Option<Arc<Site>>>,
    counters: Arc<Counters>,
    pub(super) certificates: Arc<Certificates>,
}

impl Tls {
    /// Reads the certificates of sites and upstreams.
    pub(super) fn read(
        config: &Config,
        groups: &[Arc<Group>],
        clock: &Clock,
    ) -> Result<Self, StartError> {
        let site = |settings| Site::read(settings, HTTP2).map(Arc::new);
        let sites = config.sites.iter().map(|it| it.tls.as_ref().map(site).transpose());
        let sites = sites.collect::<Result<Vec<_>, _>>().map_err(StartError::from_display)?;
        let mut all: Vec<Arc<dyn Reloadable>> = Vec::new();
        all.extend(sites.iter().flatten().map(|site| Arc::clone(site) as Arc<dyn Reloadable>));
        for group in groups {
            let Some(connector) = &group.tls else { continue };
            connector.read_again().map_err(StartError::from_display)?;
            all.push(Arc::clone(connector) as Arc<dyn Reloadable>);
        }
        let unverified =
            |it: &&crate::config::Upstream| it.tls.as_ref().is_some_and(|tls| !tls.verify);
        for upstream in config.upstreams.iter().filter(unverified) {
            tracing::warn!(upstream = upstream.name, "whoever answers in its place is believed");
        }
        let certificates = Arc::new(Certificates::new(all, clock.clone()));
        certificates.warn();
        Ok(Self { sites, counters: Arc::default(), certificates })
    }

    /// The way in at an address, where the sites there have TLS.
    pub(super) fn entrance(&self, config: &Config, address: SocketAddr) -> Option<Arc<Entrance>> {
        let pairs = config.sites.iter().zip(&self.sites);
        let here = pairs.filter(|(settings, _)| settings.listen.contains(&address));
        let here = here.filter_map(|(settings, site)| Some((settings, site.clone()?)));
        let here: Vec<_> = here.collect();
        if here.is_empty() {
            return None;
        }
        let hosts = Hosts::new(here.into_iter());
        let find = move |name: &str| hosts.find(name).cloned();
        Some(Arc::new(Entrance::new(Arc::clone(&self.counters), find)))
    }

    /// What happened so far, if anybody has TLS at all.
    pub(super) fn stats(&self) -> Option<stats::Tls> {
        self.certificates.has_files().then(|| stats::Tls {
            handshakes: self.counters.handshakes.load(Relaxed),
            resumed: self.counters.resumed.load(Relaxed),
            failed: self.counters.failed.load(Relaxed),
            certificate_errors: self.certificates.errors(),
        })
    }
}

/// Whether clients are offered HTTP/2.
const HTTP2: bool = false;
