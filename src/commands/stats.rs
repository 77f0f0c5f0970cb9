//! `larder stats`: what a running server did, as tables or as its JSON document.

use std::cmp::Reverse;
use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use comfy_table::{CellAlignment, Table, TableStyle};

use crate::admin::client;
use crate::admin::peers::{Hold, Peer, PeerState, Queue, Upstream};
use crate::admin::stats::{Disk, Fetched, Memory, Scan, Served, Stats, Tls, Zone};
use crate::cli;
use crate::commands::amounts::{bytes, duration};
use crate::commands::{self, Failure};

/// Asks the server for its counters and prints them.
///
/// # Errors
///
/// The server is not running, or its answer cannot be read.
pub fn run(arguments: &cli::Stats) -> Result<(), Failure> {
    let answer = commands::block_on(client::get(&arguments.admin, "/v1/stats"))??;
    commands::show(&answer, arguments.json, describe)
}

/// The tables, with colours.
fn describe(stats: &Stats) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{BOLD}larder {}{BOLD:#}  up {}  configuration {}",
        stats.version,
        duration(stats.uptime_s),
        stats.generation,
    );
    if let Some(error) = &stats.config.last_error {
        let _ = writeln!(text, "{RED}the last reload was refused:{RED:#} {error}");
    }
    let (connections, responses) = (stats.connections, stats.responses);
    let _ = writeln!(
        text,
        "{} requests  {} with 4xx  {} with 5xx  {} connections, {} of them open",
        stats.requests,
        responses.client_error,
        responses.server_error,
        connections.accepted,
        connections.active,
    );
    if let Some(tls) = stats.tls {
        let Tls { handshakes, resumed, failed, certificate_errors } = tls;
        let _ = writeln!(text, "{handshakes} TLS handshakes, {resumed} resumed  {failed} failed");
        if certificate_errors > 0 {
            let times = certificate_errors;
            let _ =
                writeln!(text, "{RED}certificates could not be read again {times} times{RED:#}");
        }
    }
    if stats.access_log.lines_dropped > 0 {
        let lines = stats.access_log.lines_dropped;
        let _ = writeln!(text, "{RED}access log: {lines} lines lost{RED:#}");
    }
    for (name, zone) in &stats.zones {
        describe_zone(&mut text, name, zone);
    }
    if !stats.upstreams.is_empty() {
        let _ = writeln!(text, "\n{BOLD}upstreams{BOLD:#}");
        for (name, upstream) in &stats.upstreams {
            describe_upstream(&mut text, name, upstream);
        }
    }
    text
}

fn describe_zone(text: &mut String, name: &str, zone: &Zone) {
    let ratio = zone.hit_ratio.map_or("-".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0));
    let saved = zone.upstream_requests_saved;
    let _ = writeln!(text, "\n{BOLD}zone {name}{BOLD:#}");
    let _ = writeln!(text, "  hit ratio {GREEN}{ratio}{GREEN:#}  {saved} upstream requests saved");
    if let Some(Memory { entries, bytes: held, max_bytes }) = zone.memory {
        let (held, limit) = (bytes(held), bytes(max_bytes));
        let _ = writeln!(text, "  memory  {entries} entries  {held} of {limit}");
    }
    if let Some(disk) = &zone.disk {
        describe_disk(text, disk, zone.cold);
    }
    let mut table = table(&["", "responses", "bytes", "stored", "bytes stored"], 1);
    for (word, served) in [
        ("HIT", zone.hit),
        ("STALE", zone.stale),
        ("UPDATING", zone.updating),
        ("REVALIDATED", zone.revalidated),
    ] {
        let Served { responses, bytes: sent } = served;
        table.add_row([word.to_owned(), responses.to_string(), bytes(sent)]);
    }
    for (word, fetched) in [("MISS", zone.miss), ("EXPIRED", zone.expired), ("BYPASS", zone.bypass)]
    {
        let Fetched { responses, bytes: sent, responses_written, bytes_written } = fetched;
        let (sent, written) = (bytes(sent), bytes(bytes_written));
        let row =
            [word.to_owned(), responses.to_string(), sent, responses_written.to_string(), written];
        table.add_row(row);
    }
    for line in lines(&table) {
        let _ = writeln!(text, "  {line}");
    }
    if !zone.reasons.is_empty() {
        let mut reasons: Vec<_> = zone.reasons.iter().collect();
        reasons.sort_by_key(|(_, count)| Reverse(**count));
        let reasons: Vec<_> =
            reasons.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let _ = writeln!(text, "  reasons  {}", reasons.join("  "));
    }
}

/// One line, and where there are several folders one more for each.
fn describe_disk(text: &mut String, disk: &Disk, cold: bool) {
    let _ = write!(text, "  disk    ");
    describe_tier(text, disk, cold);
    for folder in &disk.folders {
        let _ = write!(text, "    {}  weight {}  ", folder.path, folder.weight);
        describe_tier(text, &folder.disk, folder.cold);
    }
}

