//! One lookup of a name: `/etc/hosts`, DNS, and what the system knows besides. The only file that
//! knows the hickory crate.
//!
//! hickory keeps no answer here: whoever asks says when. `"system"` reads `/etc/hosts` and
//! `/etc/resolv.conf` anew each time, since both change while a server runs. What DNS does not know
//! is asked of the C library, which knows the rest of `nsswitch.conf` and tells no lifetime.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::config::Resolver;

/// What a name stands for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Sorted, each once; at least one.
    pub(super) addresses: Vec<IpAddr>,
    /// How long that holds, as far as whoever answered says.
    pub(super) lifetime: Duration,
}

/// Looks a name up. `known` is what it stood for before: where only one of IPv4 and IPv6 can be
/// asked for, the addresses of the other kind stay.
///
/// # Errors
/// It has no address, or nobody says so: keep what is known, and ask again.
pub(super) async fn look_up(
    resolver: &Resolver,
    name: &str,
    known: &[IpAddr],
) -> Result<Found, String> {
    match resolver {
        Resolver::Servers(servers) => {
            if let Some(found) = local(name) {
                return Ok(found);
            }
            let resolver = of_servers(servers).map_err(|error| error.to_string())?;
            // An absolute name: what is searched besides is the system's business.
            let absolute = format!("{}.", name.trim_end_matches('.'));
            ask(&resolver, &absolute, known).await.map_err(|fault| fault.why)
        }
        Resolver::System => by_system(name, known).await,
    }
}

async fn by_system(name: &str, known: &[IpAddr]) -> Result<Found, String> {
    let wanted = name.to_owned();
    let listed = job(move || of_hosts_file(&wanted)).await.flatten();
    if let Some(found) = listed.or_else(|| local(name)) {
        return Ok(found);
    }
    let built = TokioResolver::builder_tokio().and_then(|mut builder| {
        let options = builder.options_mut();
        (options.cache_size, options.use_hosts_file) = (0, ResolveHosts::Never);
        builder.build()
    });
    let fault = match built {
        Ok(resolver) => match ask(&resolver, name, known).await {
            Ok(found) => return Ok(found),
            Err(fault) if fault.is_known => return Err(fault.why),
            Err(fault) => fault.why,
        },
        Err(error) => format!("no DNS: {error}"),
    };
    let wanted = name.to_owned();
    let told = job(move || (wanted, 0).to_socket_addrs().ok()).await.flatten();
    let addresses = sorted(told.into_iter().flatten().map(|address| address.ip()).collect());
    if addresses.is_empty() { Err(fault) } else { Ok(Found { addresses, lifetime: UNTOLD }) }
}

/// Does what blocks. One that takes longer than anybody waits for it keeps its place, so that they
/// do not pile up.
async fn job<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let place = JOBS.acquire().await.ok()?;
    let work = move || {
        let done = work();
        drop(place);
        done
    };
    spawn_blocking(work).await.ok()
}

/// RFC 6761 section 6.3: such a name needs no DNS, and must not depend on it.
fn local(name: &str) -> Option<Found> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let is_local = name == "localhost" || name.ends_with(".localhost");
    let addresses = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    is_local.then_some(Found { addresses, lifetime: UNTOLD })
}

/// As the C library does: a name that is listed there is asked of nobody else.
fn of_hosts_file(name: &str) -> Option<Found> {
    let hosts = Hosts::from_system().ok()?;
    let name: Name = name.parse().ok()?;
    let listed = [RecordType::A, RecordType::AAAA]
        .into_iter()
        .filter_map(|kind| hosts.lookup_static_host(&Query::query(name.clone(), kind)));
    let addresses = sorted(listed.flat_map(|lookup| addresses(&lookup)).collect());
    (!addresses.is_empty()).then_some(Found { addresses, lifetime: UNTOLD })
}

fn of_servers(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let server = |address: &SocketAddr| {
        let at_port = |mut connection: ConnectionConfig| {
            connection.port = address.port();
            connection
        };
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(at_port);
        NameServerConfig::new(address.ip(), true, connections.into())
    };
    let config = ResolverConfig::from_name_servers(servers.iter().map(server).collect());
    let mut options = ResolverOpts::default();
    (options.cache_size, options.use_hosts_file) = (0, ResolveHosts::Never);
    options.timeout = SERVER_TIMEOUT;
    let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options);
    builder.build()
}

/// Why DNS gave no address.
struct Fault {
    why: String,
    /// Somebody should know better, but cannot be asked or fails: nobody else is to be asked.
    is_known: bool,
}

/// What came of asking for one kind of address.
enum Kind {
    Found(Vec<IpAddr>, Duration),
    Nothing,
    Failed(String),
}

/// Asks for both kinds of address at once. Once one is there the other has little time left, since
/// somebody may be waiting.
async fn ask(resolver: &TokioResolver, name: &str, known: &[IpAddr]) -> Result<Found, Fault> {
    let mut v4 = std::pin::pin!(kind(resolver, name, RecordType::A));
    let mut v6 = std::pin::pin!(kind(resolver, name, RecordType::AAAA));
    let (v4, v6) = tokio::select! {
        v4 = &mut v4 => { let v6 = other(&v4, v6).await; (v4, v6) }
        v6 = &mut v6 => { let v4 = other(&v6, v4).await; (v4, v6) }
    };
    merged(v4, v6, known)
}

