//! Who asks, as far as it can be believed, and whether that address may.
//! (nginx: realip, access; RFC 7239)

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::Refusal;
use crate::address::Remote;
use crate::client::Connection;
use crate::config::{AccessRule, RealIp, RealIpSource, is_in};
use crate::semantics::reason::Reason;

/// Who asks: the peer of the connection, or whom it names if it is one that is believed. A value
/// that is no address changes nothing.
pub(super) fn real(connection: &Connection, fields: &HeaderMap, real_ip: &RealIp) -> Remote {
    let peer = connection.remote;
    if !is_in(&real_ip.from, peer) {
        return peer;
    }
    match &real_ip.source {
        RealIpSource::ProxyProtocol => {
            connection.proxied.as_ref().map_or(peer, |proxied| canonical(proxied.source).into())
        }
        RealIpSource::Forwarded => {
            let named = last_first(fields, &header::FORWARDED).map(forwarded_for);
            believed(peer, named, real_ip)
        }
        RealIpSource::Field(name) => believed(peer, last_first(fields, name).map(address), real_ip),
    }
}

/// Goes on from the peer to the one before it, as far as those who say so are believed, and once
/// only unless it is `recursive`. (nginx: ngx_http_get_forwarded_addr)
fn believed(
    peer: Remote,
    named: impl Iterator<Item = Option<SocketAddr>>,
    real_ip: &RealIp,
) -> Remote {
    let mut client = peer;
    for named in named {
        let Some(address) = named else { break };
        client = address.into();
        if !real_ip.recursive || !is_in(&real_ip.from, client) {
            break;
        }
    }
    client
}

/// The members of a list field, the last one first.
fn last_first<'a>(fields: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let mut lines: Vec<&str> =
        fields.get_all(name).iter().map(|value| value.to_str().unwrap_or("")).collect();
    lines.reverse();
    lines.into_iter().flat_map(|line| Members(Some(line)))
}

/// The members of one line, the last one first; a comma within quotes is none between members.
struct Members<'a>(Option<&'a str>);

impl<'a> Iterator for Members<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let line = self.0?;
        let mut quoted = false;
        let comma = line.bytes().rposition(|byte| {
            quoted ^= byte == b'"';
            byte == b',' && !quoted
        });
        self.0 = comma.map(|at| &line[..at]);
        Some(comma.map_or(line, |at| &line[at + 1..]).trim())
    }
}

/// An address, with or without a port, IPv6 with or without brackets where it has none.
fn address(text: &str) -> Option<SocketAddr> {
    let plain = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = plain.parse().map(|ip: IpAddr| SocketAddr::new(ip, 0));
    address.or_else(|_| text.parse()).ok().map(canonical)
}

