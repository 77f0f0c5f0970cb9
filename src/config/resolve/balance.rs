//! How an upstream chooses among its peers and waits for them. (nginx: sticky, queue, health_check)

use super::{Report, duration, flag, number, timeout};
use crate::config::fault::Problem;
use crate::config::file::{self, StickyTable};
use crate::config::read::At;
use crate::config::{Balance, HealthCheck, Hold, Queue, Sticky};

/// Reports peers with what this way to balance has no use for, as nginx does.
pub(super) fn check(table: &file::Upstream, report: &mut Report) {
    let Some(balance) = &table.balance else { return };
    if matches!(balance.value, Balance::Hash { consistent: true, .. }) {
        let servers = table.server.iter().flat_map(|servers| servers.value.values());
        let weight = |server: &file::Peer| server.0.weight.as_ref().map_or(1, |at| at.value);
        let total: u64 = servers.map(|server| u64::from(weight(server))).sum();
        if total > RING_WEIGHT_MAX {
            let problem =
                Problem::new(format!("weights of {total} in all are too much for a ring"));
            report.error(balance.span, problem.help(format!("at most {RING_WEIGHT_MAX}")));
        }
    }
    let way = match balance.value {
        Balance::RoundRobin | Balance::LeastConn => return,
        Balance::IpHash => "ip_hash",
        Balance::Hash { .. } => "hash",
        Balance::Random | Balance::RandomTwo => "random",
    };
    for server in table.server.iter().flat_map(|servers| servers.value.values()) {
        let backup = server.0.backup.as_ref().filter(|backup| backup.value);
        let slow = server.0.slow_start.as_ref().filter(|slow| !slow.value.is_zero());
        let spans = [backup.map(|at| ("backup", at.span)), slow.map(|at| ("slow_start", at.span))];
        for (key, span) in spans.into_iter().flatten() {
            let problem = Problem::new(format!("`{key}` cannot be used with `{way}`"));
            report.error(span, problem.help("it can with `round_robin` and `least_conn`"));
        }
    }
}

pub(super) fn sticky(table: &StickyTable, name: &str, report: &mut Report) -> Option<Sticky> {
    let secure = flag(table.secure.as_ref(), false);
    if let Some(samesite) = table.samesite.as_ref().filter(|at| at.value.0 == "None" && !secure) {
        let problem = Problem::new("browsers refuse `samesite = \"none\"` without `secure`");
        report.error(samesite.span, problem.help("set `secure = true`"));
    }
    let part = |at: &Option<At<_>>| at.as_ref().map(|at: &At<file::CookiePart>| at.value.0.clone());
    Some(Sticky {
        cookie: table.cookie.as_ref()?.value.0.clone(),
        expires: table.expires.as_ref().map(|at| at.value.0),
        path: part(&table.path).unwrap_or_else(|| "/".to_owned()),
        domain: part(&table.domain),
        httponly: flag(table.httponly.as_ref(), true),
        secure,
        samesite: table.samesite.as_ref().map(|at| at.value.0),
        secret: table.secret.as_ref().map_or_else(|| name.to_owned(), |at| at.value.clone()),
    })
}

pub(super) fn queue(table: &file::Queue, report: &mut Report) -> Queue {
    Queue {
        requests: number(table.requests.as_ref(), 100, 1..=WAITING_MAX, report) as usize,
        time: timeout(table.time.as_ref(), "60s"),
    }
}

pub(super) fn hold(table: &file::Hold, report: &mut Report) -> Hold {
    Hold {
        requests: number(table.requests.as_ref(), 1000, 1..=WAITING_MAX, report) as usize,
        time: timeout(table.time.as_ref(), "20s"),
        pace: number(table.pace.as_ref(), 50, 1..=WAITING_MAX, report),
    }
}

pub(super) fn health_check(table: &file::HealthCheck, report: &mut Report) -> HealthCheck {
    let status = table.status.as_ref().map(|at| at.value.0.clone());
    let headers = table.headers.iter().flat_map(|headers| &headers.value.0);
    let port = table.port.as_ref();
    HealthCheck {
        path: table.path.as_ref().map_or_else(|| "/".to_owned(), |at| at.value.0.clone()),
        interval: timeout(table.interval.as_ref(), "5s"),
        jitter: duration(table.jitter.as_ref(), "0"),
        fails: number(table.fails.as_ref(), 1, 1..=u32::MAX, report),
        passes: number(table.passes.as_ref(), 1, 1..=u32::MAX, report),
        status: status.unwrap_or_else(|| vec![200..=399]),
        body: table.body.as_ref().map(|at| at.value.clone()),
        timeout: timeout(table.timeout.as_ref(), "5s"),
        port: port.map(|_| number(port, 0, 1..=65535, report) as u16),
        mandatory: flag(table.mandatory.as_ref(), false),
        host: table.host.as_ref().map(|at| at.value.clone()),
        headers: headers.map(|(name, value)| (name.value.clone(), value.value.clone())).collect(),
    }
}

/// Requests that wait hold a client's connection each: more are no use to anybody.
const WAITING_MAX: u32 = 1_000_000;
/// Each unit has 160 points of 8 bytes on the ring.
const RING_WEIGHT_MAX: u64 = 10_000;
