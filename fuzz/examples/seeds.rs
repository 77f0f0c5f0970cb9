//! Writes the whole files among the seeds of `stored_heads` anew, from the heads among them. To be
//! run after a change of the format: `cargo run --manifest-path fuzz/Cargo.toml --example seeds`.

use std::fs;
use std::io::Result;
use std::path::Path;

use larder::semantics::key::KeyHash;
use larder::store::disk::format::{Layout, Slot, Sums, encode_slot};
use larder::store::disk::head::Kind;
use larder_fuzz::stored_heads::file_of;

fn main() -> Result<()> {
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
    write("file-half-freshened.seed", &file)
}

const BODY: &[u8] = b"a body";
