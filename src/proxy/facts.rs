//! What the variables of a template stand for. (nginx: embedded variables)

use std::io::Write;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use super::Worker;
use super::call::Call;
use super::gate::Outcome;
use super::outgoing;
use super::way::upstream_named;
use crate::client::{Connection, Tls, Verified};
use crate::clock::Clock;
use crate::config::template::{Busy, Facts, Ssl, Variable};
use crate::observe::line::{write_seconds, write_time};
use crate::semantics::date::Timestamp;

impl Facts for Call<'_> {
    fn write(&self, variable: &Variable, out: &mut Vec<u8>) {
        let request = self.request;
        let query = request.uri.query();
        let mut text = |text: &str| out.extend_from_slice(text.as_bytes());
        match variable {
            Variable::Scheme => text(self.connection.scheme()),
            Variable::Https => text(if self.connection.tls.is_some() { "on" } else { "" }),
            Variable::Ssl(fact) => {
                if let Some(tls) = &self.connection.tls {
                    write_ssl(tls, *fact, out);
                }
            }
            Variable::Host => text(self.host_or_name()),
            Variable::RequestUri => text(self.original_uri()),
            Variable::Uri => text(self.path),
            Variable::UpstreamUri => text(&outgoing::uri(self, request.uri.query())),
            Variable::Args => text(query.unwrap_or("")),
            Variable::IsArgs => text(query.map_or("", |_| "?")),
            Variable::Arg(name) => text(argument(query.unwrap_or(""), name)),
            Variable::RequestMethod => text(request.method.as_str()),
            Variable::ServerProtocol => text(protocol(request.version)),
            Variable::ServerName => text(&self.site.name),
            Variable::ProxyHost => text(self.proxy_host()),
            Variable::ProxyPort => text(self.proxy_port()),
            Variable::Request => {
                let uri = self.original_uri();
                write_to(
                    out,
                    format_args!("{} {uri} {}", request.method, protocol(request.version)),
                );
            }
            Variable::RequestId => write_to(out, format_args!("{:032x}", fastrand::u128(..))),
            Variable::Http(name) => write_joined(&request.headers, name, out),
            Variable::ContentLength => write_joined(&request.headers, &header::CONTENT_LENGTH, out),
            Variable::ContentType => write_joined(&request.headers, &header::CONTENT_TYPE, out),
            Variable::Cookie(name) => write_cookie(&request.headers, name, out),
            Variable::RemoteUser => {
                let authorization = request.headers.get(header::AUTHORIZATION);
                if let Some(user) = authorization.and_then(crate::observe::line::remote_user) {
                    out.extend_from_slice(&user);
                }
            }
            Variable::ProxyAddXForwardedFor => {
                write_joined(&request.headers, &X_FORWARDED_FOR, out);
                let separator =
                    if request.headers.contains_key(&X_FORWARDED_FOR) { ", " } else { "" };
                write_to(out, format_args!("{separator}{}", self.remote.host()));
            }
            Variable::Capture(number) => {
                self.way.into_iter().for_each(|way| way.write_number(*number, out));
            }
            Variable::Named(name) => {
                self.way.into_iter().for_each(|way| way.write_named(name, out))
            }
            Variable::Told(name) => self.way.into_iter().for_each(|way| way.told.write(name, out)),
            Variable::Map(map) => map.write(self, out),
            // Known only once there is a response, or never.
            Variable::UpstreamCacheStatus
            | Variable::Tried(_)
            | Variable::UpstreamHttp(_)
            | Variable::UpstreamCookie(_)
            | Variable::SentHttp(_)
            | Variable::RequestCompletion
            | Variable::Status => {}
            other => self.write_place(other, out),
        }
    }
}

/// Since the connection was let in.
pub(super) fn write_connection_time(connection: &Connection, out: &mut Vec<u8>) {
    let begun = connection.begun.into_iter();
    begun.for_each(|begun| {
        write_seconds(out, Clock::Real.instant().saturating_duration_since(begun))
    });
}

/// As nginx writes ports: nothing where there is none.
pub(super) fn port(port: Option<u16>) -> String {
    port.map(|port| port.to_string()).unwrap_or_default()
}

