//! The one who writes a fill: into memory, on to disk, or to nobody but those who follow.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Zone;
use super::fill::{Fill, NobodyFollows};
use super::lock::Permit;
use super::window::WINDOW_BYTES;
use crate::semantics::key::KeyHash;
use crate::semantics::stored::Stored;
use crate::store::disk::spool::Spool;
use crate::store::patience::{patiently, patiently_ended};
use crate::store::{Body, Content, Entry};
use crate::sync::{JoinHandle, scaled, spawn_blocking};

/// The one who writes a fill. Dropping it uncompleted fails the fill: followers get an error that
/// nobody takes for the end.
pub struct Writer {
    fill: Arc<Fill>,
    zone: Arc<Zone>,
    permit: Permit,
    key: Bytes,
    plan: Plan,
    /// How long one follower may keep others waiting, where nothing is stored.
    pub(super) patience: Duration,
}

/// What is done with the bytes.
enum Plan {
    /// All are held, and rest in memory at the end.
    Memory,
    /// They go to disk in batches; when the disk takes no more, they are passed on.
    Disk(Spooling),
    /// They are stored nowhere.
    PassOn,
}

/// A body on its way to the disk: at rest, or in the hands of a job that writes.
enum Spooling {
    Rests { spool: Box<Spool>, written: u64 },
    Writes { job: JoinHandle<io::Result<Box<Spool>>>, written: u64, batch_bytes: u64 },
}

impl Writer {
    /// Begins a fill for a response that rests at `at`.
    pub fn begin(
        zone: &Arc<Zone>,
        permit: Permit,
        key: &[u8],
        at: KeyHash,
        stored: Stored,
        length: Option<u64>,
    ) -> Self {
        let fill = Arc::new(Fill::new(stored, at, length, zone.clock.instant()));
        let key = Bytes::copy_from_slice(key);
        let zone = Arc::clone(zone);
        Self { fill, zone, permit, key, plan: Plan::Memory, patience: PATIENCE }
    }

    /// What followers follow.
    pub fn fill(&self) -> &Arc<Fill> {
        &self.fill
    }

    /// Whether all of the body is held.
    #[cfg(all(test, shuttle))]
    pub(super) fn rests_in_memory(&self) -> bool {
        matches!(self.plan, Plan::Memory)
    }

    /// What it is to be found by; what is secret in it is hashed.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The permit under which this was begun.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// Adds the next bytes of the body; waits while the limits of memory ask for it.
    ///
    /// # Errors
    /// Stop fetching.
    pub async fn append(&mut self, chunk: &[u8]) -> Result<(), NobodyFollows> {
        self.fill.push(chunk);
        if matches!(self.plan, Plan::Memory) {
            self.leave_memory_if_too_large().await;
        }
        if matches!(self.plan, Plan::Disk(_)) {
            self.write_behind().await;
        }
        if matches!(self.plan, Plan::PassOn) {
            let clock = &self.zone.clock;
            return self.fill.drained(self.patience, || clock.instant()).await;
        }
        Ok(())
    }

    /// Gives the fill up unless somebody follows it; whether it is given up.
    pub fn give_up_unless_followed(&self) -> bool {
        self.fill.end_unless_followed()
    }

    /// The body is complete: stores it and lets followers end. Whether it was stored.
    pub async fn complete(mut self) -> bool {
        let fill = Arc::clone(&self.fill);
        if matches!(self.plan, Plan::Memory) {
            let stored = self.rest_in_memory();
            fill.end(Ok(()));
            return stored;
        }
        while let Some(unwritten) = self.unwritten()
            && unwritten > 0
        {
            self.write().await;
        }
        // Followers have all they need; they do not wait for the rename.
        fill.end(Ok(()));
        self.commit().await
    }

    /// The body is complete, but is not to be stored after all: followers have all they need.
    pub fn discard(self) {
        self.fill.end(Ok(()));
    }

    /// The body broke off: nothing is stored.
    pub fn fail(self, why: String) {
        self.fill.end(Err(why));
    }

    fn rest_in_memory(&self) -> bool {
        let Some(body) = self.fill.lock().window.whole() else { return false };
        let content = Content::Response(Arc::clone(&self.fill.stored), Body::of(body));
        let entry = Arc::new(Entry::new(&self.key, content));
        self.may_store()
            && self.permit.unless_purged(|| self.zone.store.put(self.fill.at, entry)).is_some()
    }

