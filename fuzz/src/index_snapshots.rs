//! The index that a clean stop leaves in a zone's folder: only what was written is read back.
//!
//! Input: `F` and the bytes of a file, or anything else, from which a snapshot is made and changed.

use arbitrary::{Arbitrary, Result, Unstructured};
use larder::semantics::key::KeyHash;
use larder::store::disk::index::{Facts, Record};
use larder::store::disk::snapshot::{Header, Writer, check as check_file, each};

/// Panics where a snapshot is read that nobody wrote, or is not read as it was written.
pub fn check(data: &[u8]) {
    match data.split_first() {
        Some((b'F', file)) => self::file(file),
        _ => {
            // Too few bytes to make something from.
            let _ = made(&mut Unstructured::new(data));
        }
    }
}

/// The file that a server leaves.
pub fn file_of(header: &Header, records: &[Record]) -> Vec<u8> {
    let written = Writer::begin(Vec::new(), header).and_then(|mut writer| {
        records.iter().try_for_each(|record| writer.add(record))?;
        writer.end()
    });
    written.expect("memory can be written")
}

fn file(bytes: &[u8]) {
    let Ok(header) = check_file(&mut &bytes[..]) else { return };
    let records = records(bytes, &header);
    assert_eq!(records.len() as u64, header.records);
    assert_eq!(file_of(&header, &records), bytes, "the only way to write it");
}

fn records(bytes: &[u8], header: &Header) -> Vec<Record> {
    let mut records = Vec::new();
    let read = each(&mut &bytes[..], header, &mut |record| {
        records.push(record);
        Ok(())
    });
    read.expect("it was checked");
    records
}

/// Makes a file from values, and changes it.
fn made(from: &mut Unstructured<'_>) -> Result<()> {
    let levels = (0..from.int_in_range(0..=3u8)?).map(|_| u8::arbitrary(from));
    let levels = levels.collect::<Result<_>>()?;
    let (digest, folders, unknown) = from.arbitrary()?;
    let records = (0..from.int_in_range(0..=RECORDS_MAX)?).map(|_| record(from));
    let records = records.collect::<Result<Vec<_>>>()?;
    let header = Header { levels, digest, folders, unknown, records: records.len() as u64 };
    let mut file = file_of(&header, &records);
    assert_eq!(check_file(&mut &file[..]).ok().as_ref(), Some(&header), "reads back");
    assert_eq!(self::records(&file, &header), records, "reads back");

    let cut = from.choose_index(file.len())?;
    assert!(check_file(&mut &file[..cut]).is_err(), "cut at {cut}");
    let (at, change) = (from.choose_index(file.len())?, from.arbitrary::<u8>()?);
    file[at] ^= change;
    assert_eq!(check_file(&mut &file[..]).is_ok(), change == 0, "changed at {at}");
    Ok(())
}

fn record(from: &mut Unstructured<'_>) -> Result<Record> {
    Ok(Record {
        hash: KeyHash(from.arbitrary()?),
        blocks: from.arbitrary()?,
        uses: from.int_in_range(0..=3)?,
        is_main: from.arbitrary()?,
        used_s: from.arbitrary()?,
        facts: Facts { expiry_s: from.arbitrary()?, generation: from.arbitrary()? },
    })
}

const RECORDS_MAX: u8 = 5;
