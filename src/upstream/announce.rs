//! The PROXY protocol towards peers: whose connection this is, before its first byte. (HAProxy,
//! "The PROXY protocol", versions 1 and 2; nginx: proxy_protocol of the stream module)

use std::net::{IpAddr, SocketAddr};

use proxy_header::{ProxiedAddress, ProxyHeader};

use crate::config::ProxyProtocol;

/// For whom a request is sent; lies in its extensions where the group wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The client.
    pub source: SocketAddr,
    /// What it connected to.
    pub destination: SocketAddr,
}

/// What is sent ahead. Without a client the connection is our own: `LOCAL`, or `UNKNOWN` in
/// version 1, which has no such word.
pub(super) fn header(version: ProxyProtocol, client: Option<&Announced>) -> Vec<u8> {
    let header = match client {
        Some(client) => ProxyHeader::with_address(proxied(client)),
        None => ProxyHeader::with_local(),
    };
    let mut bytes = Vec::new();
    let encoded = match version {
        ProxyProtocol::V1 => header.encode_v1(&mut bytes),
        ProxyProtocol::V2 => header.encode_v2(&mut bytes),
    };
    debug_assert!(encoded.is_ok(), "addresses of one family always have a form");
    bytes
}

/// Both addresses in one family, as the protocol wants them.
fn proxied(client: &Announced) -> ProxiedAddress {
    let canonical = |address: SocketAddr| (address.ip().to_canonical(), address.port());
    let (source, destination) = (canonical(client.source), canonical(client.destination));
    let one_family = source.0.is_ipv4() == destination.0.is_ipv4();
    let form = |(ip, port): (IpAddr, u16)| {
        let ip = match ip {
            IpAddr::V4(ip) if !one_family => IpAddr::V6(ip.to_ipv6_mapped()),
            ip => ip,
        };
        SocketAddr::new(ip, port)
    };
    ProxiedAddress::stream(form(source), form(destination))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(source: &str, destination: &str) -> Announced {
        Announced { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    #[test]
    #[rustfmt::skip]
    fn version_1_is_a_line() {
        let line = |source, destination| {
            let line = header(ProxyProtocol::V1, Some(&client(source, destination)));
            String::from_utf8(line).unwrap()
        };
        assert_eq!(line("192.0.2.1:50", "10.0.0.1:80"), "PROXY TCP4 192.0.2.1 10.0.0.1 50 80\r\n");
        assert_eq!(line("[::ffff:192.0.2.1]:50", "10.0.0.1:80"), "PROXY TCP4 192.0.2.1 10.0.0.1 50 80\r\n");
        assert_eq!(line("[2001:db8::1]:50", "10.0.0.1:80"), "PROXY TCP6 2001:db8::1 ::ffff:10.0.0.1 50 80\r\n");
        assert_eq!(header(ProxyProtocol::V1, None), b"PROXY UNKNOWN\r\n");
    }

    #[test]
    fn version_2_says_whose_it_is_or_that_it_is_our_own() {
        let bytes = header(ProxyProtocol::V2, Some(&client("192.0.2.1:50", "10.0.0.1:80")));
        let expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\x0a\0\0\x01\0\x32\0\x50";
        assert_eq!(bytes, expected);
        let local = header(ProxyProtocol::V2, None);
        assert_eq!(local[..13], *b"\r\n\r\n\0\r\nQUIT\n\x20");
    }
}
