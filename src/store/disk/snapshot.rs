//! The index kept from a clean stop until the next start, in `.larder.index`, so that the folder
//! need not be looked through.
//!
//! ```text
//! 8 bytes "larderIX", u32 version, u8 number of levels, 3 times u8 level
//! u64 digest of the folder, u32 folders in it, u64 files that are not ours, u64 records
//! then for each file, shard by shard, the newest first:
//!   u128 hash, u64 generation, u32 blocks, u32 used_s, u32 expiry_s,
//!   u8 flags (uses since its turn, 0 to 3; 4 in the main queue)
//! u128 xxh3 of all that
//! ```
//!
//! All integers are little-endian. It is removed before it is used, so that none is found after a
//! crash. It counts only if all of it is right and the folder is as it was; else it is as if it
//! were not there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, BufMut};
use tracing::{info, warn};
use xxhash_rust::xxh3::Xxh3;

use super::index::{Facts, Record, Restored};
use super::stamps::Digest;
use super::{BLOCK_BYTES, Disk, is_missing};
use crate::semantics::key::KeyHash;

/// What a snapshot says before its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The lengths of the names of the folders.
    pub levels: Vec<u8>,
    /// Of the folder.
    pub digest: u64,
    /// Folders in the digest.
    pub folders: u32,
    /// Files that are not ours.
    pub unknown: u64,
    /// Files that are.
    pub records: u64,
}

/// Reads all of a snapshot, and checks it.
///
/// # Errors
/// It cannot be read, or is anything but what is written by `Writer`.
pub fn check(file: &mut impl Read) -> io::Result<Header> {
    let mut sum = Xxh3::new();
    let mut bytes = [0; HEADER_BYTES];
    file.read_exact(&mut bytes)?;
    sum.update(&bytes);
    let header = decode_header(&bytes).ok_or(io::ErrorKind::InvalidData)?;
    let records = header.records.checked_mul(RECORD_BYTES as u64);
    let mut left = records.ok_or(io::ErrorKind::InvalidData)?;
    let mut buffer = vec![0; RECORD_BYTES * RECORDS_AT_ONCE];
    while left > 0 {
        let bytes = &mut buffer[..left.min((RECORD_BYTES * RECORDS_AT_ONCE) as u64) as usize];
        file.read_exact(bytes)?;
        if bytes.chunks_exact(RECORD_BYTES).any(|record| decode_record(record).is_none()) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        sum.update(bytes);
        left -= bytes.len() as u64;
    }
    let mut found = [0; SUM_BYTES];
    file.read_exact(&mut found)?;
    let is_right = u128::from_le_bytes(found) == sum.digest128() && file.read(&mut [0])? == 0;
    is_right.then_some(header).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Reads the records of a snapshot that was checked, which stands at its beginning.
///
/// # Errors
/// It cannot be read, or those of `with`.
pub fn each(
    file: &mut impl Read,
    header: &Header,
    with: &mut dyn FnMut(Record) -> io::Result<()>,
) -> io::Result<()> {
    file.read_exact(&mut [0; HEADER_BYTES])?;
    let mut bytes = [0; RECORD_BYTES];
    for _ in 0..header.records {
        file.read_exact(&mut bytes)?;
        with(decode_record(&bytes).ok_or(io::ErrorKind::InvalidData)?)?;
    }
    Ok(())
}

/// Writes a snapshot.
pub struct Writer<W> {
    out: W,
    sum: Xxh3,
}

impl<W: Write> Writer<W> {
    /// Begins one. The header says how many records follow.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(out: W, header: &Header) -> io::Result<Self> {
        let mut writer = Self { out, sum: Xxh3::new() };
        writer.write(&encode_header(header))?;
        Ok(writer)
    }

    /// Adds a record.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&mut self, record: &Record) -> io::Result<()> {
        self.write(&encode_record(record))
    }

    /// Adds the checksum.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn end(mut self) -> io::Result<W> {
        self.out.write_all(&self.sum.digest128().to_le_bytes())?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.out.write_all(bytes)
    }
}

fn encode_header(header: &Header) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let mut out = &mut bytes[..];
    out.put_slice(MAGIC);
    out.put_u32_le(VERSION);
    out.put_u8(header.levels.len().min(LEVELS_MAX) as u8);
    (0..LEVELS_MAX).for_each(|at| out.put_u8(header.levels.get(at).copied().unwrap_or(0)));
    out.put_u64_le(header.digest);
    out.put_u32_le(header.folders);
    out.put_u64_le(header.unknown);
    out.put_u64_le(header.records);
    bytes
}