impl<'a> Call<'a> {
    /// nginx: the request's host, or the site's name where an old client named none.
    fn host_or_name(&self) -> &'a str {
        if self.host.is_empty() { &self.site.name } else { self.host }
    }

    /// What does not depend on the request's head: who asks, whom, and when.
    fn write_place(&self, variable: &Variable, out: &mut Vec<u8>) {
        let mut text = |text: &str| out.extend_from_slice(text.as_bytes());
        match variable {
            Variable::RemoteAddr => write_to(out, format_args!("{}", self.remote.host())),
            Variable::RemotePort => text(&port(self.remote.port())),
            Variable::BinaryRemoteAddr => match self.remote.ip() {
                Some(IpAddr::V4(ip)) => out.extend_from_slice(&ip.octets()),
                Some(IpAddr::V6(ip)) => out.extend_from_slice(&ip.octets()),
                None => write_to(out, format_args!("{}", self.remote.host())),
            },
            Variable::RealipRemoteAddr => {
                write_to(out, format_args!("{}", self.connection.remote.host()));
            }
            Variable::RealipRemotePort => text(&port(self.connection.remote.port())),
            Variable::ProxyProtocolAddr
            | Variable::ProxyProtocolPort
            | Variable::ProxyProtocolServerAddr
            | Variable::ProxyProtocolServerPort => self.write_proxied(variable, out),
            Variable::LimitReqStatus => text(self.limited.requests.map_or("", Outcome::word)),
            Variable::LimitConnStatus => text(self.limited.connections.map_or("", Outcome::word)),
            Variable::ServerAddr => write_to(out, format_args!("{}", self.connection.local.host())),
            Variable::ServerPort => text(&port(self.connection.local.port())),
            Variable::RequestTime => {
                let now = Timestamp::from(self.worker.proxy.clock.now());
                write_seconds(out, now.since(self.now));
            }
            Variable::RequestLength => {
                let sent = self.request.headers.get(header::CONTENT_LENGTH);
                let body = sent.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
                let line = self.request.method.as_str().len()
                    + self.original_uri().len()
                    + protocol(self.request.version).len();
                let head = head_length(line + 2, &self.request.headers);
                write_to(out, format_args!("{}", head + body.unwrap_or(0)));
            }
            Variable::BytesSent | Variable::BodyBytesSent => text("0"),
            Variable::Pipe => text("."),
            Variable::Version => text(env!("CARGO_PKG_VERSION")),
            Variable::Hostname => text(hostname()),
            Variable::Pid => write_to(out, format_args!("{}", std::process::id())),
            Variable::Busy(busy) => write_to(out, format_args!("{}", self.worker.busy(*busy))),
            Variable::Msec | Variable::TimeIso8601 | Variable::TimeLocal => {
                write_time(self.worker.proxy.clock.wall(), variable, out);
            }
            other => self.write_way_in(other, out),
        }
    }

    /// How the request came.
    fn write_way_in(&self, variable: &Variable, out: &mut Vec<u8>) {
        let mut text = |text: &str| out.extend_from_slice(text.as_bytes());
        match variable {
            Variable::Connection => write_to(out, format_args!("{}", self.connection.number)),
            Variable::ConnectionRequests => {
                write_to(out, format_args!("{}", self.connection.requests.load(Relaxed)));
            }
            Variable::ConnectionTime => write_connection_time(self.connection, out),
            Variable::Http2 if self.request.version == Version::HTTP_2 => {
                text(if self.connection.tls.is_some() { "h2" } else { "h2c" });
            }
            Variable::RequestPort => text(self.request_port().unwrap_or("")),
            Variable::IsRequestPort => text(self.request_port().map_or("", |_| ":")),
            _ => {}
        }
    }

    /// nginx: $request_uri is that of the client, even while somebody else is asked about it.
    pub(super) fn original_uri(&self) -> &'a str {
        let sent = || self.way.and_then(|way| way.sent.as_ref()?.path_and_query());
        let sent = || sent().map(|target| target.as_str());
        self.original.or_else(sent).unwrap_or_else(|| self.request_uri())
    }

    /// The port that the client names with the host.
    fn request_port(&self) -> Option<&'a str> {
        let authority = self.target().authority;
        let (_, port) = authority.rsplit_once(':')?;
        let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        is_port.then_some(port)
    }

    fn write_proxied(&self, variable: &Variable, out: &mut Vec<u8>) {
        let Some(proxied) = self.connection.proxied.as_deref() else { return };
        match variable {
            Variable::ProxyProtocolAddr => write_to(out, format_args!("{}", proxied.source.ip())),
            Variable::ProxyProtocolPort => write_to(out, format_args!("{}", proxied.source.port())),
            Variable::ProxyProtocolServerAddr => {
                write_to(out, format_args!("{}", proxied.destination.ip()));
            }
            _ => write_to(out, format_args!("{}", proxied.destination.port())),
        }
    }

    /// nginx: $proxy_host.
    pub(super) fn proxy_host(&self) -> &'a str {
        upstream_named(self.way).unwrap_or_else(|| self.route.proxy_host())
    }

    fn proxy_port(&self) -> &'a str {
        let port = self.proxy_host().rsplit_once(':').map(|(_, port)| port);
        let port = port.filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
        let https = self.route.settings.action.proxy().is_some_and(|proxy| proxy.https);
        port.unwrap_or(if https { "443" } else { "80" })
    }
}

