//! Another configuration while the server runs: what changes with the next request, what goes on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use larder::config::load;
use tokio::net::TcpStream;

use crate::harness::proxy::CACHED;
use crate::harness::{Gate, Kept, Origin, Port, Proxy, eventually, ok};

fn cacheable(body: &str) -> crate::harness::Reply {
    ok(body).header("cache-control", "max-age=60")
}

/// One site with these routes' lines, and a zone in memory.
fn on_disk(folder: &Path, more: &str) -> String {
    let path = folder.display();
    CACHED.replace("memory = \"64m\"", &format!("memory = \"1m\"\npath = \"{path}\"\n{more}"))
}

async fn stats(proxy: &Proxy) -> serde_json::Value {
    let to = proxy.admin.expect("an admin listener");
    let request = b"GET /v1/stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = crate::harness::exchange_raw(to, request).await;
    serde_json::from_slice(&answer.body).expect("JSON")
}

#[tokio::test]
async fn the_next_request_on_a_kept_connection_meets_the_new_routes() {
    let origin = Origin::start().await;
    origin.on("/a", cacheable("one")).on("/b/a", cacheable("two"));
    let proxy = Proxy::cached(&origin).await;
    let mut client = Kept::to(proxy.address).await;
    assert_eq!(client.get("/a").await.line(), "200 MISS one");
    let below = CACHED.replace("http://ORIGIN", "http://ORIGIN/b/");
    let reloaded = proxy.reload(&below, &origin).await.unwrap();
    assert_eq!((reloaded.generation, reloaded.warnings), (2, Vec::new()));
    // The zone is the same, and so are its keys: only what is not in it is asked for elsewhere.
    assert_eq!(client.get("/a").await.line(), "200 HIT one");
    let uncached = below.replace("zone = \"test\"", "zone = \"off\"");
    proxy.reload(&uncached, &origin).await.unwrap();
    assert_eq!(client.get("/a").await.line(), "200 - two");
    let stats = stats(&proxy).await;
    assert_eq!(stats["config"]["generation"], 3);
    assert_eq!(stats["zones"]["test"]["hit"]["responses"], 1, "counters go on");
    assert_eq!(stats["connections"]["accepted"], 1, "the connection was kept");
}

#[tokio::test]
async fn a_zone_that_did_not_change_keeps_what_it_holds() {
    let origin = Origin::start().await;
    origin.on("/a", cacheable("one"));
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::with(&on_disk(folder.path(), ""), &origin).await;
    assert_eq!(proxy.line("/a").await, "200 MISS one");
    // Another zone before it gives it another number.
    let more =
        on_disk(folder.path(), "").replace("[zone.test]", "[zone.a]\nmemory = \"1m\"\n[zone.test]");
    proxy.reload(&more, &origin).await.unwrap();
    assert_eq!(proxy.line("/a").await, "200 HIT one");
    let stats = stats(&proxy).await;
    assert_eq!(stats["zones"]["test"]["miss"]["responses"], 1);
    assert_eq!(stats["zones"]["test"]["hit"]["responses"], 1);
    assert_eq!(stats["zones"]["a"]["hit"]["responses"], 0);
    assert_eq!(origin.seen("/a"), 1);
}

#[tokio::test]
async fn a_zone_whose_settings_change_is_opened_anew_in_its_folder_and_is_warm() {
    let origin = Origin::start().await;
    origin.on("/a", cacheable("one"));
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::with(&on_disk(folder.path(), ""), &origin).await;
    assert_eq!(proxy.line("/a").await, "200 MISS one");
    proxy.flush().await;
    proxy.reload(&on_disk(folder.path(), "fsync = \"data\""), &origin).await.unwrap();
    assert_eq!(proxy.line("/a").await, "200 HIT one");
    assert_eq!(proxy.fault().await, None, "the folder is its own");
    // Under another name, too.
    let renamed = on_disk(folder.path(), "")
        .replace("[zone.test]", "[zone.other]")
        .replace("zone = \"test\"", "zone = \"other\"");
    proxy.reload(&renamed, &origin).await.unwrap();
    assert_eq!(proxy.line("/a").await, "200 HIT one");
    assert_eq!(origin.seen("/a"), 1);
}

