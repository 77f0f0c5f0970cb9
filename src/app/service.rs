//! What systemd is told: that we serve, reload, stop, and are well. (sd_notify) Elsewhere nobody
//! listens, and nothing is said.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::oneshot;

use super::server::Server;
use super::worker::Job;
use crate::semantics::status::CacheStatus;

/// All is ready: a start, or a reload, is over.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins. Both in one message, as `Type=notify-reload` wants it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The end begins.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// This process takes our place.
pub(super) fn handed_over(process: u32) {
    tell(&[NotifyState::MainPid(process), NotifyState::Ready]);
}

/// Tells now and then what was done, and often enough that we are well: only while every worker
/// answers. Never ends.
pub(super) async fn tend(server: Arc<Server>) {
    if std::env::var_os(SOCKET).is_none() {
        return std::future::pending().await;
    }
    let watchdog = sd_notify::watchdog_enabled();
    let every = watchdog.map_or(STATUS_EVERY, |limit| STATUS_EVERY.min(limit / 2));
    loop {
        tell(&[NotifyState::Status(&status(&server))]);
        if watchdog.is_some() {
            if workers_answer(&server, every / 2).await {
                tell(&[NotifyState::Watchdog]);
            } else {
                tracing::error!("a worker does not answer: systemd is not told that all is well");
            }
        }
        tokio::time::sleep(every).await;
    }
}

/// Whether all workers do something else than what they are at within this time.
async fn workers_answer(server: &Server, limit: Duration) -> bool {
    let answers: Vec<_> = server
        .workers
        .iter()
        .map(|worker| {
            let (answer, answered) = oneshot::channel();
            worker.send(Job::Answer(answer)).map(|()| answered)
        })
        .collect();
    let all = async {
        for answered in answers {
            let Ok(answered) = answered else { return false };
            if answered.await.is_err() {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(limit, all).await.unwrap_or(false)
}

fn status(server: &Server) -> String {
    let generation = server.generation();
    let counted = generation.metrics.snapshot();
    let responses = |status: Option<CacheStatus>| -> u64 {
        let zones = counted.zones.iter().flat_map(|zone| {
            CacheStatus::ALL
                .iter()
                .filter(move |it| status.is_none_or(|wanted| wanted == **it))
                .map(|it| zone.status(*it).responses)
        });
        zones.sum()
    };
    let (hits, all) = (responses(Some(CacheStatus::Hit)), responses(None));
    let ratio = match (hits * 100).checked_div(all) {
        Some(percent) => format!(", {percent} % of them hits"),
        None => String::new(),
    };
    let (requests, number) = (counted.requests, generation.number);
    format!("{requests} requests, {all} by the cache{ratio}, configuration {number}")
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}

const SOCKET: &str = "NOTIFY_SOCKET";
const STATUS_EVERY: Duration = Duration::from_secs(10);
