//! Addresses: where to listen, whom to ask, which hosts and clients are meant.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::fault::Problem;
use super::file;
use super::pattern::Pattern;
use super::read::{FromNode, FromText, checked, table, wrong_kind};
use super::report::Report;
use super::tree::{Node, Value};
use super::{AdminAddress, Clients, HostName, ProxyProtocolIn};
use crate::address::{Address, SocketPath};

/// Where a site listens, and how.
#[derive(Clone, Debug)]
pub(crate) struct Listen {
    /// Several where a range of ports is written; at least one.
    pub addresses: Vec<Address>,
    pub proxy_protocol: Option<ProxyProtocolIn>,
    /// Whether connections there are encrypted; `None` leaves it to the site.
    pub tls: Option<bool>,
    /// The site is the default there.
    pub default: bool,
}

/// Addresses to listen on: a text, or a port on all addresses.
#[derive(Clone, Debug)]
pub(crate) struct ListenAddress(Vec<Address>);

table! {
    /// An entry of `listen` as a table
    ListenTable(address) {
        address: ListenAddress,
        proxy_protocol: file::ProxyProtocol,
        tls: bool,
        default: bool,
    }
}

/// Where the operator's listener is; `None` for `"off"`.
#[derive(Clone, Debug)]
pub(crate) struct AdminListen(pub Option<AdminAddress>);

/// `host:port` of a peer, with the default port added.
#[derive(Clone, Debug)]
pub(crate) struct PeerAddress(pub String);

/// `upstream_bind`: an address of this machine, with a port or 0; `None` for `"off"`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bind(pub Option<SocketAddr>);

/// One of `resolver`: the address of a DNS server; `None` for `"system"`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NameServer(pub Option<SocketAddr>);

/// What `name` of a site says: one text may stand for two names.
#[derive(Clone, Debug)]
pub(crate) struct Names(pub Vec<HostName>);

/// Addresses of clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Net(pub IpNet);

/// Clients of such addresses, or those over unix sockets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whom(pub Clients);

/// `http://host[:port][/uri]` or `http://unix:/path[:/uri]` of `proxy`, or `https://`.
#[derive(Clone, Debug)]
pub(crate) struct ProxyTarget {
    pub https: bool,
    /// As written; IPv6 in brackets; `unix:/path`.
    pub host: String,
    pub port: Option<u16>,
    /// Begins with `/`.
    pub uri: Option<String>,
}

impl FromNode for Listen {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        if !matches!(node.value, Value::Table(_)) {
            let addresses = ListenAddress::from_node(node, report)?.0;
            return Some(Self { addresses, proxy_protocol: None, tls: None, default: false });
        }
        let table = ListenTable::from_node(node, report)?;
        let proxy_protocol = match table.proxy_protocol.map(|at| at.value) {
            None | Some(file::ProxyProtocol::Is(false)) => None,
            Some(file::ProxyProtocol::Is(true)) => Some(ProxyProtocolIn::default()),
            Some(file::ProxyProtocol::From(table)) => {
                let from = table.from.iter().flat_map(|from| from.value.values());
                Some(ProxyProtocolIn { from: from.map(|net| net.0).collect() })
            }
        };
        Some(Self {
            addresses: table.address?.value.0,
            proxy_protocol,
            tls: table.tls.map(|at| at.value),
            default: table.default.is_some_and(|at| at.value),
        })
    }

    #[cfg(test)]
    fn keys(path: &str, out: &mut Vec<String>) {
        ListenTable::keys(path, out);
    }
}

impl FromNode for ListenAddress {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        let listen = match &node.value {
            Value::Text(text) => listens(text),
            Value::Integer(port) => listens(&port.to_string()),
            _ => return wrong_kind(node, "an address, as in `\"127.0.0.1:8080\"`", report),
        };
        checked(listen, node.span, report).map(Self)
    }
}

/// An address, or several that differ in their ports: `8000-8010`.
fn listens(text: &str) -> Result<Vec<Address>, Problem> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(vec![Address::Unix(socket_path(path)?)]);
    }
    Ok(listens_tcp(text)?.into_iter().map(Address::Tcp).collect())
}

