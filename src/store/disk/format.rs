//! The file of one stored response, byte by byte. Pure.
//!
//! ```text
//! slot A     slot_bytes      a head
//! slot B     slot_bytes      a newer head, or zeros
//! body       body_bytes
//! trailer    8 * chunks      xxh3_64 of every 64 KiB of the body, the last one shorter
//! footer     56
//!
//! slot     0   8  "LarderHd"                footer    0   8  "LarderFt"
//!          8   2  format version                      8   2  format version
//!         10   1  kind (1 response,                  10   2  zero
//!                       2 variants)                  12   4  slot_bytes
//!         11   1  zero                               16   8  body_bytes
//!         12   4  length of the head                 24  16  xxh3_128 of the body
//!         16   8  sequence, from 1                   40   4  chunks
//!         24   8  body_bytes                         44   4  zero
//!         32  16  xxh3_128 of the body               48   8  xxh3_64 of the trailer and
//!         48  16  the hash it rests under                    the 48 bytes above
//!         64   8  xxh3_64 of the 64 bytes
//!                 above and the head
//!         72   -  the head (`head.rs`), then zeros
//! ```
//!
//! All integers are little-endian. The valid slot with the higher sequence counts. A 304 writes
//! the other slot, so a crash in the middle of it leaves the old head. The hash of the body ties a
//! slot to the trailer; the hash it rests under catches a file that was moved to another's place.

use bytes::{BufMut, Bytes};
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128};

use super::head::{self, Head, Kind};
use crate::semantics::key::KeyHash;

/// Why a file gives no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Another release of this program wrote it; it is not damaged.
    OtherVersion,
    /// It is damaged, or not ours at all. The text says where that was seen.
    Corrupt(&'static str),
}

/// Where the parts of a file lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Length of one slot.
    pub slot_bytes: u32,
    /// Length of the body.
    pub body_bytes: u64,
}

/// What a slot says beside its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// What the head is.
    pub kind: Kind,
    /// The higher one counts.
    pub sequence: u64,
    /// Length of the body.
    pub body_bytes: u64,
    /// xxh3_128 of the body.
    pub body_hash: u128,
    /// The hash it rests under.
    pub place: KeyHash,
}

/// What the footer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Where the parts lie; checked against the length of the file.
    pub layout: Layout,
    /// xxh3_128 of the body.
    pub body_hash: u128,
    checksum: u64,
    above: [u8; 48],
}

/// A head found in a file, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// What its slot says.
    pub slot: Slot,
    /// Whether it is in slot B.
    pub in_b: bool,
    /// The head itself, in an allocation of its own.
    pub head: Head,
}

/// What is in the slot that does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherSlot {
    /// Nothing was ever written to it.
    Empty,
    /// An older head.
    Older,
    /// A head that was cut short or is damaged: it may have been newer.
    Torn,
}

/// The sums of a body that comes piece by piece.
pub struct Sums {
    chunks: Vec<u64>,
    chunk: Box<Xxh3>,
    chunk_filled: usize,
    whole: Box<Xxh3>,
}

impl Layout {
    /// The layout for a head of `head_bytes`. A slot has room for a head that grows by a quarter.
    pub fn new(head_bytes: usize, body_bytes: u64) -> Self {
        let wanted = SLOT_HEAD_BYTES + head_bytes + head_bytes / 4 + SLACK_BYTES;
        let is_long = body_bytes >= CHUNK_BYTES as u64;
        let slot_bytes = wanted.next_multiple_of(if is_long { PAGE_BYTES / 2 } else { 512 });
        Self { slot_bytes: u32::try_from(slot_bytes).unwrap_or(u32::MAX), body_bytes }
    }

    /// Whether a head of `head_bytes` fits into a slot.
    pub fn fits(&self, head_bytes: usize) -> bool {
        self.slot_bytes <= SLOT_BYTES_MAX
            && SLOT_HEAD_BYTES + head_bytes <= self.slot_bytes as usize
    }

    /// Where the body begins.
    pub fn body_offset(&self) -> u64 {
        2 * u64::from(self.slot_bytes)
    }

    /// Where the trailer begins.
    pub fn trailer_offset(&self) -> u64 {
        self.body_offset() + self.body_bytes
    }

    /// Number of chunks the body has.
    pub fn chunks(&self) -> u64 {
        self.body_bytes.div_ceil(CHUNK_BYTES as u64)
    }

    /// Length of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.trailer_offset() + 8 * self.chunks() + FOOTER_BYTES as u64
    }
}

impl Sums {
    /// Of a body with nothing in it yet.
    pub fn new() -> Self {
        Self { chunks: Vec::new(), chunk: Box::default(), chunk_filled: 0, whole: Box::default() }
    }

