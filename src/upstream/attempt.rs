//! One peer's chance: over a connection that is there, or over a new one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant as Deadline, timeout};

use super::announce::{self, Announced};
use super::connect::{New, Opening, connect};
use super::error::{Error, Kind, Phase};
use super::group::Group;
use super::head::Said;
use super::http1::{self, Connection, How, Interim};
use super::http2::Place;
use super::outgoing::Outgoing;
use super::pool::Pool;
use super::reply::{self, Reply, Rest};
use super::retry::{self, Facts};
use super::stats::Active;
use super::wire::Wire;
use crate::config::{HttpVersion, Timeouts};
use crate::tried::Tried;

/// One peer's chance.
pub(super) struct Attempt<'a> {
    pub(super) group: &'a Arc<Group>,
    pub(super) pool: &'a Arc<Pool>,
    pub(super) timeouts: &'a Timeouts,
    pub(super) interim: Option<&'a dyn Interim>,
    pub(super) at: usize,
}

impl Attempt<'_> {
    /// `tried` gets what is told of it.
    pub(super) async fn run(
        &self,
        mut active: Active,
        outgoing: &mut Outgoing,
        tried: &mut Tried,
    ) -> Result<Reply, Error> {
        let peer = &self.group.peers[self.at];
        peer.counts.requests.fetch_add(1, Ordering::Relaxed);
        active.begins(&tried.progress);
        let mut kept = self.kept(outgoing);
        let mut again = 0;
        let (head, rest) = loop {
            let (held, made) = match kept.take() {
                Some(kept) => (kept, false),
                None => self.connect(outgoing.version(self.group), &self.ahead(outgoing)).await?,
            };
            tried.connect = Some(if made { tried.progress.elapsed() } else { Duration::ZERO });
            match self.exchange(held, outgoing).await {
                Ok(answered) => break answered,
                Err(lost) if again < AGAIN_MAX && lost.may_go_again(made, outgoing) => {
                    tried.connect = None;
                    again += 1;
                }
                Err(lost) => return Err(lost.error),
            }
        };
        peer.counts.response(head.status());
        tried.answered(head.status().as_u16());
        let (response, switched) =
            reply::response(head, rest, self.timeouts.read, (self.pool, active));
        // Who has tried others before tells of all of them.
        Ok(Reply { response, switched, tried: Vec::new(), set_cookie: None })
    }

    /// What a new connection begins with, before the request. Nothing where nothing is announced.
    fn ahead(&self, outgoing: &Outgoing) -> Vec<u8> {
        let Some(version) = self.group.announce else { return Vec::new() };
        announce::header(version, outgoing.parts.extensions.get::<Announced>())
    }

    /// A kept connection that still leads to the peer.
    fn idle(&self) -> Option<Box<Connection>> {
        let target = &self.group.peers[self.at].target;
        loop {
            let connection = self.pool.take(self.at)?;
            if target.still_has(connection.to) {
                return Some(connection);
            }
        }
    }

    /// A place on a connection of HTTP/2 that still leads to the peer.
    fn place(&self) -> Option<Place> {
        let target = &self.group.peers[self.at].target;
        loop {
            let place = self.pool.place(self.at)?;
            if target.still_has(place.connection.to) {
                return Some(place);
            }
            place.retire();
        }
    }

    /// A connection that is there already.
    fn kept(&self, outgoing: &Outgoing) -> Option<Held> {
        let place = match outgoing.version(self.group) {
            HttpVersion::Http1 => None,
            HttpVersion::Http2 => self.place().map(Held::Place),
        };
        place.or_else(|| self.idle().map(Held::Connection))
    }

    /// A new connection, and whether it was made for us; one of HTTP/2 that another request has just
    /// made counts as well.
    async fn connect(&self, version: HttpVersion, ahead: &[u8]) -> Result<(Held, bool), Error> {
        let (clock, limit) = (&self.group.clock, self.timeouts.connect);
        let begun = clock.instant();
        let turn = match version {
            HttpVersion::Http1 => None,
            HttpVersion::Http2 => {
                let turn = timeout(limit, self.pool.turn(self.at).lock_owned()).await;
                Some(turn.map_err(|_| Error::new(Phase::Connect, Kind::Timeout))?)
            }
        };
        if let Some(place) = turn.as_ref().and_then(|_| self.place()) {
            return Ok((Held::Place(place), false));
        }
        let left = limit.saturating_sub(clock.instant().duration_since(begun));
        let tls = self.group.tls.as_deref();
        let opening = Opening { version, ahead, tls, clock };
        let peer = &self.group.peers[self.at];
        let held = match connect(self.at, peer, opening, left).await? {
            New::Http1(connection) => Held::Connection(connection),
            New::Http2(connection) => Held::Place(self.pool.share(&connection)),
        };
        Ok((held, true))
    }

    async fn exchange(&self, held: Held, outgoing: &mut Outgoing) -> Result<Answered, Lost> {
        match held {
            Held::Connection(connection) => self.over_http1(connection, outgoing).await,
            Held::Place(place) => self.over_http2(place, outgoing).await,
        }
    }

    async fn over_http1(
        &self,
        connection: Box<Connection>,
        outgoing: &mut Outgoing,
    ) -> Result<Answered, Lost> {
        let how = How { timeouts: self.timeouts, interim: self.interim };
        let body = outgoing.take_body();
        match http1::exchange(connection, &outgoing.parts, body, &how).await {
            Ok((head, rest)) => {
                outgoing.written = true;
                Ok((head, Rest::Http1(rest)))
            }
            Err(lost) => {
                let http1::Lost { error, written, head_begun, unsent } = *lost;
                unsent.into_iter().for_each(|body| outgoing.give_back(body));
                outgoing.written |= written;
                Err(Lost { error, is_refused: false, written, head_begun })
            }
        }
    }

    async fn over_http2(
        &self,
        mut place: Place,
        outgoing: &mut Outgoing,
    ) -> Result<Answered, Lost> {
        let peer = &self.group.peers[self.at];
        let wire = Arc::new(Wire::new(self.group.clock.clone(), peer.counts.clone()));
        let request = outgoing.take(&wire);
        let sent = match place.send(request, &wire, &peer.address) {
            Ok(sent) => sent,
            Err(unsent) => {
                let (error, body) = *unsent;
                outgoing.give_back(body);
                return Err(Lost { error, is_refused: true, written: false, head_begun: false });
            }
        };
        let mut is_refused = false;
        let response = async {
            sent.response().await.map_err(|(error, refused)| {
                is_refused = refused;
                error
            })
        };
        let error = match self.wait(response, &wire).await {
            Ok(response) => match Said::of(response.headers()).fault(response.status(), false) {
                None => {
                    outgoing.written = true;
                    let (head, received) = response.into_parts();
                    let head = http::Response::from_parts(head, ());
                    return Ok((head, Rest::Http2(received, place)));
                }
                Some(fault) => Error::from(Phase::Head, Kind::InvalidResponse, fault),
            },
            Err(error) => error,
        };
        match error.kind {
            Kind::Timeout => place.retire_if_silent(),
            _ if is_refused => place.retire(),
            _ => {}
        }
        outgoing.written |= !is_refused;
        Err(Lost { error, is_refused, written: !is_refused, head_begun: false })
    }

    /// Waits for a head of HTTP/2 with one timer, which is set anew only when it fires: bytes that
    /// move meanwhile just note the time. The peer has `send` to take the next bytes of the request, and
    /// `read` to send the next bytes of its head once it has the request.
    async fn wait<T>(
        &self,
        sent: impl Future<Output = Result<T, Error>>,
        wire: &Wire,
    ) -> Result<T, Error> {
        let clock = &self.group.clock;
        let step = self.timeouts.send.min(self.timeouts.read);
        let mut sent = std::pin::pin!(sent);
        let mut timer = std::pin::pin!(tokio::time::sleep(step));
        loop {
            tokio::select! {
                biased;
                sent = &mut sent => return sent,
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

type Answered = (http::Response<()>, Rest);

/// What a request goes over.
enum Held {
    Connection(Box<Connection>),
    Place(Place),
}

/// An attempt that failed after it had a connection.
struct Lost {
    error: Error,
    /// The peer did nothing with it, or never had it.
    is_refused: bool,
    /// Bytes of the request may have reached the peer.
    written: bool,
    /// Bytes of a response came back.
    head_begun: bool,
}

impl Lost {
    /// Whether the same peer may be asked once more: over a connection that was there already
    /// because it may have died meanwhile, over a new one only if the request was refused.
    fn may_go_again(&self, is_new: bool, outgoing: &Outgoing) -> bool {
        let facts = Facts { written: self.written, ..outgoing.facts() };
        (!is_new || self.is_refused) && retry::allowed_fresh(&self.error, facts, self.head_begun)
    }
}

/// A connection that was kept, one that others have just made, and one of our own.
const AGAIN_MAX: usize = 2;
