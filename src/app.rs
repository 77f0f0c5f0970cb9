//! Builds every long-lived part, runs, drains.
//!
//! One thread a worker, each with its own runtime, listeners, upstream connections, counters and
//! log buffer; zones, peers and configuration are shared. What a configuration becomes is a
//! *generation*, which a reload replaces. The admin listener has a thread of its own, so that the
//! operator is answered while the workers are busy.

mod build;
mod logs;
mod tls;
mod entry;
mod doors;
mod cap;
mod worker;
mod server;
mod reload;
mod inherited;
mod pid;
mod channel;
mod upgrade;
mod takeover;
mod service;
mod explain;
mod inspect;
mod source;
mod signals;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::address::{Address, SocketPath};
use crate::admin::server::Listener as AdminListener;
use crate::cache::Zone;
use crate::client::Loads;
use crate::clock::Clock;
use crate::config::load::Loaded;
use crate::config::{AdminAddress, Config};
use crate::listener::{Connections, Drain};
use crate::tls::Problem;
use build::Generation;
use cap::Cap;
use doors::Doors;
use server::Server;
use source::OperatorView;
use worker::WorkerThread;

pub use inherited::Inherited;
pub use pid::read as process_in;
pub use reload::{EventLog, ReloadError, Reloaded, Sources};
pub use signals::wait as wait_for_signals;
pub use takeover::Takeover;
pub use upgrade::Program;

/// What a server is made of.
pub struct Setup {
    /// What it does.
    pub config: Config,
    /// Where the time comes from.
    pub clock: Clock,
    /// Where a reload takes things from.
    pub sources: Sources,
    /// Sockets that are bound already.
    pub inherited: Inherited,
    /// The process that this one takes over from.
    pub takeover: Option<Takeover>,
    /// How to start a process that takes over from this one.
    pub program: Option<Program>,
}

/// A server that runs.
pub struct Running {
    /// Where it listened at the start, in the order of the configuration; a port 0 is the real one
    /// here.
    pub listeners: Vec<Address>,
    /// Where the operator is answered.
    pub admin: Option<AdminAddress>,
    server: Arc<Server>,
    /// Ends the threads when it says so or is dropped.
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

/// Why a server does not start: one line that names what is wrong.
#[derive(Debug)]
pub struct StartError(String);

/// Starts a server that knows one configuration. See `start_with`.
///
/// # Errors
/// As there.
pub fn start(config: Config, clock: Clock) -> Result<Running, StartError> {
    let (sources, inherited) = (Sources::default(), Inherited::default());
    start_with(Setup { config, clock, sources, inherited, takeover: None, program: None })
}

/// Starts a server. When it returns, its listeners accept connections.
///
/// # Errors
/// An address that cannot be had, a log that cannot be written, a thread that cannot be made.
pub fn start_with(mut setup: Setup) -> Result<Running, StartError> {
    let config = setup.config.clone();
    let mut inherited = std::mem::take(&mut setup.inherited);
    let takeover = setup.takeover.take();
    // Addresses first: a server that cannot listen must not open the folders of one that does.
    let addresses = build::addresses(&config);
    let bound = Doors::default().bind(&addresses, config.workers, &mut inherited)?;
    let bind_admin = |address| bind_admin(address, &mut inherited, takeover.is_some());
    let admin = config.admin.as_ref().map(bind_admin).transpose()?;
    inherited.leave_rest();
    takeover.as_ref().map_or(Ok(()), Takeover::folders)?;
    let cap = Cap::new(config.limits.connections);
    let connections = Connections::new(Arc::clone(cap.permits()));
    let loads: Loads = Arc::new({
        let connections = Arc::clone(&connections);
        move || connections.load()
    });
    let first = Generation::new(config, &setup.clock, &loads, None)?;
    let (stop, stopped) = watch::channel(false);
    let (mut threads, mut workers) = (Vec::new(), Vec::new());
    for number in 0..first.workers.len() {
        let (sender, jobs) = mpsc::unbounded_channel();
        let connections = Arc::clone(&connections);
        let thread = WorkerThread { jobs, connections, stopped: stopped.clone() };
        threads.push(spawn(format!("larder-{number}"), move || thread.run())?);
        workers.push(sender);
    }
    let server = Arc::new(Server::new(setup, first, workers, cap));
    let generation = server.generation();
    let zones = &generation.proxy().zones;
    takeover.as_ref().map_or(Ok(()), |takeover| takeover.catch_up(zones))?;
    server.doors().turn_to(&generation, bound, &server.workers);
    server.flush_logs(&generation, None);
    let admin_address = admin.as_ref().and_then(|admin| admin.address().ok());
    if let Some(admin) = admin {
        *server.admin() = admin.door().ok();
        let view = Arc::new(OperatorView(Arc::clone(&server)));
        let stopped = [stopped, server.admin_stopped()];
        threads.push(spawn("larder-admin".to_owned(), move || run_admin(admin, view, stopped))?);
    }
    let listeners = server.doors().addresses();
    if let Some(takeover) = takeover {
        takeover.ready(&server)?;
        server.doors().own_files(true);
    }
    // Last of all: whoever waits for the file finds a server that serves.
    let path = generation.config.pid.as_deref();
    let pid = server.new_pid_file(path).map_err(StartError::from_display)?;
    server.turn_pid_file(path, pid);
    Ok(Running { listeners, admin: admin_address, server, stop, threads })
}

impl Running {
    /// The admin listener's address, if it is one of TCP.
    pub fn admin_tcp(&self) -> Option<SocketAddr> {
        match &self.admin {
            Some(AdminAddress::Tcp(address)) => Some(*address),
            _ => None,
        }
    }

