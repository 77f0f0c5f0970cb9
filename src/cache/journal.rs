//! The invalidation log of a zone on its disk: what was purged stays purged.
//!
//! ```text
//! header   0  8  "LarderIv"            record   0  8  sequence
//!          8  2  format version                 8  8  time, in milliseconds
//!         10  6  zero                          16  1  kind (1 all, 2 prefix, 3 tag, 4 key)
//!                                              17  1  1 where it is soft
//!                                              18  2  zero
//!                                              20  4  length of the prefix
//!                                              24 16  hash of the prefix, tag or key
//!                                              40  8  xxh3_64 of the 40 bytes above
//! ```
//!
//! All integers are little-endian. Records are appended and synced before a purge is answered;
//! their order does not matter. A record cut short at the end was never answered for and does not
//! count. A record that does not match its sum, another version, or a folder with entries but no
//! journal: nobody knows what was purged, so everything counts as purged. At every start the file
//! is written anew beside its place and renamed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BufMut};
use xxhash_rust::xxh3::xxh3_64;

use super::log::{RECORDS_MAX, Record, Scope};
use crate::semantics::date::Timestamp;
use crate::semantics::key::KeyHash;
use crate::store::disk::tend::{has_entries, same};
use crate::store::disk::{JOURNAL_NAME, JOURNAL_TEMP_NAME};

/// The journal of one zone.
pub struct Journal {
    folder: PathBuf,
    /// Guards the end of the file; held while a record is written, not while it is synced.
    end: Mutex<End>,
    /// Guards how many appends are synced; held while the file is.
    synced: Mutex<u64>,
}

/// What a journal holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Its records, in the order of the file.
    pub records: Vec<Record>,
    /// Why there may have been more.
    pub damage: Option<&'static str>,
}

#[derive(Default)]
struct End {
    file: Option<Arc<File>>,
    bytes: u64,
    appends: u64,
}

impl Journal {
    /// The journal of a zone's folder; nothing is read or written yet.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), end: Mutex::default(), synced: Mutex::default() }
    }

    /// Reads what an earlier server left. Never fails: what cannot be read is damage.
    pub fn read(&self) -> Read {
        let path = self.folder.join(JOURNAL_NAME);
        let too_long = fs::metadata(&path).is_ok_and(|meta| meta.len() > 2 * BYTES_MAX);
        let damage = match fs::read(&path) {
            Ok(bytes) if !too_long => return decode(&bytes),
            Ok(_) => Some("too long"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                has_entries(&self.folder).unwrap_or(true).then_some("missing")
            }
            Err(_) => Some("cannot be read"),
        };
        Read { records: Vec::new(), damage }
    }

    /// Writes records that were just made; blocking. When this returns they outlast a crash. `all`
    /// gives the records for a file that has to be written anew: because it has grown too long,
    /// because an earlier record did not reach it, or where `anew` says so.
    ///
    /// # Errors
    /// The disk fails: the records count until the server ends. The next append tries again.
    pub fn append(
        &self,
        records: &[Record],
        anew: bool,
        all: impl Fn() -> Vec<Record>,
    ) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(records.len() * RECORD_BYTES);
        records.iter().for_each(|record| encode(record, &mut bytes));
        let mut end = lock(&self.end);
        let file = end.file.take().filter(|_| !anew && end.bytes <= BYTES_MAX);
        let Some(file) = file else { return self.rewrite(&mut end, &all()) };
        // At a failure the file stays away, and the next append writes it anew with all records.
        file.write_all_at(&bytes, end.bytes)?;
        end.bytes += bytes.len() as u64;
        end.appends += 1;
        end.file = Some(Arc::clone(&file));
        let number = end.appends;
        drop(end);
        self.sync(&file, number)?;
        // A record in a file that was removed meanwhile is in none.
        if self.is_in_place(&file) { Ok(()) } else { self.write(all) }
    }

    /// Writes the file anew with what `all` gives; blocking.
    ///
    /// # Errors
    /// The disk fails: what is there stays, and the next append or `mend` tries again.
    pub fn write(&self, all: impl FnOnce() -> Vec<Record>) -> io::Result<()> {
        // Asked while nothing can be appended: no record gets lost in between.
        let mut end = lock(&self.end);
        self.rewrite(&mut end, &all())
    }

    /// Writes the file anew if it is not there or lacks a record; blocking.
    ///
    /// # Errors
    /// The disk fails: as before.
    pub fn mend(&self, all: impl FnOnce() -> Vec<Record>) -> io::Result<()> {
        let file = lock(&self.end).file.clone();
        match file {
            Some(file) if self.is_in_place(&file) => Ok(()),
            _ => self.write(all),
        }
    }

    fn is_in_place(&self, file: &File) -> bool {
        same(file, &self.folder.join(JOURNAL_NAME))
    }

    /// Syncs the file for everybody whose record is in it by now.
    fn sync(&self, file: &File, number: u64) -> io::Result<()> {
        let mut synced = lock(&self.synced);
        if *synced < number {
            let end = lock(&self.end);
            // What came later may be in a file that was written anew meanwhile.
            let is_same = end.file.as_ref().is_some_and(|now| std::ptr::eq(&**now, file));
            let appends = if is_same { end.appends } else { number };
            drop(end);
            if let Err(error) = file.sync_data() {
                lock(&self.end).file = None;
                return Err(error);
            }
            *synced = appends;
        }
        Ok(())
    }

    fn rewrite(&self, end: &mut End, records: &[Record]) -> io::Result<()> {
        end.file = None;
        let mut bytes = Vec::with_capacity(HEADER_BYTES + records.len() * RECORD_BYTES);
        bytes.put_slice(MAGIC);
        bytes.put_u16_le(VERSION);
        bytes.put_bytes(0, HEADER_BYTES - bytes.len());
        records.iter().for_each(|record| encode(record, &mut bytes));
        let temp = self.folder.join(JOURNAL_TEMP_NAME);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&temp)?;
        file.write_all_at(&bytes, 0)?;
        file.sync_data()?;
        fs::rename(&temp, self.folder.join(JOURNAL_NAME))?;
        File::open(&self.folder)?.sync_all()?;
        end.bytes = bytes.len() as u64;
        end.file = Some(Arc::new(file));
        Ok(())
    }
}

