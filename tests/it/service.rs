//! Under systemd, as far as a process can tell: what it is told, and sockets that it has bound.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{Kept, Origin, Process, eventually, ok};

const CONFIG: &str = r#"
[server]
workers = 2
[[site]]
listen = "LISTEN"
[[site.route]]
path = "/"
proxy = "http://ORIGIN"
"#;

/// What comes next, in one line; empty when nothing comes for long.
fn told(socket: &UnixDatagram) -> String {
    let mut text = [0; 4096];
    let length = socket.recv(&mut text).unwrap_or(0);
    String::from_utf8_lossy(&text[..length]).trim_end().replace('\n', " ")
}

/// What comes next that begins like this.
fn told_of(socket: &UnixDatagram, wanted: &str) -> String {
    for _ in 0..100 {
        let told = told(socket);
        if told.starts_with(wanted) {
            return told;
        }
    }
    panic!("never told: {wanted}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn systemd_is_told_of_the_start_of_reloads_of_the_stop_and_that_all_is_well() {
    let origin = Origin::start().await;
    origin.on("/a", ok("one"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut process = Process::start_with(CONFIG, &origin, |program| {
        let mut command = Command::new(program);
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
        command
    })
    .await;
    assert_eq!(told(&socket), "READY=1");
    assert!(told_of(&socket, "STATUS=").contains("configuration 1"));
    // Again and again.
    assert_eq!(told_of(&socket, "WATCHDOG=1"), "WATCHDOG=1");
    assert_eq!(told_of(&socket, "WATCHDOG=1"), "WATCHDOG=1");
    assert_eq!(Kept::to(process.address).await.get("/a").await.text(), "one");
    process.signal(Signal::HUP);
    let reloading = told_of(&socket, "RELOADING=1");
    assert!(reloading.starts_with("RELOADING=1 MONOTONIC_USEC="), "{reloading}");
    assert_eq!(told_of(&socket, "READY=1"), "READY=1");
    assert!(told_of(&socket, "STATUS=").ends_with("configuration 2"));
    // Another process speaks for the service.
    process.signal(Signal::USR2);
    let main = told_of(&socket, "MAINPID=");
    eventually("the old one ends", async || process.has_ended()).await;
    assert_eq!(main, format!("MAINPID={} READY=1", process.pid().unwrap()));
    assert_eq!(process.command("stop").status.code(), Some(0));
    assert_eq!(told_of(&socket, "STOPPING=1"), "STOPPING=1");
}

/// Binds what systemd would, and becomes the program.
const ACTIVATE: &str = "\
import os, socket, sys
for number, address in enumerate(sys.argv[1].split(',')):
    host, port = address.rsplit(':', 1)
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((host, int(port)))
    s.listen(64)
    os.dup2(s.detach(), 10 + number)
for number in range(number + 1):
    os.dup2(10 + number, 3 + number)
    os.close(10 + number)
os.environ['LISTEN_FDS'] = str(number + 1)
os.environ['LISTEN_PID'] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_that_systemd_has_bound_are_used_by_all_workers() {
    let origin = Origin::start().await;
    origin.on("/a", ok("one"));
    // The second is wanted by no site.
    let mut process = Process::start_with(CONFIG, &origin, |program| {
        let mut command = Command::new("python3");
        command.args(["-c", ACTIVATE, "LISTEN,127.0.0.1:0"]).arg(program);
        command
    })
    .await;
    for _ in 0..50 {
        assert_eq!(Kept::to(process.address).await.get("/a").await.text(), "one");
    }
    // They are handed on, too.
    process.signal(Signal::USR2);
    eventually("the old one ends", async || process.has_ended()).await;
    for _ in 0..50 {
        assert_eq!(Kept::to(process.address).await.get("/a").await.text(), "one");
    }
    let log = process.log();
    assert_eq!(log.matches("nothing listens on").count(), 1, "{log}");
}
