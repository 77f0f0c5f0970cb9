//! Clients over unix sockets: who they are taken for, and what becomes of the socket's file.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::harness::proxy::CACHED;
use crate::harness::{Kept, Origin, Process, Proxy, eventually, ok};

/// All that comes back over one connection; nothing where nobody listens.
async fn talk(path: &Path, bytes: &str) -> String {
    let Ok(mut stream) = UnixStream::connect(path).await else { return String::new() };
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// The answer to one request, with these fields.
async fn ask(path: &Path, line: &str, fields: &str) -> String {
    let head = format!("{line} HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n{fields}\r\n");
    talk(path, &head).await
}

async fn status(path: &Path, target: &str) -> String {
    let answer = ask(path, &format!("GET {target}"), "").await;
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

/// `CACHED` on a socket too, with more lines of its route.
fn config(path: &Path, lines: &str) -> String {
    let listen = format!("listen = [\"127.0.0.1:0\", \"unix:{}\"]", path.display());
    let route = format!("status_header = \"X-Cache-Status\"\n{lines}");
    CACHED
        .replace("listen = \"127.0.0.1:0\"", &listen)
        .replace("status_header = \"X-Cache-Status\"", &route)
}

#[tokio::test]
async fn clients_over_a_unix_socket_are_answered_and_known_as_nginx_knows_them() {
    let folder = tempfile::tempdir().unwrap();
    let (path, log) = (folder.path().join("larder.sock"), folder.path().join("access.log"));
    let origin = Origin::start().await;
    origin.on("/a", ok("one").header("cache-control", "max-age=60"));
    origin.on("/large", ok(&"x".repeat(300_000)).header("cache-control", "max-age=60"));
    let lines = "set_header = { X-Client = \"$remote_addr|$remote_port|$binary_remote_addr|$server_addr|$server_port\", X-Forwarded-For = \"$proxy_add_x_forwarded_for\" }\n\
                 access_log = \"all\"";
    let table = format!(
        "[access_log.all]\npath = \"{}\"\nformat = \"$remote_addr $request $status\"\nflush = \"1ms\"\n",
        log.display()
    );
    let text = table + &config(&path, lines);
    let proxy = Proxy::with(&text, &origin).await;
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
    for (line, cache, body) in
        [("GET /a", "MISS", "one"), ("GET /a", "HIT", "one"), ("HEAD /a", "HIT", "")]
    {
        let answer = ask(&path, line, "").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.to_lowercase().contains(&format!("x-cache-status: {cache}\r\n").to_lowercase()),
            "{answer}"
        );
        assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "{answer}");
    }
    let seen = origin.requests("/a");
    assert_eq!(seen[0].header("x-client"), format!("unix:||unix:|unix:{}|", path.display()));
    assert_eq!(seen[0].header("x-forwarded-for"), "unix:");
    for _ in 0..2 {
        assert_eq!(ask(&path, "GET /large", "").await.matches('x').count() / 1000, 300);
    }
    assert_eq!(proxy.get("/a").await.line(), "200 HIT one", "the same site");
    eventually("it is logged", async || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.contains("unix: GET /a HTTP/1.1 200") && text.contains("unix: HEAD /a HTTP/1.1 200")
    })
    .await;
    drop(proxy);
    assert!(!path.exists(), "the file goes with its server");
}

#[tokio::test]
async fn rules_for_addresses_know_clients_over_unix_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("larder.sock");
    let origin = Origin::start().await;
    origin.on("/a", ok("one"));
    for (rules, over_unix, over_tcp) in [
        ("access = [\"allow unix:\", \"deny all\"]", "200", 403),
        ("access = [\"deny unix:\"]", "403", 200),
        ("access = [\"allow 0.0.0.0/0\", \"allow ::/0\", \"deny all\"]", "403", 200),
        // Whom a proxy on this machine names is asked for instead.
        (
            "real_ip = { from = [\"unix:\"] }\naccess = [\"allow 192.0.2.7\", \"deny all\"]",
            "200",
            403,
        ),
    ] {
        let proxy = Proxy::with(&config(&path, rules), &origin).await;
        let answer = ask(&path, "GET /a", "X-Real-IP: 192.0.2.7\r\n").await;
        assert_eq!(answer.split(' ').nth(1), Some(over_unix), "{rules}");
        let answer = proxy.send("GET", "/a", &[("x-real-ip", "192.0.2.7")]).await;
        assert_eq!(answer.status, over_tcp, "{rules}");
    }
}

