//! One request, from the pick of a peer to the head of a response, retries included.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::header::UPGRADE;
use http::request::Parts;
use http::{Request, Version};
use hyper::body::Incoming;
use tokio::time::Instant as Deadline;
use tracing::debug;

use super::announce::{self, Announced};
use super::connect::{Connection, connect};
use super::error::{Error, Failure, Kind, Phase};
use super::group::{Active, Group};
use super::head;
use super::pool::Pool;
use super::reply::{self, Reply};
use super::retry::{self, Facts, Outcome};
use super::wire::{Mark, Upload, Wire};
use crate::body::Body;
use crate::config::Timeouts;

/// Sends `request` to a peer of `group` and waits for the head of its response. Uses idle
/// connections of `pool` and brings them back there when the response body ends; a body that is
/// dropped early closes its connection. The body fails when no byte comes for `timeouts.read`.
///
/// A request that fails goes to the next peer as the group's `next_upstream` says. A status that is
/// listed there is handed back all the same when nobody is left to ask.
///
/// # Errors
///
/// Nobody gave a response; the error is that of the last attempt.
pub async fn send(
    group: &Arc<Group>,
    pool: &Arc<Pool>,
    request: Request<Body>,
    timeouts: &Timeouts,
) -> Result<Reply, Failure> {
    let mut outgoing = Outgoing::new(request);
    let Some(mut at) = group.pick(&[]) else {
        return Err(Failure::nobody());
    };
    let mut tried = Vec::new();
    loop {
        let attempt = Attempt { group, pool, timeouts, at };
        let mut result = attempt.run(&mut outgoing).await;
        tried.push(at);
        report(group, at, &result);
        let outcome = match &mut result {
            Ok(reply) => {
                reply.tries = tried.len();
                Outcome::Status(reply.response.status().as_u16())
            }
            Err(error) => Outcome::Failed(error),
        };
        let may = tried.len() < group.tries
            && retry::allowed(outcome, outgoing.facts(), &group.next_upstream);
        let Some(next) = may.then(|| group.pick(&tried)).flatten() else {
            let peer = Some(group.peers[at].address.clone());
            return result.map_err(|error| Failure { error, peer, tries: tried.len() });
        };
        if let Err(error) = &result {
            debug!(peer = %group.peers[at].address, %error, "going on to the next peer");
        }
        at = next;
    }
}

/// Listed statuses count as failures, but 403 and 404 never do (nginx).
fn report(group: &Group, at: usize, result: &Result<Reply, Error>) {
    match result {
        Ok(reply) => {
            let status = reply.response.status().as_u16();
            let listed = group.next_upstream.statuses.contains(status);
            if listed && !matches!(status, 403 | 404) {
                group.failed(at);
            } else {
                group.succeeded(at);
            }
        }
        Err(error) if error.is_peers_fault() => group.failed(at),
        Err(_) => {}
    }
}

/// A request that may have to be sent more than once.
struct Outgoing {
    parts: Parts,
    body: Content,
    /// Bytes of it may have reached a peer.
    written: bool,
}

enum Content {
    /// Can be sent as often as needed.
    Whole(Body),
    /// Can be sent once; `None` while it is under way and after.
    Stream(Option<Body>),
}

impl Outgoing {
    fn new(request: Request<Body>) -> Self {
        let (mut parts, body) = request.into_parts();
        // What the client speaks is no concern of the peer.
        parts.version = Version::HTTP_11;
        let is_here = body.is_here();
        let body = if is_here { Content::Whole(body) } else { Content::Stream(Some(body)) };
        Self { parts, body, written: false }
    }

    fn facts(&self) -> Facts<'_> {
        let replayable = !matches!(self.body, Content::Stream(None));
        Facts { method: &self.parts.method, replayable, written: self.written }
    }

    fn take(&mut self, wire: &Arc<Wire>) -> Request<Body> {
        let body = match &mut self.body {
            Content::Whole(body) => body.again().unwrap_or_default(),
            Content::Stream(body) => body.take().unwrap_or_default(),
        };
        Request::from_parts(self.parts.clone(), Upload::watch(body, wire))
    }

    /// Takes a request back of which nothing was sent.
    fn give_back(&mut self, unsent: Request<Body>) {
        if let Content::Stream(body) = &mut self.body {
            *body = Some(unsent.into_body());
        }
    }
}

/// One peer's chance.
struct Attempt<'a> {
    group: &'a Arc<Group>,
    pool: &'a Arc<Pool>,
    timeouts: &'a Timeouts,
    at: usize,
}

