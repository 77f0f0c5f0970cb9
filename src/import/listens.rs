//! Where servers listen, under which names, and who answers for what no name is for. (nginx: listen,
//! server_name)

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::Import;
use super::headers::expression;
use super::scope::Scope;
use super::tree::Directive;
use crate::address::{Address, SocketPath};

/// A server as its addresses are shared out.
#[derive(Debug)]
pub(super) struct Server<'a> {
    pub directive: &'a Directive,
    pub listens: Vec<Listen<'a>>,
    /// As ours are written; none is for a host that no request names.
    pub names: Vec<String>,
    /// Whether it has `server_name` at all.
    pub named: Vec<&'a Directive>,
}

/// An address of a server.
#[derive(Clone, Debug)]
pub(super) struct Listen<'a> {
    pub address: Address,
    pub default: bool,
    pub directive: Option<&'a Directive>,
}

/// What all servers of an address have in common.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shared {
    pub ssl: bool,
    pub http2: bool,
    pub proxy_protocol: bool,
    /// The number of the server that answers where no name fits.
    pub default: usize,
    is_default_written: bool,
}

/// All addresses.
pub(super) type Addresses = BTreeMap<Address, Shared>;

impl<'a> Server<'a> {
    /// The server of a block; what it says of its addresses goes to `addresses`.
    pub(super) fn new(
        import: &mut Import<'a>,
        (number, directive): (usize, &'a Directive),
        scope: &Scope<'a>,
        addresses: &mut Addresses,
    ) -> Self {
        let mut server =
            Self { directive, listens: Vec::new(), names: Vec::new(), named: Vec::new() };
        let written = scope.own(&["listen"]);
        for listen in &written {
            match read(import, listen) {
                Ok((several, shared, default)) => {
                    for address in several {
                        server.add((address, default, Some(listen)), (number, shared), addresses);
                    }
                }
                Err(why) => import.verdicts.unsupported(listen, &why),
            }
        }
        if written.is_empty() {
            // nginx's own default.
            let address = Address::Tcp(SocketAddr::from(([0, 0, 0, 0], 80)));
            server.add((address, false, None), (number, Shared::default()), addresses);
        }
        server.named = scope.own(&["server_name"]);
        for directive in server.named.clone() {
            names(import, directive, &mut server.names);
        }
        server
    }

    fn add(
        &mut self,
        (address, default, directive): (Address, bool, Option<&'a Directive>),
        (number, said): (usize, Shared),
        addresses: &mut Addresses,
    ) {
        if self.listens.iter().any(|listen| listen.address == address) {
            return;
        }
        self.listens.push(Listen { address, default, directive });
        let shared = addresses.entry(address).or_insert(Shared { default: number, ..said });
        shared.ssl |= said.ssl;
        shared.http2 |= said.http2;
        shared.proxy_protocol |= said.proxy_protocol;
        if default && !shared.is_default_written {
            (shared.default, shared.is_default_written) = (number, true);
        }
    }
}

/// The addresses, what is said for all servers that share it, and whether this one is the default.
fn read(
    import: &mut Import<'_>,
    directive: &Directive,
) -> Result<(Vec<Address>, Shared, bool), String> {
    let addresses = addresses(directive.arg(0))?;
    let mut shared = Shared::default();
    let mut default = false;
    import.verdicts.exact(directive);
    for text in directive.texts().skip(1) {
        match text.split('=').next().unwrap_or(text) {
            "ssl" => shared.ssl = true,
            "http2" => shared.http2 = true,
            "proxy_protocol" => shared.proxy_protocol = true,
            "default_server" | "default" => default = true,
            "quic" => return Err("there is no HTTP/3 here".to_owned()),
            "ipv6only" if text == "ipv6only=off" => {
                let how = "IPv6 only: add the address of IPv4 to `listen`";
                import.verdicts.differs(directive, how);
            }
            // Of the socket; all workers have one each, with a queue of its own.
            "reuseport" | "bind" | "deferred" | "ipv6only" => {}
            _ => import.verdicts.differs(directive, &format!("without `{text}`")),
        }
    }
    Ok((addresses, shared, default))
}

/// An address, or several that differ in their ports.
fn addresses(text: &str) -> Result<Vec<Address>, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = SocketPath::new(Path::new(path));
        let path = path.ok_or("the path of a socket is whole here, and 107 bytes at most")?;
        return Ok(vec![Address::Unix(path)]);
    }
    let last = text.rsplit_once('-').and_then(|(first, last)| Some((first, last.parse().ok()?)));
    let Some((first, last)) = last else {
        return address(text).map(|address| vec![Address::Tcp(address)]);
    };
    let first = address(first)?;
    let ports: std::ops::RangeInclusive<u16> = first.port()..=last;
    if ports.is_empty() || ports.len() > 1000 {
        return Err("a range has 1 to 1000 ports here".to_owned());
    }
    Ok(ports.map(|port| Address::Tcp(SocketAddr::new(first.ip(), port))).collect())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.strip_prefix("*:").unwrap_or(text);
    let text = match text.strip_prefix("localhost") {
        Some(rest) => format!("127.0.0.1{rest}"),
        None => text.to_owned(),
    };
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(&text);
    let of_port = || Some(SocketAddr::from(([0, 0, 0, 0], text.parse().ok()?)));
    let of_ip = || bare.parse().ok().map(|ip| SocketAddr::new(ip, 80));
    let any = || (text == "*").then(|| SocketAddr::from(([0, 0, 0, 0], 80)));
    let read = text.parse().ok().or_else(of_port).or_else(of_ip).or_else(any);
    read.filter(|address: &SocketAddr| address.port() != 0).ok_or_else(|| {
        format!("`{text}` is no address to listen on here: write an IP address and a port")
    })
}

