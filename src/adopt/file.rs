//! One file of nginx's cache as far as its body: the form that version 5 has on 64-bit machines.
//! Pure. (nginx: ngx_http_file_cache_header_t)
//!
//! ```text
//!   0   8  version, 5                          58   1  length of the entity tag
//!   8   8  fresh to this second of 1970        59 128  entity tag
//!  16   8  seconds of stale-while-revalidate  187   1  length of Vary
//!  24   8  seconds of stale-if-error          188 128  Vary
//!  32   8  Last-Modified                      316  16  the variant's hash
//!  40   8  stored, or freshened last          332   4  0
//!  48   4  crc32 of the key                   336   .  "\nKEY: ", key, "\n"
//!  52   2  (milliseconds)                       .   .  head of the response, as it came
//!  54   2  where that begins                    .   .  its body
//!  56   2  where the body begins
//! ```
//!
//! All integers are little-endian. No sum covers the head or the body: what a file system lost of
//! them shows in their lengths only.

use md5::{Digest, Md5};

/// What a file says, and where its parts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Fresh to the end of this second since 1970.
    pub valid_s: u64,
    /// Stored, or freshened last, in seconds since 1970.
    pub date_s: u64,
    /// Then it may be served while it is updated, for so many seconds.
    pub updating_s: u64,
    /// Then it may be served when the origin fails, for so many seconds.
    pub error_s: u64,
    /// What the template of the key gave.
    pub key: Vec<u8>,
    /// The MD5 of the key.
    pub main: [u8; 16],
    /// What `Vary` said, as far as nginx obeyed it; else empty.
    pub vary: Vec<u8>,
    /// The hash of the request's fields that `Vary` names, where it names any.
    pub variant: [u8; 16],
    /// Where the head of the response begins.
    pub head_at: usize,
    /// Where its body begins.
    pub body_at: usize,
}

/// Why a file is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is none of nginx's cache, or one of another version.
    Foreign(&'static str),
    /// Nothing of it may be trusted.
    Damaged(&'static str),
}

/// The MD5 that a file's name says; `None` where it is no name of a file in nginx's cache.
pub fn named(name: &[u8]) -> Option<[u8; 16]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut hash = [0; 16];
    if name.len() != 32 {
        return None;
    }
    for (to, pair) in hash.iter_mut().zip(name.chunks_exact(2)) {
        *to = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(hash)
}

/// Reads what `bytes`, the first `BEFORE_BODY_MAX` or fewer of a file with this name and length,
/// say. Never panics, whatever they are.
///
/// # Errors
/// Leave the file out.
pub fn read(bytes: &[u8], file_bytes: u64, name: [u8; 16]) -> Result<Kept, Wrong> {
    if bytes.len() < HEADER_BYTES + KEY_MARK.len() + 1 {
        return Err(Wrong::Damaged("it is cut short"));
    }
    if u64_at(bytes, 0) != VERSION {
        return Err(Wrong::Foreign("it has not the form of version 5"));
    }
    let (head_at, body_at) = (u16_at(bytes, 54), u16_at(bytes, 56));
    let lies_within = body_at <= bytes.len() && body_at as u64 <= file_bytes;
    if head_at < HEADER_BYTES + KEY_MARK.len() + 1 || head_at > body_at || !lies_within {
        return Err(Wrong::Damaged("its parts lie outside"));
    }
    let line = bytes[HEADER_BYTES..head_at].strip_prefix(KEY_MARK);
    let Some(key) = line.and_then(|line| line.strip_suffix(b"\n")) else {
        return Err(Wrong::Damaged("it has no line for its key"));
    };
    if crc32fast::hash(key) != u32_at(bytes, 48) {
        return Err(Wrong::Damaged("its key is another than its sum"));
    }
    let (etag_bytes, vary_bytes) = (usize::from(bytes[58]), usize::from(bytes[187]));
    if etag_bytes > TEXT_BYTES_MAX || vary_bytes > TEXT_BYTES_MAX {
        return Err(Wrong::Damaged("a text in it is too long"));
    }
    let main = Md5::digest(key).into();
    let mut variant = [0; 16];
    variant.copy_from_slice(&bytes[316..332]);
    if name != main && (vary_bytes == 0 || name != variant) {
        return Err(Wrong::Damaged("its name is not that of its key"));
    }
    Ok(Kept {
        valid_s: seconds_at(bytes, 8),
        updating_s: seconds_at(bytes, 16),
        error_s: seconds_at(bytes, 24),
        date_s: seconds_at(bytes, 40),
        key: key.to_vec(),
        main,
        vary: bytes[188..188 + vary_bytes].to_vec(),
        variant,
        head_at,
        body_at,
    })
}

/// A time before 1970, or none, is 0.
fn seconds_at(bytes: &[u8], at: usize) -> u64 {
    (u64_at(bytes, at) as i64).max(0) as u64
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|n| bytes[at + n]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|n| bytes[at + n]))
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    u16::from_le_bytes([bytes[at], bytes[at + 1]]).into()
}

/// What comes before a body is no longer: its place has 16 bits.
pub const BEFORE_BODY_MAX: usize = 65_536;
const VERSION: u64 = 5;
const HEADER_BYTES: usize = 336;
const KEY_MARK: &[u8] = b"\nKEY: ";
/// nginx: NGX_HTTP_CACHE_ETAG_LEN, NGX_HTTP_CACHE_VARY_LEN.
const TEXT_BYTES_MAX: usize = 128;