fn decode_header(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    if rest.get_u32_le() != VERSION {
        return None;
    }
    let count = usize::from(rest.get_u8());
    let levels = rest[..LEVELS_MAX].get(..count)?.to_vec();
    rest.advance(LEVELS_MAX);
    let (digest, folders) = (rest.get_u64_le(), rest.get_u32_le());
    let header =
        Header { levels, digest, folders, unknown: rest.get_u64_le(), records: rest.get_u64_le() };
    (encode_header(&header) == *bytes).then_some(header)
}

fn encode_record(record: &Record) -> [u8; RECORD_BYTES] {
    let mut bytes = [0; RECORD_BYTES];
    let mut out = &mut bytes[..];
    out.put_u128_le(record.hash.0);
    out.put_u64_le(record.facts.generation);
    out.put_u32_le(record.blocks);
    out.put_u32_le(record.used_s);
    out.put_u32_le(record.facts.expiry_s);
    out.put_u8(record.uses & 3 | u8::from(record.is_main) << 2);
    bytes
}

fn decode_record(mut bytes: &[u8]) -> Option<Record> {
    let hash = KeyHash(bytes.get_u128_le());
    let generation = bytes.get_u64_le();
    let (blocks, used_s, expiry_s) = (bytes.get_u32_le(), bytes.get_u32_le(), bytes.get_u32_le());
    let flags = bytes.get_u8();
    let (uses, is_main) = (flags & 3, flags & 4 != 0);
    let facts = Facts { expiry_s, generation };
    (flags < 8).then_some(Record { hash, blocks, uses, is_main, used_s, facts })
}

/// Takes a snapshot out of the folder, where no other server finds it any more.
pub(super) fn take(root: &Path) -> Option<File> {
    // What a stop that was cut short left behind.
    let _ = fs::remove_file(root.join(TEMP_NAME));
    let path = root.join(NAME);
    let file = File::open(&path);
    match fs::remove_file(&path) {
        Ok(()) => file.ok(),
        Err(error) if is_missing(&error) => None,
        Err(error) => {
            warn!(path = %path.display(), %error, "cannot remove the index of the last stop, it is not used");
            None
        }
    }
}

impl Disk {
    /// Fills the index from a snapshot, calling `pause` now and then until it says stop (`false`).
    /// Whether the index knows every file now; else the folder is to be looked through.
    pub(super) fn restore(&self, file: File, pause: &dyn Fn() -> bool) -> bool {
        let begun = self.clock.instant();
        let restored = self.try_restore(file, pause);
        let (zone, path) = (&self.faults.zone, self.root.display());
        match &restored {
            Ok(header) => {
                self.unknown.store(header.unknown, Ordering::Relaxed);
                let took = self.clock.instant().duration_since(begun);
                info!(zone, %path, files = header.records, ?took, "the index of the last stop is in use");
            }
            Err(reason) => {
                info!(zone, %path, %reason, "the index of the last stop is not used");
            }
        }
        restored.is_ok()
    }

    fn try_restore(&self, mut file: File, pause: &dyn Fn() -> bool) -> io::Result<Header> {
        let header = check(&mut BufReader::with_capacity(BUFFER_BYTES, &mut file))?;
        let digest = Digest { sum: header.digest, folders: header.folders };
        if header.levels != self.levels || self.digest()? != digest {
            return Err(io::Error::other("the folder has changed"));
        }
        file.seek(SeekFrom::Start(0))?;
        let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
        let mut count = 0u64;
        each(&mut file, &header, &mut |record| {
            count += 1;
            if count.is_multiple_of(RECORDS_AT_ONCE as u64) && !pause() {
                return Err(io::Error::other("stopped"));
            }
            self.restore_record(&record)
        })?;
        Ok(header)
    }

    fn restore_record(&self, record: &Record) -> io::Result<()> {
        let bytes = u64::from(record.blocks) * BLOCK_BYTES;
        // First, so that whoever removes it at once has something to give back.
        self.space.found(bytes);
        let restored = self.index.restore(record);
        if restored != Restored::Taken {
            self.space.release(bytes);
        }
        self.scanned.fetch_add(1, Ordering::Relaxed);
        match restored {
            Restored::TooLate => Err(io::Error::other("too much was removed meanwhile")),
            Restored::Taken | Restored::Newer => Ok(()),
        }
    }