fn listens_tcp(text: &str) -> Result<Vec<SocketAddr>, Problem> {
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let Some((first, last)) = text.rsplit_once('-').filter(|(_, last)| is_number(last)) else {
        return listen(text, Ipv4Addr::UNSPECIFIED).map(|address| vec![address]);
    };
    let Ok(first) = listen(first, Ipv4Addr::UNSPECIFIED) else {
        return listen(text, Ipv4Addr::UNSPECIFIED).map(|address| vec![address]);
    };
    let last = port(last)?;
    let ports = first.port()..=last;
    if first.port() == 0 || ports.is_empty() || ports.len() > PORTS_MAX {
        return Err(Problem::new(format!("`{text}` is no range of ports"))
            .help(format!("write `8000-8010`; it has {PORTS_MAX} at most")));
    }
    Ok(ports.map(|port| SocketAddr::new(first.ip(), port)).collect())
}

/// An address, or a port on `all`.
fn listen(text: &str, all: Ipv4Addr) -> Result<SocketAddr, Problem> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(SocketAddr::from((all, port(text)?)));
    }
    let address =
        text.strip_prefix("*:").map_or_else(|| text.to_owned(), |p| format!("0.0.0.0:{p}"));
    address.parse().map_err(|_| {
        Problem::new(format!("`{text}` is not an address to listen on"))
            .help("write a port, an IP address with a port, or a socket: `8080`, `127.0.0.1:8080`, `[::]:80`, `unix:/run/larder.sock`")
    })
}

fn port(text: &str) -> Result<u16, Problem> {
    let problem = || Problem::new(format!("`{text}` is not a port")).help("ports end at 65535");
    let all_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| all_digits).ok_or_else(problem)
}

impl FromText for AdminListen {
    fn from_text(text: &str) -> Result<Self, Problem> {
        if text == "off" {
            return Ok(Self(None));
        }
        let path = text.strip_prefix("unix:").unwrap_or(text);
        if path.starts_with('/') {
            return Ok(Self(Some(AdminAddress::Unix(PathBuf::from(path)))));
        }
        let address = listen(text, Ipv4Addr::LOCALHOST)?;
        if !address.ip().is_loopback() {
            return Err(Problem::new(format!("`{text}` is not a loopback address")).help(
                "whoever reaches it may empty the cache: use `127.0.0.1:9145` or a unix socket",
            ));
        }
        Ok(Self(Some(AdminAddress::Tcp(address))))
    }
}

impl FromText for PeerAddress {
    fn from_text(text: &str) -> Result<Self, Problem> {
        if text.contains("://") {
            return Err(Problem::new(format!("`{text}` is not the address of a server"))
                .help("leave the scheme out: `127.0.0.1:3000`"));
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return socket_path(path).map(|_| Self(text.to_owned()));
        }
        let (host, port) = host_and_port(text)?;
        Ok(Self(format!("{host}:{}", port.unwrap_or(80))))
    }
}

impl FromText for ProxyTarget {
    fn from_text(text: &str) -> Result<Self, Problem> {
        if text.contains('$') {
            let at = text.find('$').unwrap_or_default();
            return Err(Problem::new("there are no variables here").at(at..at + 1));
        }
        let schemes = [("http://", false), ("https://", true)];
        let target = schemes
            .iter()
            .find_map(|(scheme, https)| text.strip_prefix(scheme).map(|rest| (rest, *https)));
        let Some((rest, https)) = target else {
            return Err(Problem::new(format!("`{text}` is not a URL to forward to"))
                .help("write `http://NAME` of an upstream, or `http://HOST:PORT`"));
        };
        let (authority, uri) = match rest.find(['/', '?', '#']) {
            // nginx: the path of a socket ends with a colon if anything follows.
            _ if rest.starts_with("unix:") => match rest["unix:".len()..].split_once(':') {
                Some((path, uri)) => (&rest[.."unix:".len() + path.len()], Some(uri)),
                None => (rest, None),
            },
            Some(at) => (&rest[..at], Some(&rest[at..])),
            None => (rest, None),
        };
        let plain = |uri: &str| {
            uri.starts_with('/')
                && uri.bytes().all(|c| c.is_ascii_graphic() && !b"\"\\#".contains(&c))
        };
        if let Some(uri) = uri.filter(|uri| !plain(uri)) {
            return Err(Problem::new(format!("`{uri}` is not the path of a request"))
                .help("it begins with `/`; spaces and the like are written `%20`"));
        }
        if let Some(path) = authority.strip_prefix("unix:") {
            socket_path(path)?;
            let uri = uri.map(str::to_owned);
            return Ok(Self { https, host: authority.to_owned(), port: None, uri });
        }
        let (host, port) = host_and_port(authority)?;
        Ok(Self { https, host, port, uri: uri.map(str::to_owned) })
    }
}

