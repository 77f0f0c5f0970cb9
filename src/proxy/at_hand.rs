//! The answer to a plain GET that is fresh and at hand, a 304 included, as the bytes that go out.
//! The shortest way through the proxy: what it does is what the steps do for such a request, and
//! where a step would do more it gives up, so that they do it.
//!
//! ```text
//!   host -> site -> route -> key -> lookup -> fresh? -> head and body
//!     '------'-------'--------'--------'---------'---> None: the usual way
//! ```

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use http::{HeaderName, Method, StatusCode, Uri, Version, header};

use super::Worker;
use super::admit::bare_host;
use super::deliver::OF_A_BODY;
use super::facts;
use super::finish;
use super::heads::{self, Spellings};
use super::hidden::X_ACCEL_LIMIT_RATE;
use super::hosts::Hosts;
use super::key::KEY_CAPACITY;
use super::record;
use super::route::{Cache, Route, Site, is_normal};
use crate::body::Body;
use crate::cache::lookup::{Found, Key, Lookup};
use crate::client::Connection;
use crate::config;
use crate::config::template::{Facts, Part, Template, Variable};
use crate::observe::exchange::{Exchange, Logged, RequestFacts};
use crate::observe::line::remote_user;
use crate::observe::logs::Logs;
use crate::plain_get::PlainGet;
use crate::semantics::date::Timestamp;
use crate::semantics::demand::Demand;
use crate::semantics::precondition::{self, Met};
use crate::semantics::reason::Reason;
use crate::semantics::reuse::{self, Reuse};
use crate::semantics::rules::Preconditions;
use crate::semantics::status::{CacheStatus, DIGITS_MAX, decimal};

impl Worker {
    /// Answers a plain GET that came to a listener with these hosts, if a stored response is at
    /// hand for it: its head is appended to `out`, its body is returned. Whoever gets an answer sends
    /// it; the exchange is recorded, or will be when the body ends.
    pub fn at_hand(
        self: &Arc<Self>,
        hosts: &Hosts,
        connection: &Connection,
        get: &PlainGet<'_>,
        out: &mut Vec<u8>,
    ) -> Option<Body> {
        if hosts.isolates {
            return None;
        }
        let host = bare_host(get.host).filter(|host| !host.is_empty())?;
        let site = hosts.find(&host)?;
        let path = get.path();
        if !site.is_plain || !is_normal(path.as_bytes()) {
            return None;
        }
        let route = site.find(path)?;
        let cache = route.at_hand()?;
        let now = Timestamp::from(self.proxy.clock.now());
        let asked = Asked { get, host: &host, site, route, connection };
        let found = asked.find(cache, now)?;
        let is_304 = has_it(get, cache, &found)?;
        let status = if is_304 { StatusCode::NOT_MODIFIED } else { found.stored.status };
        if finish::replaces(&route.settings.finish, status) {
            return None;
        }
        let length = (!is_304).then(|| found.body.len());
        let wall = || Timestamp::from(self.proxy.clock.wall());
        let times = (now, route.settings.heads.date_now.then(wall));
        let before = out.len();
        write_head((route, cache), (get, &found), (status, length), times, out)?;
        let exchange = self.hit(&asked, cache, (status, out.len() - before))?;
        let body = length.map_or_else(Body::empty, |length| found.body.stream(0..length));
        Some(record::at_hand(self, exchange, body))
    }

