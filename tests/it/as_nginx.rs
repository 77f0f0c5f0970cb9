//! Run as nginx is run: a pid file, an error log, a prefix, signals, and no port that nobody named.

use std::collections::HashSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::harness::{Kept, Origin, eventually, ok};

/// No `[admin]`: the operator has the pid file.
const CONFIG: &str = r#"
[server]
workers = 1
pid = "run/larder.pid"
[log]
error = "logs/error.log"
access = "logs/access.log"
[[site]]
listen = "LISTEN"
[[site.route]]
path = "/"
proxy = "http://ORIGIN"
"#;

/// A folder as nginx's prefix is: `conf`, `logs`, `run`.
struct Prefix {
    folder: tempfile::TempDir,
    address: SocketAddr,
}

/// A server that is ended when it is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Prefix {
    fn new(config: &str, origin: &Origin) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["conf", "logs", "run"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let prefix = Self { folder, address: free.expect("a port") };
        prefix.configure(config, origin);
        prefix
    }

    fn configure(&self, config: &str, origin: &Origin) {
        let text = config.replace("ORIGIN", &origin.address.to_string());
        let text = text.replace("LISTEN", &self.address.to_string());
        fs::write(self.at("conf/larder.toml"), text).expect("a file");
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_default()
    }

    /// A command of ours, from another folder than the prefix.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
        command.args(arguments).arg("-p").arg(self.folder.path());
        command.args(["-c", "conf/larder.toml"]).current_dir("/").env_remove("LARDER_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("it runs")
    }

    async fn serve(&self) -> Server {
        let server = Server(self.command(&["serve"]).spawn().expect("it starts"));
        let named = format!("{}\n", server.0.id());
        eventually("it serves", async || self.read("run/larder.pid") == named).await;
        server
    }
}