/// The address of `for=` in a member of `Forwarded`; `None` for `unknown` and for made-up names.
fn forwarded_for(member: &str) -> Option<SocketAddr> {
    let mut pairs = member.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    address(bare.unwrap_or(value))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// What the first rule for a client says; `None` where no rule is for it.
pub(super) fn rule(rules: &[AccessRule], remote: Remote) -> Option<bool> {
    let names = |rule: &&AccessRule| rule.whom.is_none_or(|whom| whom.has(remote));
    rules.iter().find(names).map(|rule| rule.allow)
}

pub(super) fn denied() -> Refusal {
    Refusal {
        status: StatusCode::FORBIDDEN,
        reason: Reason::Denied,
        challenges: Vec::new(),
        retry_after_s: None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::client::Proxied;
    use crate::config::Clients;

    const TRUSTED: &str = "10.0.0.1:9";

    #[test]
    #[rustfmt::skip]
    fn the_last_address_that_a_trusted_peer_adds_counts() {
        //    peer            lines                                       once               recursive
        check(TRUSTED,        &["1.2.3.4"],                               "1.2.3.4:0",       "1.2.3.4:0");
        check(TRUSTED,        &["1.2.3.4:567"],                           "1.2.3.4:567",     "1.2.3.4:567");
        check(TRUSTED,        &["1.2.3.4, 5.6.7.8"],                      "5.6.7.8:0",       "5.6.7.8:0");
        check(TRUSTED,        &["1.2.3.4, 10.9.9.9"],                     "10.9.9.9:0",      "1.2.3.4:0");
        check(TRUSTED,        &["9.9.9.9,1.2.3.4,10.9.9.9 , 10.8.8.8"],   "10.8.8.8:0",      "1.2.3.4:0");
        check(TRUSTED,        &["1.2.3.4", "10.9.9.9"],                   "10.9.9.9:0",      "1.2.3.4:0");
        check(TRUSTED,        &["10.1.1.1, 10.2.2.2"],                    "10.2.2.2:0",      "10.1.1.1:0");
        check(TRUSTED,        &["2001:db8::1"],                           "[2001:db8::1]:0", "[2001:db8::1]:0");
        check(TRUSTED,        &["[2001:db8::1]"],                         "[2001:db8::1]:0", "[2001:db8::1]:0");
        check(TRUSTED,        &["[2001:db8::1]:80"],                      "[2001:db8::1]:80", "[2001:db8::1]:80");
        check(TRUSTED,        &["::ffff:1.2.3.4"],                        "1.2.3.4:0",       "1.2.3.4:0");
        // What is no address changes nothing, and nothing before it is believed.
        check(TRUSTED,        &[],                                        TRUSTED,           TRUSTED);
        check(TRUSTED,        &[""],                                      TRUSTED,           TRUSTED);
        check(TRUSTED,        &["1.2.3.4, x"],                            TRUSTED,           TRUSTED);
        check(TRUSTED,        &["1.2.3.4,"],                              TRUSTED,           TRUSTED);
        check(TRUSTED,        &["1.2.3.4, x, 10.2.2.2"],                  "10.2.2.2:0",      "10.2.2.2:0");
        check(TRUSTED,        &["\u{e9}"],                                TRUSTED,           TRUSTED);
        // One over a unix socket may be.
        check("unix:",        &["1.2.3.4"],                               "1.2.3.4:0",       "1.2.3.4:0");
        check("unix:",        &["x"],                                     "unix:",           "unix:");
        // A stranger is not believed.
        check("9.9.9.9:1",    &["1.2.3.4"],                               "9.9.9.9:1",       "9.9.9.9:1");
        check("[::ffff:10.0.0.1]:9", &["1.2.3.4"],                        "1.2.3.4:0",       "1.2.3.4:0");
    }

    #[test]
    #[rustfmt::skip]
    fn forwarded_names_the_client_in_for() {
        check_forwarded("for=1.2.3.4",                                     "1.2.3.4:0");
        check_forwarded("For=\"[2001:db8::1]:4711\"; proto=http;by=\"a,b\"", "[2001:db8::1]:4711");
        check_forwarded("for=1.2.3.4, for=10.2.2.2;proto=https",           "1.2.3.4:0");
        check_forwarded("proto=https;for=\"1.2.3.4:80\"",                  "1.2.3.4:80");
        check_forwarded("for=unknown",                                     TRUSTED);
        check_forwarded("for=_hidden",                                     TRUSTED);
        check_forwarded("for=1.2.3.4, by=10.2.2.2",                        TRUSTED);
        check_forwarded("for=\"1.2.3.4",                                   TRUSTED);
        check_forwarded("1.2.3.4",                                         TRUSTED);
    }

    #[test]
    fn the_proxy_protocol_counts_where_its_peer_is_trusted() {
        let settings = settings(RealIpSource::ProxyProtocol, false);
        let proxied = |peer: &str| Connection {
            proxied: Some(Box::new(Proxied {
                source: "1.2.3.4:5".parse().unwrap(),
                destination: "5.6.7.8:443".parse().unwrap(),
            })),
            ..connection(peer)
        };
        let seen = |peer| real(&proxied(peer), &HeaderMap::new(), &settings).to_string();
        assert_eq!(seen(TRUSTED), "1.2.3.4:5");
        assert_eq!(seen("9.9.9.9:1"), "9.9.9.9:1");
        assert_eq!(real(&connection(TRUSTED), &HeaderMap::new(), &settings).to_string(), TRUSTED);
    }

    #[test]
    #[rustfmt::skip]
    fn the_first_rule_for_an_address_counts() {
        check_rule("1.2.3.4",          Some(false));
        check_rule("10.1.2.3",         Some(true));
        check_rule("10.0.0.66",        Some(false));
        check_rule("::ffff:10.1.2.3",  Some(true));
        check_rule("::1",              None);
        check_rule("unix:",            Some(true));
    }

    #[track_caller]
    fn check_rule(address: &str, expected: Option<bool>) {
        let rule = |allow, net: &str| AccessRule { allow, whom: Some(clients(net)) };
        let rules = [
            rule(false, "10.0.0.66/32"),
            rule(true, "10.0.0.0/8"),
            rule(false, "0.0.0.0/0"),
            rule(true, "unix:"),
        ];
        let remote = address.parse().map_or(Remote::Unix, |ip| Remote::Tcp(SocketAddr::new(ip, 9)));
        assert_eq!(super::rule(&rules, remote), expected, "{address}");
        let all = [AccessRule { allow: false, whom: None }];
        assert_eq!(super::rule(&all, remote), Some(false));
    }

    #[track_caller]
    fn check(peer: &str, lines: &[&str], once: &str, recursive: &str) {
        let name = HeaderName::from_static("x-forwarded-for");
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(&name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        for (is_recursive, expected) in [(false, once), (true, recursive)] {
            let settings = settings(RealIpSource::Field(name.clone()), is_recursive);
            let found = real(&connection(peer), &fields, &settings);
            assert_eq!(found.to_string(), expected, "{lines:?}, recursive: {is_recursive}");
        }
    }

    #[track_caller]
    fn check_forwarded(line: &str, expected: &str) {
        let mut fields = HeaderMap::new();
        fields.insert(header::FORWARDED, line.parse().unwrap());
        let settings = settings(RealIpSource::Forwarded, true);
        assert_eq!(real(&connection(TRUSTED), &fields, &settings).to_string(), expected, "{line}");
    }

    fn clients(text: &str) -> Clients {
        text.parse().map_or(Clients::Unix, Clients::Net)
    }

    fn settings(source: RealIpSource, recursive: bool) -> RealIp {
        RealIp { from: vec![clients("10.0.0.0/8"), Clients::Unix], source, recursive }
    }

    fn connection(peer: &str) -> Connection {
        let local: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let remote = peer.parse().map_or(Remote::Unix, Remote::Tcp);
        Connection::plain(remote, local)
    }
}