    /// Where clients connect now, the addresses that came last at the end.
    pub fn addresses(&self) -> Vec<Address> {
        self.server.doors().addresses()
    }

    /// How many configurations there are that requests still hold, the one in use included.
    pub fn generations(&self) -> usize {
        self.server.generations()
    }

    /// Reads the configuration anew and goes over to it. Requests under way end as they began.
    ///
    /// # Errors
    /// Everything that is wrong with it, or what cannot be had; nothing has changed then.
    pub async fn reload(&self) -> Result<Reloaded, ReloadError> {
        self.server.reload().await
    }

    /// Goes over to this configuration.
    ///
    /// # Errors
    /// As `reload`.
    pub async fn reload_to(&self, loaded: Loaded) -> Result<Reloaded, ReloadError> {
        self.server.reload_to(loaded).await
    }

    /// Has another process take over the sockets and the zones' folders; its id. This one has only
    /// to `part` and to `end` then.
    ///
    /// # Errors
    /// Why it did not. This one serves as before.
    pub async fn upgrade(&self) -> Result<u32, String> {
        self.server.upgrade().await
    }

    /// Waits until everything that was stored so far is on disk.
    pub async fn flush(&self) {
        for zone in self.zones() {
            zone.store.flush().await;
        }
    }

    /// Opens the logs anew, after they were moved away.
    pub fn reopen_logs(&self) {
        if let Some(events) = &self.server.sources.events
            && let Err(error) = (events.reopen)()
        {
            tracing::error!(%error, "cannot reopen the event log");
        }
        for log in &self.server.generation().logs {
            if let Err(error) = log.reopen() {
                tracing::error!(%error, "cannot reopen the access log");
            }
        }
    }

    /// Reads all certificates again, for new connections.
    ///
    /// # Errors
    /// What is of no use; in its place what was read before still counts.
    pub fn reload_certificates(&self) -> Result<(), Vec<Problem>> {
        self.server.generation().tls.certificates.reload()
    }

    /// Stops accepting and waits for the answers under way, then for what is still fetched to be
    /// stored, then for the disks; at most for the configured time, or for ever. Whether all
    /// answers were finished.
    pub async fn drain(&self, patient: bool) -> bool {
        self.wait_for(self.server.leave(), patient).await
    }

    /// As `drain`, patiently, after another process took over: nobody waits for it to end.
    pub async fn part(&self) -> bool {
        self.wait_for(self.server.part(), true).await
    }

    async fn wait_for(&self, drains: Vec<Drain>, patient: bool) -> bool {
        let answered = AtomicBool::new(false);
        let ended = async {
            for drain in drains {
                drain.wait().await;
            }
            answered.store(true, Ordering::Relaxed);
            for zone in self.zones() {
                zone.settled().await;
            }
        };
        let grace = self.server.generation().config.shutdown_timeout;
        if patient {
            ended.await;
        } else if tokio::time::timeout(grace, ended).await.is_err() {
            // What was stored before time was up.
            let _ = tokio::time::timeout(LAST_WRITES, self.flush()).await;
        }
        answered.into_inner()
    }

    /// Ends, after `drain`. What lies in the zones' folders is written down for the next start.
    pub fn end(self) {
        self.end_threads(true);
    }

    /// Ends at once, whatever is under way.
    pub fn abort(self) {
        self.end_threads(false);
    }

    fn end_threads(mut self, keep_index: bool) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            // A worker that panicked has said so already.
            let _ = thread.join();
        }
        self.zones().iter().for_each(|zone| zone.store.close(keep_index));
        self.server.turn_pid_file(None, None);
    }

    fn zones(&self) -> Vec<Arc<Zone>> {
        self.server.generation().proxy().zones.clone()
    }
}

/// `takes_over` from a process that made the socket, and will not remove its file.
fn bind_admin(
    address: &AdminAddress,
    inherited: &mut Inherited,
    takes_over: bool,
) -> Result<AdminListener, StartError> {
    let address_of = match address {
        AdminAddress::Tcp(address) => Some(Address::Tcp(*address)),
        AdminAddress::Unix(path) => SocketPath::new(path).map(Address::Unix),
    };
    let socket = address_of.and_then(|address| inherited.take(address).pop());
    let listener = match socket {
        Some(socket) => AdminListener::of(socket, takes_over),
        None => AdminListener::bind(address),
    };
    listener.map_err(|error| {
        let address = match address {
            AdminAddress::Tcp(address) => address.to_string(),
            AdminAddress::Unix(path) => path.display().to_string(),
        };
        StartError(format!("cannot listen on `{address}` for the operator: {error}"))
    })
}

/// Until either says so: all ends, or the operator's listener alone.
fn run_admin(
    admin: AdminListener,
    view: Arc<OperatorView>,
    [mut stopped, mut left]: [watch::Receiver<bool>; 2],
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "the admin listener cannot run"),
    };
    runtime.block_on(async {
        tokio::select! {
            ended = admin.serve(view) => {
                let Err(error) = ended;
                tracing::error!(%error, "the admin listener ended");
            }
            _ = stopped.wait_for(|stopped| *stopped) => {}
            _ = left.wait_for(|left| *left) => {}
        }
    });
    runtime.shutdown_background();
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    std::thread::Builder::new().name(name).spawn(run).map_err(StartError::from_display)
}

impl StartError {
    fn from_display(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// What waits for a disk that is well takes less.
const LAST_WRITES: Duration = Duration::from_secs(2);
