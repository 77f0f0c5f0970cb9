//! The program itself, as a process with a configuration file.

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::{Origin, Port, eventually};

/// A server with a folder and ports of its own. Ends when it is
/// dropped, and so does one that took over from it.
pub struct Process {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub folder: tempfile::TempDir,
    child: Child,
    _ports: [Port; 2],
}

impl Process {
    /// One that is configured like this, and serves. `ORIGIN` and `LISTEN` stand for addresses,
    /// `FOLDER` for its folder.
    pub async fn start(config: &str, origin: &Origin) -> Self {
        Self::start_with(config, origin, |program| Command::new(program)).await
    }

    /// The same by another command, which is given the program; `LISTEN` in its arguments stands
    /// for the address.
    pub async fn start_with(
        config: &str,
        origin: &Origin,
        command: impl FnOnce(&str) -> Command,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ports = [Port::reserve(), Port::reserve()];
        let [address, admin] = [ports[0].address, ports[1].address];
        write(folder.path(), config, (address, admin), origin);
        let asked = command(PROGRAM);
        let listen = |argument: &OsStr| {
            argument.to_string_lossy().replace("LISTEN,", &format!("{address},"))
        };
        let mut command = Command::new(asked.get_program());
        command.args(asked.get_args().map(listen));
        command.envs(asked.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let child = command
            .args(["serve", "-c"])
            .arg(file(folder.path()))
            .stdin(Stdio::null())
            .stderr(log(folder.path()))
            .spawn()
            .expect("it starts");
        let process = Self { address, admin, folder, child, _ports: ports };
        eventually("it serves", async || process.pid().is_some()).await;
        process
    }

    /// Writes another configuration.
    pub fn configure(&self, config: &str, origin: &Origin) {
        write(self.folder.path(), config, (self.address, self.admin), origin);
    }

    /// Sends a signal to the process that was started here.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it runs");
    }

    /// The process that answers now.
    pub fn pid(&self) -> Option<u64> {
        self.stats()?["pid"].as_u64()
    }

    /// Its statistics; `None` if nobody answers.
    pub fn stats(&self) -> Option<serde_json::Value> {
        let answer = self.ask("GET /v1/stats")?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// Whether the process that was started here has ended well.
    pub fn has_ended(&mut self) -> bool {
        let status = self.child.try_wait().expect("it is ours");
        status.is_some_and(|status| {
            assert!(status.success(), "{status}: {}", self.log());
            true
        })
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Runs a command that asks the server something.
    pub fn command(&self, name: &str) -> Output {
        Command::new(PROGRAM)
            .args([name, "--admin", &self.admin.to_string()])
            .output()
            .expect("it runs")
    }

    fn ask(&self, line: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.admin).ok()?;
        let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Whoever took over ends by itself, the one that we started is ended.
        let _ = self.ask("POST /v1/stop");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_larder");

fn write(folder: &Path, config: &str, (address, admin): (SocketAddr, SocketAddr), origin: &Origin) {
    let text = config
        .replace("ORIGIN", &origin.address.to_string())
        .replace("LISTEN", &address.to_string())
        .replace("FOLDER", &folder.display().to_string());
    let text = format!("{text}\n[admin]\nlisten = \"{admin}\"\n");
    std::fs::write(file(folder), text).expect("a file");
}

fn file(folder: &Path) -> PathBuf {
    folder.join("larder.toml")
}

fn log(folder: &Path) -> std::fs::File {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true).open(folder.join("log")).expect("a file")
}
