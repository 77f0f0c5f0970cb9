//! The program as a process: signals, and another process that takes over without a request lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use larder::app::Program;
use rustix::process::Signal;

use crate::harness::proxy::CACHED;
use crate::harness::{Gate, Kept, Origin, Process, Proxy, eventually, ok};

/// Two workers, a zone with a folder.
const ON_DISK: &str = r#"
[server]
workers = 2
[zone.test]
path = "FOLDER/cache"
[[site]]
listen = "LISTEN"
[[site.route]]
path = "/"
proxy = "http://ORIGIN"
status_header = "X-Cache-Status"
cache = { zone = "test" }
"#;

fn cacheable(body: &str) -> crate::harness::Reply {
    ok(body).header("cache-control", "max-age=600")
}

/// Clients that ask until they are told to stop. Some keep their connections, as long as they are
/// told to.
struct Clients {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// Asks over one connection until it is told that an answer was the last, once if it is not kept.
async fn ask(mut kept: Kept, keeps: bool, stop: &AtomicBool, answered: &AtomicUsize) {
    loop {
        let answer = kept.get("/a").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "one"));
        answered.fetch_add(1, Ordering::SeqCst);
        if !keeps || answer.header("connection") == "close" || stop.load(Ordering::SeqCst) {
            return;
        }
    }
}