    /// What is recorded of such an answer.
    fn hit(
        &self,
        asked: &Asked<'_>,
        cache: &Cache,
        (status, head_bytes): (StatusCode, usize),
    ) -> Option<Exchange> {
        let get = asked.get;
        let logged = asked.route.logs.as_ref().map(|logs| logged(asked, logs, head_bytes));
        let request = match &logged {
            Some(_) => Some(Box::new(RequestFacts {
                started: self.proxy.clock.instant(),
                client: asked.connection.remote,
                method: Method::GET,
                target: Uri::try_from(get.target).ok()?,
                version: Version::HTTP_11,
                authorization: get.field(&header::AUTHORIZATION),
                referer: get.field(&header::REFERER),
                user_agent: get.field(&header::USER_AGENT),
            })),
            None => None,
        };
        Some(Exchange {
            request,
            status: status.as_u16(),
            cache: Some(CacheStatus::Hit),
            reason: Reason::Fresh,
            zone: Some(cache.zone_number),
            tried: Vec::new(),
            logged,
        })
    }
}

/// Where such an answer is logged, with what its lines say.
fn logged(asked: &Asked<'_>, logs: &Arc<Logs>, head_bytes: usize) -> Box<Logged> {
    let has = |name: &HeaderName| asked.get.lines(name.as_str()).next().is_some();
    let is_there = |variable: &Variable| matches!(variable, Variable::Http(name) if has(name));
    let mut kept = logs.keep(asked, is_there);
    kept.head_bytes = head_bytes as u64;
    Box::new(Logged { logs: Arc::clone(logs), kept })
}

impl Route {
    /// Its cache, if nothing but what a plain GET says counts for its answers.
    fn at_hand(&self) -> Option<&Arc<Cache>> {
        let says_more = self.settings.client.is_some();
        if !self.is_plain
            || says_more
            || self.lines.added.is_none()
            || self.gate.is_some()
            || self.files.is_some()
        {
            return None;
        }
        if self.logs.as_ref().is_some_and(|logs| !logs.all_asked(is_known)) {
            return None;
        }
        let cache = self.caching.always_one()?;
        let nothing_learnt = !cache.keying.learns || cache.zone.queries.is_empty();
        (cache.keying.takes_plain_get && nothing_learnt && self.takes(&Method::GET))
            .then_some(cache)
    }
}

/// Whether nothing of how a route caches needs more than a plain GET says.
pub(super) fn takes_plain_get(settings: &config::Cache) -> bool {
    settings.methods.contains(&Method::GET)
        && settings.bypass.is_empty()
        && settings.slice.is_none()
        && knows_key(&settings.key)
}

/// Whether the key that a template gives a plain GET can be told without the usual steps.
fn knows_key(key: &Template) -> bool {
    use Variable::{Args, Host, IsArgs, ProxyHost, RequestMethod, RequestUri, Scheme, ServerName};
    key.parts.iter().all(|part| match part {
        Part::Literal(_) => true,
        Part::Variable(variable) => matches!(
            variable,
            Args | Host | IsArgs | ProxyHost | RequestMethod | RequestUri | Scheme | ServerName
        ),
    })
}

/// Whether a plain GET that is answered here says a variable.
fn is_known(variable: &Variable) -> bool {
    use Variable as V;
    match variable {
        V::Args | V::Host | V::IsArgs | V::ProxyHost | V::RequestMethod => true,
        V::RequestUri | V::Scheme | V::ServerName | V::Uri | V::Request => true,
        V::ServerProtocol | V::RemoteAddr | V::RemotePort | V::ServerAddr => true,
        V::ServerPort | V::RemoteUser | V::RequestId | V::Http(_) | V::Https => true,
        V::UpstreamCacheStatus | V::Tried(_) | V::Arg(_) => true,
        V::Hostname | V::Pid | V::Connection | V::ConnectionRequests => true,
        V::ConnectionTime => true,
        V::Pipe | V::Version | V::Ssl(_) | V::Map(_) => true,
        other => other.is_late(),
    }
}

/// A plain GET with what its way found out.
struct Asked<'a> {
    get: &'a PlainGet<'a>,
    host: &'a str,
    site: &'a Site,
    route: &'a Route,
    connection: &'a Connection,
}

