//! Whom a request goes to: by turns, by load, by hash, by chance, by cookie; and when it waits.

use std::collections::BTreeMap;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::app::upstream;
use crate::harness::client::Response;
use crate::harness::proxy::CACHED;
use crate::harness::{Gate, Origin, Port, Proxy, Reply, eventually, ok};

/// Origins that answer with their letter.
struct Peers(Vec<Origin>);

impl Peers {
    async fn start(letters: &str, targets: &[&str]) -> Self {
        let mut origins = Vec::new();
        for letter in letters.chars() {
            let origin = Origin::start().await;
            for target in targets {
                origin.on(target, ok(&letter.to_string()));
            }
            origins.push(origin);
        }
        Self(origins)
    }

    /// A proxy before them, each with more keys, and the group with more lines.
    async fn proxy(&self, keys: &[&str], lines: &str) -> Proxy {
        Proxy::with(&format!("{}{SITE}", self.group(keys, lines)), &self.0[0]).await
    }

    fn group(&self, keys: &[&str], lines: &str) -> String {
        let server = |(origin, keys): (&Origin, &&str)| {
            format!("{{ address = \"{}\", {keys} }}", origin.address)
        };
        let servers: Vec<_> = self.0.iter().zip(keys).map(server).collect();
        format!("[upstream.many]\nserver = [{}]\n{lines}\n", servers.join(", "))
    }
}

const SITE: &str = "\n[[site]]\nlisten = \"127.0.0.1:0\"\n[[site.route]]\npath = \"/\"\n\
                    proxy = \"http://many\"\n";

/// Who answers each of these, in one text.
async fn answers(proxy: &Proxy, targets: impl IntoIterator<Item = String>) -> String {
    let mut letters = String::new();
    for target in targets {
        let response = proxy.get(&target).await;
        assert_eq!(response.status, 200, "{target}: {response:?}");
        letters.push_str(&response.text());
    }
    letters
}

fn twenty() -> Vec<String> {
    (0..20).map(|number| format!("/p/{number}")).collect()
}

async fn of_twenty(letters: &str) -> Peers {
    let targets = twenty();
    Peers::start(letters, &targets.iter().map(String::as_str).collect::<Vec<_>>()).await
}

#[tokio::test]
async fn least_conn_passes_over_a_peer_that_is_busy() {
    let peers = Peers::start("ab", &["/a"]).await;
    let gate = Gate::closed();
    for origin in &peers.0 {
        origin.on("/slow", ok("late").behind(&gate));
    }
    let proxy = peers.proxy(&["", "weight = 2"], "balance = \"least_conn\"").await;
    let busy = tokio::spawn(slow(&proxy));
    eventually("it is under way", async || peers.0[1].seen("/slow") == 1).await;
    // One of two is as much as half of one: less than one of one, more than none.
    assert_eq!(answers(&proxy, ["/a"; 3].map(str::to_owned)).await, "aaa");
    gate.open();
    assert_eq!(busy.await.unwrap().status, 200);
}

fn slow(proxy: &Proxy) -> impl Future<Output = Response> + Send + 'static {
    let address = proxy.address;
    async move { crate::harness::request(address, "GET", "/slow", &[]).await }
}

#[tokio::test]
async fn texts_go_where_nginx_sends_them() {
    let peers = of_twenty("abc").await;
    let lines = "balance = { hash = \"$request_uri\" }";
    let proxy = peers.proxy(&["", "weight = 2", "weight = 3"], lines).await;
    // As worked out in the unit test of nginx's rule.
    assert_eq!(answers(&proxy, twenty()).await, "cbcaabbcbccbbcacbbbb");
    let proxy = peers.proxy(&["", "weight = 2", "weight = 3, down = true"], lines).await;
    assert_eq!(answers(&proxy, twenty()).await, "bbbaabbbbbbbbaaabbbb");
}