    /// Of a body that is all here.
    pub fn of(body: &[u8]) -> (Vec<u64>, u128) {
        (body.chunks(CHUNK_BYTES).map(xxh3_64).collect(), xxh3_128(body))
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.whole.update(bytes);
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.chunk_filled));
            self.chunk.update(now);
            self.chunk_filled += now.len();
            bytes = rest;
            if self.chunk_filled == CHUNK_BYTES {
                self.end_chunk();
            }
        }
    }

    /// Adds the sums of the chunks that are not among `known`, which are those of the first whole
    /// ones. The last is of what there is of a chunk so far.
    pub fn add_to(&self, known: &mut Vec<u64>) {
        known.extend_from_slice(&self.chunks[known.len().min(self.chunks.len())..]);
        if self.chunk_filled > 0 {
            known.push(self.chunk.digest());
        }
    }

    /// The sums of the chunks, and the hash of the whole.
    pub fn finish(mut self) -> (Vec<u64>, u128) {
        if self.chunk_filled > 0 {
            self.end_chunk();
        }
        (self.chunks, self.whole.digest128())
    }

    fn end_chunk(&mut self) {
        self.chunks.push(self.chunk.digest());
        self.chunk.reset();
        self.chunk_filled = 0;
    }
}

impl Default for Sums {
    fn default() -> Self {
        Self::new()
    }
}

/// A slot without the zeros behind it. The caller has made sure that the head fits.
pub fn encode_slot(slot: &Slot, head: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(SLOT_HEAD_BYTES + head.len());
    out.put_slice(SLOT_MAGIC);
    out.put_u16_le(VERSION);
    out.put_u8(slot.kind as u8);
    out.put_u8(0);
    out.put_u32_le(head.len() as u32);
    out.put_u64_le(slot.sequence);
    out.put_u64_le(slot.body_bytes);
    out.put_u128_le(slot.body_hash);
    out.put_u128_le(slot.place.0);
    out.put_u64_le(sum_of(&out, head));
    out.put_slice(head);
    out
}

/// Trailer and footer.
pub fn encode_tail(layout: Layout, chunk_sums: &[u64], body_hash: u128) -> Vec<u8> {
    let mut out = Vec::with_capacity(chunk_sums.len() * 8 + FOOTER_BYTES);
    chunk_sums.iter().for_each(|sum| out.put_u64_le(*sum));
    out.put_slice(FOOTER_MAGIC);
    out.put_u16_le(VERSION);
    out.put_u16_le(0);
    out.put_u32_le(layout.slot_bytes);
    out.put_u64_le(layout.body_bytes);
    out.put_u128_le(body_hash);
    out.put_u32_le(chunk_sums.len() as u32);
    out.put_u32_le(0);
    out.put_u64_le(xxh3_64(&out));
    out
}

/// Reads the last bytes of a file of `file_bytes`; the sum is checked by `decode_trailer`.
///
/// # Errors
/// The file is a miss.
pub fn decode_footer(tail: &[u8], file_bytes: u64) -> Result<Footer, Fault> {
    let start = tail.len().checked_sub(FOOTER_BYTES).ok_or(Fault::Corrupt("too short"))?;
    let footer = &tail[start..];
    if &footer[..8] != FOOTER_MAGIC {
        return Err(Fault::Corrupt("no footer"));
    }
    if u16_at(footer, 8) != VERSION {
        return Err(Fault::OtherVersion);
    }
    let layout = Layout { slot_bytes: u32_at(footer, 12), body_bytes: u64_at(footer, 16) };
    let sane = layout.slot_bytes as usize >= SLOT_HEAD_BYTES
        && layout.slot_bytes <= SLOT_BYTES_MAX
        && layout.body_bytes <= file_bytes
        && layout.file_bytes() == file_bytes
        && layout.chunks() == u64::from(u32_at(footer, 40));
    if !sane {
        return Err(Fault::Corrupt("lengths do not add up"));
    }
    let mut above = [0; 48];
    above.copy_from_slice(&footer[..48]);
    Ok(Footer { layout, body_hash: u128_at(footer, 24), checksum: u64_at(footer, 48), above })
}

/// What a fault of the footer is, seen from the first bytes of the file: one release writes the same
/// version at both ends.
pub fn seen_at_start(fault: Fault, start: &[u8]) -> Fault {
    let ours = start.len() >= VERSION_END && start.starts_with(SLOT_MAGIC);
    if fault == Fault::OtherVersion && ours && u16_at(start, 8) == VERSION {
        return Fault::Corrupt("versions differ");
    }
    fault
}

/// The sums of the chunks. `trailer` is all between the body and `footer`.
///
/// # Errors
/// The file is a miss.
pub fn decode_trailer(trailer: &[u8], footer: &Footer) -> Result<Vec<u64>, Fault> {
    let whole = trailer.len() as u64 == footer.layout.chunks() * 8;
    if !whole || sum_of(trailer, &footer.above) != footer.checksum {
        return Err(Fault::Corrupt("trailer"));
    }
    Ok(trailer.chunks_exact(8).map(|sum| u64_at(sum, 0)).collect())
}

