//! One listener with TLS: by the name that a client asks for to a site, and through the handshake.
//! (nginx: ssl_certificate, ssl_reject_handshake)

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::UNIX_EPOCH;

use rustls::pki_types::UnixTime;
use rustls::server::{Acceptor, ServerConnection};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Protocol, Site, facts};
use crate::client::Tls;
use crate::clock::Clock;

/// A client's connection, encrypted.
pub type ServerStream = TlsStream<TcpStream>;

/// The way in over TLS, for one listening address.
pub struct Entrance {
    find: Box<Find>,
    counters: Arc<Counters>,
    clock: Clock,
}

/// The site for a name in lower case, which is empty where a client gave none.
type Find = dyn Fn(&str) -> Option<Arc<Site>> + Send + Sync;

/// A connection whose handshake is over.
pub struct Secured {
    /// What to read from and write to.
    pub stream: Box<ServerStream>,
    /// What was agreed on, and who the client is.
    pub facts: Tls,
    /// What is spoken next.
    pub protocol: Protocol,
}

/// Why a client is not let in.
#[derive(Debug)]
pub enum Refused {
    /// It does not speak TLS: nothing of what it sent has been read.
    Plain(TcpStream),
    /// The handshake failed; the client has been told if that was possible.
    Failed(io::Error),
}

/// What became of handshakes, since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Those that came to a good end.
    pub handshakes: AtomicU64,
    /// Of these, those that went on from an earlier session.
    pub resumed: AtomicU64,
    /// Those that did not, for want of time included.
    pub failed: AtomicU64,
}

impl Entrance {
    /// A way in to the sites that `find` knows; without a site for a name, clients that ask for it
    /// are refused.
    pub fn new(
        counters: Arc<Counters>,
        find: impl Fn(&str) -> Option<Arc<Site>> + Send + Sync + 'static,
    ) -> Self {
        Self { find: Box::new(find), counters, clock: Clock::default() }
    }

    /// Shakes hands. Dropped before its end, for want of time, it counts as failed.
    ///
    /// # Errors
    /// The client is not let in.
    pub async fn accept(&self, stream: TcpStream) -> Result<Secured, Refused> {
        let mut attempt = Attempt { counters: &self.counters, failed: true };
        let mut first = [0];
        let read = stream.peek(&mut first).await.map_err(Refused::Failed)?;
        if read == 0 {
            // Who only looks whether somebody listens has failed at nothing.
            attempt.failed = false;
            return Err(Refused::Failed(io::ErrorKind::UnexpectedEof.into()));
        }
        // nginx: a record of a handshake, or the bit that a hello of SSLv2 begins with.
        if first[0] != HANDSHAKE && first[0] & 0x80 == 0 {
            return Err(Refused::Plain(stream));
        }
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await;
        let start = start.map_err(Refused::Failed)?;
        let asked = start.client_hello().server_name().unwrap_or("").to_ascii_lowercase();
        let Some(site) = (self.find)(&asked) else {
            // If it cannot be sent there is nobody to tell.
            let _ = start.io.try_write(&UNRECOGNIZED_NAME);
            return Err(Refused::Failed(io::Error::other("no site has the name asked for")));
        };
        let current = site.current();
        let begin = |tls: &mut ServerConnection| tls.set_buffer_limit(Some(BUFFER_BYTES));
        let stream = start.into_stream_with(current.server.clone(), begin).await;
        let stream = stream.map_err(Refused::Failed)?;
        let (_, connection) = stream.get_ref();
        let mut facts = facts::of(connection);
        if let Some(clients) = &current.clients {
            facts.certificate = clients.judge(connection.peer_certificates(), self.now());
        }
        let protocol = Protocol::of(connection.alpn_protocol());
        attempt.failed = false;
        self.counters.handshakes.fetch_add(1, Relaxed);
        self.counters.resumed.fetch_add(u64::from(facts.resumed), Relaxed);
        Ok(Secured { stream: Box::new(stream), facts, protocol })
    }

    fn now(&self) -> UnixTime {
        let now = self.clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixTime::since_unix_epoch(now)
    }
}

/// A handshake that counts as failed unless it says otherwise.
struct Attempt<'a> {
    counters: &'a Counters,
    failed: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.counters.failed.fetch_add(u64::from(self.failed), Relaxed);
    }
}

/// The type of a record with a part of a handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;
/// A fatal alert, before anything is encrypted (RFC 8446 section 6, RFC 6066 section 3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// What waits to be written, four records as they are sent: less would make the kernel do more,
/// more would not rest in the caches of a core.
const BUFFER_BYTES: usize = 4 * (16 * 1024 + 22);
