//! Which access logs a request is in, and what they say. (nginx: access_log, log_format)

use std::path::Path;

use larder::clock::Clock;

use crate::harness::http2::Http2;
use crate::harness::stepping::Wire;
use crate::harness::{Gate, Origin, Port, Proxy, client, eventually, ok};

/// Logs of three formats; `FOLDER` is where they lie.
const CONFIG: &str = r#"
[log]
access = { path = "FOLDER/all.log", format = "$server_name $status $request_uri", buffer = "0" }
[access_log.main]
path = "FOLDER/main.log"
format = '$remote_addr "$request" $status $body_bytes_sent [$http_x_none] [$http_x_empty] $upstream_cache_status $upstream_status $request_completion $timed'
buffer = "0"
[access_log.json]
path = "FOLDER/json.log"
format = '{"agent":"$http_user_agent","none":"$http_x_none","query":"$args"}'
escape = "json"
buffer = "0"
[access_log.errors]
path = "FOLDER/errors.log"
format = "$status $request_uri $failed"
buffer = "0"
[map.failed]
key = "$status$arg_q"
values = { "~^[45]" = "1", "200x" = "x$http_user_agent" }
default = "0"
[map.timed]
key = "$request_time"
values = { '~^[0-9]+[.][0-9]{3}$' = "timed" }

[zone.test]
[[site]]
listen = "127.0.0.1:0"
name = "main.example"
default = true
[site.defaults]
access_log = ["main", { to = "errors", when = "$failed" }]
[[site.route]]
path = "/"
proxy = "http://ORIGIN"
cache.zone = "test"
[[site.route]]
path = "/json"
proxy = "http://ORIGIN"
access_log = "json"
[[site.route]]
path = "/quiet"
proxy = "http://ORIGIN"
access_log = "off"

[[site]]
listen = "127.0.0.1:0"
name = "other.example"
[[site.route]]
path = "/"
respond = 204
"#;

struct Stage {
    origin: Origin,
    proxy: Proxy,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let origin = Origin::start().await;
        origin.on("/kept", ok("kept").header("cache-control", "max-age=1000"));
        for path in ["/json?a=%22", "/quiet", "/kept?q=x"] {
            origin.on(path, ok("x"));
        }
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let proxy = Proxy::with(&config(CONFIG, folder.path()), &origin).await;
        Self { origin, proxy, folder }
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    async fn has(&self, name: &str, expected: &str) {
        eventually(&format!("{name} has {expected:?}"), async || self.text(name) == expected).await;
    }
}

fn config(text: &str, folder: &Path) -> String {
    text.replace("FOLDER", folder.to_str().unwrap())
}

#[tokio::test]
async fn a_line_is_what_the_format_says_and_a_hit_is_told_like_a_miss() {
    let stage = Stage::new().await;
    let line = |method: &str, bytes: u32, rest: &str| {
        format!("127.0.0.1 \"{method} /kept HTTP/1.1\" 200 {bytes} [-] [] {rest} OK timed\n")
    };
    let mut expected = String::new();
    for (method, bytes, rest) in [("GET", 4, "MISS 200"), ("GET", 4, "HIT -"), ("HEAD", 0, "HIT -")]
    {
        let fields = [("X-Empty", ""), ("Host", "main.example")];
        stage.proxy.send(method, "/kept", &fields).await;
        expected += &line(method, bytes, rest);
        stage.has("main.log", &expected).await;
    }
    assert_eq!(stage.text("all.log"), "");
}

#[tokio::test]
async fn json_is_escaped_and_a_part_may_log_nothing() {
    let stage = Stage::new().await;
    stage.proxy.get("/quiet").await;
    stage.proxy.send("GET", "/json?a=%22", &[("User-Agent", "a\"b\\c\td")]).await;
    let expected = r#"{"agent":"a\"b\\c\td","none":"","query":"a=%22"}"#;
    stage.has("json.log", &format!("{expected}\n")).await;
    assert_eq!(stage.text("main.log") + &stage.text("all.log") + &stage.text("errors.log"), "");
}