impl Worker {
    /// As nginx counts: a request from when it begins, and what is not read nor waits is written.
    fn busy(&self, busy: Busy) -> u64 {
        let load = (self.proxy.loads)();
        let writing = load.active.saturating_sub(load.reading + load.waiting);
        match busy {
            Busy::Active => load.active,
            Busy::Reading => load.reading,
            Busy::Writing => writing,
            Busy::Waiting => load.waiting,
            Busy::Accepted => load.accepted,
            Busy::Requests => self.proxy.metrics.snapshot().requests + writing,
        }
    }
}

/// Bytes of a head whose first line is so long, as HTTP/1 has it.
pub(super) fn head_length(line: usize, fields: &HeaderMap) -> u64 {
    let field = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    (line + fields.iter().map(field).sum::<usize>() + 4) as u64
}

pub(super) fn write_ssl(tls: &Tls, fact: Ssl, out: &mut Vec<u8>) {
    let certificate = &tls.certificate;
    let text = match fact {
        Ssl::Protocol => tls.protocol,
        Ssl::Cipher => tls.cipher,
        Ssl::ServerName => tls.server_name.as_deref().unwrap_or(""),
        Ssl::SessionReused => {
            if tls.resumed {
                "r"
            } else {
                "."
            }
        }
        Ssl::ClientSDn => &certificate.subject,
        Ssl::ClientIDn => &certificate.issuer,
        Ssl::ClientSerial => &certificate.serial,
        Ssl::ClientFingerprint => &certificate.fingerprint,
        Ssl::AlpnProtocol => tls.alpn,
        Ssl::Curve => tls.curve,
        // It is never taken.
        Ssl::EarlyData => "",
        Ssl::ClientVerify => match &certificate.verified {
            Verified::None => "NONE",
            Verified::Success => "SUCCESS",
            Verified::Failed(reason) => return write_to(out, format_args!("FAILED:{reason}")),
        },
    };
    out.extend_from_slice(text.as_bytes());
}

/// The name of this machine, as it was when it was first asked for.
pub(super) fn hostname() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        name.trim().to_ascii_lowercase()
    })
}

fn write_to(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    let _ = out.write_fmt(text);
}

pub(super) fn write_joined(fields: &HeaderMap, name: &HeaderName, out: &mut Vec<u8>) {
    for (number, value) in fields.get_all(name).iter().enumerate() {
        if number > 0 {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(value.as_bytes());
    }
}

/// The value of a cookie that a response sets.
pub(super) fn write_set_cookie(fields: &HeaderMap, name: &str, out: &mut Vec<u8>) {
    for line in fields.get_all(header::SET_COOKIE) {
        let pair = line.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        if let Some(rest) = pair.trim_ascii().strip_prefix(name.as_bytes())
            && let Some(value) = rest.strip_prefix(b"=")
        {
            return out.extend_from_slice(value);
        }
    }
}

fn write_cookie(fields: &HeaderMap, name: &str, out: &mut Vec<u8>) {
    let cookies = fields
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    for cookie in cookies.map(<[u8]>::trim_ascii) {
        if let Some(rest) = cookie.strip_prefix(name.as_bytes())
            && let Some(value) = rest.strip_prefix(b"=")
        {
            return out.extend_from_slice(value);
        }
    }
}

/// The first parameter of a query with this name; names match without case, as nginx has it.
pub(super) fn argument<'a>(query: &'a str, name: &str) -> &'a str {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
}

pub(super) fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