impl Attempt<'_> {
    async fn run(&self, outgoing: &mut Outgoing) -> Result<Reply, Error> {
        let clock = &self.group.clock;
        let peer = &self.group.peers[self.at];
        let active = Active::new(&peer.counts);
        peer.counts.requests.fetch_add(1, Ordering::Relaxed);
        let begun = clock.instant();
        let mut connected = None;
        let (response, connection) = match self.over_idle(outgoing).await? {
            Some(answered) => answered,
            None => {
                let limit = self.timeouts.connect;
                let ahead = self.ahead(outgoing);
                let connection = connect(self.at, self.group, &ahead, limit).await?;
                connected = Some(clock.instant().duration_since(begun));
                self.exchange(connection, outgoing).await.map_err(|lost| lost.error)?
            }
        };
        peer.counts.response(response.status());
        Ok(Reply {
            response: reply::response(response, self.timeouts.read, connection, self.pool, active),
            peer: peer.address.clone(),
            connect: connected,
            head: clock.instant().duration_since(begun),
            tries: 1,
        })
    }

    /// What a new connection begins with, before the request. Nothing where nothing is announced.
    fn ahead(&self, outgoing: &Outgoing) -> Vec<u8> {
        let Some(version) = self.group.announce else { return Vec::new() };
        announce::header(version, outgoing.parts.extensions.get::<Announced>())
    }

    /// A kept connection that still leads to the peer.
    fn idle(&self) -> Option<Connection> {
        let target = &self.group.peers[self.at].target;
        loop {
            let connection = self.pool.take(self.at)?;
            if target.still_has(connection.to) {
                return Some(connection);
            }
        }
    }

    /// Tries an idle connection. `None` if there is none, or if it had died meanwhile and the
    /// request may go over a new one.
    async fn over_idle(&self, outgoing: &mut Outgoing) -> Result<Option<Answered>, Error> {
        let Some(connection) = self.idle() else { return Ok(None) };
        let written_before = outgoing.written;
        match self.exchange(connection, outgoing).await {
            Ok(answered) => Ok(Some(answered)),
            Err(lost) => {
                let facts = Facts { written: lost.written, ..outgoing.facts() };
                if !retry::allowed_fresh(&lost.error, facts, lost.head_begun) {
                    return Err(lost.error);
                }
                outgoing.written = written_before || lost.written;
                Ok(None)
            }
        }
    }

    async fn exchange(
        &self,
        mut connection: Connection,
        outgoing: &mut Outgoing,
    ) -> Result<Answered, Lost> {
        connection.requests += 1;
        let wire = connection.wire.clone();
        let upgrading = outgoing.parts.headers.contains_key(UPGRADE);
        let request = outgoing.take(&wire);
        let mark = wire.begin();
        let sent = connection.sender.try_send_request(request);
        let error = match self.wait(sent, &wire, outgoing).await {
            Ok(response) => match head::fault(&response, upgrading) {
                None => {
                    outgoing.written = true;
                    return Ok((response, connection));
                }
                Some(fault) => Error::from(Phase::Head, Kind::InvalidResponse, fault),
            },
            Err(error) => error,
        };
        Err(Lost::new(error, &wire, mark, outgoing))
    }

    /// Waits for the head with one timer, which is set anew only when it fires: bytes that move
    /// meanwhile just note the time. The peer has `send` to take the next bytes of the request, and
    /// `read` to send the next bytes of its head once it has the request.
    async fn wait(
        &self,
        sent: impl Future<Output = Sent>,
        wire: &Wire,
        outgoing: &mut Outgoing,
    ) -> Result<http::Response<Incoming>, Error> {
        let clock = &self.group.clock;
        let step = self.timeouts.send.min(self.timeouts.read);
        let mut sent = std::pin::pin!(sent);
        let mut timer = std::pin::pin!(tokio::time::sleep(step));
        loop {
            tokio::select! {
                biased;
                sent = &mut sent => {
                    return sent.map_err(|mut error| {
                        error.take_message().into_iter().for_each(|unsent| outgoing.give_back(unsent));
                        let phase = if wire.is_sent() { Phase::Head } else { Phase::Send };
                        Error::exchange(phase, error.into_error())
                    });
                }
                () = &mut timer => {}
            }
            let now = clock.instant();
            let due = match wire.deadline(self.timeouts) {
                Some((due, phase)) if due <= now => return Err(Error::new(phase, Kind::Timeout)),
                Some((due, _)) => due.min(now + step),
                None => now + step,
            };
            timer.as_mut().reset(Deadline::from_std(due));
        }
    }
}

type Answered = (http::Response<Incoming>, Connection);
type Sent = Result<http::Response<Incoming>, hyper::client::conn::TrySendError<Request<Body>>>;

/// An attempt that failed after it had a connection.
struct Lost {
    error: Error,
    /// Bytes of the request may have reached the peer.
    written: bool,
    /// Bytes of a response came back.
    head_begun: bool,
}

impl Lost {
    fn new(error: Error, wire: &Wire, mark: Mark, outgoing: &mut Outgoing) -> Self {
        // After a timeout hyper may be writing at this moment, on another thread.
        let written = wire.wrote_since(mark) || error.kind == Kind::Timeout;
        outgoing.written |= written;
        Self { error, written, head_begun: wire.read_since(mark) }
    }
}