#[tokio::test]
async fn a_condition_may_ask_for_the_status() {
    let stage = Stage::new().await;
    let asked = [("/kept", ""), ("/nowhere", ""), ("/kept?q=x", "u")];
    for (target, agent) in asked {
        stage.proxy.send("GET", target, &[("User-Agent", agent)]).await;
    }
    let failed = if stage.origin.seen("/nowhere") == 1 { "404" } else { "502" };
    stage.has("errors.log", &format!("{failed} /nowhere 1\n200 /kept?q=x xu\n")).await;
}

#[tokio::test]
async fn what_no_route_is_found_for_is_logged_as_the_default_site_does() {
    let stage = Stage::new().await;
    let refused = client::exchange_raw(
        stage.proxy.address,
        b"GET /../a HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(refused.status, 400);
    let expected = "127.0.0.1 \"GET /../a HTTP/1.1\" 400 28 [-] [-] - - OK timed\n";
    let length = refused.body.len().to_string();
    stage.has("main.log", &expected.replace("28", &length)).await;
    stage.proxy.send("GET", "/b", &[("Host", "other.example")]).await;
    eventually("the site without logs of its own is in that of all", async || {
        stage.text("all.log").contains("other.example 204 /b\n")
    })
    .await;
}

#[tokio::test]
async fn another_format_counts_from_a_reload_on_in_the_same_file() {
    let stage = Stage::new().await;
    stage.proxy.get("/json?a=%22").await;
    let changed = CONFIG
        .replace(r#"{"agent":"$http_user_agent","none":"$http_x_none","query":"$args"}"#, "$uri");
    let changed = changed.replace("\"/quiet\"", "\"/silent\"");
    stage.proxy.reload(&config(&changed, stage.folder.path()), &stage.origin).await.unwrap();
    stage.proxy.get("/json?a=%22").await;
    let expected = "{\"agent\":\"\",\"none\":\"\",\"query\":\"a=%22\"}\n/json\n";
    stage.has("json.log", expected).await;
}

/// Nobody is at the address `NOBODY`, nor at `NEITHER`.
const TRIED: &str = r#"
[log]
access = { path = "FOLDER/main.log", format = '$uri a=$upstream_addr s=$upstream_status l=$upstream_response_length c=$upstream_connect_time h=$upstream_header_time r=$upstream_response_time', buffer = "0" }
[upstream.two]
server = ["NOBODY", "ORIGIN"]
[upstream.dead]
server = [{ address = "NOBODY", max_fails = 0 }]
[upstream.none]
server = ["NOBODY", "NEITHER"]
[zone.test]
[[site]]
listen = "127.0.0.1:0"
[[site.route]]
path = "/two"
proxy = "http://two"
[[site.route]]
path = "/cached"
proxy = "http://ORIGIN"
cache.zone = "test"
[[site.route]]
path = "/cached/dead"
proxy = "http://dead"
cache.zone = "test"
[[site.route]]
path = "/dead"
proxy = "http://dead"
[[site.route]]
path = "/none"
proxy = "http://none"
[[site.route]]
path = "/late"
proxy = "http://ORIGIN"
timeout = { read = "60ms" }
"#;

async fn tried_stage(origin: Origin, [nobody, neither]: [&Port; 2]) -> Stage {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let text = config(TRIED, folder.path()).replace("NOBODY", &nobody.address.to_string());
    let text = text.replace("NEITHER", &neither.address.to_string());
    let proxy = Proxy::with(&text, &origin).await;
    Stage { origin, proxy, folder }
}

/// The line of a request, with `T` for times.
async fn tried(stage: &Stage, target: &str) -> String {
    stage.proxy.get(target).await;
    let begin = format!("{target} ");
    let line =
        || stage.text("main.log").lines().rfind(|line| line.starts_with(&begin)).map(str::to_owned);
    eventually("it is logged", async || line().is_some()).await;
    let time = regex::Regex::new(r"\b\d+\.\d{3}\b").unwrap();
    let line = line().unwrap().replace(&stage.origin.address.to_string(), "ORIGIN");
    time.replace_all(line.strip_prefix(&begin).unwrap(), "T").into_owned()
}

/// As nginx's lines say it.
#[tokio::test]
async fn a_line_names_each_server_that_was_asked_with_its_status_bytes_and_times() {
    let (nobody, neither, gate) = (Port::reserve(), Port::reserve(), Gate::closed());
    let origin = Origin::start().await;
    origin.on("/two", ok("0123456789")).on("/late", ok("late").behind(&gate));
    origin.on("/cached", ok("012345").chunked().header("cache-control", "max-age=1000"));
    let stage = tried_stage(origin, [&nobody, &neither]).await;
    let (one, other) = (nobody.address, neither.address);
    let dead = format!("a={one} s=502 l=0 c=- h=- r=T");
    let none = format!("a={one}, {other} s=502, 502 l=0, 0 c=-, - h=-, - r=T, T");
    let both = format!("a={one}, ORIGIN s=502, 200 l=0, 10 c=-, T h=-, T r=T, T");
    for (target, expected) in [
        ("/two", &*both),
        ("/dead", &dead),
        ("/cached/dead", &dead),
        ("/cached", "a=ORIGIN s=200 l=6 c=T h=T r=T"),
        ("/cached", "a=- s=- l=- c=- h=- r=-"),
        ("/none", &none),
        ("/none", "a=none s=502 l=0 c=- h=- r=T"),
        ("/late", "a=ORIGIN s=504 l=0 c=T h=- r=T"),
    ] {
        assert_eq!(tried(&stage, target).await, expected, "{target}");
        let log = stage.folder.path().join("main.log");
        std::fs::File::options().write(true).open(log).unwrap().set_len(0).unwrap();
    }
}

#[tokio::test]
async fn the_time_of_a_response_goes_on_until_its_body_ends() {
    let (nobody, neither, gate) = (Port::reserve(), Port::reserve(), Gate::closed());
    let origin = Origin::start().await;
    origin.on("/two", ok("0123456789").body_behind(&gate));
    let stage = tried_stage(origin, [&nobody, &neither]).await;
    let mut client = Wire::connect(stage.proxy.address).await;
    client.send("GET /two HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.read_to("01234").await;
    let waits = Clock::Real.instant();
    stage.proxy.settle().await;
    let waited = waits.elapsed().as_secs_f64();
    gate.open();
    client.read_to("56789").await;
    let line =
        || stage.text("main.log").lines().find(|line| line.starts_with("/two ")).map(str::to_owned);
    eventually("it is logged", async || line().is_some()).await;
    let line = line().unwrap();
    let time: f64 = line.rsplit([' ', '=']).next().unwrap().parse().unwrap();
    assert!(line.contains(" l=0, 10 "), "{line}");
    assert!(time >= waited - 0.001, "{waited} {line}");
}

const NUMBERED: &str = r#"
[log]
access = { path = "FOLDER/main.log", format = '$connection_requests $connection_time $connection', buffer = "0" }
[zone.test]
[[site]]
listen = "127.0.0.1:0"
[[site.route]]
path = "/"
proxy = "http://ORIGIN"
cache.zone = "test"
"#;

#[tokio::test]
async fn a_line_says_which_request_of_its_connection_it_is() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let origin = Origin::start().await;
    origin.on("/cached", ok("012345").header("cache-control", "max-age=1000"));
    let proxy = Proxy::with(&config(NUMBERED, folder.path()), &origin).await;
    let stage = Stage { origin, proxy, folder };
    let mut client = Wire::connect(stage.proxy.address).await;
    for _ in 0..3 {
        client.send("GET /cached HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.read_to("012345").await;
        stage.proxy.flush().await;
    }
    let http2 = Http2::connect(stage.proxy.address).await;
    for _ in 0..2 {
        assert_eq!(http2.get("/cached").await.status, 200);
    }
    let lines = || stage.text("main.log").lines().count();
    eventually("all are logged", async || lines() == 5).await;
    let text = stage.text("main.log");
    let words: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    let (requests, connections): (Vec<_>, Vec<_>) =
        words.iter().map(|words| (words[0], words[2])).unzip();
    assert_eq!(requests, ["1", "2", "3", "1", "2"]);
    assert!(connections[0] == connections[2] && connections[3] == connections[4], "{text}");
    assert_ne!(connections[2], connections[3]);
    assert!(words.iter().all(|words| words[1].parse::<f64>().is_ok()), "{text}");
}
