//! One request, from the pick of a peer to the head of a response, retries included.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use tracing::debug;

use super::attempt::Attempt;
use super::back;
use super::error::{Error, Failure, Kind};
use super::group::Group;
use super::hold::{Joined, Place, Tend};
use super::http1::Interim;
use super::outgoing::Outgoing;
use super::pick::{Asked, Chooser, Pick, Picked};
use super::pool::Pool;
use super::reply::Reply;
use super::retry::{self, Outcome, Stops};
use crate::body::Body;
use crate::config::{NextUpstream, Timeouts, Trying};
use crate::tried::Tried;

/// Sends `request` to a peer of `group` and waits for the head of its response. Uses idle
/// connections of `pool` and brings them back there when the response body ends; a body that is
/// dropped early closes its connection. The body fails when no byte comes for `timeouts.read`.
///
/// A request that fails goes to the next peer as the group's `next_upstream` says. A status that is
/// listed there is handed back all the same when nobody is left to ask. Where the group has a
/// `queue`, a request waits there while every peer has enough to do; where it has a `hold`, and
/// `asked` lets it, while none can be reached.
///
/// # Errors
///
/// Nobody gave a response; the error is that of the last attempt.
pub async fn send(
    group: &Arc<Group>,
    pool: &Arc<Pool>,
    request: Request<Body>,
    timeouts: &Timeouts,
    asked: &Asked<'_>,
) -> Result<Reply, Failure> {
    let mut outgoing = Outgoing::new(request);
    let chooser = Chooser::new(group, asked);
    let interim = asked.interim;
    let tries = Tries::of(group, asked.trying);
    let mut sending = Sending { group, pool, timeouts, interim, tries, chooser, reached: false };
    let Some(hold) = &group.hold else { return sending.ask_any(&mut outgoing).await };
    let Some(held) = asked.held else {
        // Who has another answer does not press upon peers that are just back.
        let engaged = hold.is_engaged();
        return if engaged {
            Err(Failure::nobody(&group.name))
        } else {
            sending.ask_any(&mut outgoing).await
        };
    };
    let (mut place, mut failure) = match hold.join_others() {
        Joined::Open => (None, None),
        Joined::Full => return Err(Failure::nobody(&group.name)),
        Joined::Place(place, _) => (Some(place), None),
    };
    loop {
        if let Some(place) = &mut place
            && !place.wait(held).await
        {
            return Err(failure.unwrap_or_else(|| Failure::nobody(&group.name)));
        }
        let failed = match sending.ask_any(&mut outgoing).await {
            Ok(reply) => {
                place.into_iter().for_each(Place::answered);
                return Ok(reply);
            }
            Err(failed) if sending.found_nobody() && outgoing.may_be_held(&failed.error) => failed,
            Err(failed) => return Err(failed),
        };
        let tend = match &mut place {
            Some(place) => place.failed(),
            None => match hold.join() {
                Joined::Place(joined, tend) => {
                    place = Some(joined);
                    tend
                }
                Joined::Open | Joined::Full => return Err(failed),
            },
        };
        if tend == Tend::Needed {
            back::begin(group);
        }
        failure = Some(failed);
        sending.restart();
    }
}

/// A request's way through the peers of a group.
struct Sending<'a> {
    group: &'a Arc<Group>,
    pool: &'a Arc<Pool>,
    timeouts: &'a Timeouts,
    interim: Option<&'a dyn Interim>,
    tries: Tries,
    chooser: Chooser<'a>,
    /// One of them was there, whatever it answered.
    reached: bool,
}

/// When the next peer is asked.
#[derive(Clone, Copy)]
struct Tries {
    next_upstream: NextUpstream,
    max: usize,
    timeout: Option<Duration>,
}

impl Tries {
    fn of(group: &Group, own: &Trying) -> Self {
        let timeout = own.tries_timeout.map(|timeout| Some(timeout).filter(|it| !it.is_zero()));
        Self {
            next_upstream: own.next_upstream.unwrap_or(group.next_upstream),
            max: match own.tries {
                Some(0) => group.peers.len().max(1),
                Some(tries) => tries,
                None => group.tries,
            },
            timeout: timeout.unwrap_or(group.tries_timeout),
        }
    }
}