impl Facts for Asked<'_> {
    fn write(&self, variable: &Variable, out: &mut Vec<u8>) {
        let text = match variable {
            Variable::Scheme => self.connection.scheme(),
            Variable::Host => self.host,
            Variable::RequestUri => self.get.target,
            Variable::Args => self.get.query().unwrap_or(""),
            Variable::IsArgs => self.get.query().map_or("", |_| "?"),
            Variable::RequestMethod => "GET",
            Variable::ServerName => &self.site.name,
            Variable::ProxyHost => self.route.proxy_host(),
            // `knows_key` knows no others.
            other => return self.write_for_log(other, out),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

impl Asked<'_> {
    /// What only logs ask for: `is_known`.
    fn write_for_log(&self, variable: &Variable, out: &mut Vec<u8>) {
        let connection = self.connection;
        let shown = match variable {
            Variable::Uri => self.get.path().to_owned(),
            Variable::Request => format!("GET {} HTTP/1.1", self.get.target),
            Variable::ServerProtocol => "HTTP/1.1".to_owned(),
            Variable::RemoteAddr => connection.remote.host().to_string(),
            Variable::RemotePort => facts::port(connection.remote.port()),
            Variable::ServerAddr => connection.local.host().to_string(),
            Variable::ServerPort => facts::port(connection.local.port()),
            Variable::RequestId => format!("{:032x}", fastrand::u128(..)),
            Variable::Arg(name) => facts::argument(self.get.query().unwrap_or(""), name).to_owned(),
            Variable::Https => connection.tls.as_ref().map_or("", |_| "on").to_owned(),
            Variable::UpstreamCacheStatus => CacheStatus::Hit.word().to_owned(),
            Variable::Connection => connection.number.to_string(),
            // It is counted when it is answered.
            Variable::ConnectionRequests => (connection.requests.load(Relaxed) + 1).to_string(),
            Variable::ConnectionTime => return facts::write_connection_time(connection, out),
            Variable::Hostname => facts::hostname().to_owned(),
            Variable::Pid => std::process::id().to_string(),
            Variable::Pipe => ".".to_owned(),
            Variable::Version => env!("CARGO_PKG_VERSION").to_owned(),
            Variable::RemoteUser => {
                let field = self.get.field(&header::AUTHORIZATION);
                return out.extend(field.and_then(|field| remote_user(&field)).unwrap_or_default());
            }
            Variable::Http(name) => {
                for (number, line) in self.get.lines(name.as_str()).enumerate() {
                    out.extend_from_slice(if number > 0 { b", " } else { b"" });
                    out.extend_from_slice(line);
                }
                return;
            }
            Variable::Ssl(fact) => {
                let tls = connection.tls.iter();
                return tls.for_each(|tls| facts::write_ssl(tls, *fact, out));
            }
            Variable::Map(map) => return map.write(self, out),
            // Nothing was asked of an upstream.
            _ => return,
        };
        out.extend_from_slice(shown.as_bytes());
    }

    /// The stored response that answers it, if it is at hand and fresh.
    fn find(&self, cache: &Cache, now: Timestamp) -> Option<Found> {
        let key = Key { comparison: cache.keying.comparison, ..Key::new(self.key(cache)) };
        let select = |names: &[HeaderName]| self.get.fields(names).map(Cow::Owned);
        let Lookup::Found(found) = cache.zone.lookup_selecting(&key, select, now) else {
            return None;
        };
        let stored = &found.stored;
        let is_fresh =
            || reuse::decide(stored, &cache.settings.rules, &Demand::NONE, now) == Reuse::Fresh;
        (stored.part.is_none() && has_length(stored.status) && is_fresh()).then_some(found)
    }

    fn key(&self, cache: &Cache) -> Vec<u8> {
        let mut text = Vec::with_capacity(KEY_CAPACITY);
        cache.settings.key.write(self, &mut text);
        text
    }
}

/// Whether the client has what is stored; nothing where a condition fails in another way.
fn has_it(get: &PlainGet<'_>, cache: &Cache, found: &Found) -> Option<bool> {
    if !get.is_conditional {
        return Some(false);
    }
    let conditions = get.fields(&[header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE])?;
    match precondition::met(&conditions, &found.stored, &cache.settings.rules) {
        Met::Yes => Some(false),
        Met::NotModified => Some(true),
        Met::Failed => None,
    }
}

/// Whether what hyper says of the body of such a response is its length.
fn has_length(status: StatusCode) -> bool {
    !status.is_informational()
        && !matches!(
            status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT
        )
}

/// Writes the head as the usual steps and hyper would. Nothing where a step would do more. `date` is
/// that of the answer, where it is not the origin's.
fn write_head(
    (route, cache): (&Route, &Cache),
    (get, found): (&PlainGet<'_>, &Found),
    (status, length): (StatusCode, Option<u64>),
    (now, date): (Timestamp, Option<Timestamp>),
    out: &mut Vec<u8>,
) -> Option<()> {
    let (stored, names, heads) = (&found.stored, found.names(), &route.settings.heads);
    let limits_rate =
        names.may_have(route.hidden.limit_rate) && stored.fields.contains_key(X_ACCEL_LIMIT_RATE);
    if limits_rate || route.changed.are_in(&stored.fields, names) {
        return None;
    }
    let hides = route.hidden.fields.iter().any(|(bits, _)| names.may_have(*bits));
    let rules = &cache.settings.rules;
    let hides_ranges = length.is_none() && rules.preconditions == Preconditions::Answer;
    let is_hidden = |name: &HeaderName| {
        hides && route.hidden.fields.iter().any(|(_, hidden)| hidden == name)
            || length.is_none() && OF_A_BODY.contains(name)
            || hides_ranges && *name == header::ACCEPT_RANGES
    };
    let (says_server, says_date) = (heads.server.is_some(), date.is_some());
    let is_ours = |name: &HeaderName| {
        says_server && *name == header::SERVER || says_date && *name == header::DATE
    };
    let told = route.settings.status_header.as_ref();
    if told.is_some_and(|told| stored.fields.contains_key(told)) {
        return None;
    }
    let spelled = heads.spelling.as_ref().map(|own| (own, stored.spelling.as_ref()));
    let lines = &route.lines;
    let mut room = [0; DIGITS_MAX];
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason()?.as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in &stored.fields {
        if !is_hidden(name) && !is_ours(name) {
            write_field(name, spelled, value.as_bytes(), out);
        }
    }
    if cache.settings.says_ranges(status, &stored.fields) {
        lines.accept_ranges.write(spelled, b"", out);
    }
    if rules.count_age && !is_hidden(&header::AGE) {
        lines.age.write(spelled, decimal(stored.age(now).as_secs(), &mut room), out);
    }
    if let Some(server) = &lines.server {
        server.write(spelled, b"", out);
    }
    if let Some(date) = date {
        heads::with_date(date, |date| lines.date.write(spelled, date.as_bytes(), out))?;
    }
    if heads.cache_status {
        let ttl_s = stored.fresh_for(now).as_secs();
        lines.cache_status.write(spelled, decimal(ttl_s, &mut room), out);
    }
    if let Some(told) = &lines.told {
        told.write(spelled, b"", out);
    }
    if let Some(added) = &lines.added {
        added.write(status, spelled, out);
    }
    if get.closes {
        lines.close.write(spelled, b"", out);
    }
    if let Some(length) = length {
        lines.length.write(spelled, decimal(length, &mut room), out);
    }
    out.extend_from_slice(b"\r\n");
    Some(())
}

/// Writes a field that is stored.
fn write_field(name: &HeaderName, spelled: Spellings<'_>, value: &[u8], out: &mut Vec<u8>) {
    let begin = out.len();
    out.extend_from_slice(name.as_str().as_bytes());
    if let Some((own, sent)) = spelled {
        own.respell(sent, &mut out[begin..]);
    }
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
