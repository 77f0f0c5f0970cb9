//! Permit, socket, task: who is let in.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use socket2::{SockRef, Socket};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::Handler;
use super::connection::serve;
use super::connections::Connections;
use super::drain::{Drain, Listen, Stage};
use super::proxied;
use crate::address::{Address, Remote, SocketPath};
use crate::client::Connection;
use crate::clock::Clock;

/// Serves the clients that connect to `socket` until `drain` begins; connections that are there
/// then end as it says, on their own. `connections` has room for those of all listeners; while it
/// has none, one client of each listener waits here and the others in the kernel. Runs on one
/// worker, and so do the connections.
///
/// # Errors
///
/// The socket cannot be used at all. Clients that fail are no error.
pub async fn accept<H: Handler>(
    socket: Socket,
    connections: Arc<Connections>,
    handler: Arc<H>,
    drain: Drain,
) -> io::Result<()> {
    let listener = Listening::new(socket)?;
    let _alive = drain.enter();
    let mut ending = drain.listen();
    let door = Door { connections, handler, drain };
    let mut trouble = Trouble::default();
    let stage = loop {
        let let_in = match next(&listener, &mut ending, &mut trouble).await {
            Ok(accepted) => door.let_in(accepted, &mut ending).await,
            Err(stage) => Err(stage),
        };
        if let Err(stage) = let_in {
            break stage;
        }
    };
    if stage == Stage::Parting {
        // The runtime may not have heard of the last ones yet, but the kernel knows them.
        while let Some(accepted) = listener.accept_at_once() {
            if door.let_in(accepted, &mut ending).await.is_err() {
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
    async fn let_in(&self, accepted: Accepted, ending: &mut Listen) -> Result<(), Stage> {
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
        let Some((stream, client)) = prepare(accepted) else { return parting };
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
        let header = proxied::read(&mut stream, remote, &settings);
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
    let source = client.proxied.as_ref().map_or(remote, |proxied| proxied.source.into());
    let Some(_counted) = connections.count(source, handler.limits().connections_per_client) else {
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
    listener: &Listening,
    ending: &mut Listen,
    trouble: &mut Trouble,
) -> Result<Accepted, Stage> {
    loop {
        let accepted = tokio::select! {
            biased;
            stage = ending.begun() => return Err(stage),
            accepted = listener.accept() => accepted,
        };
        let error = match accepted {
            Ok(accepted) => return Ok(accepted),
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
fn prepare((stream, path): Accepted) -> Option<(TcpStream, Connection)> {
    let client = match path {
        Some(path) => Connection::plain(Remote::Unix, Address::Unix(path)),
        None => {
            stream.set_nodelay(true).ok()?;
            Connection::plain(stream.peer_addr().ok()?, stream.local_addr().ok()?)
        }
    };
    let number = ACCEPTED.fetch_add(1, Relaxed) + 1;
    let begun = Some(Clock::default().instant());
    Some((stream, Connection { number, begun, ..client }))
}

/// A socket that listens.
enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener, SocketPath),
}

/// A client, and the path that it connected to, if it is one of a unix socket.
type Accepted = (TcpStream, Option<SocketPath>);

impl Listening {
    fn new(socket: Socket) -> io::Result<Self> {
        match socket.local_addr()?.as_pathname() {
            Some(path) => {
                let path = SocketPath::new(path).ok_or(io::ErrorKind::InvalidInput)?;
                Ok(Self::Unix(UnixListener::from_std(socket.into())?, path))
            }
            None => Ok(Self::Tcp(TcpListener::from_std(socket.into())?)),
        }
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => Ok((listener.accept().await?.0, None)),
            Self::Unix(listener, path) => {
                let stream = listener.accept().await?.0.into_std()?;
                Ok((as_tcp(stream.into())?, Some(*path)))
            }
        }
    }

    /// One that waits in the kernel already.
    fn accept_at_once(&self) -> Option<Accepted> {
        let (socket, path) = match self {
            Self::Tcp(listener) => (SockRef::from(listener).accept(), None),
            Self::Unix(listener, path) => (SockRef::from(listener).accept(), Some(*path)),
        };
        let (socket, _) = socket.ok()?;
        socket.set_nonblocking(true).ok()?;
        Some((as_tcp(socket.into()).ok()?, path))
    }
}

/// All that is done to a client's socket from here on can be done to one of either kind: read, write,
/// peek, send files, linger. So one type is enough, and connections over TCP pay for no other.
fn as_tcp(socket: OwnedFd) -> io::Result<TcpStream> {
    TcpStream::from_std(socket.into())
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
