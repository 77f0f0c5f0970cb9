//! Every `proxy_cache` directive of nginx under its name, one test each: what a user of nginx expects
//! of it. `docs/manual/nginx.md` names these tests.

use std::path::Path;
use std::time::Duration;

use super::disk::on_disk;
use crate::harness::{Gate, Origin, Proxy, Reply, eventually, ok, request};

fn lasting(text: &str) -> Reply {
    ok(text).header("cache-control", "max-age=100")
}

/// What a client gets that asks for what is expired when the origin answers like this.
async fn expired_with(use_stale: &str, reply: Reply) -> String {
    let origin = Origin::start().await;
    origin.next("/a", ok("one").header("cache-control", "max-age=10")).on("/a", reply);
    let lines = format!("use_stale = {use_stale}\nvalid = {{ any = \"10s\" }}");
    let config = format!("{}{lines}\n", crate::harness::proxy::CACHED);
    // One second is the shortest that tells a timeout from a slow machine.
    let config =
        config.replace("[site.route.cache]", "timeout = { read = \"1s\" }\n[site.route.cache]");
    let proxy = Proxy::with(&config, &origin).await;
    proxy.get("/a").await;
    proxy.advance_s(20);
    let response = proxy.get("/a").await;
    format!("{} {}", response.status, response.cache())
}

#[tokio::test]
async fn proxy_cache_off_stores_nothing() {
    let origin = Origin::start().await;
    origin.on("/a", lasting("one"));
    let config = crate::harness::proxy::CACHED.replace("zone = \"test\"", "zone = \"off\"");
    let proxy = Proxy::with(&config, &origin).await;
    for _ in 0..2 {
        assert_eq!(proxy.get("/a").await.detail(), "cache-off");
    }
    assert_eq!(origin.seen("/a"), 2);
}

#[tokio::test]
async fn proxy_cache_key_decides_what_is_the_same() {
    let origin = Origin::start().await;
    for target in ["/a?x=1", "/a?x=2"] {
        origin.on(target, lasting(target));
    }
    let proxy = Proxy::cached_with("key = \"$scheme$proxy_host$uri\"", &origin).await;
    assert_eq!(proxy.line("/a?x=1").await, "200 MISS /a?x=1");
    assert_eq!(proxy.line("/a?x=2").await, "200 HIT /a?x=1");
}

#[tokio::test]
async fn proxy_cache_methods_adds_to_get_and_head() {
    let origin = Origin::start().await;
    origin.on("/a", lasting("one"));
    let lines = "methods = [\"POST\"]\nkey = \"$request_method$request_uri\"";
    let proxy = Proxy::cached_with(lines, &origin).await;
    for (method, word) in [("POST", "MISS"), ("POST", "HIT"), ("GET", "MISS"), ("GET", "HIT")] {
        assert_eq!(proxy.send(method, "/a", &[]).await.cache(), word, "{method}");
    }
    assert_eq!(proxy.send("PUT", "/a", &[]).await.detail(), "method");
}

#[tokio::test]
async fn proxy_cache_convert_head_fetches_the_whole_or_not() {
    let origin = Origin::start().await;
    origin.on("/a", lasting("one"));
    let proxy = Proxy::cached(&origin).await;
    assert_eq!(proxy.send("HEAD", "/a", &[]).await.cache(), "MISS");
    eventually("it is stored", async || proxy.line("/a").await == "200 HIT one").await;
    assert_eq!(origin.requests("/a")[0].method, "GET");
    let lines = "convert_head = false\nkey = \"$request_method$request_uri\"";
    let proxy = Proxy::cached_with(lines, &origin).await;
    proxy.send("HEAD", "/a", &[]).await;
    assert_eq!(origin.requests("/a")[1].method, "HEAD");
    assert_eq!(proxy.get("/a").await.cache(), "MISS");
}

