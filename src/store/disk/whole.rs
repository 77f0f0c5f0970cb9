//! Files that are read and verified whole: their bodies are short enough for memory, or for one
//! piece. Where there is no memory tier, one that stays open and was found right is left to the
//! kernel (`sending.rs`), if it is worth that.

use std::cell::Cell;
use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;

use super::Disk;
use super::access::{Access, Problem};
use super::format::{self, Layout};
use super::open_files::{OpenFile, Place};
use super::read::{entry, in_its_place};
use super::sending::SPLICED_BYTES_MIN;
use super::stored_body::StoredBody;
use crate::semantics::key::KeyHash;
use crate::store::tiered::Cold;
use crate::store::{Body, Entry};

/// What such a file holds.
pub(super) struct Whole {
    pub(super) entry: Arc<Entry>,
    /// Where its body lies.
    pub(super) place: Place,
    /// The body, where it may be sent unread later.
    pub(super) sent: Option<StoredBody>,
}

/// Bytes of a file that were read whole.
struct Room {
    bytes: Bytes,
    capacity: usize,
    /// The thread uses it again once nobody holds it.
    is_kept: bool,
}

impl Disk {
    /// Reads and verifies all of a file.
    pub(super) fn read_whole(
        self: &Arc<Self>,
        file: &Arc<File>,
        length: u64,
        hash: KeyHash,
        access: Access<'_>,
    ) -> Result<Whole, Problem> {
        let on_worker = matches!(access, Access::Warm(_));
        // The worker is not held for what costs many times more than a job does.
        if on_worker && length > WARM_FILE_BYTES_MAX {
            return Err(Problem::Cold);
        }
        let room = Room::read(file, (0, length as usize), access)?;
        let (found, body) = format::decode_whole(&room.bytes)?;
        let found = in_its_place(found, hash)?;
        let offset = length - Layout { slot_bytes: 0, body_bytes: body.len() as u64 }.file_bytes();
        let place = Place { offset, bytes: body.len(), hash: found.slot.body_hash };
        let is_long = place.bytes as u64 >= SPLICED_BYTES_MIN;
        // Else damage is found before the head is written, at every lookup.
        let is_sent = self.sendfile && is_long && !self.memory.is_in_use();
        let sent = is_sent.then(|| StoredBody::of_whole(self, hash, file, &room.bytes));
        let body = room.leave(body, self.memory.is_in_use());
        let entry = Arc::new(entry(found, || Body::of(body)));
        Ok(Whole { entry, place, sent: sent.transpose()? })
    }

    /// Reads the body of an open file, and verifies it. `Err` is for a job, which finds damage as
    /// well, and knows what to do about it.
    pub(super) fn read_body(
        &self,
        hash: KeyHash,
        opened: &OpenFile,
        place: Place,
    ) -> Result<Body, Cold> {
        if !self.warm.may_read() || place.bytes as u64 > WARM_FILE_BYTES_MAX {
            return Err(Cold);
        }
        let is_settled = opened.looks.identity.is_settled(self.clock.wall());
        let room = Room::read(&opened.file, (place.offset, place.bytes), Access::Warm(&self.warm));
        let room = room.ok().filter(|room| place.holds(&room.bytes)).ok_or(Cold)?;
        if is_settled && opened.sent().is_some() {
            self.verified.note_unchanged(hash, (&opened.file, opened.looks.identity), &self.clock);
        }
        Ok(Body::of(room.leave(&room.bytes, self.memory.is_in_use())))
    }

    /// Whether the body of an open file, which looks as it did in this second, need not be read
    /// before it is sent. Looked at once a second: the calls cost as much as reading does.
    pub(super) fn is_proven(&self, hash: KeyHash, opened: &OpenFile, now_s: u32) -> bool {
        let Some(body) = opened.sent() else { return false };
        if body.is_proven_in(now_s) {
            return true;
        }
        let is_proven = self.warm.may_splice()
            && self.verified.holds(hash, opened.looks.identity, self.clock.instant())
            && self.warm.has(&opened.file, body.offset() + body.len() - 1);
        if is_proven {
            body.proven_in(now_s);
        }
        is_proven
    }
}

impl Room {
    /// Some bytes of a file.
    fn read(
        file: &File,
        (offset, bytes): (u64, usize),
        access: Access<'_>,
    ) -> Result<Self, Problem> {
        let is_kept = matches!(access, Access::Warm(_));
        let room = if is_kept { ROOM.take() } else { Bytes::new() };
        let mut room = room.try_into_mut().unwrap_or_default();
        room.resize(bytes, 0);
        access.read(file, &mut room, offset)?;
        Ok(Self { capacity: room.capacity(), bytes: room.freeze(), is_kept })
    }

    /// Takes `part` of the bytes along, to rest in memory or not, and lets others have the room.
    fn leave(&self, part: &[u8], to_memory: bool) -> Bytes {
        // Whoever holds a slice holds the room, which is more than an entry in memory weighs.
        let part = if to_memory || part.len() < self.capacity / 2 {
            Bytes::copy_from_slice(part)
        } else {
            self.bytes.slice_ref(part)
        };
        if self.is_kept {
            ROOM.set(self.bytes.clone());
        }
        part
    }
}

thread_local! {
    /// The last file this thread read whole: its room is used again once nobody holds it.
    static ROOM: Cell<Bytes> = const { Cell::new(Bytes::new()) };
}

/// Reading and verifying it takes about 50 us.
const WARM_FILE_BYTES_MAX: u64 = 320 * 1024;