impl FromText for Bind {
    fn from_text(text: &str) -> Result<Self, Problem> {
        if text == "off" {
            return Ok(Self(None));
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let address = bare.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0));
        let address = address.or_else(|_| text.parse::<SocketAddr>());
        address.map(|address| Self(Some(address))).map_err(|_| {
            Problem::new(format!("`{text}` is not an address"))
                .help("write an address of this machine: `10.0.0.5` or `::1`")
        })
    }
}

impl FromText for NameServer {
    fn from_text(text: &str) -> Result<Self, Problem> {
        if text == "system" {
            return Ok(Self(None));
        }
        let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT));
        let address = address.or_else(|_| text.parse::<SocketAddr>());
        address
            .ok()
            .filter(|address| address.port() != 0)
            .map(|address| Self(Some(address)))
            .ok_or_else(|| {
                Problem::new(format!("`{text}` is not the address of a DNS server"))
                    .help("write `10.0.0.2`, `10.0.0.2:53` or `[::1]:53`; or `system` alone")
            })
    }
}

/// The path of a unix socket, which the kernel must take.
fn socket_path(path: &str) -> Result<SocketPath, Problem> {
    if path.len() > SocketPath::BYTES_MAX {
        let problem = format!("the path of a socket has {} bytes at most", SocketPath::BYTES_MAX);
        return Err(Problem::new(problem));
    }
    SocketPath::new(Path::new(path)).ok_or_else(|| {
        Problem::new(format!("`{path}` is not the path of a socket"))
            .help("write it whole: `unix:/run/app.sock`")
    })
}

/// Splits and checks; the host keeps the brackets of IPv6.
fn host_and_port(text: &str) -> Result<(String, Option<u16>), Problem> {
    let (host, port_text) = match text.rfind(':') {
        Some(colon) if !text.ends_with(']') => (&text[..colon], Some(&text[colon + 1..])),
        _ => (text, None),
    };
    if text.is_empty() {
        return Err(Problem::new("a host is missing").help("write `host` or `host:port`"));
    }
    if !is_host(host) {
        return Err(Problem::new(format!("`{text}` is not a host"))
            .help("write `host`, `host:port`, or `[::1]:port` for IPv6"));
    }
    let port = port_text.map(port).transpose()?;
    if port == Some(0) {
        return Err(Problem::new(format!("port 0 of `{text}` cannot be connected to")));
    }
    Ok((host.to_owned(), port))
}

fn is_host(host: &str) -> bool {
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if let Some(address) = inside {
        return matches!(address.parse(), Ok(IpAddr::V6(_)));
    }
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !host.is_empty() && host.len() <= 253 && host.bytes().all(known) && !host.contains("..")
}

