//! The old process of an upgrade: starts the program anew and hands over its sockets, then its
//! folders. (nginx: USR2) See `channel`.
//!
//! Until the new one says that it serves, the old one can go on as if nothing had happened.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::channel::{Channel, Message};
use super::server::Server;
use super::takeover::VARIABLE;
use crate::cache::{Leaving, Tell};
use crate::config::load::Loaded;

/// How to start this program once more.
#[derive(Clone, Debug)]
pub struct Program {
    /// Where it is; another version may be there by now.
    pub path: PathBuf,
    /// What it was started with.
    pub arguments: Vec<OsString>,
    /// How long it may take until it serves.
    pub limit: Duration,
}

impl Program {
    /// This one, as it was started. To be called before the file is replaced.
    ///
    /// # Errors
    /// The system does not say.
    pub fn this() -> io::Result<Self> {
        let mut arguments = std::env::args_os();
        let name = arguments.next().map(PathBuf::from).unwrap_or_default();
        // A name with a folder may be a link, which then leads to the new version. One without was
        // looked for along PATH, and is where the system says.
        let named = name.components().count() > 1;
        let path = if named { std::path::absolute(name)? } else { std::env::current_exe()? };
        Ok(Self { path, arguments: arguments.collect(), limit: READY_MAX })
    }

    fn start(&self, channel: std::os::fd::OwnedFd) -> io::Result<Child> {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).env(VARIABLE, "1").stdin(Stdio::from(channel));
        // What systemd says of sockets and pids is said of us.
        for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
            command.env_remove(name);
        }
        command.spawn()
    }
}

impl Server {
    /// Has the program of today take over; the id of its process. Then this one has only to end.
    ///
    /// # Errors
    /// Why it did not. This one serves as before.
    pub(super) async fn upgrade(self: &Arc<Self>) -> Result<u32, String> {
        let Ok(turn) = Arc::clone(&self.reloading).try_lock_owned() else {
            return Err("a reload or an upgrade is under way".to_owned());
        };
        let server = Arc::clone(self);
        let job = tokio::task::spawn_blocking(move || {
            let result = server.start_and_hand_over();
            drop(turn);
            result
        });
        job.await.unwrap_or_else(|_| Err("the upgrade failed".to_owned()))
    }

    fn start_and_hand_over(self: &Arc<Self>) -> Result<u32, String> {
        if self.is_draining() {
            return Err("the server is being stopped".to_owned());
        }
        let program = self.program.as_ref().ok_or("the program cannot be started once more")?;
        let (channel, theirs) = Channel::pair().map_err(|error| error.to_string())?;
        let channel = Arc::new(channel);
        let mut child = program
            .start(theirs)
            .map_err(|error| format!("cannot start `{}`: {error}", program.path.display()))?;
        tracing::info!(process = child.id(), "upgrade: started");
        let deadline = self.clock.instant() + program.limit;
        let mut left = false;
        let handed = self.hand_over(&channel, deadline, &mut left);
        let Err(error) = handed else { return Ok(child.id()) };
        // It may have ended by itself.
        let _ = child.kill();
        let ended = child.wait();
        if left {
            self.take_back();
        }
        Err(match ended {
            Ok(status) => format!("the new process did not take over: {error} ({status})"),
            Err(_) => format!("the new process did not take over: {error}"),
        })
    }

    /// Says all there is to say until the new one is ready. `left` tells whether the zones have given
    /// their folders free.
    fn hand_over(
        self: &Arc<Self>,
        channel: &Arc<Channel>,
        deadline: Instant,
        left: &mut bool,
    ) -> io::Result<()> {
        self.hand_over_sockets(channel)?;
        self.expect(channel, deadline, |message| matches!(message, Message::Folders))?;
        *left = true;
        self.leave_folders(channel);
        channel.say(&Message::Folders)?;
        self.expect(channel, deadline, |message| matches!(message, Message::Ready))
    }

    fn hand_over_sockets(&self, channel: &Channel) -> io::Result<()> {
        let doors = self.doors();
        let admin = self.admin();
        let sockets = doors.sockets().map(|socket| socket.as_fd());
        let sockets: Vec<_> = sockets.chain(admin.iter().map(|admin| admin.socket())).collect();
        channel.hand_over(&sockets)?;
        channel.say(&Message::Start)
    }

    fn expect(
        &self,
        channel: &Channel,
        deadline: Instant,
        wanted: impl FnOnce(&Message) -> bool,
    ) -> io::Result<()> {
        // Zero would be for ever.
        let left = deadline.saturating_duration_since(self.clock.instant());
        channel.wait_at_most(Some(left.max(Duration::from_millis(1))))?;
        match channel.listen() {
            Ok(Some(message)) if wanted(&message) => Ok(()),
            Ok(Some(_)) => Err(io::Error::other("it says something else")),
            Ok(None) => Err(io::Error::other("it ended")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::ErrorKind::TimedOut.into())
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the zones' folders free. What is purged from now on is told to the new process.
    fn leave_folders(&self, channel: &Arc<Channel>) {
        let generation = self.generation();
        let zones = &generation.proxy().zones;
        let leaving: Vec<(Leaving, Tell)> = zones
            .iter()
            .map(|zone| {
                let (channel, name) = (Arc::clone(channel), zone.name.clone());
                let tell = move |scope, soft| {
                    channel.say(&Message::Purge { zone: name.clone(), scope, soft }).is_ok()
                };
                (zone.leave(), Box::new(tell) as Tell)
            })
            .collect();
        for (leaving, tell) in leaving {
            leaving.to_whom(tell);
        }
    }

    /// Opens the folders again, after the new process did not use them or has ended.
    fn take_back(self: &Arc<Self>) {
        let config = self.generation().config.clone();
        if let Err(error) = self.turn_to(Loaded { config, warnings: Vec::new() }) {
            tracing::error!(%error, "going on without the zones' folders");
        }
    }
}

/// How long the new process may take to serve.
const READY_MAX: Duration = Duration::from_secs(30);