/// The head that counts, from the bytes of both slots.
///
/// # Errors
/// The file is a miss.
pub fn decode_slots(slots: &[u8], footer: &Footer) -> Result<Found, Fault> {
    if slots.len() as u64 != footer.layout.body_offset() {
        return Err(Fault::Corrupt("slots"));
    }
    let (a, b) = slots.split_at(footer.layout.slot_bytes as usize);
    let a = decode_slot(a, footer).map(|found| (found, false));
    let b = decode_slot(b, footer).map(|found| (found, true));
    let newest = a.into_iter().chain(b).max_by_key(|((slot, _), _)| slot.sequence);
    let ((slot, head), in_b) = newest.ok_or(Fault::Corrupt("no valid head"))?;
    let head = head::decode(slot.kind, Bytes::copy_from_slice(head));
    Ok(Found { slot, in_b, head: head.ok_or(Fault::Corrupt("head"))? })
}

/// What is in the other slot than the one that counts, from the bytes of both.
pub fn other_slot(slots: &[u8], footer: &Footer, in_b: bool) -> OtherSlot {
    let middle = (footer.layout.slot_bytes as usize).min(slots.len());
    let (a, b) = slots.split_at(middle);
    let other = if in_b { a } else { b };
    if other.iter().all(|byte| *byte == 0) {
        return OtherSlot::Empty;
    }
    if decode_slot(other, footer).is_some() { OtherSlot::Older } else { OtherSlot::Torn }
}

/// Reads a whole file and verifies all of it. The slice is its body.
///
/// # Errors
/// The file is a miss.
pub fn decode_whole(file: &[u8]) -> Result<(Found, &[u8]), Fault> {
    let footer =
        decode_footer(file, file.len() as u64).map_err(|fault| seen_at_start(fault, file))?;
    let body_at = footer.layout.body_offset() as usize;
    let trailer_at = footer.layout.trailer_offset() as usize;
    decode_trailer(&file[trailer_at..file.len() - FOOTER_BYTES], &footer)?;
    let found = decode_slots(&file[..body_at], &footer)?;
    let body = &file[body_at..trailer_at];
    if xxh3_128(body) != footer.body_hash {
        return Err(Fault::Corrupt("body"));
    }
    Ok((found, body))
}

/// Whether `chunk` is what `sum` was made of.
pub fn chunk_matches(chunk: &[u8], sum: u64) -> bool {
    xxh3_64(chunk) == sum
}

/// A slot that is whole and belongs to the body of `footer`, with its head.
fn decode_slot<'a>(bytes: &'a [u8], footer: &Footer) -> Option<(Slot, &'a [u8])> {
    if bytes.len() < SLOT_HEAD_BYTES || &bytes[..8] != SLOT_MAGIC || u16_at(bytes, 8) != VERSION {
        return None;
    }
    let head = bytes[SLOT_HEAD_BYTES..].get(..u32_at(bytes, 12) as usize)?;
    if sum_of(&bytes[..64], head) != u64_at(bytes, 64) {
        return None;
    }
    let slot = Slot {
        kind: Kind::from_u8(bytes[10])?,
        sequence: u64_at(bytes, 16),
        body_bytes: u64_at(bytes, 24),
        body_hash: u128_at(bytes, 32),
        place: KeyHash(u128_at(bytes, 48)),
    };
    let ours = slot.body_bytes == footer.layout.body_bytes && slot.body_hash == footer.body_hash;
    ours.then_some((slot, head))
}

fn sum_of(first: &[u8], second: &[u8]) -> u64 {
    let mut sum = Xxh3::new();
    sum.update(first);
    sum.update(second);
    sum.digest()
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes_at(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(bytes, at))
}

fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(bytes_at(bytes, at))
}

/// Bytes of body under one sum of the trailer.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Length of the footer.
pub const FOOTER_BYTES: usize = 56;
/// Where the version of a slot ends.
pub const VERSION_END: usize = 10;
/// Length of a slot before its head.
pub const SLOT_HEAD_BYTES: usize = 72;
/// The form described above. A file of another form is a miss.
pub const VERSION: u16 = 2;

const SLOT_MAGIC: &[u8; 8] = b"LarderHd";
const FOOTER_MAGIC: &[u8; 8] = b"LarderFt";
const PAGE_BYTES: usize = 4096; // a long body begins with one, for the kernel's sake
/// Room for a field or two that a 304 adds.
const SLACK_BYTES: usize = 128;
/// No head is longer: a head block that is let in is far smaller.
const SLOT_BYTES_MAX: u32 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests;