fn describe_tier(text: &mut String, disk: &Disk, cold: bool) {
    let _ = write!(text, "{} entries  {}", disk.entries, bytes(disk.bytes));
    if let Some(limit) = disk.max_bytes {
        let _ = write!(text, " of {}", bytes(limit));
    }
    if disk.expired > 0 {
        let _ = write!(text, "  {} expired", disk.expired);
    }
    if cold {
        let _ = write!(text, "  cold: {} files seen", disk.files_seen);
    } else if disk.scan == Scan::Heads {
        text.push_str("  reading heads");
    }
    for (count, what) in [
        (disk.unknown, "unknown files"),
        (disk.other_version, "of another version"),
        (disk.dropped, "dropped"),
    ] {
        if count > 0 {
            let _ = write!(text, "  {count} {what}");
        }
    }
    if disk.errors > 0 || disk.damaged > 0 {
        let Disk { errors, damaged, .. } = disk;
        let _ = write!(text, "  {RED}{errors} errors, {damaged} damaged{RED:#}");
    }
    if let Some(fault) = &disk.fault {
        let _ = write!(text, "  {RED}fault: {fault}{RED:#}");
    }
    text.push('\n');
}

fn describe_upstream(text: &mut String, name: &str, upstream: &Upstream) {
    let header = [
        name, "state", "weight", "active", "requests", "2xx", "3xx", "4xx", "5xx", "fails",
        "unavail",
    ];
    let mut table = table(&header, 2);
    for peer in &upstream.peers {
        let responses = peer.responses;
        let counts = [
            peer.active,
            peer.requests,
            responses.success,
            responses.redirection,
            responses.client_error,
            responses.server_error,
            peer.fails,
            peer.unavail,
        ];
        let mut row = vec![peer.address.clone(), state(peer).to_owned(), peer.weight.to_string()];
        row.extend(counts.map(|count| count.to_string()));
        table.add_row(row);
    }
    // The header comes first, then one line per peer.
    let styles = upstream.peers.iter().map(style);
    for (line, style) in lines(&table).zip(std::iter::once(Style::new()).chain(styles)) {
        let _ = writeln!(text, "  {style}{line}{style:#}");
    }
    for peer in upstream.peers.iter().filter(|peer| !peer.addresses.is_empty()) {
        let _ = writeln!(text, "  {} is {}", peer.address, peer.addresses.join(" "));
    }
    describe_waiting(text, upstream);
}

/// Why peers are unhealthy, and who waits for one; nothing where all is well.
fn describe_waiting(text: &mut String, upstream: &Upstream) {
    for peer in upstream.peers.iter().filter(|peer| peer.state == PeerState::Unhealthy) {
        let checks = peer.health_checks.as_ref();
        if let Some(reason) = checks.and_then(|checks| checks.reason.as_ref()) {
            let _ = writeln!(text, "  {RED}{}: {reason}{RED:#}", peer.address);
        }
    }
    if let Some(Queue { size, max_size, overflows, timeouts }) = upstream.queue {
        let _ = writeln!(
            text,
            "  queue  {size} of {max_size}  {overflows} found it full  {timeouts} waited too long"
        );
    }
    if let Some(Hold { size, max_size, held, given_up }) = upstream.hold {
        let _ = writeln!(text, "  hold   {size} of {max_size}  {held} in all  {given_up} given up");
    }
}

/// How a line about a peer looks.
pub(super) fn style(peer: &Peer) -> Style {
    match peer.state {
        PeerState::Up | PeerState::Unknown => Style::new(),
        PeerState::Draining | PeerState::Down | PeerState::Checking => YELLOW,
        PeerState::Unavail | PeerState::Unhealthy => RED,
    }
}

/// The word for a peer's state.
pub(super) fn state(peer: &Peer) -> &'static str {
    match (peer.state, peer.backup) {
        (PeerState::Up, false) => "up",
        (PeerState::Up, true) => "up, backup",
        (PeerState::Draining, _) => "draining",
        (PeerState::Down, _) => "down",
        (PeerState::Unavail, _) => "unavail",
        (PeerState::Unhealthy, _) => "unhealthy",
        (PeerState::Checking, _) => "checking",
        (PeerState::Unknown, _) => "?",
    }
}