async fn kind(resolver: &TokioResolver, name: &str, kind: RecordType) -> Kind {
    match resolver.lookup(name, kind).await {
        Ok(lookup) => {
            let found = addresses(&lookup);
            let ttl_s = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
            let lifetime = Duration::from_secs(ttl_s.into());
            if found.is_empty() { Kind::Nothing } else { Kind::Found(found, lifetime) }
        }
        Err(error) if error.is_no_records_found() => Kind::Nothing,
        Err(error) => Kind::Failed(error.to_string()),
    }
}

async fn other(first: &Kind, second: Pin<&mut impl Future<Output = Kind>>) -> Kind {
    if !matches!(first, Kind::Found(..)) {
        return second.await;
    }
    let late = |_| Kind::Failed("no answer in time".to_owned());
    timeout(OTHER_KIND_TIMEOUT, second).await.unwrap_or_else(late)
}

fn merged(v4: Kind, v6: Kind, known: &[IpAddr]) -> Result<Found, Fault> {
    let of_kind = |is_v4: bool| known.iter().copied().filter(move |ip| ip.is_ipv4() == is_v4);
    let (mut addresses, mut lifetime) = (Vec::new(), None::<Duration>);
    let mut failed = None;
    for (kind, is_v4) in [(v4, true), (v6, false)] {
        match kind {
            Kind::Found(found, holds) => {
                addresses.extend(found);
                lifetime = Some(lifetime.map_or(holds, |least| least.min(holds)));
            }
            Kind::Nothing => {}
            Kind::Failed(why) => {
                addresses.extend(of_kind(is_v4));
                failed.get_or_insert(why);
            }
        }
    }
    match (lifetime, failed) {
        (Some(lifetime), _) => Ok(Found { addresses: sorted(addresses), lifetime }),
        (None, Some(why)) => Err(Fault { why, is_known: true }),
        (None, None) => Err(Fault { why: "it has no address".to_owned(), is_known: false }),
    }
}

fn addresses(lookup: &Lookup) -> Vec<IpAddr> {
    lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect()
}

/// In one order, whatever the order of the answer, so that only other addresses are a change.
fn sorted(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    addresses
}

/// Those that read `/etc/hosts` or ask the C library, at a time.
static JOBS: Semaphore = Semaphore::const_new(JOBS_MAX);
pub(super) const JOBS_MAX: usize = 4;
/// Of one name.
const ADDRESSES_MAX: usize = 64;
/// What nobody tells a lifetime of is looked at again after this.
const UNTOLD: Duration = Duration::from_secs(30);
/// A server of `resolver` that does not answer is asked once more, and then the next one.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
const OTHER_KIND_TIMEOUT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(text: &str) -> Vec<IpAddr> {
        text.split_whitespace().map(|ip| ip.parse().unwrap()).collect()
    }

    fn found(text: &str, ttl_s: u64) -> Kind {
        Kind::Found(ips(text), Duration::from_secs(ttl_s))
    }

    #[test]
    #[rustfmt::skip]
    fn what_cannot_be_asked_for_stays_and_what_is_gone_goes() {
        let failed = || Kind::Failed("down".to_owned());
        //    IPv4                       IPv6              known             expected
        check(found("10.0.0.2 10.0.0.1", 9), found("::2", 5), "10.0.0.9 ::9", Ok(("10.0.0.1 10.0.0.2 ::2", 5)));
        check(found("10.0.0.1", 9),          Kind::Nothing,   "10.0.0.9 ::9", Ok(("10.0.0.1", 9)));
        check(found("10.0.0.1", 9),          failed(),        "10.0.0.9 ::9", Ok(("10.0.0.1 ::9", 9)));
        check(failed(),                      found("::2", 5), "10.0.0.9 ::9", Ok(("10.0.0.9 ::2", 5)));
        check(failed(),                      Kind::Nothing,   "10.0.0.9 ::9", Err(true));
        check(Kind::Nothing,                 Kind::Nothing,   "10.0.0.9 ::9", Err(false));
    }

    #[track_caller]
    fn check(v4: Kind, v6: Kind, known: &str, expected: Result<(&str, u64), bool>) {
        let expected = expected.map(|(text, ttl_s)| Found {
            addresses: ips(text),
            lifetime: Duration::from_secs(ttl_s),
        });
        assert_eq!(merged(v4, v6, &ips(known)).map_err(|fault| fault.is_known), expected);
    }

    #[test]
    fn localhost_needs_no_dns() {
        for name in ["localhost", "LOCALHOST.", "app.localhost"] {
            assert_eq!(local(name).unwrap().addresses, ips("127.0.0.1 ::1"), "{name}");
        }
        assert_eq!(local("localhost.example"), None);
    }
}