/// Reads the bytes of a journal. Never panics, whatever they are.
pub fn decode(bytes: &[u8]) -> Read {
    let damaged = |damage| Read { records: Vec::new(), damage: Some(damage) };
    let Some((mut header, rest)) = bytes.split_at_checked(HEADER_BYTES) else {
        return damaged("too short");
    };
    if !header.starts_with(MAGIC) {
        return damaged("not a journal");
    }
    header.advance(MAGIC.len());
    if header.get_u16_le() != VERSION || header.iter().any(|byte| *byte != 0) {
        return damaged("of another version");
    }
    let mut read = Read { records: Vec::new(), damage: None };
    // What is left behind the last whole record was being written when the server died.
    for bytes in rest.chunks_exact(RECORD_BYTES) {
        match decode_record(bytes) {
            Some(record) => read.records.push(record),
            None => read.damage = Some("a record does not match its sum"),
        }
    }
    read
}

fn encode(record: &Record, out: &mut Vec<u8>) {
    let from = out.len();
    let (kind, prefix_bytes, hash) = match record.scope {
        Scope::All => (1, 0, 0),
        Scope::Prefix { bytes, hash } => (2, bytes, u128::from(hash)),
        Scope::Tag(tag) => (3, 0, u128::from(tag)),
        Scope::Key(hash) => (4, 0, hash.0),
    };
    out.put_u64_le(record.sequence);
    out.put_u64_le(record.time.0);
    out.put_u8(kind);
    out.put_u8(u8::from(record.soft));
    out.put_u16_le(0);
    out.put_u32_le(prefix_bytes);
    out.put_u128_le(hash);
    out.put_u64_le(xxh3_64(&out[from..]));
}

fn decode_record(bytes: &[u8]) -> Option<Record> {
    let (mut fields, mut sum) = bytes.split_at_checked(RECORD_BYTES - 8)?;
    if sum.try_get_u64_le().ok()? != xxh3_64(fields) {
        return None;
    }
    let sequence = fields.try_get_u64_le().ok()?;
    let time = Timestamp(fields.try_get_u64_le().ok()?);
    let kind = fields.try_get_u8().ok()?;
    let soft = fields.try_get_u8().ok()? != 0;
    fields.try_get_u16_le().ok()?;
    let bytes = fields.try_get_u32_le().ok()?;
    let hash = fields.try_get_u128_le().ok()?;
    let scope = match kind {
        1 => Scope::All,
        2 => Scope::Prefix { bytes, hash: hash as u64 },
        3 => Scope::Tag(hash as u64),
        4 => Scope::Key(KeyHash(hash)),
        _ => return None,
    };
    Some(Record { sequence, time, scope, soft })
}