impl Clients {
    fn start(process: &Process) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let client = |number: usize| {
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            let address = process.address;
            let keeps = !number.is_multiple_of(2);
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    ask(Kept::to(address).await, keeps, &stop, &answered).await;
                }
            })
        };
        let tasks = (0..8).map(client).collect();
        Self { stop, answered, tasks }
    }

    /// Waits until so many more were answered.
    async fn ask_on(&self, more: usize) {
        let wanted = self.answered.load(Ordering::SeqCst) + more;
        let enough = async || self.answered.load(Ordering::SeqCst) >= wanted;
        eventually("clients are answered", enough).await;
    }

    async fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.expect("no request failed");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_takes_over_and_no_request_is_lost() {
    let origin = Origin::start().await;
    origin.on("/a", cacheable("one")).on("/b", cacheable("two"));
    let gate = Gate::closed();
    origin.on("/long", ok("first half, second half").body_behind(&gate));
    let mut process = Process::start(ON_DISK, &origin).await;
    let first = process.pid();
    assert_eq!(Kept::to(process.address).await.get("/a").await.line(), "200 MISS one");
    assert_eq!(Kept::to(process.address).await.get("/b").await.line(), "200 MISS two");
    let mut long = Kept::to(process.address).await;
    long.ask("/long").await;
    eventually("the origin was asked", async || origin.seen("/long") == 1).await;
    let clients = Clients::start(&process);
    clients.ask_on(100).await;
    process.signal(Signal::USR2);
    eventually("another process answers", async || {
        process.pid().is_some_and(|pid| Some(pid) != first)
    })
    .await;
    clients.ask_on(100).await;
    // The folder is the new one's, and what lies there is found.
    assert_eq!(Kept::to(process.address).await.get("/b").await.line(), "200 HIT two");
    assert_eq!(origin.seen("/b"), 1);
    let disk = process.stats().unwrap()["zones"]["test"]["disk"].clone();
    assert_eq!(disk["fault"], serde_json::Value::Null, "{disk}");
    // What began in the old one ends there.
    assert!(!process.has_ended());
    gate.open();
    assert_eq!(long.answer().await.text(), "first half, second half");
    eventually("the old one ends", async || process.has_ended()).await;
    clients.ask_on(100).await;
    clients.end().await;
    assert!(process.log().contains("handed over"), "{}", process.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_another_number_of_workers_every_socket_is_accepted_on() {
    let origin = Origin::start().await;
    origin.on("/a", cacheable("one"));
    for (before, after) in [(4, 1), (1, 3)] {
        let workers = |count| ON_DISK.replace("workers = 2", &format!("workers = {count}"));
        let mut process = Process::start(&workers(before), &origin).await;
        let clients = Clients::start(&process);
        clients.ask_on(20).await;
        process.configure(&workers(after), &origin);
        process.signal(Signal::USR2);
        eventually("the old one ends", async || process.has_ended()).await;
        clients.ask_on(100).await;
        clients.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_cannot_start_changes_nothing() {
    let origin = Origin::start().await;
    origin.on("/a", cacheable("one"));
    let process = Process::start(ON_DISK, &origin).await;
    let first = process.pid();
    let clients = Clients::start(&process);
    clients.ask_on(20).await;
    process.configure(&ON_DISK.replace("workers", "wrokers"), &origin);
    process.signal(Signal::USR2);
    eventually("it is told", async || process.log().contains("did not take over")).await;
    clients.ask_on(20).await;
    clients.end().await;
    assert_eq!(process.pid(), first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hangup_reads_the_file_and_a_wrong_one_is_refused_with_its_place() {
    let origin = Origin::start().await;
    origin.on("/a", cacheable("one")).on("/below/a", cacheable("two"));
    let process = Process::start(ON_DISK, &origin).await;
    let uncached = ON_DISK.replace("cache = { zone = \"test\" }", "");
    process.configure(&uncached.replace("http://ORIGIN", "http://ORIGIN/below/"), &origin);
    process.signal(Signal::HUP);
    eventually("the new one is in use", async || {
        Kept::to(process.address).await.get("/a").await.text() == "two"
    })
    .await;
    process.configure(&ON_DISK.replace("workers", "wrokers"), &origin);
    let refused = process.command("reload");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("larder.toml:3:1") && said.contains("^^^^^^^"), "{said}");
    assert!(said.contains("keeps its configuration"), "{said}");
    assert_eq!(Kept::to(process.address).await.get("/a").await.text(), "two");
    process.configure(ON_DISK, &origin);
    let done = process.command("reload");
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert_eq!(done.stdout, b"reloaded: configuration 3 is in use\n");
    assert_eq!(Kept::to(process.address).await.get("/a").await.text(), "one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_is_asked_for_by_command_and_nobody_to_ask_is_status_3() {
    let origin = Origin::start().await;
    let mut process = Process::start(ON_DISK, &origin).await;
    assert_eq!(process.command("reopen").status.code(), Some(0));
    assert_eq!(process.command("quit").status.code(), Some(0));
    eventually("it ends", async || process.has_ended()).await;
    for command in ["reload", "stop", "quit", "reopen"] {
        assert_eq!(process.command(command).status.code(), Some(3), "{command}");
    }
}

/// A child that runs this in place of the program, and has so long.
fn script(text: String, limit_ms: u64) -> Program {
    Program {
        path: "python3".into(),
        arguments: vec!["-c".into(), text.into()],
        limit: Duration::from_millis(limit_ms),
    }
}

/// Hears all sockets.
const SOCKETS: &str = "\
import socket, time, os
s = socket.socket(fileno=0)
while s.recv(4096) != b'start': pass
";
/// Takes the folders, says so by a file, and holds them for a moment.
const FOLDERS: &str = "\
s.send(b'folders')
s.recv(4096)
open('FOLDER/left', 'w').close()
time.sleep(0.5)
";

#[tokio::test]
async fn a_process_that_hangs_or_ends_at_any_step_leaves_the_old_one_as_it_was() {
    let origin = Origin::start().await;
    origin.on("/a", cacheable("one")).on("/p", cacheable("purged"));
    let (hang, end) = ("time.sleep(60)", "os._exit(1)");
    for (name, child, limit_ms, why) in [
        ("ends at once", String::new(), 5000, "it ended"),
        ("says nothing", format!("import time; {hang}"), 200, "timed out"),
        ("talks nonsense", format!("{SOCKETS}s.send(b'hello'); {hang}"), 5000, "not known"),
        ("ends with the folders", format!("{SOCKETS}{FOLDERS}{end}"), 5000, "it ended"),
        ("hangs with the folders", format!("{SOCKETS}{FOLDERS}{hang}"), 3000, "timed out"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        let disk = format!("memory = \"0\"\npath = \"{path}\"");
        let config = CACHED.replace("memory = \"64m\"", &disk);
        let program = script(child.replace("FOLDER", &path), limit_ms);
        let proxy = Proxy::with_program(&config, &origin, program).await;
        let before = origin.seen("/a");
        assert_eq!(proxy.line("/a").await, "200 MISS one");
        assert_eq!(proxy.line("/p").await, "200 MISS purged");
        proxy.flush().await;
        let purge = async {
            // While nobody has the folders, where it comes to that.
            if child.contains("folders") {
                let left = folder.path().join("left");
                eventually("the folders are given free", async || left.exists()).await;
            }
            proxy.send("PURGE", "/p", &[]).await.status
        };
        let (upgraded, purged) = tokio::join!(proxy.running().upgrade(), purge);
        let error = upgraded.unwrap_err();
        assert!(error.contains(why), "{name}: {error}");
        // Whether something was there is up to whoever has the folders.
        assert!([200, 404].contains(&purged), "{name}: {purged}");
        assert_eq!(proxy.fault().await, None, "{name}");
        assert_eq!(proxy.line("/a").await, "200 HIT one", "{name}: the folder is its own again");
        assert_eq!(proxy.line("/p").await, "200 MISS purged", "{name}");
        assert_eq!(origin.seen("/a"), before + 1, "{name}");
        proxy.stop().await;
    }
}
