//! Permit, socket, task: who is let in.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::Handler;
use super::connection::serve;
use super::connections::Connections;
use super::drain::{Drain, Listen, Stage};
use super::proxied;
use crate::client::Connection;
use crate::clock::Clock;

/// Serves the clients that connect to `listener` until `drain` begins; connections that are there
/// then end as it says, on their own. `connections` has room for those of all listeners; while it
/// has none, one client of each listener waits here and the others in the kernel. Runs on one
/// worker, and so do the connections.
///
/// # Errors
///
/// The socket cannot be used at all. Clients that fail are no error.
pub async fn accept<H: Handler>(
    listener: std::net::TcpListener,
    connections: Arc<Connections>,
    handler: Arc<H>,
    drain: Drain,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let _alive = drain.enter();
    let mut ending = drain.listen();
    let door = Door { connections, handler, drain };
    let mut trouble = Trouble::default();
    let stage = loop {
        let let_in = match next(&listener, &mut ending, &mut trouble).await {
            Ok(stream) => door.let_in(stream, &mut ending).await,
            Err(stage) => Err(stage),
        };
        if let Err(stage) = let_in {
            break stage;
        }
    };
    if stage == Stage::Parting {
        // The runtime may not have heard of the last ones yet, but the kernel knows them.
        let listener = listener.into_std()?;
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(true)?;
            if door.let_in(TcpStream::from_std(stream)?, &mut ending).await.is_err() {
                break;
            }
        }
    }
    Ok(())
}

/// What clients need who are let in.
struct Door<H> {
    connections: Arc<Connections>,
    handler: Arc<H>,
    drain: Drain,
}

impl<H: Handler> Door<H> {
    /// Serves a client once there is room for it.
    ///
    /// # Errors
    /// The end has begun. While we part, this client was let in all the same.
    async fn let_in(&self, stream: TcpStream, ending: &mut Listen) -> Result<(), Stage> {
        let mut parting = Ok(());
        let permit = loop {
            tokio::select! {
                biased;
                stage = ending.begun() => match stage {
                    Stage::Parting => parting = Err(stage),
                    stage => return Err(stage),
                },
                // Nobody closes the semaphore but whoever wants no more connections.
                permit = self.connections.room() => break permit.ok_or(Stage::Draining)?,
            }
        };
        let Some(client) = prepare(&stream) else { return parting };
        let alive = self.drain.enter();
        let (connections, handler) = (self.connections.clone(), self.handler.clone());
        // In a box, for a task's future is moved several times, and would be in this one twice.
        let connection =
            Box::pin(welcome(stream, client, connections, handler, self.drain.clone()));
        tokio::spawn(async move {
            connection.await;
            drop((permit, alive));
        });
        parting
    }
}

/// Hears who the client is where a proxy in front says so, and serves it unless it has too many
/// connections.
async fn welcome<H: Handler>(
    mut stream: TcpStream,
    mut client: Connection,
    connections: Arc<Connections>,
    handler: Arc<H>,
    drain: Drain,
) {
    let remote = client.remote;
    if let Some(settings) = handler.proxy_protocol() {
        let mut ending = drain.listen();
        let header = proxied::read(&mut stream, remote.ip(), &settings);
        let said = tokio::select! {
            biased;
            () = ending.draining() => return,
            said = timeout(handler.limits().header_timeout, header) => said,
        };
        match said.unwrap_or(Err("its PROXY header took too long")) {
            Ok(proxied) => client.proxied = proxied.map(Box::new),
            Err(why) => {
                debug!(client = %remote, why, "connection closed");
                return handler.refused();
            }
        }
    }
    let source = client.proxied.as_ref().map_or(remote, |proxied| proxied.source);
    let Some(_counted) = connections.count(source.ip(), handler.limits().connections_per_client)
    else {
        debug!(client = %source, "connection closed: this client has too many");
        return handler.refused();
    };
    serve(stream, client, connections, handler, drain).await;
}

/// The next client.
///
/// # Errors
/// None, since the end begins.
async fn next(
    listener: &TcpListener,
    ending: &mut Listen,
    trouble: &mut Trouble,
) -> Result<TcpStream, Stage> {
    loop {
        let accepted = tokio::select! {
            biased;
            stage = ending.begun() => return Err(stage),
            accepted = listener.accept() => accepted,
        };
        let error = match accepted {
            Ok((stream, _)) => return Ok(stream),
            Err(error) => error,
        };
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) {
            debug!(%error, "a client went away before it was let in");
            continue;
        }
        // Out of files or memory. The client stays in the kernel's queue, so trying again at once
        // would only burn the processor that could finish other requests.
        trouble.log(&error);
        tokio::select! {
            stage = ending.begun() => return Err(stage),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// `None` if the client is gone already.
fn prepare(stream: &TcpStream) -> Option<Connection> {
    stream.set_nodelay(true).ok()?;
    let plain = Connection::plain(stream.peer_addr().ok()?, stream.local_addr().ok()?);
    Some(Connection { number: ACCEPTED.fetch_add(1, Relaxed) + 1, ..plain })
}

/// Connections since the start, of all listeners.
static ACCEPTED: AtomicU64 = AtomicU64::new(0);
/// After an `accept` that failed for want of files or memory.
const PAUSE: Duration = Duration::from_millis(100);
/// It fails again with every pause.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Logs that `accept` fails, once a minute at most.
#[derive(Default)]
struct Trouble {
    clock: Clock,
    logged: Option<Instant>,
}

impl Trouble {
    fn log(&mut self, error: &io::Error) {
        let now = self.clock.instant();
        let due = self.logged.is_none_or(|logged| now.duration_since(logged) >= LOG_EVERY);
        if due {
            self.logged = Some(now);
            warn!(%error, "cannot accept connections");
        }
    }
}
