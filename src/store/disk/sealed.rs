//! One stored response, open to be taken elsewhere: its head is verified, its body as it is read.
//!
//! For who reads beside a running server and without one, as `audit` does.

use std::fs::File;
use std::path::Path;

use super::access::{Access, Problem};
use super::format::{self, CHUNK_BYTES, Fault, Found, Layout};
use super::read::read_ends;
use crate::semantics::key::KeyHash;

/// An open file.
pub struct Sealed {
    /// What it holds.
    pub found: Found,
    layout: Layout,
    sums: Vec<u64>,
    file: File,
}

impl Sealed {
    /// Opens the file at `path`, which must be that of `hash`.
    ///
    /// # Errors
    /// There is none, or it cannot be read, or nothing of it may be trusted.
    pub fn open(path: &Path, hash: KeyHash) -> Result<Self, Problem> {
        let (file, looks) = Access::Waiting.open(path)?;
        let (found, footer, sums) = read_ends(&file, looks.identity.bytes, hash, Access::Waiting)?;
        Ok(Self { found, layout: footer.layout, sums, file })
    }

    /// Length of its body.
    pub fn body_bytes(&self) -> u64 {
        self.layout.body_bytes
    }

    /// Calls `with` for all of the body, verified, in order, in pieces of at most 1 MiB.
    ///
    /// # Errors
    /// It is damaged or cannot be read: what `with` got must not be used. Or the error of `with`.
    pub fn read<E: From<Problem>>(
        &self,
        with: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut buffer = vec![0; self.body_bytes().min(PIECE_BYTES) as usize];
        let (mut from, mut sums) = (0, self.sums.iter());
        while from < self.body_bytes() {
            let piece = &mut buffer[..(self.body_bytes() - from).min(PIECE_BYTES) as usize];
            Access::Waiting.read(&self.file, piece, self.layout.body_offset() + from)?;
            for chunk in piece.chunks(CHUNK_BYTES) {
                if !sums.next().is_some_and(|sum| format::chunk_matches(chunk, *sum)) {
                    return Err(Problem::Format(Fault::Corrupt("body")).into());
                }
            }
            with(piece)?;
            from += piece.len() as u64;
        }
        Ok(())
    }
}

/// Whole chunks, so that none is read twice.
const PIECE_BYTES: u64 = 16 * CHUNK_BYTES as u64;