#[tokio::test]
async fn a_peer_that_leaves_a_ring_moves_only_its_texts() {
    let peers = of_twenty("abc").await;
    let lines = "balance = { hash = \"$request_uri\", consistent = true }";
    let before = answers(&peers.proxy(&["", "", ""], lines).await, twenty()).await;
    let after = answers(&peers.proxy(&["", "down = true", ""], lines).await, twenty()).await;
    assert!(before.contains('b') && !after.contains('b'), "{before} {after}");
    for (before, after) in before.chars().zip(after.chars()).filter(|(before, _)| *before != 'b') {
        assert_eq!(before, after);
    }
}

#[tokio::test]
async fn a_client_stays_with_a_peer_by_its_address_until_that_is_gone() {
    let peers = Peers::start("abc", &["/a"]).await;
    let all = peers.proxy(&["", "", ""], "balance = \"ip_hash\"").await;
    let first = answers(&all, ["/a".to_owned()]).await;
    assert_eq!(answers(&all, vec!["/a".to_owned(); 9]).await, first.repeat(9));
    let keys = ["a", "b", "c"].map(|letter| if letter == first { "down = true" } else { "" });
    let rest = peers.proxy(&keys, "balance = \"ip_hash\"").await;
    let second = answers(&rest, ["/a".to_owned()]).await;
    assert_ne!(second, first);
    assert_eq!(answers(&rest, vec!["/a".to_owned(); 9]).await, second.repeat(9));
}

#[tokio::test]
async fn a_dead_peer_fails_no_request_whatever_the_way() {
    let peers = of_twenty("ab").await;
    let port = Port::reserve();
    let dead = port.address;
    for way in [
        "\"round_robin\"",
        "\"least_conn\"",
        "\"ip_hash\"",
        "{ hash = \"$request_uri\" }",
        "{ hash = \"$request_uri\", consistent = true }",
        "\"random\"",
        "\"random two\"",
    ] {
        let group = peers.group(&["", ""], &format!("balance = {way}"));
        let group = group.replace("server = [", &format!("server = [\"{dead}\", "));
        let proxy = Proxy::with(&format!("{group}{SITE}"), &peers.0[0]).await;
        assert_eq!(answers(&proxy, twenty()).await.len(), 20, "{way}");
        let failed = upstream(&proxy, "many").await["peers"][0]["fails"].as_u64();
        assert!(failed <= Some(1), "{way}: it is left alone after the first: {failed:?}");
    }
}

#[tokio::test]
async fn chance_reaches_every_peer_that_may_be_asked() {
    let peers = Peers::start("abc", &["/a"]).await;
    for way in ["\"random\"", "\"random two\"", "{ random = \"two\" }"] {
        let proxy = peers.proxy(&["", "", "down = true"], &format!("balance = {way}")).await;
        let letters = answers(&proxy, vec!["/a".to_owned(); 100]).await;
        let mut counts = BTreeMap::new();
        letters.chars().for_each(|letter| *counts.entry(letter).or_insert(0) += 1);
        assert_eq!(counts.keys().collect::<String>(), "ab", "{way}");
        assert!(counts.values().all(|count| *count > 10), "{way}: {counts:?}");
    }
}

