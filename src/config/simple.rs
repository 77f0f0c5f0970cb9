//! The configuration of `larder serve --to URL`, for which no file is needed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::address::ProxyTarget;
use super::load::parse;
use super::read::FromText;
use super::{AdminAddress, Config, Folder};
use crate::address::Address;
use crate::semantics::rules::Valid;

/// One site for all hosts that forwards everything to `to` and caches as the origin says: in
/// memory, and under `cache_dir` if there is one.
///
/// # Errors
/// Show the text: `to` is nothing to forward to.
pub fn simple(
    to: &str,
    listen: SocketAddr,
    admin: Option<AdminAddress>,
    cache_dir: Option<PathBuf>,
) -> Result<Config, String> {
    // A target that can be read has neither quotes nor backslashes: it can stand in the text.
    ProxyTarget::from_text(to).map_err(|problem| match problem.help {
        Some(help) => format!("{}: {help}", problem.reason),
        None => problem.reason,
    })?;
    // Who answers over TLS does so for its own name, which is not that of this machine.
    let host = if to.starts_with("https://") { "$proxy_host" } else { "$host" };
    let text = TEXT.replace("HOST", host).replace("TO", to);
    let loaded = parse(&text, "larder serve").map_err(|f| f.to_string())?;
    let mut config = loaded.config;
    config.admin = admin;
    for zone in &mut config.zones {
        zone.folders =
            cache_dir.iter().map(|path| Folder { path: path.clone(), weight: 1 }).collect();
    }
    let listen = Address::Tcp(listen);
    for site in &mut config.sites {
        (site.listen, site.default_at) = (vec![listen], vec![listen]);
        site.routes.iter_mut().for_each(|route| route.line = 0);
    }
    Ok(config)
}

/// Gives 200, 301 and 302 a lifetime where the origin says nothing (nginx: `proxy_cache_valid TIME`).
pub fn set_valid(config: &mut Config, lifetime: Duration) {
    let routes = config.sites.iter_mut().flat_map(|site| &mut site.routes);
    for cache in routes.filter_map(|route| route.cache.as_mut()) {
        let valid = |status| Valid { statuses: status..=status, lifetime };
        cache.rules.valid = [200, 301, 302].map(valid).to_vec();
    }
}

/// What a file would say; addresses and the folder are filled in afterwards.
const TEXT: &str = r#"
[zone.default]
path     = "cache"
levels   = "1:2"
memory   = "256m"
max_size = "10g"
min_free = "1g"

[defaults]
set_header = { Host = "HOST", X-Real-IP = "$remote_addr", X-Forwarded-For = "$proxy_add_x_forwarded_for", X-Forwarded-Proto = "$scheme", X-Forwarded-Host = "$host" }
status_header = "X-Cache-Status"

[[site]]
[[site.route]]
path  = "/"
proxy = "TO"
[site.route.cache]
zone = "default"
heuristic = true
"#;

#[cfg(test)]
mod tests {
    use crate::address::Address;
    use std::net::SocketAddr;
    use std::path::PathBuf;

    use super::simple;
    use crate::config::template::Variable;

    #[test]
    fn everything_goes_to_one_origin_and_is_cached() {
        let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let config = simple("http://127.0.0.1:3000", listen, None, Some("/c".into())).unwrap();
        assert_eq!(config.zones[0].folders[0].path, PathBuf::from("/c"));
        assert_eq!(config.zones[0].name, "default");
        assert_eq!(config.zones[0].memory_bytes, 256 << 20);
        assert_eq!(config.zones[0].disk_bytes_max, Some(10 << 30));
        assert_eq!(config.upstreams[0].peers[0].address, "127.0.0.1:3000");
        assert_eq!(config.admin, None);
        let site = &config.sites[0];
        assert_eq!(site.listen, [Address::Tcp(listen)]);
        assert!(site.names.is_empty() && site.default_at.len() == 1);
        assert_eq!(site.routes[0].set_header.len(), 5);
        assert_eq!(site.routes[0].status_header.as_ref().unwrap(), "x-cache-status");
        assert_eq!(site.routes[0].cache.as_ref().unwrap().zone.literal(), Some("default"));
        assert_eq!(site.routes[0].purge.as_ref().unwrap().len(), 2);
        assert_eq!(simple("http://h:1", listen, None, None).unwrap().zones[0].folders, []);
    }

    #[test]
    fn an_origin_with_tls_is_verified_and_asked_for_by_its_name() {
        let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let config = simple("https://example.com", listen, None, None).unwrap();
        let upstream = &config.upstreams[0];
        assert_eq!(upstream.peers[0].address, "example.com:443");
        let tls = upstream.tls.as_ref().unwrap();
        assert!(tls.verify && tls.sni && tls.name == "example.com");
        let (name, host) = &config.sites[0].routes[0].set_header[0];
        assert_eq!((name.as_str(), host.parts.len()), ("host", 1));
        assert!(host.variables().any(|it| *it == Variable::ProxyHost));
    }

    #[test]
    fn a_target_that_is_none_is_told() {
        let listen = "127.0.0.1:0".parse().unwrap();
        let told = |to: &str| simple(to, listen, None, None).unwrap_err();
        assert!(told("127.0.0.1:3000").contains("write `http://NAME`"));
        assert!(told("http://h/\"\n[server]").contains("not the path"));
    }
}