    /// Has the folder looked through, whatever was known of it at the last stop.
    pub(in crate::store) fn forget_snapshot(&self) {
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Keeps the index for the next start, when all threads of the zone have ended.
    pub(super) fn keep_index(&self) {
        if !self.is_complete() {
            return;
        }
        for _ in 0..QUIET_STEPS {
            // The times of a folder move in steps; whatever comes later shall have a later one.
            std::thread::sleep(QUIET_STEP);
            if self.space.is_quiet() {
                break;
            }
        }
        let temp = self.root.join(TEMP_NAME);
        let kept = self.write_index(&temp).and_then(|count| {
            fs::rename(&temp, self.root.join(NAME))?;
            Ok(count)
        });
        let (zone, path) = (&self.faults.zone, self.root.display());
        match kept {
            Ok(files) => info!(zone, %path, files, "the index is kept for the next start"),
            Err(error) => {
                let _ = fs::remove_file(&temp);
                info!(zone, %path, %error, "the index is not kept, the next start looks through the folder");
            }
        }
    }

    fn write_index(&self, temp: &Path) -> io::Result<u64> {
        if !self.space.is_quiet() {
            return Err(io::Error::other("something is still being written"));
        }
        let digest = self.digest()?;
        let header = Header {
            levels: self.levels.clone(),
            digest: digest.sum,
            folders: digest.folders,
            unknown: self.unknown.load(Ordering::Relaxed),
            records: self.index.count(),
        };
        let mut options = OpenOptions::new();
        let file = options.create(true).write(true).truncate(true).mode(0o600).open(temp)?;
        let mut writer = Writer::begin(BufWriter::with_capacity(BUFFER_BYTES, file), &header)?;
        self.index.each(&mut |record| writer.add(&record))?;
        writer.end()?;
        Ok(header.records)
    }
}

/// The snapshot of a clean stop.
pub(super) const NAME: &str = ".larder.index";
/// The same while it is written.
pub(super) const TEMP_NAME: &str = ".larder.index.tmp";
const MAGIC: &[u8; 8] = b"larderIX";
const VERSION: u32 = 1;
const LEVELS_MAX: usize = 3;
const HEADER_BYTES: usize = 8 + 4 + 1 + LEVELS_MAX + 8 + 4 + 8 + 8;
const RECORD_BYTES: usize = 16 + 8 + 4 + 4 + 4 + 1;
const SUM_BYTES: usize = 16;
const RECORDS_AT_ONCE: usize = 4096;
const BUFFER_BYTES: usize = 256 * 1024;
/// A tick of the slowest kernel clock, which is what times of files are taken from.
const QUIET_STEP: Duration = Duration::from_millis(10);
/// How often it is waited for what a client's last request still writes: a second in all.
const QUIET_STEPS: usize = 100;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn any_record() -> impl Strategy<Value = Record> {
        let flags = (0u8..4, any::<bool>());
        let facts = (any::<u32>(), any::<u64>());
        (any::<u128>(), any::<u32>(), flags, any::<u32>(), facts).prop_map(
            |(hash, blocks, (uses, is_main), used_s, (expiry_s, generation))| Record {
                hash: KeyHash(hash),
                blocks,
                uses,
                is_main,
                used_s,
                facts: Facts { expiry_s, generation },
            },
        )
    }

    fn any_snapshot() -> impl Strategy<Value = (Header, Vec<Record>)> {
        let header = (vec(any::<u8>(), 0..=LEVELS_MAX), any::<u64>(), any::<u32>(), any::<u64>());
        (header, vec(any_record(), 0..9)).prop_map(
            |((levels, digest, folders, unknown), records)| {
                let count = records.len() as u64;
                (Header { levels, digest, folders, unknown, records: count }, records)
            },
        )
    }

    fn written(header: &Header, records: &[Record]) -> Vec<u8> {
        let mut writer = Writer::begin(Vec::new(), header).unwrap();
        records.iter().for_each(|record| writer.add(record).unwrap());
        writer.end().unwrap()
    }

    proptest! {
        #[test]
        fn a_snapshot_reads_back((header, records) in any_snapshot()) {
            let file = written(&header, &records);
            prop_assert_eq!(&check(&mut &file[..]).unwrap(), &header);
            let mut read = Vec::new();
            each(&mut &file[..], &header, &mut |record| {
                read.push(record);
                Ok(())
            }).unwrap();
            prop_assert_eq!(read, records);
        }

        #[test]
        fn a_snapshot_that_was_changed_anywhere_is_refused(
            (header, records) in any_snapshot(),
            bit in any::<proptest::sample::Index>(),
        ) {
            let mut file = written(&header, &records);
            for length in 0..file.len() {
                prop_assert!(check(&mut &file[..length]).is_err(), "cut to {}", length);
            }
            let bit = bit.index(file.len() * 8);
            file[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(check(&mut &file[..]).is_err(), "bit {}", bit);
            file[bit / 8] ^= 1 << (bit % 8);
            file.push(0);
            prop_assert!(check(&mut &file[..]).is_err(), "something follows");
        }

        #[test]
        fn never_panics(bytes in vec(any::<u8>(), 0..200)) {
            let _ = check(&mut &bytes[..]);
            let _ = check(&mut &[&MAGIC[..], &VERSION.to_le_bytes(), &bytes].concat()[..]);
        }
    }
}
