//! Who may ask: names and passwords, and somebody else's word. (nginx: auth_basic, auth_request)

use std::time::Duration;

use crate::harness::{Gate, Origin, Proxy, Reply, eventually, ok};

/// A cached route with these lines, and `/auth` for what is asked.
fn config(lines: &str) -> String {
    format!(
        r#"
[zone.test]
memory = "64m"

[[site]]
listen = "127.0.0.1:0"
[[site.route]]
path = "/"
proxy = "http://ORIGIN"
status_header = "X-Cache-Status"
cache.zone = "test"
{lines}
"#
    )
}

const KEPT: (&str, &str) = ("cache-control", "max-age=1000");
/// `alice:secret` and `bob:secret`.
const ALICE: (&str, &str) = ("Authorization", "Basic YWxpY2U6c2VjcmV0");
const BOB: (&str, &str) = ("Authorization", "Basic Ym9iOnNlY3JldA==");
const ALICE_WRONG: (&str, &str) = ("Authorization", "Basic YWxpY2U6d3Jvbmc=");
/// `secret`
const BCRYPT: &str = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.pIKrLVkBX9/OvQMSygY1pWEVn72t6na";
const APR1: &str = "$apr1$r31.....$G/cElGhD0cboYkZN5h5Ne/";

async fn origin() -> Origin {
    let origin = Origin::start().await;
    origin.on("/", ok("x").header(KEPT.0, KEPT.1));
    origin.on("/public", ok("p").header("cache-control", "public, max-age=1000"));
    origin
}