#[tokio::test]
async fn a_client_stays_with_its_peer_by_a_cookie() {
    let peers = Peers::start("abc", &["/a"]).await;
    let lines = "sticky = { cookie = \"route\", expires = \"1h\", samesite = \"lax\" }";
    let proxy = peers.proxy(&["", "", ""], lines).await;
    let first = proxy.get("/a").await;
    let set = first.header("set-cookie");
    assert!(set.starts_with("route=") && set.contains("; Max-Age=3600"), "{set}");
    assert!(set.ends_with("; SameSite=Lax; HttpOnly") && !set.contains("127.0.0.1"), "{set}");
    let cookie = set.split(';').next().unwrap().to_owned();
    for _ in 0..6 {
        let again = proxy.send("GET", "/a", &[("Cookie", &format!("x=1; {cookie}"))]).await;
        assert_eq!((again.text(), again.header("set-cookie").as_str()), (first.text(), "-"));
    }
    let unknown = proxy.send("GET", "/a", &[("Cookie", "route=0000")]).await;
    assert!(unknown.header("set-cookie").starts_with("route="), "{unknown:?}");
    // The same after a restart, and where that peer is gone, another and its cookie.
    let keys = ["a", "b", "c"].map(|it| if it == first.text() { "down = true" } else { "" });
    let proxy = peers.proxy(&keys, lines).await;
    let moved = proxy.send("GET", "/a", &[("Cookie", &cookie)]).await;
    assert_ne!(moved.text(), first.text());
    let moved_to = moved.header("set-cookie");
    let moved_to = moved_to.split(';').next().unwrap();
    assert!(moved_to.starts_with("route=") && moved_to != cookie, "{moved_to}");
    let proxy = peers.proxy(&["", "", ""], lines).await;
    let back = proxy.send("GET", "/a", &[("Cookie", moved_to)]).await;
    assert_eq!((back.text(), back.header("set-cookie").as_str()), (moved.text(), "-"));
}

#[tokio::test]
async fn a_peer_that_drains_keeps_the_clients_it_has() {
    let peers = Peers::start("ab", &["/a"]).await;
    let proxy = peers.proxy(&["", ""], "sticky = \"route\"").await;
    let first = proxy.get("/a").await;
    let cookie = first.header("set-cookie").split(';').next().unwrap().to_owned();
    let at = usize::from(first.text() == "b");
    let wish = format!(
        "{{\"upstream\": \"many\", \"peer\": \"{}\", \"state\": \"drain\"}}",
        peers.0[at].address
    );
    assert_eq!(proxy.admin_post("/v1/upstreams", &wish).await.0, 200);
    assert_eq!(upstream(&proxy, "many").await["peers"][at]["state"], "draining");
    assert!(!answers(&proxy, vec!["/a".to_owned(); 6]).await.contains(&first.text()));
    for _ in 0..3 {
        let stays = proxy.send("GET", "/a", &[("Cookie", &cookie)]).await;
        assert_eq!((stays.text(), stays.header("set-cookie").as_str()), (first.text(), "-"));
    }
    assert_eq!(proxy.admin_post("/v1/upstreams", &wish.replace("drain", "down")).await.0, 200);
    assert_ne!(proxy.send("GET", "/a", &[("Cookie", &cookie)]).await.text(), first.text());
}

#[tokio::test]
async fn a_cookie_of_ours_is_for_the_client_that_fetched_and_is_never_stored() {
    let peers = Peers::start("a", &["/post"]).await;
    let (origin, gate) = (&peers.0[0], Gate::closed());
    let fresh = |text: &str| ok(text).header("cache-control", "max-age=10").header("etag", "\"1\"");
    origin
        .on("/a", fresh("one").behind(&gate))
        .on("/private", ok("no").header("cache-control", "private"));
    let group = peers.group(&[""], "sticky = \"route\"");
    let proxy = Proxy::with(&format!("{group}{}", CACHED.replace("ORIGIN", "many")), origin).await;
    let clients = [proxy.spawn_get(), proxy.spawn_get(), proxy.spawn_get()];
    eventually("one asks", async || origin.seen("/a") == 1).await;
    gate.open();
    let mut cookies = Vec::new();
    for client in clients {
        let response = client.await.unwrap();
        assert_eq!(response.line(), "200 MISS one");
        cookies.push(response.header("set-cookie"));
    }
    assert_eq!(cookies.iter().filter(|cookie| *cookie != "-").count(), 1, "{cookies:?}");
    let hit = proxy.get("/a").await;
    assert_eq!((hit.line().as_str(), hit.header("set-cookie").as_str()), ("200 HIT one", "-"));
    proxy.advance_s(20);
    origin.next("/a", Reply::status(304, "").header("cache-control", "max-age=10"));
    let again = proxy.get("/a").await;
    assert_eq!(again.line(), "200 REVALIDATED one");
    assert!(again.header("set-cookie").starts_with("route="), "{again:?}");
    let hit = proxy.get("/a").await;
    assert_eq!((hit.line().as_str(), hit.header("set-cookie").as_str()), ("200 HIT one", "-"));
    for (method, target) in [("GET", "/private"), ("POST", "/post")] {
        let passed = proxy.send(method, target, &[]).await;
        assert!(passed.header("set-cookie").starts_with("route="), "{passed:?}");
    }
}