/// A poisoned lock guards plain values that are whole at any moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const MAGIC: &[u8; 8] = b"LarderIv";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 16;
const RECORD_BYTES: usize = 48;
/// A file longer than this is written anew: twice the records that can count.
const BYTES_MAX: u64 = (HEADER_BYTES + 2 * RECORDS_MAX * RECORD_BYTES) as u64;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn record(sequence: u64) -> Record {
        Record { sequence, time: Timestamp(7), scope: Scope::Tag(sequence), soft: false }
    }

    fn left(folder: &Path) -> Read {
        Journal::new(folder).read()
    }

    #[test]
    fn a_journal_that_was_removed_is_written_anew_with_all_records() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("zone");
        fs::create_dir(&path).unwrap();
        let journal = Journal::new(&path);
        journal.write(|| vec![record(1)]).unwrap();
        journal.mend(|| panic!("no need")).unwrap();
        fs::remove_file(path.join(JOURNAL_NAME)).unwrap();
        journal.append(&[record(2)], false, || vec![record(1), record(2)]).unwrap();
        assert_eq!(left(&path).records, [1, 2].map(record), "an append notices");
        fs::remove_dir_all(&path).unwrap();
        assert!(journal.append(&[record(3)], false, Vec::new).is_err());
        assert!(journal.mend(Vec::new).is_err());
        fs::create_dir(&path).unwrap();
        journal.mend(|| [1, 2, 3].map(record).to_vec()).unwrap();
        assert_eq!(left(&path).records, [1, 2, 3].map(record), "so does whoever looks");
    }

    #[test]
    fn what_was_appended_is_read_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path());
        assert_eq!(journal.read(), Read { records: vec![], damage: None });
        journal.write(|| vec![record(1)]).unwrap();
        for n in 2..5 {
            journal.append(&[record(n)], false, || panic!("no need")).unwrap();
        }
        assert_eq!(left(folder.path()).records, [1, 2, 3, 4].map(record));
        journal.append(&[record(5)], true, || vec![record(5)]).unwrap();
        journal.append(&[record(6), record(7)], false, || panic!("no need")).unwrap();
        assert_eq!(
            left(folder.path()),
            Read { records: [5, 6, 7].map(record).into(), damage: None }
        );
    }

    #[test]
    fn a_file_that_grew_too_long_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path());
        journal.write(Vec::new).unwrap();
        let many: Vec<_> = (0..=2 * RECORDS_MAX as u64).map(record).collect();
        journal.append(&many, false, Vec::new).unwrap();
        journal.append(&[record(1)], false, || vec![record(9)]).unwrap();
        assert_eq!(left(folder.path()).records, [record(9)]);
    }

    #[test]
    fn a_torn_record_does_not_count_and_a_damaged_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        Journal::new(folder.path()).write(|| [1, 2, 3].map(record).to_vec()).unwrap();
        let path = folder.path().join(JOURNAL_NAME);
        let whole = fs::read(&path).unwrap();
        for cut in 1..RECORD_BYTES {
            fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let expected = Read { records: [1, 2].map(record).into(), damage: None };
            assert_eq!(left(folder.path()), expected, "{cut}");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&path, damaged).unwrap();
            assert!(left(folder.path()).damage.is_some(), "{at}");
        }
        fs::write(&path, "").unwrap();
        assert!(left(folder.path()).damage.is_some());
    }

    #[test]
    fn a_sync_of_a_file_that_was_replaced_does_not_count_for_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::new(folder.path());
        journal.write(|| [].to_vec()).unwrap();
        let file = || Arc::clone(lock(&journal.end).file.as_ref().unwrap());
        let old = file();
        journal.append(&[record(1)], false, Vec::new).unwrap();
        journal.write(|| [record(1)].to_vec()).unwrap();
        // Appended by two others, and not synced yet.
        lock(&journal.end).appends += 2;
        journal.sync(&old, 2).unwrap();
        assert_eq!(*lock(&journal.synced), 2);
        journal.sync(&file(), 3).unwrap();
        assert_eq!(*lock(&journal.synced), 3);
    }

    #[test]
    fn entries_without_a_journal_are_damage() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(".larder.lock"), "").unwrap();
        assert_eq!(left(folder.path()).damage, None);
        fs::create_dir(folder.path().join("a")).unwrap();
        assert_eq!(left(folder.path()).damage, Some("missing"));
    }

    #[test]
    fn after_a_failure_the_next_append_brings_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below");
        let journal = Journal::new(&path);
        assert!(journal.write(Vec::new).is_err());
        assert!(journal.append(&[record(1)], false, || vec![record(1)]).is_err());
        fs::create_dir(&path).unwrap();
        journal.append(&[record(2)], false, || [1, 2].map(record).into()).unwrap();
        assert_eq!(left(&path).records, [1, 2].map(record));
    }

    fn any_record() -> impl Strategy<Value = Record> {
        let scope = prop_oneof![
            Just(Scope::All),
            (any::<u32>(), any::<u64>()).prop_map(|(bytes, hash)| Scope::Prefix { bytes, hash }),
            any::<u64>().prop_map(Scope::Tag),
            any::<u128>().prop_map(|hash| Scope::Key(KeyHash(hash))),
        ];
        (any::<u64>(), any::<u64>(), scope, any::<bool>()).prop_map(
            |(sequence, time, scope, soft)| Record { sequence, time: Timestamp(time), scope, soft },
        )
    }

    proptest! {
        #[test]
        fn records_read_back(records in vec(any_record(), 0..20)) {
            let folder = tempfile::tempdir().unwrap();
            Journal::new(folder.path()).write(|| records.clone()).unwrap();
            prop_assert_eq!(left(folder.path()), Read { records, damage: None });
        }

        #[test]
        fn never_panics(bytes in vec(any::<u8>(), 0..300), with_header in any::<bool>()) {
            let mut file = b"LarderIv\x01\0\0\0\0\0\0\0".to_vec();
            file.truncate(if with_header { HEADER_BYTES } else { 0 });
            file.extend(bytes);
            decode(&file);
        }
    }
}