#[tokio::test]
async fn proxy_cache_valid_counts_by_the_first_line_that_names_the_status() {
    let origin = Origin::start().await;
    origin.on("/ok", ok("one")).on("/gone", Reply::status(404, "gone"));
    origin.on("/busy", Reply::status(503, "busy"));
    let valid = "valid = { \"200 302\" = \"10m\", \"404\" = \"1m\", any = \"5s\" }";
    let proxy = Proxy::cached_with(valid, &origin).await;
    for (path, lifetime_s) in [("/ok", 600), ("/gone", 60), ("/busy", 5)] {
        assert_eq!(proxy.get(path).await.cache(), "MISS", "{path}");
        proxy.advance_s(lifetime_s - 1);
        assert_eq!(proxy.get(path).await.cache(), "HIT", "{path}");
        proxy.advance_s(2);
        assert_ne!(proxy.get(path).await.cache(), "HIT", "{path}");
    }
}

#[tokio::test]
async fn proxy_cache_min_uses_stores_at_the_nth_request() {
    let origin = Origin::start().await;
    origin.on("/a", lasting("one"));
    let proxy = Proxy::cached_with("min_uses = 3", &origin).await;
    for word in ["MISS", "MISS", "MISS", "HIT"] {
        assert_eq!(proxy.get("/a").await.cache(), word);
    }
}

#[tokio::test]
async fn proxy_cache_bypass_fetches_anew_and_stores_what_comes() {
    let origin = Origin::start().await;
    origin.next("/a", lasting("one")).on("/a", lasting("two"));
    let proxy = Proxy::cached_with("bypass = [\"$http_x_fresh\"]", &origin).await;
    proxy.get("/a").await;
    assert_eq!(proxy.send("GET", "/a", &[("x-fresh", "0")]).await.line(), "200 HIT one");
    assert_eq!(proxy.send("GET", "/a", &[("x-fresh", "1")]).await.line(), "200 BYPASS two");
    assert_eq!(proxy.line("/a").await, "200 HIT two");
}

#[tokio::test]
async fn proxy_no_cache_keeps_the_answer_out() {
    let origin = Origin::start().await;
    origin.on("/a", lasting("one"));
    let proxy = Proxy::cached_with("no_cache = [\"$cookie_session\"]", &origin).await;
    for _ in 0..2 {
        let mine = proxy.send("GET", "/a", &[("cookie", "session=1")]).await;
        assert_eq!((mine.cache(), mine.detail()), ("MISS".into(), "no-cache-rule".into()));
    }
    assert_eq!(proxy.get("/a").await.cache(), "MISS");
    assert_eq!(proxy.get("/a").await.cache(), "HIT");
}

#[tokio::test]
async fn proxy_cache_lock_lets_one_fetch_and_wakes_the_others_at_once() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.on("/a", lasting("one").behind(&gate));
    let proxy = Proxy::cached_with("lock = true", &origin).await;
    let clients: Vec<_> = (0..20).map(|_| proxy.spawn_get()).collect();
    eventually("the origin is asked", async || origin.seen("/a") == 1).await;
    gate.open();
    for client in clients {
        assert_eq!(client.await.unwrap().text(), "one");
    }
    assert_eq!(origin.seen("/a"), 1);
}

#[tokio::test]
async fn proxy_cache_lock_timeout_ends_the_wait_and_does_not_store() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.next("/a", lasting("slow").behind(&gate)).on("/a", lasting("quick"));
    let proxy = Proxy::cached_with("lock_timeout = \"50ms\"", &origin).await;
    let first = proxy.spawn_get();
    eventually("the origin is asked", async || origin.seen("/a") == 1).await;
    assert_eq!(proxy.line("/a").await, "200 MISS quick");
    gate.open();
    first.await.unwrap();
    assert_eq!(proxy.line("/a").await, "200 HIT slow");
}