#[tokio::test]
async fn requests_wait_in_order_for_a_peer_with_room() {
    let peers = Peers::start("a", &[]).await;
    let (origin, gates) = (&peers.0[0], [Gate::closed(), Gate::closed(), Gate::closed()]);
    for (number, gate) in gates.iter().enumerate() {
        origin.on(&format!("/{number}"), ok("in time").behind(gate));
    }
    let lines = "queue = { requests = 2, time = \"60s\" }";
    let proxy = peers.proxy(&["max_conns = 1"], lines).await;
    let mut clients = Vec::new();
    for number in 0..3 {
        let (address, target) = (proxy.address, format!("/{number}"));
        let get = async move { crate::harness::request(address, "GET", &target, &[]).await };
        clients.push(tokio::spawn(get));
        let there = async || match number {
            0 => origin.seen("/0") == 1,
            _ => queue(&proxy, "size").await == number,
        };
        eventually("it is asked or waits", there).await;
    }
    assert_eq!(proxy.get("/0").await.status, 502, "the queue is full");
    assert_eq!(queue(&proxy, "overflows").await, 1);
    for (number, gate) in gates.iter().enumerate() {
        let later = (number + 1..3).map(|later| origin.seen(&format!("/{later}"))).sum::<usize>();
        assert_eq!(later, 0, "one at a time");
        gate.open();
        let next = format!("/{}", number + 1);
        eventually("it is its turn", async || number == 2 || origin.seen(&next) == 1).await;
    }
    for client in clients {
        assert_eq!(client.await.unwrap().text(), "in time");
    }
    assert_eq!(queue(&proxy, "size").await, 0);
}

