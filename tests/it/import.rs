//! `larder import`: what is written, what is told, and that a configuration so made does what it did.

use std::path::Path;
use std::process::{Command, Output};

use larder::import;

use crate::added_at_hand::was_at_hand;
use crate::at_hand::{all, get};
use crate::harness::{Origin, Proxy, Reply, ok};

const SMALL: &str = "events { }\nhttp {\n  server {\n    listen 127.0.0.1:81;\n    location / {\n      proxy_pass http://127.0.0.1:3000;\n    }\n  }\n}\n";

fn larder(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.current_dir(folder).arg("import").args(arguments).output().unwrap()
}

fn folder(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("nginx.conf"), text).unwrap();
    folder
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_configuration_goes_to_standard_output_and_the_report_to_standard_error() {
    let folder = folder(SMALL);
    let ran = larder(folder.path(), &["nginx.conf", "--strict"]);
    let (toml, report) = (text(&ran.stdout), text(&ran.stderr));
    assert_eq!(ran.status.code(), Some(0), "{report}");
    assert!(toml.contains("proxy = \"http://127.0.0.1:3000\""), "{toml}");
    assert!(toml.contains("# nginx.conf:5: location /\n[[site.route]]\n"), "{toml}");
    assert!(
        report.contains("nginx.conf:6  exact        proxy_pass http://127.0.0.1:3000\n"),
        "{report}"
    );
    assert!(
        report.contains("6 directives: 6 carried over exactly, 0 with a difference"),
        "{report}"
    );
}

