//! Which site answers for a host. (nginx: server)

use std::sync::Arc;

use super::route::Site;
use crate::address::Address;
use crate::config::hostnames::HostNames;
use crate::config::{self, HostName};

/// The sites that one listener answers for, or something of each.
#[derive(Clone)]
pub struct Hosts<T = Arc<Site>> {
    names: HostNames<T>,
    /// For hosts that no site names; `None` refuses them.
    fallback: Option<T>,
    /// One of them is isolated.
    pub isolates: bool,
    /// A route of one of them spells the names of fields as they came.
    pub keeps_spelling: bool,
    /// One of them takes HTTP/2.
    http2: bool,
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        let (isolates, keeps_spelling, http2) = (false, false, false);
        Self { names: HostNames::default(), fallback: None, isolates, keeps_spelling, http2 }
    }
}

impl<T: Clone> Hosts<T> {
    /// The hosts of a listener: every site that listens there, in the order of the configuration.
    /// Without an address those of several.
    pub fn new<'a>(
        address: Option<Address>,
        sites: impl Iterator<Item = (&'a config::Site, T)>,
    ) -> Self {
        let is_here =
            |some: &[Address]| address.map_or(!some.is_empty(), |here| some.contains(&here));
        let mut hosts = Self::default();
        let mut fallback: Option<(bool, bool, T)> = None;
        let mut names: Vec<(HostName, T)> = Vec::new();
        for (settings, site) in sites {
            hosts.isolates |= settings.isolated && is_here(&settings.tls_at);
            hosts.http2 |= settings.http2;
            hosts.keeps_spelling |=
                settings.routes.iter().any(|route| route.heads.spelling.is_some());
            names.extend(settings.names.iter().map(|name| (name.clone(), site.clone())));
            // nginx: the one that says so is the default; else the first of the address.
            let is_default = is_here(&settings.default_at);
            if fallback.as_ref().is_none_or(|(default, ..)| is_default && !default) {
                fallback = Some((is_default, settings.strict, site));
            }
        }
        hosts.names = HostNames::new(names.into_iter());
        hosts.fallback = fallback.and_then(|(_, strict, site)| (!strict).then_some(site));
        hosts
    }

    /// Whether a client may speak HTTP/2 here without having agreed on it.
    pub fn takes_http2(&self) -> bool {
        self.http2
    }

    /// The site for hosts that no site names, if such are not refused.
    pub fn fallback(&self) -> Option<&T> {
        self.fallback.as_ref()
    }

    /// The site for a host; `None` where it must be refused.
    pub fn find(&self, host: &str) -> Option<&T> {
        if self.names.is_empty() {
            return self.fallback.as_ref();
        }
        self.names.find(host, host).map(|named| named.value).or(self.fallback.as_ref())
    }
}