async fn has_ended_well(server: &mut Server) {
    eventually("it ends", async || {
        let status = server.0.try_wait().expect("it is ours");
        status.is_some_and(|status| {
            assert!(status.success(), "{status}");
            true
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pid_file_is_there_from_serving_to_the_end_and_follows_the_configuration() {
    let origin = Origin::start().await;
    origin.on("/", ok("here"));
    let prefix = Prefix::new(CONFIG, &origin);
    let mut server = prefix.serve().await;
    // Whoever reads it finds a server that listens.
    assert_eq!(Kept::to(prefix.address).await.get("/").await.text(), "here");
    assert_eq!(fs::read_dir(prefix.at("run")).expect("a folder").count(), 1);
    prefix.configure(&CONFIG.replace("larder.pid", "other.pid"), &origin);
    // The command finds the server as the file says, where it is not any more.
    assert_eq!(prefix.run(&["-s", "reload"]).status.code(), Some(3));
    let pid = prefix.read("run/larder.pid");
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&server.0),
        rustix::process::Signal::HUP,
    )
    .expect("it runs");
    eventually("it is another file", async || {
        prefix.read("run/other.pid") == pid && !prefix.at("run/larder.pid").exists()
    })
    .await;
    assert_eq!(prefix.run(&["-s", "reload"]).status.code(), Some(0));
    assert_eq!(prefix.run(&["-s", "quit"]).status.code(), Some(0));
    has_ended_well(&mut server).await;
    assert_eq!(fs::read_dir(prefix.at("run")).expect("a folder").count(), 0);
    assert_eq!(prefix.run(&["stop"]).status.code(), Some(3), "nobody is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_another_one_took_the_pid_file_from_leaves_it() {
    let origin = Origin::start().await;
    let prefix = Prefix::new(CONFIG, &origin);
    let mut server = prefix.serve().await;
    assert_eq!(prefix.run(&["-s", "stop"]).status.code(), Some(0));
    fs::write(prefix.at("run/larder.pid"), "1\n").expect("a file");
    has_ended_well(&mut server).await;
    assert_eq!(prefix.read("run/larder.pid"), "1\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_error_log_has_what_happens_and_is_opened_anew_with_the_access_log() {
    let origin = Origin::start().await;
    origin.on("/", ok("here"));
    let prefix = Prefix::new(CONFIG, &origin);
    let mut server = prefix.serve().await;
    eventually("it says so", async || prefix.read("logs/error.log").contains("listening")).await;
    fs::rename(prefix.at("logs/error.log"), prefix.at("logs/error.log.1")).expect("a rename");
    fs::rename(prefix.at("logs/access.log"), prefix.at("logs/access.log.1")).expect("a rename");
    assert_eq!(prefix.run(&["-s", "reopen"]).status.code(), Some(0));
    eventually("both are new", async || {
        prefix.at("logs/error.log").exists() && prefix.at("logs/access.log").exists()
    })
    .await;
    Kept::to(prefix.address).await.get("/").await;
    prefix.configure(&CONFIG.replace("listen", "lisen"), &origin);
    assert_eq!(prefix.run(&["reload"]).status.code(), Some(1), "the command reads it first");
    prefix.configure(CONFIG, &origin);
    assert_eq!(prefix.run(&["reload"]).status.code(), Some(0));
    eventually("it says so", async || prefix.read("logs/error.log").contains("reloaded")).await;
    assert!(!prefix.read("logs/error.log.1").contains("reloaded"));
    assert_eq!(prefix.run(&["-s", "quit"]).status.code(), Some(0));
    has_ended_well(&mut server).await;
    assert!(prefix.read("logs/access.log").contains("\"GET / HTTP/1.1\" 200"));
    assert!(!prefix.read("logs/error.log").contains('\u{1b}'), "no colours");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_a_server_from_starting_is_told_on_standard_error_and_in_the_error_log() {
    let origin = Origin::start().await;
    let prefix = Prefix::new(CONFIG, &origin);
    let taken = TcpListener::bind(prefix.address).expect("it is free");
    let refused = prefix.run(&["serve"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let port = format!("`{}`", prefix.address);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains(&port), "{said}");
    assert!(prefix.read("logs/error.log").contains(&port), "{}", prefix.read("logs/error.log"));
    assert!(!prefix.at("run/larder.pid").exists());
    drop(taken);
    prefix.configure(&CONFIG.replace("workers = 1", "workers = none"), &origin);
    let refused = prefix.run(&["serve"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    let place = "conf/larder.toml:3:11";
    assert!(said.contains(place), "{said}");
    assert!(prefix.read("logs/error.log").contains(place), "{}", prefix.read("logs/error.log"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_admin_table_no_port_is_open_but_those_of_the_sites() {
    let origin = Origin::start().await;
    let prefix = Prefix::new(CONFIG, &origin);
    let server = prefix.serve().await;
    assert_eq!(listening(server.0.id()), HashSet::from([prefix.address.port()]));
}

#[test]
fn a_prefix_is_where_relative_paths_start_and_includes_start_from_their_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |path: &str, text: &str| fs::write(folder.path().join(path), text).expect("a file");
    fs::create_dir(folder.path().join("conf")).expect("a folder");
    write("conf/larder.toml", "include = \"site.toml\"\n[server]\npid = \"a.pid\"\n");
    write(
        "conf/site.toml",
        "[[site]]\nlisten = 8080\n[[site.route]]\npath = \"/\"\nstatic = \"www\"\n",
    );
    let load = |prefix: Option<&Path>| {
        let path = folder.path().join("conf/larder.toml");
        larder::config::load::load(&path, prefix).expect("it is valid").config
    };
    assert_eq!(load(None).pid, Some(folder.path().join("conf/a.pid")));
    assert_eq!(load(Some(folder.path())).pid, Some(folder.path().join("a.pid")));
    assert_eq!(load(Some(folder.path())).sites.len(), 1);
}

/// The ports that a process listens on.
fn listening(process: u32) -> HashSet<u16> {
    let sockets: HashSet<String> = fs::read_dir(format!("/proc/{process}/fd"))
        .expect("it runs")
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            let link = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned();
            Some(link)
        })
        .collect();
    let table = |name: &str| fs::read_to_string(format!("/proc/{process}/net/{name}"));
    let lines = [table("tcp").unwrap_or_default(), table("tcp6").unwrap_or_default()].concat();
    let port = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let is_ours = fields.get(3) == Some(&"0A") && sockets.contains(*fields.get(9)?);
        let (_, port) = fields.get(1)?.rsplit_once(':').filter(|_| is_ours)?;
        u16::from_str_radix(port, 16).ok()
    };
    lines.lines().filter_map(port).collect()
}