/// A table without lines, the first `left` columns to the left and the numbers to the right.
pub(super) fn table(header: &[&str], left: usize) -> Table {
    let mut table = Table::new();
    table.load_style(TableStyle::new()).set_header(header);
    for (number, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if number >= left {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The lines of a table, without blanks at their ends.
pub(super) fn lines(table: &Table) -> impl Iterator<Item = String> {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().into_iter()
}

const BOLD: Style = Style::new().bold();
const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const RED: Style = AnsiColor::Red.on_default();

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    use crate::admin::stats::{AccessLog, Classes, Connections, Folder};
    use crate::config::AdminAddress;

    fn stats() -> Stats {
        let zone = Zone {
            size: 3 << 20,
            cold: true,
            hit: Served { responses: 1234, bytes: 5 << 20 },
            miss: Fetched {
                responses: 200,
                bytes: 1 << 20,
                responses_written: 190,
                bytes_written: 1_000_000,
            },
            hit_ratio: Some(0.8605),
            upstream_requests: 200,
            upstream_requests_saved: 1234,
            reasons: [("fresh".to_owned(), 1234), ("absent".to_owned(), 200)].into(),
            memory: Some(Memory { entries: 190, bytes: 1_000_000, max_bytes: 64 << 20 }),
            disk: Some(Disk {
                entries: 190,
                bytes: 3 << 20,
                expired: 12,
                files_seen: 17,
                errors: 1,
                fault: Some("no space left on device".to_owned()),
                ..Disk::default()
            }),
            ..Zone::default()
        };
        let peer = |address: &str, state, backup| Peer {
            address: address.to_owned(),
            state,
            weight: 1,
            backup,
            requests: 100,
            responses: Classes { success: 99, server_error: 1, ..Classes::default() },
            ..Peer::default()
        };
        let peers = vec![
            peer("10.0.0.1:3000", PeerState::Up, false),
            peer("10.0.0.22:3000", PeerState::Unavail, true),
        ];
        Stats {
            version: "0.1.0".to_owned(),
            uptime_s: 11_000,
            generation: 2,
            connections: Connections { accepted: 40, active: 3, refused: 2 },
            requests: 1500,
            responses: Classes { client_error: 6, ..Classes::default() },
            access_log: AccessLog { lines_dropped: 9, write_errors: 1 },
            zones: [("main".to_owned(), zone)].into(),
            upstreams: [("api".to_owned(), Upstream { peers, ..Upstream::default() })].into(),
            ..Stats::default()
        }
    }

    #[test]
    fn tables_without_colours() {
        let text = anstream::adapter::strip_str(&describe(&stats())).to_string();
        assert_eq!(text, TABLES, "got:\n{text}");
    }

    #[test]
    fn several_folders_have_a_line_each() {
        let folder =
            |path: &str, disk| Folder { path: path.to_owned(), weight: 1, cold: true, disk };
        let one = Disk { entries: 7, bytes: 4096, unknown: 1, dropped: 2, ..Disk::default() };
        let fault = Some("not a folder".to_owned());
        let other = Disk { max_bytes: Some(1 << 20), fault, ..Disk::default() };
        let folders = vec![folder("/disk1", one.clone()), folder("/disk2", other)];
        let mut text = String::new();
        describe_disk(&mut text, &Disk { folders, ..one }, false);
        let text = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(
            text,
            "  disk    7 entries  4.0 KiB  1 unknown files  2 dropped\n    \
             /disk1  weight 1  7 entries  4.0 KiB  cold: 0 files seen  1 unknown files  2 dropped\n    \
             /disk2  weight 1  0 entries  0 B of 1.0 MiB  cold: 0 files seen  fault: not a folder\n"
        );
    }

    #[test]
    fn a_new_server_has_tables_too() {
        let zones = [("main".to_owned(), Zone::default())].into();
        let text = describe(&Stats { zones, ..Stats::default() });
        assert!(
            anstream::adapter::strip_str(&text).to_string().contains("hit ratio -  0 upstream")
        );
    }

    #[test]
    fn a_server_that_is_not_running_is_status_3() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let arguments = cli::Stats { admin: AdminAddress::Tcp(free), json: false };
        assert_eq!(run(&arguments).unwrap_err().status, 3);
    }

    const TABLES: &str = "\
larder 0.1.0  up 3 h 3 min  configuration 2
1500 requests  6 with 4xx  0 with 5xx  40 connections, 3 of them open
access log: 9 lines lost

zone main
  hit ratio 86.1 %  1234 upstream requests saved
  memory  190 entries  976.6 KiB of 64.0 MiB
  disk    190 entries  3.0 MiB  12 expired  cold: 17 files seen  1 errors, 0 damaged  fault: no space left on device
               responses    bytes  stored  bytes stored
  HIT               1234  5.0 MiB
  STALE                0      0 B
  UPDATING             0      0 B
  REVALIDATED          0      0 B
  MISS               200  1.0 MiB     190     976.6 KiB
  EXPIRED              0      0 B       0           0 B
  BYPASS               0      0 B       0           0 B
  reasons  fresh 1234  absent 200

upstreams
  api             state    weight  active  requests  2xx  3xx  4xx  5xx  fails  unavail
  10.0.0.1:3000   up            1       0       100   99    0    0    1      0        0
  10.0.0.22:3000  unavail       1       0       100   99    0    0    1      0        0
";
}