#[tokio::test]
async fn a_name_and_its_password_open_the_route_and_nothing_else_does() {
    let origin = origin().await;
    let basic =
        format!(r#"auth_basic = {{ realm = "a \"b\"", users = {{ alice = "{BCRYPT}" }} }}"#);
    let proxy = Proxy::with(&config(&basic), &origin).await;
    let broken = ("Authorization", "Basic !!!");
    let bearer = ("Authorization", "Bearer YWxpY2U6c2VjcmV0");
    for fields in [&[][..], &[ALICE_WRONG], &[BOB], &[broken], &[bearer]] {
        let answer = proxy.send("GET", "/public", fields).await;
        assert_eq!((answer.status, answer.detail().as_str()), (401, "unauthorised"), "{fields:?}");
        assert_eq!(answer.header("www-authenticate"), r#"Basic realm="a \"b\"""#);
    }
    assert_eq!(origin.seen("/public"), 0);
    assert_eq!(proxy.send("GET", "/public", &[ALICE]).await.line(), "200 MISS p");
    assert_eq!(proxy.send("GET", "/public", &[ALICE]).await.line(), "200 HIT p");
    assert_eq!(proxy.get("/public").await.status, 401, "a hit is behind the gate too");
}

#[tokio::test]
async fn what_is_fetched_with_a_password_is_stored_if_it_says_so_or_if_the_origin_does_not_see_it()
{
    for (forward, second) in [("", "MISS"), (", forward = false", "HIT")] {
        let origin = origin().await;
        let basic = format!(
            r#"auth_basic = {{ realm = "r", users = {{ alice = "{APR1}", bob = "{APR1}" }}{forward} }}"#
        );
        let proxy = Proxy::with(&config(&basic), &origin).await;
        assert_eq!(proxy.send("GET", "/", &[ALICE]).await.cache(), "MISS");
        assert_eq!(proxy.send("GET", "/", &[BOB]).await.cache(), second, "{forward}");
        let told = origin.requests("/").remove(0).header("authorization");
        assert_eq!(told, if forward.is_empty() { ALICE.1 } else { "-" });
    }
}

#[tokio::test]
async fn a_file_of_users_is_read_again_when_it_changes() {
    let origin = origin().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let write = |text: &str| {
        let next = folder.path().join("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, &path).unwrap();
    };
    write(&format!("# people\n\nalice:{APR1}:a comment\ncarol:unknown-kind\n"));
    let basic =
        format!("auth_basic = {{ realm = \"r\", users = {:?} }}", path.display().to_string());
    let proxy = Proxy::with(&config(&basic), &origin).await;
    let status = async |who| proxy.send("GET", "/", &[who]).await.status;
    assert_eq!((status(ALICE).await, status(BOB).await), (200, 401));
    write(&format!("bob:{APR1}\n"));
    assert_eq!(status(BOB).await, 401, "within the second it is not looked at");
    proxy.advance_s(1);
    assert_eq!((status(BOB).await, status(ALICE).await), (200, 401));
    std::fs::remove_file(&path).unwrap();
    proxy.advance_s(1);
    assert_eq!((status(BOB).await, status(ALICE).await), (200, 401), "nothing changes");
}

#[tokio::test]
async fn one_way_in_is_enough_where_that_is_said() {
    for (satisfy, without, with) in [("any", 401, 200), ("all", 403, 403)] {
        let origin = origin().await;
        let lines = format!(
            r#"
satisfy = "{satisfy}"
access = ["allow 192.0.2.0/24", "deny all"]
real_ip = {{ from = "127.0.0.1" }}
auth_basic = {{ realm = "r", users = {{ alice = "{APR1}" }} }}"#
        );
        let proxy = Proxy::with(&config(&lines), &origin).await;
        assert_eq!(proxy.get("/").await.status, without, "{satisfy}");
        assert_eq!(proxy.send("GET", "/", &[ALICE]).await.status, with, "{satisfy}");
        let near = ("X-Real-IP", "192.0.2.1");
        let expected = if satisfy == "any" { 200 } else { 401 };
        assert_eq!(proxy.send("GET", "/", &[near]).await.status, expected, "{satisfy}");
        assert_eq!(proxy.send("GET", "/", &[near, ALICE]).await.status, 200, "{satisfy}");
    }
}

/// Both ways to name who is asked: a route of the site, and a URL.
fn asked() -> [String; 2] {
    let own = r#"
auth_request = { to = "/auth", set = { X-User = "$upstream_http_x_user" } }
[[site.route]]
path = "= /auth"
proxy = "http://ORIGIN/verify"
set_header = { Host = "auth", X-Uri = "$scheme://$host$request_uri" }
"#;
    let url = r#"auth_request = { to = "http://ORIGIN/verify", set = { X-User = "$upstream_http_x_user" } }"#;
    [config(own), config(url)]
}

#[tokio::test]
async fn somebody_else_says_who_may_ask_and_who_that_is() {
    for text in asked() {
        let origin = origin().await;
        let proxy = Proxy::with(&text, &origin).await;
        origin.next("/verify", ok("").header("x-user", "alice"));
        let fields =
            [("X-User", "root"), ("Cookie", "s=1"), ("Range", "bytes=0-0"), ("If-None-Match", "*")];
        let answer = proxy.send_with_body(("POST", "/"), &fields, Some("hello")).await;
        assert_eq!(answer.status, 200, "{text}");
        let verify = origin.requests("/verify").remove(0);
        assert_eq!((verify.method.as_str(), verify.body.len()), ("GET", 0));
        assert_eq!(verify.header("x-original-uri"), "/");
        assert_eq!(verify.header("x-original-method"), "POST");
        assert_eq!(verify.header("cookie"), "s=1");
        for gone in ["content-length", "transfer-encoding", "range", "if-none-match"] {
            assert_eq!(verify.header(gone), "-", "{gone}");
        }
        let post = origin.requests("/").remove(0);
        assert_eq!(
            (post.header("x-user").as_str(), post.body.as_slice()),
            ("alice", &b"hello"[..])
        );
        // Who is nobody is not who the client says.
        origin.next("/verify", ok(""));
        proxy.send("GET", "/", &[("X-User", "root")]).await;
        assert_eq!(origin.requests("/").pop().unwrap().header("x-user"), "-");
    }
}

#[tokio::test]
async fn what_the_answer_says_is_known_in_keys_fields_and_pages() {
    for text in asked() {
        let origin = origin().await;
        let told = r#""$Who" = "$upstream_http_x_user", "$login" = "$sent_http_x_login?$upstream_status", X-User ="#;
        let more = r#"
set_header = { X-Told = "$who" }
cache.key = "$who$request_uri"
add_header = { X-Who = { value = "<$who>", always = true }, X-Map = "$known" }
error_page = { "401" = { to = "http://login/$login", status = 302 } }
rewrite = [{ when = "$who", respond = 418 }]
auth_request"#;
        let map = "[map.known]\nkey = \"$who\"\nvalues = { alice = \"yes\" }\ndefault = \"no\"\n";
        let text = text.replace("X-User =", told).replacen("auth_request", more, 1);
        let proxy = Proxy::with(&format!("{map}{text}"), &origin).await;
        for (who, status, map) in
            [("alice", "MISS", "yes"), ("bob", "MISS", "no"), ("alice", "HIT", "yes")]
        {
            origin.next("/verify", ok("").header("x-user", who));
            let answer = proxy.send("GET", "/", &[("X-Who", "root")]).await;
            assert_eq!(
                (answer.status, answer.header("x-cache-status").as_str()),
                (200, status),
                "{who}"
            );
            assert_eq!(answer.header("x-who"), format!("<{who}>"));
            assert_eq!(answer.header("x-map"), map);
        }
        let told: Vec<_> = origin.requests("/").iter().map(|sent| sent.header("x-told")).collect();
        assert_eq!(told, ["alice", "bob"]);
        // What is said of a client that may not ask is known as well, and nothing of those before.
        origin.next("/verify", Reply::status(401, "").header("x-login", "here"));
        let refused = proxy.get("/").await;
        assert_eq!(refused.header("location"), "http://login/here?401");
        assert_eq!(refused.header("x-who"), "<>");
    }
}

#[tokio::test]
async fn nobody_is_asked_about_a_body_that_is_too_large() {
    for text in asked() {
        let origin = origin().await;
        let proxy =
            Proxy::with(&text.replace("auth_request", "max_body = 4\nauth_request"), &origin).await;
        let answer = proxy.send_with_body(("POST", "/"), &[], Some("hello")).await;
        assert_eq!((answer.status, origin.seen("/verify")), (413, 0), "{text}");
    }
}

#[tokio::test]
async fn who_is_asked_need_not_be_told_what_for() {
    for text in asked() {
        let origin = origin().await;
        let text = text.replace("to = ", "original = false, to = ");
        let proxy = Proxy::with(&text, &origin).await;
        origin.next("/verify", ok(""));
        assert_eq!(proxy.get("/").await.status, 200, "{text}");
        let verify = origin.requests("/verify").remove(0);
        assert_eq!(verify.header("x-original-uri"), "-");
        assert_eq!(verify.header("x-original-method"), "-");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_yes_is_a_no_also_for_a_hit() {
    for text in asked() {
        let origin = origin().await;
        let proxy = Proxy::with(&text, &origin).await;
        origin.next("/verify", Reply::status(204, ""));
        assert_eq!(proxy.line("/").await, "200 MISS x");
        origin.next("/verify", Reply::status(401, "no").header("www-authenticate", "Bearer x"));
        let challenged = proxy.get("/").await;
        assert_eq!((challenged.status, challenged.detail().as_str()), (401, "unauthorised"));
        assert_eq!(challenged.header("www-authenticate"), "Bearer x");
        for (status, expected) in [(403, 403), (404, 500), (302, 500), (500, 500)] {
            origin.next("/verify", Reply::status(status, "no"));
            assert_eq!(proxy.get("/").await.status, expected, "{status}");
        }
        origin.next("/verify", Reply::hang_up());
        assert_eq!(proxy.get("/").await.status, 500);
        origin.next("/verify", ok("a body that nobody reads"));
        assert_eq!(proxy.line("/").await, "200 HIT x");
        assert_eq!(origin.seen("/"), 1);
    }
}

#[tokio::test]
async fn the_route_that_is_asked_knows_the_address_of_the_request() {
    let origin = origin().await;
    let [own, _] = asked();
    let proxy = Proxy::with(&own, &origin).await;
    origin.on("/verify", ok("")).on("/a?b=c", ok("x"));
    proxy.get("/a?b=c").await;
    let verify = origin.requests("/verify").remove(0);
    assert_eq!(verify.header("x-uri"), "http://example.com/a?b=c");
    assert_eq!(verify.header("x-original-uri"), "/a?b=c");
}

#[tokio::test]
async fn what_was_said_can_be_kept_for_each_client_and_address_and_is_no_page() {
    let origin = origin().await;
    let lines = r#"
auth_request = { to = "/auth" }
[[site.route]]
path = "= /auth"
proxy = "http://ORIGIN/verify"
cache = { zone = "test", valid = "10s", partition = "$http_authorization" }
"#;
    let proxy = Proxy::with(&config(lines), &origin).await;
    origin.on("/verify", ok("yes"));
    for who in [ALICE, BOB, ALICE] {
        assert_eq!(proxy.send("GET", "/public", &[who]).await.text(), "p");
    }
    assert_eq!(origin.seen("/verify"), 2, "once for each client");
    assert_eq!(proxy.send("GET", "/", &[ALICE]).await.text(), "x");
    assert_eq!(origin.seen("/verify"), 3, "and for each address");
    proxy.advance_s(11);
    origin.on("/verify", Reply::status(403, ""));
    assert_eq!(proxy.send("GET", "/public", &[ALICE]).await.status, 403);
}

#[tokio::test]
async fn who_is_asked_has_so_much_time() {
    let origin = origin().await;
    let gate = Gate::closed();
    origin.on("/verify", ok("").behind(&gate));
    let line = r#"auth_request = { to = "http://ORIGIN/verify", timeout = "100ms" }"#;
    let proxy = Proxy::with(&config(line), &origin).await;
    assert_eq!(proxy.get("/").await.status, 500);
    assert_eq!(origin.seen("/"), 0);
}

#[tokio::test]
async fn passwords_that_take_long_do_not_hold_up_others() {
    let origin = origin().await;
    // Twelve doublings: a good part of a second in a debug build.
    let slow = "$2y$12$CCCCCCCCCCCCCCCCCCCCC.pIKrLVkBX9/OvQMSygY1pWEVn72t6na";
    let lines = format!(
        r#"
[[site.route]]
path = "/closed"
proxy = "http://ORIGIN"
auth_basic = {{ realm = "r", users = {{ alice = "{slow}" }} }}"#
    );
    let proxy = Proxy::with(&config(&lines), &origin).await;
    let address = proxy.address;
    let trying = tokio::spawn(async move {
        crate::harness::request(address, "GET", "/closed", &[ALICE]).await.status
    });
    let mut answered = 0;
    eventually("the password is told to be wrong", async || {
        assert_eq!(proxy.get("/").await.status, 200);
        answered += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
        trying.is_finished()
    })
    .await;
    assert!(answered > 3, "{answered} answers meanwhile");
    assert_eq!(trying.await.unwrap(), 401);
}
