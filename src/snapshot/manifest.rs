//! What a snapshot holds, byte by byte. Pure.
//!
//! ```text
//! header   8  "LarderSn"                   entry   4  length of what follows
//!          2  version of this form                16  the hash it rests under
//!          2  version of the heads                 1  kind (1 response, 2 variants)
//!          4  zero                                 8  length of the body
//!          8  when it was made (ms)               32  sha256 of the body
//!          2  length of the zone's name            -  the head (`store/disk/head.rs`)
//!          -  the zone's name
//!                                          end     4  0xffffffff
//!                                                  8  number of entries
//!                                                  8  bytes of all bodies
//! ```
//!
//! All integers are little-endian. Entries are in the order in which they are wanted, the hottest
//! first; a list of variants stands before the responses that are found through it. Nothing follows
//! the end. There is no checksum: a manifest rests under its sha256, which is checked before
//! anything in it is believed.

use std::fmt;
use std::io::{self, Read, Write};

use bytes::{Buf as _, BufMut as _, Bytes};

use crate::semantics::date::Timestamp;
use crate::semantics::key::KeyHash;
use crate::store::disk::format;
use crate::store::disk::head::{self, Head, Kind};

/// A sha256: what content is found by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// What stands before the entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The zone it was made of.
    pub zone: String,
    /// When that began.
    pub made: Timestamp,
}

/// One entry of a zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The hash it rests under.
    pub place: KeyHash,
    /// All but the body.
    pub head: Head,
    /// Length of the body.
    pub body_bytes: u64,
    /// Its sha256; zeros for a list.
    pub body: Digest,
}

/// What stands behind the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Number of entries.
    pub entries: u64,
    /// Bytes of their bodies.
    pub body_bytes: u64,
}

/// A manifest being written.
pub struct Writer<W> {
    out: W,
    totals: Totals,
}

/// A manifest being read.
pub struct Reader<R> {
    from: R,
    /// What it was made of, and when.
    pub header: Header,
    read: Totals,
    ended: bool,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// `out` takes no more.
    pub fn new(mut out: W, header: &Header) -> io::Result<Self> {
        let name = header.zone.as_bytes();
        let length = u16::try_from(name.len());
        let mut bytes = Vec::with_capacity(26 + name.len());
        bytes.put_slice(MAGIC);
        bytes.put_u16_le(VERSION);
        bytes.put_u16_le(format::VERSION);
        bytes.put_u32_le(0);
        bytes.put_u64_le(header.made.0);
        bytes.put_u16_le(length.map_err(|_| io::Error::other("the zone's name is too long"))?);
        bytes.put_slice(name);
        out.write_all(&bytes)?;
        Ok(Self { out, totals: Totals::default() })
    }

    /// Appends an entry.
    ///
    /// # Errors
    /// `out` takes no more.
    pub fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let (kind, head) = entry.head.encode();
        let length = ENTRY_BYTES + head.len();
        if length > ENTRY_BYTES_MAX {
            return Err(io::Error::other("the head is too long"));
        }
        let mut bytes = Vec::with_capacity(4 + length);
        bytes.put_u32_le(length as u32);
        bytes.put_u128_le(entry.place.0);
        bytes.put_u8(kind as u8);
        bytes.put_u64_le(entry.body_bytes);
        bytes.put_slice(&entry.body.0);
        bytes.put_slice(&head);
        self.out.write_all(&bytes)?;
        self.totals.entries += 1;
        self.totals.body_bytes += entry.body_bytes;
        Ok(())
    }

    /// Writes the end.
    ///
    /// # Errors
    /// `out` takes no more.
    pub fn finish(mut self) -> io::Result<(W, Totals)> {
        let mut bytes = Vec::with_capacity(20);
        bytes.put_u32_le(END);
        bytes.put_u64_le(self.totals.entries);
        bytes.put_u64_le(self.totals.body_bytes);
        self.out.write_all(&bytes)?;
        Ok((self.out, self.totals))
    }
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// It is no manifest, or one of another version, or `from` fails.
    pub fn new(mut from: R) -> io::Result<Self> {
        let mut bytes = [0; 26];
        read_exact(&mut from, &mut bytes)?;
        let mut header = &bytes[..];
        if !header.starts_with(MAGIC) {
            return Err(damaged("it is no manifest"));
        }
        header.advance(MAGIC.len());
        let versions = (header.get_u16_le(), header.get_u16_le());
        if versions != (VERSION, format::VERSION) {
            return Err(damaged("it is of another version of Larder"));
        }
        let (zero, made) = (header.get_u32_le(), Timestamp(header.get_u64_le()));
        let mut name = vec![0; usize::from(header.get_u16_le())];
        read_exact(&mut from, &mut name)?;
        let zone = String::from_utf8(name).map_err(|_| damaged("the zone has no name"))?;
        if zero != 0 {
            return Err(damaged("the header"));
        }
        Ok(Self { from, header: Header { zone, made }, read: Totals::default(), ended: false })
    }

    /// The next entry; `None` at the end, when there is nothing more and the totals are right.
    ///
    /// # Errors
    /// It is damaged, or `from` fails: nothing more can be read.
    pub fn read_entry(&mut self) -> io::Result<Option<Entry>> {
        if self.ended {
            return Ok(None);
        }
        let mut length = [0; 4];
        read_exact(&mut self.from, &mut length)?;
        let length = u32::from_le_bytes(length);
        if length == END {
            return self.end().map(|()| None);
        }
        let length = length as usize;
        if !(ENTRY_BYTES..=ENTRY_BYTES_MAX).contains(&length) {
            return Err(damaged("the length of an entry"));
        }
        // No more is held than there is, whatever the length says.
        let mut bytes = Vec::new();
        (&mut self.from).take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() < length {
            return Err(damaged("it is cut short"));
        }
        let entry = decode(bytes.into()).ok_or_else(|| damaged("an entry"))?;
        self.read.entries += 1;
        let body_bytes = self.read.body_bytes.checked_add(entry.body_bytes);
        self.read.body_bytes = body_bytes.ok_or_else(|| damaged("the lengths of bodies"))?;
        Ok(Some(entry))
    }

    /// What was read so far; at the end, what the manifest says of itself.
    pub fn totals(&self) -> Totals {
        self.read
    }

    fn end(&mut self) -> io::Result<()> {
        let mut bytes = [0; 16];
        read_exact(&mut self.from, &mut bytes)?;
        let mut end = &bytes[..];
        let totals = Totals { entries: end.get_u64_le(), body_bytes: end.get_u64_le() };
        self.ended = true;
        if totals != self.read || self.from.read(&mut [0])? != 0 {
            return Err(damaged("the end"));
        }
        Ok(())
    }
}