#[tokio::test]
async fn proxy_cache_lock_age_lets_one_more_fetch() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.next("/a", lasting("slow").behind(&gate)).on("/a", lasting("second"));
    let proxy = Proxy::cached_with("lock_age = \"50ms\"\nlock_timeout = \"60s\"", &origin).await;
    let first = proxy.spawn_get();
    eventually("the origin is asked", async || origin.seen("/a") == 1).await;
    assert_eq!(proxy.line("/a").await, "200 MISS second");
    assert_eq!(proxy.line("/a").await, "200 HIT second", "unlike after lock_timeout it is stored");
    gate.open();
    first.await.unwrap();
}

#[tokio::test]
async fn proxy_cache_use_stale_error() {
    assert_eq!(expired_with("\"off\"", Reply::hang_up()).await, "502 EXPIRED");
    assert_eq!(expired_with("[\"error\"]", Reply::hang_up()).await, "200 STALE");
}

#[tokio::test]
async fn proxy_cache_use_stale_timeout() {
    let never = Gate::closed();
    assert_eq!(expired_with("[\"error\"]", ok("").behind(&never)).await, "504 EXPIRED");
    assert_eq!(expired_with("[\"timeout\"]", ok("").behind(&never)).await, "200 STALE");
}

#[tokio::test]
async fn proxy_cache_use_stale_invalid_header() {
    let nonsense = || Reply::raw(b"nonsense\r\n\r\n");
    assert_eq!(expired_with("[\"error\"]", nonsense()).await, "502 EXPIRED");
    assert_eq!(expired_with("[\"invalid_header\"]", nonsense()).await, "200 STALE");
}

#[tokio::test]
async fn proxy_cache_use_stale_http_statuses() {
    for status in [500, 502, 503, 504, 403, 404, 429] {
        let word = format!("[\"http_{status}\"]");
        assert_eq!(expired_with(&word, Reply::status(status, "")).await, "200 STALE", "{status}");
        let other = if status == 500 { "[\"http_502\"]" } else { "[\"http_500\"]" };
        let passed = expired_with(other, Reply::status(status, "")).await;
        assert_eq!(passed, format!("{status} EXPIRED"));
    }
}

#[tokio::test]
async fn proxy_cache_use_stale_updating() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.next("/a", ok("one").header("cache-control", "max-age=10"));
    origin.on("/a", lasting("two").behind(&gate));
    let proxy = Proxy::cached_with("use_stale = [\"updating\"]", &origin).await;
    proxy.get("/a").await;
    proxy.advance_s(20);
    let first = proxy.spawn_get();
    eventually("the origin is asked", async || origin.seen("/a") == 2).await;
    assert_eq!(proxy.line("/a").await, "200 UPDATING one");
    gate.open();
    assert_eq!(first.await.unwrap().line(), "200 EXPIRED two", "who validates waits himself");
}

#[tokio::test]
async fn proxy_cache_background_update_lets_nobody_wait() {
    let origin = Origin::start().await;
    let gate = Gate::closed();
    origin.next("/a", ok("one").header("cache-control", "max-age=10"));
    origin.on("/a", lasting("two").behind(&gate));
    let lines = "use_stale = [\"updating\"]\nbackground_update = true";
    let proxy = Proxy::cached_with(lines, &origin).await;
    proxy.get("/a").await;
    proxy.advance_s(20);
    for word in ["STALE", "UPDATING", "UPDATING"] {
        assert_eq!(proxy.line("/a").await, format!("200 {word} one"));
    }
    gate.open();
    eventually("the new one is stored", async || proxy.line("/a").await == "200 HIT two").await;
    assert_eq!(origin.seen("/a"), 2);
}

#[tokio::test]
async fn proxy_cache_revalidate_asks_with_validators() {
    let origin = Origin::start().await;
    let validated = || ok("one").header("cache-control", "max-age=10").header("etag", "\"1\"");
    origin.next("/a", validated());
    origin.on("/a", Reply::status(304, "").header("cache-control", "max-age=10"));
    let proxy = Proxy::cached_with("revalidate = true", &origin).await;
    proxy.get("/a").await;
    proxy.advance_s(20);
    assert_eq!(proxy.line("/a").await, "200 REVALIDATED one");
    assert_eq!(origin.requests("/a")[1].header("if-none-match"), "\"1\"");
    assert_eq!(proxy.line("/a").await, "200 HIT one");
    origin.on("/b", validated());
    let proxy = Proxy::cached_with("revalidate = false", &origin).await;
    proxy.get("/b").await;
    proxy.advance_s(20);
    assert_eq!(proxy.line("/b").await, "200 EXPIRED one");
    assert_eq!(origin.requests("/b")[1].header("if-none-match"), "-");
}

