//! Builds every long-lived part, runs, drains.
//!
//! One thread a worker, each with its own runtime, listeners, upstream connections, counters and
//! log buffer; zones, peers and configuration are shared. The admin listener has a thread of its
//! own, so that the operator is answered while the workers are busy.

mod build;
mod explain;
mod inspect;
mod source;
mod signals;

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::{Semaphore, watch};

use crate::admin::server::Listener as AdminListener;
use crate::body::Body;
use crate::cache::Zone;
use crate::client::Connection;
use crate::clock::Clock;
use crate::config::{AdminAddress, Config, Limits};
use crate::interim::Gap;
use crate::listener::{self, Drain};
use crate::observe::access::{AccessLog, Writer};
use crate::proxy::route::Hosts;
use crate::proxy::{Client, Worker};
use build::{Entrance, Parts};
use source::OperatorView;

pub use signals::wait as wait_for_signals;

/// A server that runs.
pub struct Running {
    /// Where it listens, in the order of the configuration; a port 0 is the real one here.
    pub listeners: Vec<SocketAddr>,
    /// Where the operator is answered.
    pub admin: Option<AdminAddress>,
    zones: Vec<Arc<Zone>>,
    drain: Drain,
    /// Ends the threads when it says so or is dropped.
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    view: Arc<OperatorView>,
    access: Option<AccessLog>,
    grace: Duration,
}

/// Why a server does not start: one line that names what is wrong.
#[derive(Debug)]
pub struct StartError(String);

/// Starts a server. When it returns, its listeners accept connections.
///
/// # Errors
/// An address that cannot be had, a log that cannot be written, a thread that cannot be made.
pub fn start(config: Config, clock: Clock) -> Result<Running, StartError> {
    let Parts { workers, entrances, access, view } = build::parts(&config, &clock)?;
    let admin = config.admin.as_ref().map(bind_admin).transpose()?;
    let drain = Drain::new();
    let (stop, stopped) = watch::channel(false);
    let addresses = entrances.iter().map(|entrance| entrance.address).collect();
    let limits = Arc::new(config.limits.clone());
    let connections = Arc::new(Semaphore::new(limits.connections));
    let mut threads = Vec::new();
    for (number, worker) in workers.into_iter().enumerate() {
        let worker_thread = WorkerThread {
            doors: doors(&entrances, number, &worker)?,
            worker,
            limits: Arc::clone(&limits),
            connections: Arc::clone(&connections),
            drain: drain.clone(),
            flush: config.log.access.as_ref().map(|access| access.flush),
            stopped: stopped.clone(),
        };
        threads.push(spawn(format!("larder-{number}"), move || worker_thread.run())?);
    }
    let admin_address = admin.as_ref().and_then(|admin| admin.address().ok());
    if let Some(admin) = admin {
        let (view, stopped) = (Arc::clone(&view), stopped);
        threads.push(spawn("larder-admin".to_owned(), move || run_admin(admin, view, stopped))?);
    }
    Ok(Running {
        listeners: addresses,
        admin: admin_address,
        zones: view.zones(),
        drain,
        stop,
        threads,
        view,
        access,
        grace: config.shutdown_timeout,
    })
}

impl Running {
    /// The admin listener's address, if it is one of TCP.
    pub fn admin_tcp(&self) -> Option<SocketAddr> {
        match &self.admin {
            Some(AdminAddress::Tcp(address)) => Some(*address),
            _ => None,
        }
    }

    /// Waits until everything that was stored so far is on disk.
    pub async fn flush(&self) {
        for zone in &self.zones {
            zone.store.flush().await;
        }
    }

    /// Opens the access log anew, after it was moved away.
    pub fn reopen_logs(&self) {
        if let Some(Err(error)) = self.access.as_ref().map(AccessLog::reopen) {
            tracing::error!(%error, "cannot reopen the access log");
        }
    }

    /// Stops accepting and waits for the answers under way, then for what is still fetched to be
    /// stored, then for the disks; at most for the configured time, or for ever. Whether all
    /// answers were finished.
    pub async fn drain(&self, patient: bool) -> bool {
        self.view.set_draining();
        self.drain.begin();
        let answered = AtomicBool::new(false);
        let ended = async {
            self.drain.wait().await;
            answered.store(true, Ordering::Relaxed);
            for zone in &self.zones {
                zone.settled().await;
            }
        };
        if patient {
            ended.await;
        } else if tokio::time::timeout(self.grace, ended).await.is_err() {
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
        self.zones.iter().for_each(|zone| zone.store.close(keep_index));
    }
}

/// What one worker's thread runs.
struct WorkerThread {
    doors: Vec<(TcpListener, Arc<Entry>)>,
    worker: Arc<Worker>,
    limits: Arc<Limits>,
    connections: Arc<Semaphore>,
    drain: Drain,
    flush: Option<Duration>,
    stopped: watch::Receiver<bool>,
}

impl WorkerThread {
    fn run(mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!(%error, "a worker cannot run"),
        };
        runtime.block_on(async {
            for (socket, entry) in self.doors.drain(..) {
                let (limits, connections) = (self.limits.clone(), self.connections.clone());
                let accept =
                    listener::accept(socket, limits, connections, entry, self.drain.clone());
                tokio::spawn(complain(accept));
            }
            if let (Some(every), Some(access)) = (self.flush, self.worker.access.clone()) {
                tokio::spawn(flush(access, every));
            }
            let _ = self.stopped.wait_for(|stopped| *stopped).await;
        });
        runtime.shutdown_background();
    }
}

async fn complain(accept: impl Future<Output = std::io::Result<()>>) {
    if let Err(error) = accept.await {
        tracing::error!(%error, "a worker cannot listen");
    }
}

async fn flush(access: Arc<Writer>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        access.flush();
    }
}

/// The way from a listener to the proxy: knows for which hosts the listener answers.
struct Entry {
    worker: Arc<Worker>,
    hosts: Arc<Hosts>,
}

impl listener::Handler for Entry {
    async fn handle(
        &self,
        request: Request<Incoming>,
        connection: &Arc<Connection>,
        gap: &Gap,
    ) -> Response<Body> {
        self.worker.handle(&self.hosts, Client { connection, gap }, request).await
    }

    fn connected(&self) -> impl Send + 'static {
        self.worker.shard.connected()
    }

    fn takes_http2(&self) -> bool {
        self.hosts.takes_http2()
    }
}

fn doors(
    entrances: &[Entrance],
    number: usize,
    worker: &Arc<Worker>,
) -> Result<Vec<(TcpListener, Arc<Entry>)>, StartError> {
    let door = |entrance: &Entrance| {
        let socket = entrance.listeners[number].try_clone().map_err(StartError::from_display)?;
        let (worker, hosts) = (Arc::clone(worker), Arc::clone(&entrance.hosts));
        Ok((socket, Arc::new(Entry { worker, hosts })))
    };
    entrances.iter().map(door).collect()
}

fn bind_admin(address: &AdminAddress) -> Result<AdminListener, StartError> {
    AdminListener::bind(address).map_err(|error| {
        let address = match address {
            AdminAddress::Tcp(address) => address.to_string(),
            AdminAddress::Unix(path) => path.display().to_string(),
        };
        StartError(format!("cannot listen on `{address}` for the operator: {error}"))
    })
}

fn run_admin(admin: AdminListener, view: Arc<OperatorView>, mut stopped: watch::Receiver<bool>) {
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
/// Disk jobs that one worker may have waiting for the disk at a time.
const BLOCKING_THREADS: usize = 16;