fn decode(mut bytes: Bytes) -> Option<Entry> {
    let place = KeyHash(bytes.try_get_u128_le().ok()?);
    let kind = Kind::from_u8(bytes.try_get_u8().ok()?)?;
    let body_bytes = bytes.try_get_u64_le().ok()?;
    let mut body = Digest([0; 32]);
    bytes.try_copy_to_slice(&mut body.0).ok()?;
    if kind == Kind::Variants && (body_bytes, body) != (0, Digest([0; 32])) {
        return None;
    }
    let head = head::decode(kind, bytes)?;
    Some(Entry { place, head, body_bytes, body })
}

fn read_exact(from: &mut impl Read, bytes: &mut [u8]) -> io::Result<()> {
    from.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => damaged("it is cut short"),
        _ => error,
    })
}

/// An error that says where something is not as it was written.
pub(super) fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Digest {
    /// Reads back what `Display` writes: exactly 64 lower-case hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let (first, second) = text.split_at_checked(32)?;
        let (first, second) = (KeyHash::from_hex(first)?, KeyHash::from_hex(second)?);
        let mut digest = [0; 32];
        digest[..16].copy_from_slice(&first.0.to_be_bytes());
        digest[16..].copy_from_slice(&second.0.to_be_bytes());
        Some(Self(digest))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const MAGIC: &[u8; 8] = b"LarderSn";
const VERSION: u16 = 1;
const END: u32 = u32::MAX;
/// An entry without its head and its length.
const ENTRY_BYTES: usize = 57;
/// Longer than any head that fits into a file.
const ENTRY_BYTES_MAX: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::store::disk::head::Meaning;
    use crate::store::disk::head::tests::any_stored;

    fn header() -> Header {
        Header { zone: "api".to_owned(), made: Timestamp(7) }
    }

    fn any_entry() -> impl Strategy<Value = Entry> {
        let plain = (any::<u128>(), 0..u64::from(u32::MAX), any::<[u8; 32]>(), any_stored());
        plain.prop_map(|(place, body_bytes, body, stored)| Entry {
            place: KeyHash(place),
            head: Head { key: Bytes::from_static(b"key"), meaning: Meaning::Response(stored) },
            body_bytes,
            body: Digest(body),
        })
    }

    fn written(entries: &[Entry]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new(), &header()).unwrap();
        entries.iter().for_each(|entry| writer.append(entry).unwrap());
        writer.finish().unwrap().0
    }

    fn read(bytes: &[u8]) -> io::Result<Vec<Entry>> {
        let mut reader = Reader::new(bytes)?;
        let mut entries = Vec::new();
        while let Some(entry) = reader.read_entry()? {
            entries.push(entry);
        }
        Ok(entries)
    }

    #[test]
    fn digests_read_back_and_nothing_else_does() {
        let digest = Digest(std::array::from_fn(|at| at as u8));
        let text = digest.to_string();
        assert_eq!(Digest::from_hex(&text), Some(digest));
        for bad in ["", &text[1..], &text.to_uppercase(), &format!("{text}0"), &"é".repeat(32)] {
            assert_eq!(Digest::from_hex(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(entries in vec(any_entry(), 0..5)) {
            let bytes = written(&entries);
            prop_assert_eq!(Reader::new(&bytes[..]).unwrap().header, header());
            prop_assert_eq!(read(&bytes).unwrap(), entries);
        }

        #[test]
        fn a_cut_one_and_one_with_more_behind_are_refused(
            entries in vec(any_entry(), 0..3),
            at in any::<proptest::sample::Index>(),
        ) {
            let mut bytes = written(&entries);
            prop_assert!(read(&bytes[..at.index(bytes.len())]).is_err());
            bytes.push(0);
            prop_assert!(read(&bytes).is_err());
        }

        #[test]
        fn never_panics(entries in vec(any_entry(), 1..3), at in any::<proptest::sample::Index>(), noise in vec(any::<u8>(), 1..40)) {
            let mut bytes = written(&entries);
            let at = at.index(bytes.len());
            bytes.splice(at.., noise);
            let _ = read(&bytes);
        }
    }
}
