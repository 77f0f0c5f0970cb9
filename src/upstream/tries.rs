//! One request's way through the peers of a group: who is asked first, and who when that fails.

use std::sync::Arc;

use tracing::debug;

use super::error::{Error, Failure};
use super::group::Group;
use super::pick::{Chooser, Pick, Picked};
use super::pool::Pool;
use super::reply::Reply;
use super::retry::{self, Outcome, Stops};
use super::send::{Attempt, Outgoing};
use crate::config::Timeouts;

/// A request's way through the peers of a group.
pub(super) struct Sending<'a> {
    pub(super) group: &'a Arc<Group>,
    pub(super) pool: &'a Arc<Pool>,
    pub(super) timeouts: &'a Timeouts,
    pub(super) chooser: Chooser<'a>,
    /// One of them was there, whatever it answered.
    pub(super) reached: bool,
}

impl Sending<'_> {
    /// Whether no peer of the group can be asked at the moment: none that it asked was there, and
    /// there is no other.
    pub(super) fn found_nobody(&self) -> bool {
        !self.reached && (self.chooser.tried.is_empty() || !self.group.has_other(&self.chooser))
    }

    pub(super) fn restart(&mut self) {
        self.chooser.restart();
        self.reached = false;
    }

    /// Asks one after the other, as far as that is allowed.
    pub(super) async fn ask_any(&mut self, outgoing: &mut Outgoing) -> Result<Reply, Failure> {
        let group = self.group;
        let begun = group.clock.instant();
        let mut picked = self.first().await?;
        loop {
            let Picked { at, active } = picked;
            let attempt = Attempt { group, pool: self.pool, timeouts: self.timeouts, at };
            let mut result = attempt.run(active, outgoing).await;
            self.chooser.tried.push(at);
            let tries = self.chooser.tried.len();
            report(group, at, &result);
            let outcome = match &mut result {
                Ok(reply) => {
                    self.reached = true;
                    reply.tries = tries;
                    // The client goes on with whom it was answered by.
                    let is_new = self.chooser.preferred != Some(at);
                    let sticky = group.sticky.as_ref().filter(|_| is_new);
                    reply.set_cookie = sticky.map(|sticky| sticky.field(at));
                    Outcome::Status(reply.response.status().as_u16())
                }
                Err(error) => {
                    self.reached |= retry::stops(error, outgoing.facts()) == Stops::Otherwise;
                    Outcome::Failed(error)
                }
            };
            let passed = || group.clock.instant().saturating_duration_since(begun);
            let may = tries < group.tries
                && retry::allowed(outcome, outgoing.facts(), &group.next_upstream)
                && group.tries_timeout.is_none_or(|limit| passed() < limit);
            let next = may.then(|| group.pick(&mut self.chooser));
            let Some(Pick::Peer(next)) = next else {
                let peer = Some(group.peers[at].address.clone());
                return result.map_err(|error| Failure { error, peer, tries });
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
            Pick::Nobody => Some(Err(Failure::nobody())),
            Pick::Busy => None,
        };
        let Some(queue) = &group.queue else {
            return take().unwrap_or_else(|| Err(Failure::busy()));
        };
        if queue.is_empty()
            && let Some(taken) = take()
        {
            return taken;
        }
        queue.wait(take).await.unwrap_or_else(|| Err(Failure::busy()))
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
