//! Paths, templates and configurations: any text.
//!
//! A normalised path begins with `/`, has no detours, and is normal itself where no percent sign is
//! left. A template holds no more than its text. A configuration either can be used, with every name
//! leading somewhere, or says what is wrong, with a place that there is.

use std::collections::HashSet;

use larder::config::Config;
use larder::config::fault::Severity;
use larder::config::load::parse;
use larder::config::template::{Facts, Part, Template, Variable};
use larder::proxy::route::normalized;

/// Holds `data` to it, as a path, as a template and as a configuration.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    path(&text);
    template(&text);
    configuration(&text);
}

fn path(text: &str) {
    let Some(normal) = normalized(text) else { return };
    // Targets without it never come this far: `proxy/admit.rs`.
    if !text.starts_with('/') {
        return;
    }
    assert!(normal.starts_with('/'), "{normal}");
    assert!(!normal.contains("//"), "{normal}");
    assert!(normal.split('/').all(|segment| !matches!(segment, "." | "..")), "{normal}");
    // A byte that is no text may become a character of three.
    assert!(normal.len() <= text.len() * 3);
    if !normal.contains('%') {
        assert_eq!(normalized(&normal).as_deref(), Some(&*normal));
    }
}

fn template(text: &str) {
    match Template::compile(text) {
        Ok(template) => {
            let literals: Vec<_> = template.parts.iter().map(literal).collect();
            assert!(literals.windows(2).all(|pair| pair[0].is_none() || pair[1].is_none()));
            assert!(literals.iter().flatten().all(|literal| !literal.is_empty()));
            let mut written = Vec::new();
            template.write(&Nothing, &mut written);
            let bytes: usize = literals.iter().flatten().map(|literal| literal.len()).sum();
            assert!(written.len() == bytes && bytes <= text.len());
        }
        Err(problem) => {
            let place = problem.at.map(|range| text.get(range));
            assert!(place != Some(None), "a place outside {text:?}");
        }
    }
}

fn literal(part: &Part) -> Option<&str> {
    match part {
        Part::Literal(text) => Some(text),
        Part::Variable(_) => None,
    }
}

/// A request that has no facts.
struct Nothing;

impl Facts for Nothing {
    fn write(&self, _: &Variable, _: &mut Vec<u8>) {}
}

fn configuration(text: &str) {
    // It may name other files, which are not what is looked at here.
    if ["include", "\\u", "\\U", "\\x"].iter().any(|word| text.contains(word)) {
        return;
    }
    match parse(text, "larder.toml") {
        Ok(loaded) => {
            every_name_leads_somewhere(&loaded.config);
            assert!(loaded.warnings.iter().all(|fault| fault.severity == Severity::Warning));
        }
        Err(faults) => {
            assert!(faults.0.iter().any(|fault| fault.severity == Severity::Error));
            for fault in &faults.0 {
                assert!(fault.line <= text.lines().count().max(1) + 1);
                assert!(fault.column >= 1 && fault.column <= text.len() + 1);
                assert!(fault.width >= 1 && fault.width <= text.len().max(1));
            }
            assert!(!faults.to_string().contains('\u{1b}'), "steers the terminal");
        }
    }
}

fn every_name_leads_somewhere(config: &Config) {
    assert!(config.workers >= 1 && !config.sites.is_empty());
    let zones: HashSet<_> = config.zones.iter().map(|zone| zone.name.as_str()).collect();
    let upstreams: HashSet<_> = config.upstreams.iter().map(|upstream| &upstream.name).collect();
    assert_eq!(zones.len(), config.zones.len(), "names of zones are unique");
    assert_eq!(upstreams.len(), config.upstreams.len(), "names of upstreams are unique");
    assert!(config.upstreams.iter().all(|upstream| !upstream.peers.is_empty()));
    for site in &config.sites {
        assert!(!site.listen.is_empty());
        for route in &site.routes {
            if let Some(proxy) = route.action.proxy() {
                let named = proxy.by_request.iter().flat_map(|said| &said.candidates);
                let named = named.map(|(_, upstream)| upstream);
                let known = (!proxy.upstream.is_empty()).then_some(&proxy.upstream);
                assert!(known.into_iter().chain(named).all(|name| upstreams.contains(name)));
            }
            // A zone that the request names is looked up when there is one.
            let zone = route.cache.as_ref().and_then(|cache| cache.zone.literal());
            assert!(zone.is_none_or(|zone| zones.contains(zone)));
        }
    }
}