    /// What was purged meanwhile must not take the place of what somebody fetched since.
    fn may_store(&self) -> bool {
        self.zone.may_store(&self.key, &self.fill.stored)
    }

    async fn leave_memory_if_too_large(&mut self) {
        let expected = self.fill.length.unwrap_or(0).max(self.fill.arrived());
        if expected <= self.zone.store.memory_object_bytes_max() {
            return;
        }
        let (zone, fill, key) = (Arc::clone(&self.zone), Arc::clone(&self.fill), self.key.clone());
        let (store, at) = (Arc::clone(&self.zone.store), self.fill.at);
        let open = move || zone.store.spool(fill.at, &key, &fill.stored, fill.length);
        // A full, failing or slow disk is counted and logged by the store.
        self.plan = match patiently(open, || store.too_slow_to_write(at)).await {
            Some(Ok(spool)) => {
                self.fill.lock().disk = Some((spool.reader(), 0));
                Plan::Disk(Spooling::Rests { spool: Box::new(spool), written: 0 })
            }
            _ => Plan::PassOn,
        };
    }

    /// Has the disk write while more comes in, until it is too far behind.
    async fn write_behind(&mut self) {
        if let Plan::Disk(Spooling::Writes { job, .. }) = &self.plan
            && job.is_finished()
        {
            self.written().await;
        }
        let Some(unwritten) = self.unwritten() else { return };
        if unwritten >= BATCH_BYTES && matches!(self.plan, Plan::Disk(Spooling::Rests { .. })) {
            self.begin_to_write();
        }
        if unwritten >= WINDOW_BYTES {
            self.written().await;
        }
    }

    async fn write(&mut self) {
        if matches!(self.plan, Plan::Disk(Spooling::Rests { .. })) {
            self.begin_to_write();
        }
        self.written().await;
    }

    /// Bytes that are not known to be on disk; nothing where they will not be.
    fn unwritten(&self) -> Option<u64> {
        let Plan::Disk(Spooling::Rests { written, .. } | Spooling::Writes { written, .. }) =
            &self.plan
        else {
            return None;
        };
        Some(self.fill.arrived() - written)
    }

    fn begin_to_write(&mut self) {
        self.plan = match std::mem::replace(&mut self.plan, Plan::PassOn) {
            Plan::Disk(Spooling::Rests { mut spool, written }) => {
                let batch = self.fill.lock().unwritten(written);
                let batch_bytes = batch.iter().map(|piece| piece.len() as u64).sum();
                let job = spawn_blocking(move || spool.append(&batch).map(|()| spool));
                Plan::Disk(Spooling::Writes { job, written, batch_bytes })
            }
            plan => plan,
        };
    }

    /// Waits for what is being written.
    async fn written(&mut self) {
        self.plan = match std::mem::replace(&mut self.plan, Plan::PassOn) {
            Plan::Disk(Spooling::Writes { job, written, batch_bytes }) => {
                let (store, at) = (&self.zone.store, self.fill.at);
                match patiently_ended(job, || store.too_slow_to_write(at)).await {
                    Some(Ok(spool)) => {
                        self.fill.on_disk(batch_bytes);
                        Plan::Disk(Spooling::Rests { spool, written: written + batch_bytes })
                    }
                    // What is on disk already can still be read; the rest is held until it was
                    // followed.
                    _ => {
                        tracing::debug!(%at, "the disk took no more of a fill");
                        Plan::PassOn
                    }
                }
            }
            plan => plan,
        };
    }

    async fn commit(mut self) -> bool {
        let Plan::Disk(Spooling::Rests { spool, .. }) =
            std::mem::replace(&mut self.plan, Plan::PassOn)
        else {
            return false;
        };
        if !self.may_store() {
            return false;
        }
        let committed = spawn_blocking(move || {
            let stored = Stored::clone(&self.fill.stored);
            // Not in what a purge waits for.
            spool.sync().ok()?;
            self.permit.unless_purged(|| spool.commit(stored))
        });
        matches!(committed.await, Ok(Some(Ok(_))))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.fill.end(Err("the fetch was given up".to_owned()));
    }
}

/// Written to disk in one blocking job, at least.
const BATCH_BYTES: u64 = scaled(256 << 10);
/// Where nothing can be stored, one follower may keep others waiting for so long in all.
const PATIENCE: Duration = Duration::from_secs(10);