#[tokio::test]
async fn all_clients_of_a_unix_socket_have_one_key_and_any_number_of_connections() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("larder.sock");
    let origin = Origin::start().await;
    origin.on("/a", ok("one"));
    let limited = format!(
        "[server]\nconnections_per_client = 1\n\
         [limit.all]\nkey = \"$binary_remote_addr\"\nrate = \"1r/m\"\n{}",
        config(&path, "limit_req = { zone = \"all\" }")
    );
    let _proxy = Proxy::with(&limited, &origin).await;
    let _idle = UnixStream::connect(&path).await.unwrap();
    assert_eq!(status(&path, "/a").await, "200");
    assert_eq!(status(&path, "/a").await, "503");
}

#[tokio::test]
async fn a_proxy_in_front_may_name_the_client_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("larder.sock");
    let origin = Origin::start().await;
    origin.on("/a", ok("one"));
    let lines = "set_header = { X-Client = \"$remote_addr $proxy_protocol_port\" }\n\
                 real_ip = { from = [\"unix:\"], header = \"proxy_protocol\" }";
    let text = config(&path, lines).replace(
        &format!("\"unix:{}\"", path.display()),
        &format!(
            "{{ address = \"unix:{}\", proxy_protocol = {{ from = [\"unix:\"] }} }}",
            path.display()
        ),
    );
    let _proxy = Proxy::with(&text, &origin).await;
    let request = "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = talk(&path, &format!("PROXY TCP4 192.0.2.7 10.0.0.1 567 80\r\n{request}")).await;
    assert!(answer.ends_with("one"), "{answer}");
    assert_eq!(origin.requests("/a")[0].header("x-client"), "192.0.2.7 567");
    assert_eq!(talk(&path, request).await, "", "without it there is no answer");
}

#[tokio::test]
async fn a_reload_keeps_a_socket_removes_it_and_brings_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("larder.sock");
    let origin = Origin::start().await;
    origin.on("/a", ok("one"));
    let with = config(&path, "");
    let proxy = Proxy::with(&with, &origin).await;
    let inode = fs::metadata(&path).unwrap().ino();
    proxy.reload(&with, &origin).await.unwrap();
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    assert_eq!(status(&path, "/a").await, "200");
    proxy.reload(CACHED, &origin).await.unwrap();
    assert!(!path.exists());
    proxy.reload(&with, &origin).await.unwrap();
    assert_eq!(status(&path, "/a").await, "200");
}

#[tokio::test]
async fn what_lies_at_the_path_is_replaced_only_if_it_is_a_socket_of_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("larder.sock");
    let origin = Origin::start().await;
    origin.on("/a", ok("one"));
    let proxy = Proxy::cached(&origin).await;
    fs::write(&path, "text").unwrap();
    let refused = async || proxy.reload(&config(&path, ""), &origin).await.unwrap_err().0;
    let error = refused().await;
    let expected = format!("cannot listen on `unix:{}`: exists and is no socket", path.display());
    assert_eq!(error, expected);
    assert_eq!(fs::read_to_string(&path).unwrap(), "text");
    fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    let error = refused().await;
    assert!(error.contains("in use"), "{error}");
    // As a server leaves it that was killed.
    drop(other);
    proxy.reload(&config(&path, ""), &origin).await.unwrap();
    assert_eq!(status(&path, "/a").await, "200");
}

const OF_PROCESS: &str = r#"
[server]
workers = 2
[[site]]
listen = ["LISTEN", "unix:FOLDER/larder.sock"]
[[site.route]]
path = "/"
proxy = "http://ORIGIN"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_takes_over_has_the_socket_and_removes_its_file() {
    let origin = Origin::start().await;
    origin.on("/a", ok("one"));
    let mut process = Process::start(OF_PROCESS, &origin).await;
    let path = process.folder.path().join("larder.sock");
    let (first, inode) = (process.pid(), fs::metadata(&path).unwrap().ino());
    assert_eq!(status(&path, "/a").await, "200");
    // One that fails leaves the file to the one that goes on.
    process.configure(&OF_PROCESS.replace("LISTEN", "192.0.2.1:1"), &origin);
    process.signal(Signal::USR2);
    eventually("it is told", async || process.log().contains("did not take over")).await;
    assert_eq!(status(&path, "/a").await, "200");
    process.configure(OF_PROCESS, &origin);
    process.signal(Signal::USR2);
    eventually("another process answers", async || {
        process.pid().is_some_and(|pid| Some(pid) != first)
    })
    .await;
    eventually("the old one ends", async || process.has_ended()).await;
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    assert_eq!(status(&path, "/a").await, "200");
    assert_eq!(Kept::to(process.address).await.get("/a").await.text(), "one");
    assert!(process.command("stop").status.success());
    eventually("its file is gone", async || !path.exists()).await;
}
