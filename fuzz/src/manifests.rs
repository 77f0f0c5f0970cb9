//! The manifest of a snapshot: any bytes.
//!
//! Reading never panics and ends; what is read to its end is written as the same bytes.

use std::io::Result;

use larder::snapshot::manifest::{Entry, Reader, Writer};

/// Holds `data` to it.
pub fn check(data: &[u8]) {
    let Ok(mut reader) = Reader::new(data) else { return };
    let header = reader.header.clone();
    let Ok(entries) = all(&mut reader) else { return };
    let mut writer = Writer::new(Vec::new(), &header).expect("memory takes it");
    entries.iter().for_each(|entry| writer.append(entry).expect("it was read"));
    let (written, totals) = writer.finish().expect("memory takes it");
    assert_eq!(written, data);
    assert_eq!(totals, reader.totals());
}

fn all(reader: &mut Reader<&[u8]>) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    while let Some(entry) = reader.read_entry()? {
        entries.push(entry);
    }
    Ok(entries)
}