#[test]
fn a_file_is_written_once_and_checked() {
    let folder = folder(SMALL);
    let ran = larder(folder.path(), &["nginx.conf", "-o", "larder.toml", "--json"]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    let report: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(report["summary"]["exact"], 6);
    assert_eq!(report["directives"][4]["verdict"], "exact");
    assert_eq!(report["directives"][4]["line"], 5);
    let checked = Command::new(env!("CARGO_BIN_EXE_larder"))
        .current_dir(folder.path())
        .args(["check", "-c", "larder.toml"])
        .output();
    assert_eq!(checked.unwrap().status.code(), Some(0));

    let again = larder(folder.path(), &["nginx.conf", "-o", "larder.toml"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("cannot write `larder.toml`: "), "{again:?}");
}

#[test]
fn what_is_not_exact_fails_only_where_that_is_asked_for() {
    let folder = folder(&SMALL.replace("events", "nobody_knows_this on;\nevents"));
    let plain = larder(folder.path(), &["nginx.conf"]);
    assert_eq!(plain.status.code(), Some(0));
    assert!(text(&plain.stderr).contains("unknown      nobody_knows_this on\n"), "{plain:?}");
    let strict = larder(folder.path(), &["nginx.conf", "--strict"]);
    assert_eq!(strict.status.code(), Some(1));
    assert_eq!(strict.stdout, plain.stdout);
}

#[test]
fn a_syntax_error_is_told_with_its_place_and_nothing_is_written() {
    let folder = folder("http {\n  server {\n    listen 80\n  }\n}\n");
    let ran = larder(folder.path(), &["nginx.conf", "-o", "larder.toml"]);
    assert_eq!(ran.status.code(), Some(1));
    let told = text(&ran.stderr);
    assert!(told.contains("--> nginx.conf:3:14") || told.contains("--> nginx.conf:3:"), "{told}");
    assert!(!folder.path().join("larder.toml").exists());
}

#[test]
fn without_a_server_there_is_nothing_to_write() {
    let folder = folder("server { listen 80; }\n");
    let ran = larder(folder.path(), &["nginx.conf", "-o", "larder.toml"]);
    assert_eq!(ran.status.code(), Some(1));
    let told = text(&ran.stderr);
    assert!(told.contains("there is no `server` in it"), "{told}");
    assert!(told.contains("stands where nginx does not take it"), "{told}");
    assert!(!folder.path().join("larder.toml").exists());
}

/// A proxy with what is made of a configuration of nginx's, and its folder; `ORIGIN` stands for the
/// origin.
async fn proxy(config: &str, origin: &Origin) -> (Proxy, tempfile::TempDir) {
    let folder = folder(&config.replace("ORIGIN", &origin.address.to_string()));
    let imported = import::import(&folder.path().join("nginx.conf"), None).unwrap();
    let toml = imported.toml.replace("127.0.0.1:81\"", "127.0.0.1:0\"");
    (Proxy::with(&toml, origin).await, folder)
}

#[tokio::test]
async fn rules_by_method_query_and_cookie_keep_answers_out_as_in_nginx() {
    let origin = Origin::start().await;
    let (proxy, _folder) = proxy(
        "http {
        proxy_cache_path cache keys_zone=pages:10m;
        server {
            listen 127.0.0.1:81;
            set $skip 0;
            if ($query_string != \"\") { set $skip 1; }
            if ($request_uri ~* \"/wp-admin/|/feed/\") { set $skip 1; }
            if ($http_cookie ~* \"wordpress_logged_in|comment_author\") { set $skip 1; }
            location / {
                proxy_pass http://ORIGIN;
                proxy_cache pages;
                proxy_cache_valid 200 1h;
                proxy_cache_bypass $skip;
                proxy_no_cache $skip;
                add_header X-Cache $upstream_cache_status;
            }
        } }",
        &origin,
    )
    .await;
    for target in ["/post", "/post?p=1", "/WP-ADMIN/x"] {
        origin.on(target, ok("page"));
    }
    let ask = async |target: &str, cookie: &str| {
        let fields = [("cookie", cookie)];
        proxy.send("GET", target, &fields).await.header("x-cache")
    };
    assert_eq!(ask("/post", "a=b").await, "MISS");
    assert_eq!(ask("/post", "a=b").await, "HIT");
    assert_eq!(ask("/post", "WordPress_logged_in=1").await, "BYPASS");
    assert_eq!(ask("/post?p=1", "a=b").await, "BYPASS");
    assert_eq!(ask("/post?p=1", "a=b").await, "BYPASS");
    assert_eq!(ask("/WP-ADMIN/x", "a=b").await, "BYPASS");
    assert_eq!(origin.seen("/post"), 2);
}

#[tokio::test]
async fn conditions_redirect_with_what_they_captured() {
    let origin = Origin::start().await;
    origin.on("/page", ok("page"));
    let (proxy, _folder) = proxy(
        "http { server {
            listen 127.0.0.1:81;
            if ($http_x_host ~* ^www\\.(.+)$) { return 301 https://$1$request_uri; }
            rewrite ^/old/(.*)$ /$1 last;
            location / { proxy_pass http://ORIGIN; }
            location = /closed { allow 10.0.0.0/8; deny all; proxy_pass http://ORIGIN; }
            location = /gone { deny all; return 410 gone; }
        } }",
        &origin,
    )
    .await;
    let moved = proxy.send("GET", "/old/page?a=b", &[("x-host", "www.a.example")]).await;
    assert_eq!(
        (moved.status, moved.header("location")),
        (301, "https://a.example/old/page?a=b".to_owned())
    );
    assert_eq!(proxy.send("GET", "/old/page", &[("x-host", "a.example")]).await.status, 200);
    assert_eq!(proxy.get("/closed").await.status, 403);
    let gone = proxy.get("/gone").await;
    assert_eq!((gone.status, gone.text()), (410, "gone".to_owned()));
}

#[tokio::test]
async fn hits_of_an_imported_route_are_at_hand_with_what_it_adds() {
    let origin = Origin::start().await;
    let dated = |reply: Reply| reply.header("Date", "Mon, 21 Sep 2026 14:13:20 GMT");
    origin.on("/page", dated(ok("page")).header("Cache-Control", "max-age=60"));
    let (proxy, _folder) = proxy(
        "http {
        proxy_cache_path cache keys_zone=pages:10m;
        server {
            listen 127.0.0.1:81;
            add_header X-Cache-Status $upstream_cache_status always;
            add_header X-Frame-Options DENY;
            error_page 500 502 503 504 /50x.html;
            location / { proxy_pass http://ORIGIN; proxy_cache pages; }
        } }",
        &origin,
    )
    .await;
    let asked = get("/page", "Connection: close\r\n");
    for expected in ["MISS", "HIT", "HIT"] {
        proxy.flush().await;
        let answer = all(&proxy, asked.as_bytes()).await;
        assert!(answer.contains(&format!("\r\nX-Cache-Status: {expected}\r\n")), "{answer}");
        assert!(answer.contains("\r\nX-Frame-Options: DENY\r\n"), "{answer}");
        assert_eq!(was_at_hand(&answer), expected == "HIT", "{answer}");
    }
    assert_eq!(origin.seen("/page"), 1);
}

#[tokio::test]
async fn files_and_what_return_says_have_the_types_that_nginx_gives_them() {
    let origin = Origin::start().await;
    let (proxy, folder) = proxy(
        "http {
        types { text/html html; text/x-old own; text/x-own own; }
        default_type text/x-any;
        server {
            listen 127.0.0.1:81;
            location /said/ { return 200 \"said\"; }
            location /other/ { types { a/b OWN; } default_type \"\"; return 200; }
            location / { root .; }
        } }",
        &origin,
    )
    .await;
    for name in ["a.own", "a.css", ".own"] {
        std::fs::write(folder.path().join(name), "file").unwrap();
    }
    for (path, expected) in [
        ("/said/a.HTML", "text/html"),
        ("/said/a.own", "text/x-own"),
        ("/said/a.css", "text/x-any"),
        ("/other/a.Own", "a/b"),
        ("/other/a.html", "-"),
        ("/a.own", "text/x-own"),
        ("/a.css", "text/x-any"),
        ("/.own", "text/x-any"),
    ] {
        let answer = proxy.get(path).await;
        let told = (answer.status, answer.header("content-type"));
        assert_eq!(told, (200, expected.to_owned()), "{path}");
    }
}