fn names(import: &mut Import<'_>, directive: &Directive, names: &mut Vec<String>) {
    import.verdicts.exact(directive);
    for text in directive.texts() {
        let pattern = text.strip_prefix('~');
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._*".contains(c);
        let wrong = match pattern {
            Some(pattern) => expression(pattern, true).err(),
            None if text == "$hostname" => {
                let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
                let name = name.trim().to_ascii_lowercase();
                if !name.is_empty() && name.chars().all(plain) {
                    let how = format!("`{text}` is the name of this machine: `{name}`");
                    import.verdicts.differs(directive, &how);
                    names.push(name);
                    continue;
                }
                Some("write the name of the machine".to_owned())
            }
            None if text == "*" || !text.chars().all(plain) => {
                Some("is the name of no host".to_owned())
            }
            None => None,
        };
        match wrong {
            Some(why) => import.verdicts.differs(directive, &format!("without `{text}`: {why}")),
            None if names.iter().any(|known| known.eq_ignore_ascii_case(text)) => {}
            None => names.push(text.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{address, addresses};

    #[test]
    #[rustfmt::skip]
    fn addresses_are_those_of_nginx() {
        check("80",             Some("0.0.0.0:80"));
        check("*:8080",         Some("0.0.0.0:8080"));
        check("*",              Some("0.0.0.0:80"));
        check("127.0.0.1",      Some("127.0.0.1:80"));
        check("[::]:443",       Some("[::]:443"));
        check("[::1]",          Some("[::1]:80"));
        check("localhost:81",   Some("127.0.0.1:81"));
        check("example.com:80", None);

        #[track_caller]
        fn check(text: &str, expected: Option<&str>) {
            assert_eq!(address(text).ok().map(|a| a.to_string()).as_deref(), expected, "{text}");
        }
        let ports = |text| addresses(text).map(|all| all.iter().filter_map(|a| a.port()).collect::<Vec<_>>());
        assert_eq!(ports("127.0.0.1:8000-8002"), Ok(vec![8000, 8001, 8002]));
        let socket = |text| addresses(text).map(|all| all[0].to_string());
        assert_eq!(socket("unix:/run/a-1.sock"), Ok("unix:/run/a-1.sock".to_owned()));
        assert!(socket("unix:a.sock").is_err());
        assert!(ports("1-65535").is_err() && ports("9-8").is_err());
    }
}
