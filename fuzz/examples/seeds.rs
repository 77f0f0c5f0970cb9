//! Writes anew what of the seeds is made: the whole files of `stored_heads`, from the heads among
//! them, the manifests of `manifests`, and the indexes of `index_snapshots`. To be run after a
//! change of a format: `cargo run --manifest-path fuzz/Cargo.toml --example seeds`.

use std::fs;
use std::io::Result;
use std::path::Path;

use larder::semantics::date::Timestamp;
use larder::semantics::key::KeyHash;
use larder::snapshot::manifest::{Digest, Entry, Header, Writer};
use larder::store::disk::format::{Layout, Slot, Sums, encode_slot};
use larder::store::disk::head::{Kind, decode};
use larder::store::disk::index::{Facts, Record};
use larder::store::disk::snapshot::Header as IndexHeader;
use larder_fuzz::index_snapshots;
use larder_fuzz::stored_heads::file_of;

fn main() -> Result<()> {
    stored_heads()?;
    index_snapshots()
}

fn index_snapshots() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/index_snapshots");
    let write = |name: &str, file: &[u8]| fs::write(folder.join(name), [b"F", file].concat());
    let record = |n: u64| Record {
        hash: KeyHash::of(&n.to_le_bytes()),
        blocks: 1 + n as u32,
        uses: n as u8,
        is_main: n == 2,
        used_s: 1_790_000_000 + n as u32,
        facts: Facts { expiry_s: 1_790_000_060, generation: n },
    };
    let records: Vec<_> = (0..3).map(record).collect();
    let levels = vec![1, 2];
    let header = |records| IndexHeader {
        levels: levels.clone(),
        digest: 7,
        folders: 4112,
        unknown: 1,
        records,
    };
    let file = index_snapshots::file_of(&header(3), &records);
    write("file.seed", &file)?;
    write("file-cut.seed", &file[..file.len() - 9])?;
    write("file-that-claims-more.seed", &index_snapshots::file_of(&header(u64::MAX), &records))?;
    write("file-without-records.seed", &index_snapshots::file_of(&header(0), &[]))?;
    fs::write(folder.join("made.seed"), (0..=255).collect::<Vec<u8>>())
}

fn stored_heads() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/stored_heads");
    let head = |name: &str| Ok::<_, std::io::Error>(fs::read(folder.join(name))?.split_off(1));
    let write = |name: &str, file: &[u8]| fs::write(folder.join(name), [b"F", file].concat());

    let (response, variants) = (head("response.seed")?, head("variants.seed")?);
    let mut file = file_of(Kind::Response, &response, BODY);
    write("file.seed", &file)?;
    write("file-cut.seed", &file[..file.len() - 9])?;
    write("file-without-body.seed", &file_of(Kind::Variants, &variants, b""))?;

    // As a 304 leaves it: a newer head in slot B.
    let layout = Layout::new(response.len(), BODY.len() as u64);
    let (_, body_hash) = Sums::of(BODY);
    let (place, body_bytes) = (KeyHash::of(b"key"), layout.body_bytes);
    let slot = Slot { kind: Kind::Response, sequence: 2, body_bytes, body_hash, place };
    let newer = encode_slot(&slot, &response);
    let slot_b = layout.slot_bytes as usize;
    file[slot_b..slot_b + newer.len()].copy_from_slice(&newer);
    write("file-freshened.seed", &file)?;
    // As a crash in the middle of writing that head leaves it.
    file[slot_b + newer.len() - 9..slot_b + newer.len()].fill(0);
    write("file-half-freshened.seed", &file)?;
    manifests(response, variants)
}

/// Snapshots of nothing, and of a list and a response.
fn manifests(response: Vec<u8>, variants: Vec<u8>) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/manifests");
    let header = Header { zone: "api".to_owned(), made: Timestamp(1_790_000_000_000) };
    let empty = Writer::new(Vec::new(), &header)?.finish()?.0;
    fs::write(folder.join("empty.seed"), &empty)?;
    let mut writer = Writer::new(Vec::new(), &header)?;
    let heads = [(Kind::Variants, variants, 0), (Kind::Response, response, 6)];
    for (kind, head, body_bytes) in heads {
        let head = decode(kind, head.into()).expect("the seeds of heads are right");
        let body = Digest([if body_bytes == 0 { 0 } else { 7 }; 32]);
        writer.append(&Entry { place: KeyHash::of(&head.key), head, body_bytes, body })?;
    }
    let two = writer.finish()?.0;
    fs::write(folder.join("two.seed"), &two)?;
    fs::write(folder.join("more-behind.seed"), [&two[..], b"x"].concat())?;
    // An entry that claims to be very long.
    let mut long = empty;
    let end = long.len() - 20;
    long.truncate(end);
    long.extend_from_slice(&(16u32 << 20).to_le_bytes());
    fs::write(folder.join("long.seed"), long)
}

const BODY: &[u8] = b"a body";