#[tokio::test]
async fn proxy_ignore_headers_are_sent_on_but_not_obeyed() {
    let origin = Origin::start().await;
    let past = "Thu, 01 Jan 1970 00:00:00 GMT";
    for (path, field, name, value) in [
        ("/cc", "Cache-Control", "cache-control", "no-store"),
        ("/expires", "Expires", "expires", past),
        ("/accel", "X-Accel-Expires", "x-accel-expires", "0"),
        ("/cookie", "Set-Cookie", "set-cookie", "a=1"),
        ("/vary", "Vary", "vary", "*"),
    ] {
        origin.on(path, ok("one").header(name, value));
        let obeyed = Proxy::cached_with("valid = \"10m\"", &origin).await;
        obeyed.get(path).await;
        assert_ne!(obeyed.get(path).await.cache(), "HIT", "{field}");
        let lines = format!("valid = \"10m\"\nignore_headers = [\"{field}\"]");
        let ignored = Proxy::cached_with(&lines, &origin).await;
        ignored.get(path).await;
        assert_eq!(ignored.get(path).await.cache(), "HIT", "{field}");
    }
}

#[tokio::test]
async fn proxy_hide_header_and_pass_header_apply_to_what_is_stored_and_what_is_passed() {
    let origin = Origin::start().await;
    let reply = || {
        let reply = lasting("one").header("x-powered-by", "jam").header("x-pad", "x");
        reply.header("x-accel-buffering", "no").header("x-accel-redirect", "/inside/a")
    };
    origin.on("/a", reply()).on("/b", reply().header("cache-control", "no-store"));
    let lines = "hide_header = [\"X-Powered-By\"]\npass_header = [\"X-Accel-Buffering\"]";
    let proxy = Proxy::cached_with(lines, &origin).await;
    for path in ["/a", "/a", "/b"] {
        let response = proxy.get(path).await;
        assert_eq!(response.header("x-powered-by"), "-", "{path} {}", response.cache());
        assert_eq!(response.header("x-accel-buffering"), "no", "{path}");
    }
    let proxy = Proxy::cached(&origin).await;
    for path in ["/a", "/a", "/b"] {
        let response = proxy.get(path).await;
        assert_eq!(response.header("x-powered-by"), "jam", "{path}");
        for hidden in ["x-accel-buffering", "x-accel-redirect", "x-pad"] {
            assert_eq!(response.header(hidden), "-", "{path} {hidden}");
        }
    }
}

#[tokio::test]
async fn proxy_cache_purge_removes_a_key_for_those_who_may() {
    let origin = Origin::start().await;
    origin.on("/a", lasting("one"));
    let proxy = Proxy::cached_with("purge = { from = [\"127.0.0.1\"] }", &origin).await;
    proxy.get("/a").await;
    assert_eq!(proxy.send("PURGE", "/a", &[]).await.status, 200);
    assert_eq!(proxy.get("/a").await.cache(), "MISS");
    let closed = Proxy::cached_with("purge = { from = [\"192.0.2.1\"] }", &origin).await;
    assert_eq!(closed.send("PURGE", "/a", &[]).await.status, 403);
}