impl FromText for Names {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let wrong = || Problem::new(format!("`{text}` is not a host name"));
        let name = text.to_ascii_lowercase();
        if name.is_empty() {
            // nginx: for requests that name no host.
            return Ok(Self(vec![HostName::Exact(name)]));
        }
        if name == "*" {
            return Err(wrong().help("leave `name` out to answer for all hosts"));
        }
        if let Some(pattern) = text.strip_prefix('~') {
            let pattern = pattern.strip_prefix('*').unwrap_or(pattern);
            return Ok(Self(vec![HostName::Pattern(Pattern::new(pattern, true)?)]));
        }
        if let Some(prefix) = name.strip_suffix(".*") {
            if !is_host(prefix) || prefix.starts_with('.') {
                return Err(wrong().help("write it as in `mail.*`"));
            }
            return Ok(Self(vec![HostName::Prefix(format!("{prefix}."))]));
        }
        let suffix = name.strip_prefix('*').unwrap_or(&name);
        let is_suffix = suffix.starts_with('.');
        let host = if is_suffix { &suffix[1..] } else { name.as_str() };
        if !is_host(host) || host.starts_with('.') {
            return Err(wrong().help(
                "write it without scheme and port: `example.com`, `*.example.com`, or `.example.com` for both",
            ));
        }
        let exact = || HostName::Exact(host.to_owned());
        Ok(Self(match (is_suffix, name.starts_with('*')) {
            (false, _) => vec![exact()],
            (true, true) => vec![HostName::Suffix(suffix.to_owned())],
            (true, false) => vec![exact(), HostName::Suffix(suffix.to_owned())],
        }))
    }
}

impl FromText for Net {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        let net = address.or_else(|_| text.parse::<IpNet>()).map(|net| Self(net.trunc()));
        net.map_err(|_| {
            Problem::new(format!("`{text}` is not an address or a network"))
                .help("write `127.0.0.1`, `10.0.0.0/8` or `::1`")
        })
    }
}

impl FromText for Whom {
    fn from_text(text: &str) -> Result<Self, Problem> {
        if text == "unix:" {
            return Ok(Self(Clients::Unix));
        }
        Net::from_text(text).map(|net| Self(Clients::Net(net.0)))
    }
}

