//! Who finds out when a peer can be asked again, and lets those go who waited for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant as Deadline, sleep, sleep_until};
use tracing::{info, warn};

use super::announce;
use super::check;
use super::connect::{Opening, connect};
use super::group::Group;
use super::hold::{Hold, Step};

/// Tends the line of a group until it is open again.
pub(super) fn begin(group: &Arc<Group>) {
    let group = Arc::clone(group);
    check::spawn(async move {
        let Some(hold) = &group.hold else { return };
        warn!(upstream = group.name, "no peer can be asked: requests are held");
        while until_back(&group, hold).await {
            info!(upstream = group.name, "a peer is back: what was held goes out");
            if let Step::Open = let_go(&group, hold).await {
                return;
            }
        }
    });
}

/// Asks the peers until one can be reached; `false` once nobody waits for that.
async fn until_back(group: &Arc<Group>, hold: &Hold) -> bool {
    let mut pause = PAUSE_MIN;
    loop {
        sleep(pause).await;
        if hold.open_if_empty() {
            return false;
        }
        if reach(group).await {
            hold.back();
            return true;
        }
        pause = (pause + pause / 2).min(PAUSE_MAX);
    }
}

/// Whether any peer can be reached. The others are asked on behind.
async fn reach(group: &Arc<Group>) -> bool {
    let mut asking = JoinSet::new();
    for at in (0..group.peers.len()).filter(|at| group.takes_new(*at)) {
        let group = Arc::clone(group);
        asking.spawn(async move { is_there(&group, at).await });
    }
    while let Some(there) = asking.join_next().await {
        if there.unwrap_or(false) {
            asking.detach_all();
            return true;
        }
    }
    false
}

async fn is_there(group: &Group, at: usize) -> bool {
    if let Some(checker) = &group.checker {
        group.checked(at, checker.check(at).await);
        if !group.is_healthy(at) {
            return false;
        }
    } else {
        // Else whoever is there would take a connection that says nothing for a fault.
        let ahead = group.announce.map(|version| announce::header(version, None));
        let ahead = ahead.unwrap_or_default();
        let opening = Opening {
            version: group.http_version,
            ahead: &ahead,
            tls: group.tls.as_deref(),
            clock: &group.clock,
        };
        if connect(at, &group.peers[at], opening, PAUSE_MAX).await.is_err() {
            return false;
        }
    }
    group.reached(at);
    true
}

/// Lets requests go as they may, until it is open or nobody can be asked again.
async fn let_go(group: &Group, hold: &Hold) -> Step {
    loop {
        match hold.step(group.clock.instant()) {
            Step::Went => {}
            Step::Wait(None) => hold.changed().await,
            Step::Wait(Some(until)) => tokio::select! {
                () = hold.changed() => {}
                () = sleep_until(Deadline::from_std(until)) => {}
            },
            over @ (Step::Down | Step::Open) => return over,
        }
    }
}

/// Between two looks whether a peer is back; grows from one to the other.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);