#[tokio::test]
async fn a_configuration_that_cannot_be_had_changes_nothing() {
    let origin = Origin::start().await;
    origin.on("/a", cacheable("one"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::with(&on_disk(folder.path(), ""), &origin).await;
    assert_eq!(proxy.line("/a").await, "200 MISS one");
    let site = format!("[[site]]\nlisten = [\"127.0.0.1:0\", \"{address}\"]");
    let changed = on_disk(folder.path(), "fsync = \"data\"");
    let error = proxy
        .reload(&changed.replace("[[site]]\nlisten = \"127.0.0.1:0\"", &site), &origin)
        .await
        .unwrap_err();
    assert!(error.0.starts_with(&format!("cannot listen on `{address}`")), "{error}");
    let log = "[log]\naccess = \"/nowhere/access.log\"\n";
    let error = proxy.reload(&format!("{log}{changed}"), &origin).await.unwrap_err();
    assert!(error.0.contains("/nowhere/access.log"), "{error}");
    assert_eq!(proxy.line("/a").await, "200 HIT one");
    assert_eq!(proxy.addresses(), [proxy.address]);
    let stats = stats(&proxy).await;
    assert_eq!(stats["config"]["generation"], 1);
    assert_eq!(stats["config"]["last_error"], error.0);
    // The next one that succeeds forgets it.
    proxy.reload(&changed, &origin).await.unwrap();
    assert_eq!(self::stats(&proxy).await["config"]["last_error"], serde_json::Value::Null);
}

#[tokio::test]
async fn an_address_that_comes_is_listened_on_and_one_that_goes_answers_once_more() {
    let origin = Origin::start().await;
    origin.on("/a", cacheable("one"));
    let proxy = Proxy::cached(&origin).await;
    let mut client = Kept::to(proxy.address).await;
    assert_eq!(client.get("/a").await.line(), "200 MISS one");
    let elsewhere = CACHED.replace("127.0.0.1:0", "127.0.0.2:0");
    let both = CACHED.replace("\"127.0.0.1:0\"", "[\"127.0.0.1:0\", \"127.0.0.2:0\"]");
    proxy.reload(&both, &origin).await.unwrap();
    let addresses = proxy.addresses();
    assert_eq!(addresses[0], proxy.address);
    assert_eq!(Kept::to(addresses[1]).await.get("/a").await.line(), "200 HIT one");
    proxy.reload(&elsewhere, &origin).await.unwrap();
    assert_eq!(proxy.addresses(), addresses[1..]);
    eventually("nobody listens there any more", async || {
        TcpStream::connect(proxy.address).await.is_err()
    })
    .await;
    let last = client.get("/a").await;
    assert_eq!(
        (last.line().as_str(), last.header("connection").as_str()),
        ("200 HIT one", "close")
    );
    assert_eq!(client.get("/a").await.status, 0, "that was the last");
    assert_eq!(Kept::to(addresses[1]).await.get("/a").await.line(), "200 HIT one");
}

#[tokio::test]
async fn an_address_that_went_a_moment_ago_can_come_back() {
    let origin = Origin::start().await;
    origin.on("/a", cacheable("one"));
    let proxy = Proxy::cached(&origin).await;
    let free = std::net::TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
    let both = CACHED.replace("\"127.0.0.1:0\"", &format!("[\"127.0.0.1:0\", \"{free}\"]"));
    for _ in 0..20 {
        proxy.reload(&both, &origin).await.unwrap();
        assert_eq!(Kept::to(free).await.get("/a").await.text(), "one");
        proxy.reload(CACHED, &origin).await.unwrap();
    }
}

#[tokio::test]
async fn a_response_under_way_is_finished_by_the_configuration_it_began_with() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/a", ok("first half, second half").body_behind(&gate));
    let other = Origin::start().await;
    other.on("/a", ok("other"));
    let proxy = Proxy::cached(&origin).await;
    let mut client = Kept::to(proxy.address).await;
    client.ask("/a").await;
    eventually("the origin was asked", async || origin.seen("/a") == 1).await;
    for _ in 0..5 {
        proxy.reload(CACHED, &other).await.unwrap();
    }
    assert_eq!(Kept::to(proxy.address).await.get("/a").await.text(), "other");
    gate.open();
    assert_eq!(client.answer().await.text(), "first half, second half");
    assert_eq!(client.get("/a").await.text(), "other");
}

#[tokio::test]
async fn what_an_unsafe_request_makes_outdated_is_so_in_the_zone_that_took_its_place() {
    let origin = Origin::start().await;
    origin.on("/a", cacheable("one"));
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::with(&on_disk(folder.path(), ""), &origin).await;
    assert_eq!(proxy.line("/a").await, "200 MISS one");
    let gate = Gate::closed();
    origin.next("/a", ok("posted").behind(&gate));
    let (address, posted) = (proxy.address, origin.seen("/a") + 1);
    let post = tokio::spawn(async move {
        crate::harness::request(address, "POST", "/a", &[("Content-Length", "0")]).await
    });
    eventually("the origin has it", async || origin.seen("/a") == posted).await;
    proxy.reload(&on_disk(folder.path(), "fsync = \"data\""), &origin).await.unwrap();
    assert_eq!(proxy.line("/a").await, "200 HIT one");
    gate.open();
    assert_eq!(post.await.unwrap().status, 200);
    assert_eq!(proxy.line("/a").await, "200 MISS one");
}

#[tokio::test]
async fn a_large_body_under_way_is_finished_though_its_zone_lost_its_folder() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    let body: Vec<u8> = (0..4_000_000).map(|at: u32| (at / 7) as u8).collect();
    origin.next("/a", cacheable("").bytes(body.clone()).body_behind(&gate));
    origin.on("/a", cacheable("anew"));
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::with(&on_disk(folder.path(), ""), &origin).await;
    let mut client = Kept::to(proxy.address).await;
    client.ask("/a").await;
    eventually("the origin was asked", async || origin.seen("/a") == 1).await;
    proxy.reload(&on_disk(folder.path(), "fsync = \"data\""), &origin).await.unwrap();
    gate.open();
    assert!(client.answer().await.body == body);
    // It came too late for the folder, which is another zone's by now.
    assert_eq!(proxy.line("/a").await, "200 MISS anew");
    assert_eq!(proxy.fault().await, None);
}