impl Sending<'_> {
    /// Whether no peer of the group can be asked at the moment: none that it asked was there, and
    /// there is no other.
    fn found_nobody(&self) -> bool {
        !self.reached && (self.chooser.tried.is_empty() || !self.group.has_other(&self.chooser))
    }

    fn restart(&mut self) {
        self.chooser.restart();
        self.reached = false;
    }

    /// Asks one after the other, as far as that is allowed.
    async fn ask_any(&mut self, outgoing: &mut Outgoing) -> Result<Reply, Failure> {
        let group = self.group;
        let Tries { next_upstream, max, timeout } = self.tries;
        let begun = timeout.map(|_| group.clock.instant());
        let mut picked = self.first().await?;
        let mut tried = Vec::with_capacity(1);
        loop {
            let Picked { at, active } = picked;
            let Self { pool, timeouts, interim, .. } = *self;
            let attempt = Attempt { group, pool, timeouts, interim, at };
            let mut one = Tried::begin(&group.peers[at].address);
            let mut result = attempt.run(active, outgoing, &mut one).await;
            self.chooser.tried.push(at);
            report((group, at), &next_upstream, &result);
            let outcome = match &mut result {
                Ok(reply) => {
                    self.reached = true;
                    // The client goes on with whom it was answered by.
                    let is_new = self.chooser.preferred != Some(at);
                    let sticky = group.sticky.as_ref().filter(|_| is_new);
                    reply.set_cookie = sticky.map(|sticky| sticky.field(at));
                    Outcome::Status(reply.response.status().as_u16())
                }
                Err(error) => {
                    self.reached |= retry::stops(error, outgoing.facts()) == Stops::Otherwise;
                    one.failed(error.kind == Kind::Timeout);
                    Outcome::Failed(error)
                }
            };
            tried.push(one);
            let is_late = |(limit, begun)| group.clock.instant().duration_since(begun) >= limit;
            let may = self.chooser.tried.len() < max
                && retry::allowed(outcome, outgoing.facts(), &next_upstream)
                && !timeout.zip(begun).is_some_and(is_late);
            let next = may.then(|| group.pick(&mut self.chooser));
            let Some(Pick::Peer(next)) = next else {
                if let Ok(reply) = &mut result {
                    reply.tried = std::mem::take(&mut tried);
                }
                return result.map_err(|error| Failure { error, tried });
            };
            if let Err(error) = &result {
                debug!(peer = %group.peers[at].address, %error, "going on to the next peer");
            }
            picked = next;
        }
    }

    /// The first peer, waited for if that helps. Who has tried one already does not wait for
    /// another: there is an answer of some kind.
    async fn first(&mut self) -> Result<Picked, Failure> {
        let group = self.group;
        let chooser = &mut self.chooser;
        let mut pick = || match group.pick(chooser) {
            // All failures are forgotten now: it finds out itself before it is held.
            Pick::Nobody if group.hold.is_some() => group.pick(chooser),
            pick => pick,
        };
        let mut take = || match pick() {
            Pick::Peer(picked) => Some(Ok(picked)),
            Pick::Nobody => Some(Err(Failure::nobody(&group.name))),
            Pick::Busy => None,
        };
        let Some(queue) = &group.queue else {
            return take().unwrap_or_else(|| Err(Failure::busy(&group.name)));
        };
        if queue.is_empty()
            && let Some(taken) = take()
        {
            return taken;
        }
        queue.wait(take).await.unwrap_or_else(|| Err(Failure::busy(&group.name)))
    }
}

/// Listed statuses count as failures, but 403 and 404 never do (nginx).
fn report(
    (group, at): (&Group, usize),
    next_upstream: &NextUpstream,
    result: &Result<Reply, Error>,
) {
    match result {
        Ok(reply) => {
            let status = reply.response.status().as_u16();
            let listed = next_upstream.statuses.contains(status);
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