#[tokio::test]
async fn proxy_cache_path_levels_of_one_to_three() {
    for (levels, folders) in [("1", 1), ("2", 1), ("1:2", 2), ("2:2", 2), ("1:2:2", 3)] {
        let folder = tempfile::tempdir().unwrap();
        let origin = Origin::start().await;
        origin.on("/a", lasting("one"));
        let config = on_disk(folder.path(), &format!("levels = \"{levels}\""));
        let proxy = Proxy::with(&config, &origin).await;
        proxy.get("/a").await;
        eventually("it is stored", async || proxy.line("/a").await == "200 HIT one").await;
        proxy.flush().await;
        let file = files(folder.path()).pop().unwrap();
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let below = file.strip_prefix(folder.path()).unwrap();
        assert_eq!(below.components().count(), folders + 1, "{levels}");
        let mut end = name.len();
        for (level, part) in levels.split(':').zip(below.components()) {
            let start = end - level.parse::<usize>().unwrap();
            assert_eq!(part.as_os_str(), &name[start..end], "{levels}");
            end = start;
        }
    }
}

#[tokio::test]
async fn proxy_cache_path_max_size_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    let config =
        on_disk(folder.path(), "max_size = \"64k\"").replace("memory = \"64m\"", "memory = 0");
    let proxy = Proxy::with(&config, &origin).await;
    for number in 0..40 {
        let path = format!("/{number}");
        origin.on(&path, lasting("one"));
        proxy.get(&path).await;
        proxy.flush().await;
    }
    let bytes: u64 = files(folder.path())
        .iter()
        .filter_map(|file| file.metadata().ok())
        .map(|meta| meta.len().next_multiple_of(4096))
        .sum();
    assert!(bytes <= 64 << 10, "{bytes}");
}

#[tokio::test]
async fn proxy_cache_path_min_free_leaves_the_disk_its_room() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start().await;
    origin.on("/a", lasting("one"));
    // More than any disk has.
    let config = on_disk(folder.path(), "min_free = \"4000000t\"");
    let proxy = Proxy::with(&config, &origin).await;
    proxy.get("/a").await;
    eventually("memory serves it", async || proxy.line("/a").await == "200 HIT one").await;
    proxy.flush().await;
    assert!(files(folder.path()).is_empty(), "{:?}", files(folder.path()));
}

#[tokio::test]
async fn proxy_cache_path_inactive_forgets_what_nobody_asks_for_fresh_or_not() {
    let origin = Origin::start().await;
    for path in ["/asked", "/forgotten"] {
        origin.on(path, ok("one").header("cache-control", "max-age=100000"));
    }
    let config = crate::harness::proxy::CACHED
        .replace("memory = \"64m\"", "memory = \"64m\"\ninactive = \"60s\"");
    let proxy = Proxy::with(&config, &origin).await;
    proxy.get("/asked").await;
    proxy.get("/forgotten").await;
    for _ in 0..4 {
        proxy.advance_s(40);
        assert_eq!(proxy.get("/asked").await.cache(), "HIT");
        // The sweep goes by the machine's clock.
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    assert_eq!(proxy.get("/forgotten").await.cache(), "MISS");
}

#[tokio::test]
async fn statuses_are_those_of_nginx_in_the_order_of_a_life() {
    let origin = Origin::start().await;
    let ten = |text: &str| ok(text).header("cache-control", "max-age=10").header("etag", "\"1\"");
    origin.next("/a", ten("one"));
    origin.next("/a", Reply::status(304, "").header("cache-control", "max-age=10"));
    origin.next("/a", ten("two"));
    origin.on("/a", Reply::status(500, "no"));
    let lines = "bypass = [\"$http_x_fresh\"]\nuse_stale = [\"http_500\"]";
    let proxy = Proxy::cached_with(lines, &origin).await;
    let mut words = Vec::new();
    for (advance_s, fresh) in [(0, ""), (1, ""), (20, ""), (20, ""), (20, ""), (0, "1")] {
        proxy.advance_s(advance_s);
        let response = request(proxy.address, "GET", "/a", &[("x-fresh", fresh)]).await;
        words.push(response.cache());
    }
    assert_eq!(words, ["MISS", "HIT", "REVALIDATED", "EXPIRED", "STALE", "BYPASS"]);
}

/// The files of stored responses.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if entry.file_name().len() == 32 {
            found.push(path);
        }
    }
    found
}