#[tokio::test]
async fn peers_that_did_not_change_keep_their_health_their_counts_and_their_connections() {
    let origin = Origin::start().await;
    origin.on("/a", ok("one"));
    let port = Port::reserve();
    let nobody = port.address;
    let address = origin.address;
    // Each worker has connections of its own.
    let config = format!(
        "[server]\nworkers = 1\n[upstream.many]\nserver = [\"{nobody}\", \"{address}\"]\n{}",
        CACHED.replace("http://ORIGIN", "http://many")
    );
    let proxy = Proxy::with(&config, &origin).await;
    for _ in 0..4 {
        assert_eq!(proxy.get("/a").await.status, 200);
    }
    let before = stats(&proxy).await["upstreams"]["many"].clone();
    assert_eq!(before["peers"][0]["state"], "unavail");
    let connections = origin.connections();
    proxy.reload(&config.replace("path = \"/\"", "path = \"/a\""), &origin).await.unwrap();
    assert_eq!(stats(&proxy).await["upstreams"]["many"], before);
    assert_eq!(proxy.get("/a").await.status, 200);
    assert_eq!(origin.connections(), connections, "over the connection that was idle");
    // One that changed begins anew.
    let changed = config.replace("[upstream.many]", "[upstream.many]\nkeepalive = 7");
    proxy.reload(&changed, &origin).await.unwrap();
    assert_eq!(stats(&proxy).await["upstreams"]["many"]["peers"][0]["state"], "up");
}