/// Each needs a socket for each worker.
const PORTS_MAX: usize = 1000;
const DNS_PORT: u16 = 53;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{AdminListen, NameServer, Names, Net, PeerAddress, ProxyTarget, listen};
    use crate::config::read::FromText;
    use crate::config::{AdminAddress, HostName};

    #[test]
    #[rustfmt::skip]
    fn a_listener_is_a_port_or_an_address() {
        //    text               address
        check("8080",            Some("0.0.0.0:8080"));
        check("*:80",            Some("0.0.0.0:80"));
        check("127.0.0.1:0",     Some("127.0.0.1:0"));
        check("[::]:80",         Some("[::]:80"));
        check("65536",           None);
        check("localhost:80",    None);
        check("127.0.0.1",       None);
        check("8080 ssl",        None);
        check("",                None);

        #[track_caller]
        fn check(text: &str, expected: Option<&str>) {
            let address = listen(text, Ipv4Addr::UNSPECIFIED).ok().map(|a| a.to_string());
            assert_eq!(address.as_deref(), expected, "{text}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn the_operators_listener_is_out_of_reach_of_others() {
        check("off",              Some("off"));
        check("9145",             Some("127.0.0.1:9145"));
        check("[::1]:9145",       Some("[::1]:9145"));
        check("unix:/run/l.sock", Some("/run/l.sock"));
        check("/run/l.sock",      Some("/run/l.sock"));
        check("0.0.0.0:9145",     None);
        check("10.0.0.1:9145",    None);

        #[track_caller]
        fn check(text: &str, expected: Option<&str>) {
            let shown = AdminListen::from_text(text).ok().map(|listen| match listen.0 {
                None => "off".to_owned(),
                Some(AdminAddress::Tcp(address)) => address.to_string(),
                Some(AdminAddress::Unix(path)) => path.display().to_string(),
            });
            assert_eq!(shown.as_deref(), expected, "{text}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_peer_has_a_host_and_perhaps_a_port() {
        check("127.0.0.1:3001",    Some("127.0.0.1:3001"));
        check("app",               Some("app:80"));
        check("[::1]",             Some("[::1]:80"));
        check("[::1]:81",          Some("[::1]:81"));
        check("::1",               None);
        check("app:0",             None);
        check("app:+80",           None);
        check("app:99999",         None);
        check("a b:80",            None);
        check("",                  None);
        check("http://app:80",     None);
        check("unix:/run/a.sock",  Some("unix:/run/a.sock"));
        check("unix:a.sock",       None);
        check(&format!("unix:/{}", "a".repeat(107)), None);

        #[track_caller]
        fn check(text: &str, expected: Option<&str>) {
            let address = PeerAddress::from_text(text).ok().map(|peer| peer.0);
            assert_eq!(address.as_deref(), expected, "{text}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_target_is_a_url() {
        //    text                    host, port, uri
        check("http://backend",       Some(("backend", None, None)));
        check("http://backend/",      Some(("backend", None, Some("/"))));
        check("http://h:80/a?b=c",    Some(("h", Some(80), Some("/a?b=c"))));
        check("http://[::1]:3000",    Some(("[::1]", Some(3000), None)));
        check("https://h:8443/",      Some(("h", Some(8443), Some("/"))));
        check("ftp://h",              None);
        check("h:80",                 None);
        check("http://",              None);
        check("http://h?x",           None);
        check("http://h/a b",         None);
        check("http://h/\"",          None);
        check("http://h/$uri",        None);
        check("http://u@h/",          None);
        check("http://unix:/run/a",   Some(("unix:/run/a", None, None)));
        check("http://unix:/run/a:/", Some(("unix:/run/a", None, Some("/"))));
        check("http://unix:/a b:/c",  Some(("unix:/a b", None, Some("/c"))));
        check("http://unix:/run/a:c", None);
        check("http://unix:run/a",    None);

        #[track_caller]
        fn check(text: &str, expected: Option<(&str, Option<u16>, Option<&str>)>) {
            let target = ProxyTarget::from_text(text).ok();
            let parts = target.as_ref().map(|t| (t.host.as_str(), t.port, t.uri.as_deref()));
            assert_eq!(parts, expected, "{text}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn names_are_exact_or_suffixes() {
        check("Example.com",      "=example.com");
        check("*.example.com",    ".example.com");
        check(".example.com",     "=example.com .example.com");
        check("_",                "=_");
        check("*",                "wrong");
        check("www.*",            "www.*");
        check("WWW.a.*",          "www.a.*");
        check(".www.*",           "wrong");
        check("*.www.*",          "wrong");
        check("*example.com",     "wrong");
        check("example.com:80",   "wrong");
        check("http://a",         "wrong");
        check("~^A$",             "~^A$");
        check("~(",               "wrong");
        check("",                 "=");

        #[track_caller]
        fn check(text: &str, expected: &str) {
            let shown = Names::from_text(text).map_or("wrong".to_owned(), |names| {
                let one = |name: &HostName| match name {
                    HostName::Exact(host) => format!("={host}"),
                    HostName::Prefix(prefix) => format!("{prefix}*"),
                    HostName::Pattern(pattern) => format!("~{}", pattern.text),
                    HostName::Suffix(suffix) => suffix.clone(),
                };
                names.0.iter().map(one).collect::<Vec<_>>().join(" ")
            });
            assert_eq!(shown, expected, "{text}");
        }
    }

    #[test]
    fn a_dns_server_is_an_address() {
        let server = |text: &str| NameServer::from_text(text).ok().map(|server| server.0);
        assert_eq!(server("system"), Some(None));
        assert_eq!(server("10.0.0.2"), Some(Some("10.0.0.2:53".parse().unwrap())));
        assert_eq!(server("[::1]:5353"), Some(Some("[::1]:5353".parse().unwrap())));
        assert_eq!(server("::1"), Some(Some("[::1]:53".parse().unwrap())));
        for text in ["", "dns.example", "10.0.0.2:0", "10.0.0.2:x"] {
            assert_eq!(server(text), None, "{text}");
        }
    }

    #[test]
    fn a_net_is_an_address_or_a_prefix() {
        let net = |text: &str| Net::from_text(text).ok().map(|net| net.0.to_string());
        assert_eq!(net("127.0.0.1").as_deref(), Some("127.0.0.1/32"));
        assert_eq!(net("10.1.2.3/8").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(net("::1").as_deref(), Some("::1/128"));
        assert_eq!(net("localhost"), None);
    }
}
