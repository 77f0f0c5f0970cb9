//! From a configuration to certificates that are read, and to what watches over them.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::StartError;
use crate::address::Address;
use crate::admin::stats;
use crate::clock::Clock;
use crate::config::Config;
use crate::proxy::hosts::Hosts;
use crate::tls::{Certificates, Connector, Counters, Entrance, Reloadable, Site};
use crate::upstream::Group;

/// What one configuration has of TLS.
pub(super) struct Tls {
    /// One for each site of the configuration, where it has TLS.
    sites: Vec<Option<Arc<Site>>>,
    connectors: Vec<Arc<Connector>>,
    counters: Arc<Counters>,
    pub(super) certificates: Arc<Certificates>,
}

impl Tls {
    /// Reads the certificates of sites and upstreams. Sites that did not change keep their sessions
    /// from `before`.
    ///
    /// # Errors
    /// A file that is of no use. What goes on from before is as it was, or has read its own again.
    pub(super) fn read(
        config: &Config,
        groups: &[Arc<Group>],
        clock: &Clock,
        before: Option<&Self>,
    ) -> Result<Self, StartError> {
        let sites = config.sites.iter().map(|site| {
            let Some(settings) = &site.tls else { return Ok(None) };
            let known = before.into_iter().flat_map(|before| before.sites.iter().flatten());
            let http2 = site.http2 && config.limits.http2.is_some();
            match known.into_iter().find(|site| site.is_for(settings, http2)) {
                Some(site) => site.read_again().map(|()| Some(Arc::clone(site))),
                None => Site::read(settings, http2).map(|site| Some(Arc::new(site))),
            }
        });
        let sites = sites.collect::<Result<_, _>>().map_err(StartError::from_display)?;
        let connectors: Vec<_> = groups.iter().filter_map(|group| group.tls.clone()).collect();
        for connector in &connectors {
            connector.read_again().map_err(StartError::from_display)?;
        }
        Ok(Self {
            sites,
            connectors,
            counters: before.map(|before| Arc::clone(&before.counters)).unwrap_or_default(),
            certificates: match before {
                Some(before) => Arc::clone(&before.certificates),
                None => Certificates::new(clock.clone()),
            },
        })
    }

    /// Lets this be what is looked after.
    ///
    /// # Errors
    /// There is no thread for it.
    pub(super) fn take_over(&self, config: &Config) -> Result<(), StartError> {
        let sites = self.sites.iter().flatten();
        let sites = sites.map(|site| Arc::clone(site) as Arc<dyn Reloadable>);
        let connectors = self.connectors.iter();
        let connectors = connectors.map(|it| Arc::clone(it) as Arc<dyn Reloadable>);
        let all = sites.chain(connectors).collect();
        self.certificates
            .turn_to(all, config.certificate_poll)
            .map_err(StartError::from_display)?;
        self.certificates.warn();
        for upstream in &config.upstreams {
            if upstream.tls.as_ref().is_some_and(|tls| !tls.verify) {
                let upstream = &upstream.name;
                tracing::warn!(upstream, "whoever answers in its place is believed");
            }
        }
        Ok(())
    }

    /// The way in at an address, where the sites there have TLS.
    pub(super) fn entrance(&self, config: &Config, address: Address) -> Option<Arc<Entrance>> {
        let pairs = config.sites.iter().zip(&self.sites);
        let here = pairs.filter(|(settings, _)| settings.tls_at.contains(&address));
        let here = here.filter_map(|(settings, site)| Some((settings, site.clone()?)));
        let here: Vec<_> = here.collect();
        if here.is_empty() {
            return None;
        }
        let hosts = Hosts::new(Some(address), here.into_iter());
        let find = move |name: &str| hosts.find(name).cloned();
        Some(Arc::new(Entrance::new(Arc::clone(&self.counters), find)))
    }

    /// What happened so far, if anybody has TLS at all.
    pub(super) fn stats(&self) -> Option<stats::Tls> {
        let any = !self.connectors.is_empty() || self.sites.iter().any(Option::is_some);
        any.then(|| stats::Tls {
            handshakes: self.counters.handshakes.load(Relaxed),
            resumed: self.counters.resumed.load(Relaxed),
            failed: self.counters.failed.load(Relaxed),
            certificate_errors: self.certificates.errors(),
        })
    }
}