#[tokio::test]
async fn limits_and_the_log_change_for_what_comes() {
    let origin = Origin::start().await;
    origin.on("/a", ok("one"));
    let folder = tempfile::tempdir().unwrap();
    let log = |name: &str| {
        let path = folder.path().join(name);
        format!("[log]\naccess = {{ path = \"{}\", buffer = \"0\" }}\n{CACHED}", path.display())
    };
    let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    let proxy = Proxy::with(&log("one.log"), &origin).await;
    assert_eq!(proxy.get("/a?1").await.status, 404, "the origin knows no such path");
    eventually("the line is written", async || text("one.log").contains("/a?1")).await;
    let limited = format!("[server]\nmax_uri = \"100\"\n{}", log("two.log"));
    proxy.reload(&limited, &origin).await.unwrap();
    assert_eq!(proxy.get(&format!("/a?{}", "x".repeat(200))).await.status, 414);
    eventually("the line is written", async || text("two.log").contains(" 414 ")).await;
    assert!(!text("one.log").contains(" 414 "));
}

#[tokio::test]
async fn what_waits_for_a_restart_is_said() {
    let origin = Origin::start().await;
    let proxy = Proxy::cached(&origin).await;
    let config = format!("[server]\nworkers = 7\n{CACHED}");
    let reloaded = proxy.reload(&config, &origin).await.unwrap();
    assert_eq!(reloaded.warnings, ["`workers` changes with the next restart only"]);
}

#[tokio::test]
async fn the_operators_reload_reads_the_file_anew_and_tells_every_mistake() {
    let origin = Origin::start().await;
    origin.on("/a", ok("one"));
    let proxy = Proxy::cached(&origin).await;
    let (status, answer) = proxy.admin_post("/v1/reload", "").await;
    assert_eq!(status, 422);
    assert_eq!(answer["error"], "there is no configuration file to read anew");
    let faults = load::parse("[server]\nworkres = 1\n", "test.toml").unwrap_err().to_string();
    assert!(faults.contains("workres") && faults.contains('^'), "{faults}");
}

async fn ask(mut kept: Kept, rounds: usize, stop: &AtomicBool, answered: &AtomicUsize) {
    for _ in (0..rounds).take_while(|_| !stop.load(Ordering::SeqCst)) {
        assert_eq!(kept.get("/a").await.text(), "one");
        assert_eq!(kept.get("/b").await.text(), "two");
        answered.fetch_add(2, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_reloads_under_load_fail_no_request_and_leave_nothing_behind() {
    let origin = Origin::start().await;
    origin.on("/a", cacheable("one")).on("/b", ok("two"));
    let proxy = Proxy::cached(&origin).await;
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let client = |number: usize| {
        let (stop, answered, address) = (Arc::clone(&stop), Arc::clone(&answered), proxy.address);
        // Some keep their connection and some do not.
        let rounds = if number.is_multiple_of(2) { 1 } else { usize::MAX };
        tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                ask(Kept::to(address).await, rounds, &stop, &answered).await;
            }
        })
    };
    let clients: Vec<_> = (0..4).map(client).collect();
    for number in 0..200 {
        let size = if number % 2 == 0 { "64m" } else { "63m" };
        let timeout = format!("max_body = \"{}k\"\nstatus_header", number + 1);
        let config = CACHED.replace("64m", size).replace("status_header", &timeout);
        proxy.reload(&config, &origin).await.unwrap_or_else(|error| panic!("{number}: {error}"));
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.expect("no request failed");
    }
    assert!(answered.load(Ordering::SeqCst) > 0);
    let done = async || proxy.running().generations() == 1;
    eventually("the others are gone", done).await;
}