#[tokio::test]
async fn who_waits_too_long_or_leaves_makes_room() {
    let peers = Peers::start("a", &["/b"]).await;
    let (origin, gate) = (&peers.0[0], Gate::closed());
    origin.on("/a", ok("in time").behind(&gate));
    let short = peers.proxy(&["max_conns = 1"], "queue = { requests = 9, time = \"20ms\" }").await;
    let busy = short.spawn_get();
    eventually("it is under way", async || origin.seen("/a") == 1).await;
    assert_eq!(short.get("/b").await.status, 502);
    assert_eq!(queue(&short, "timeouts").await, 1);
    let long = peers.proxy(&["max_conns = 1"], "queue = { requests = 9 }").await;
    let also_busy = long.spawn_get();
    eventually("it is under way", async || origin.seen("/a") == 2).await;
    let mut leaves = TcpStream::connect(long.address).await.unwrap();
    leaves.write_all(b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    eventually("it waits", async || queue(&long, "size").await == 1).await;
    drop(leaves);
    eventually("it left", async || queue(&long, "size").await == 0).await;
    gate.open();
    assert_eq!((busy.await.unwrap().status, also_busy.await.unwrap().status), (200, 200));
    assert_eq!(long.get("/b").await.text(), "a");
    assert_eq!(origin.seen("/b"), 1);
}

async fn queue(proxy: &Proxy, name: &str) -> u64 {
    upstream(proxy, "many").await["queue"][name].as_u64().unwrap()
}

#[tokio::test]
async fn max_conns_counts_the_requests_of_all_workers() {
    let peers = Peers::start("ab", &["/b"]).await;
    let gate = Gate::closed();
    peers.0[0].on("/a", ok("a").behind(&gate));
    let group = peers.group(&["max_conns = 3", "backup = true"], "");
    let proxy = Proxy::with(&format!("[server]\nworkers = 4\n{group}{SITE}"), &peers.0[0]).await;
    let busy = [proxy.spawn_get(), proxy.spawn_get(), proxy.spawn_get()];
    eventually("three are under way", async || peers.0[0].seen("/a") == 3).await;
    assert_eq!(answers(&proxy, vec!["/b".to_owned(); 8]).await, "bbbbbbbb");
    gate.open();
    for client in busy {
        assert_eq!(client.await.unwrap().text(), "a");
    }
    assert_eq!(answers(&proxy, ["/b".to_owned()]).await, "a");
}

#[tokio::test]
async fn no_further_peer_is_tried_after_tries_timeout() {
    for (limit, asked) in [("0", 3), ("20ms", 1)] {
        let peers = Peers::start("abc", &[]).await;
        let gate = Gate::closed();
        for origin in &peers.0 {
            origin.on("/a", ok("late").behind(&gate));
        }
        let group = peers.group(&["", "", ""], &format!("tries_timeout = \"{limit}\""));
        let site = format!("{SITE}timeout = {{ read = \"60ms\" }}\n");
        let proxy = Proxy::with(&format!("{group}{site}"), &peers.0[0]).await;
        assert_eq!(proxy.get("/a").await.status, 504);
        assert_eq!(peers.0.iter().map(|it| it.seen("/a")).sum::<usize>(), asked, "{limit}");
    }
}

#[tokio::test]
async fn a_route_tries_peers_in_its_own_way() {
    for (group, route, asked) in [
        ("", "", 1),
        ("", "next_upstream = 'http_503'", 3),
        ("", "next_upstream = 'http_503'\ntries = 2", 2),
        ("next_upstream = 'http_503'\ntries = 1", "tries = 0", 3),
        ("next_upstream = 'http_503'", "next_upstream = 'off'", 1),
        ("next_upstream = 'http_503'\ntries_timeout = '10s'", "tries_timeout = '0'", 3),
    ] {
        let peers = Peers::start("abc", &[]).await;
        for origin in &peers.0 {
            origin.on("/a", Reply::status(503, "no"));
        }
        let group = peers.group(&["", "", ""], group);
        let proxy = Proxy::with(&format!("{group}{SITE}{route}\n"), &peers.0[0]).await;
        assert_eq!(proxy.get("/a").await.status, 503);
        let seen = peers.0.iter().map(|it| it.seen("/a")).sum::<usize>();
        assert_eq!(seen, asked, "{route}");
    }
}

#[tokio::test]
async fn a_peer_that_is_back_gets_its_weight_little_by_little() {
    let peers = Peers::start("ab", &["/a"]).await;
    let keys = ["", "fail_timeout = \"10s\", slow_start = \"100s\""];
    let proxy = peers.proxy(&keys, "").await;
    peers.0[1].next("/a", Reply::hang_up());
    assert!(!answers(&proxy, vec!["/a".to_owned(); 4]).await.contains('b'));
    proxy.advance_s(11);
    assert_eq!(answers(&proxy, vec!["/a".to_owned(); 4]).await.matches('b').count(), 1, "a probe");
    proxy.advance_s(25);
    let share = |letters: String| letters.matches('b').count();
    let quarter = share(answers(&proxy, vec!["/a".to_owned(); 50]).await);
    assert!((9..=11).contains(&quarter), "1/4 to 1: {quarter} of 50");
    proxy.advance_s(80);
    let whole = share(answers(&proxy, vec!["/a".to_owned(); 50]).await);
    assert!((24..=26).contains(&whole), "1 to 1: {whole} of 50");
}
