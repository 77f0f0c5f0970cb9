//! What a stored response is found by. (RFC 9111 section 2; nginx: proxy_cache_key)

use std::fmt;

/// The first 128 bits of the blake3 hash of a key. Clients choose URLs, so the hash must resist
/// collisions made on purpose; the full key is compared as well when an entry is read from disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u128);

impl KeyHash {
    /// The hash of a whole key.
    pub fn of(key: &[u8]) -> Self {
        Self::from_blake3(&blake3::hash(key))
    }

    /// The hash that a finished blake3 computation stands for.
    pub fn from_blake3(hash: &blake3::Hash) -> Self {
        let (first, _) = hash.as_bytes().split_at(16);
        Self(first.iter().fold(0, |bits, byte| bits << 8 | u128::from(*byte)))
    }

    /// What `Display` writes.
    pub fn digits(self) -> [u8; 32] {
        let bytes = self.0.to_be_bytes();
        std::array::from_fn(|n| HEX[usize::from(bytes[n / 2] >> (4 - n % 2 * 4) & 15)])
    }

    /// Reads back what `Display` writes: exactly 32 lower-case hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        if text.len() != 32 || !text.as_bytes().iter().all(hex) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_form_reads_back_and_nothing_else_does() {
        let hash = KeyHash::of(b"http://example.com/");
        assert_eq!(KeyHash::from_hex(&hash.to_string()), Some(hash));
        assert_eq!(hash.to_string(), format!("{:032x}", hash.0));
        for bad in ["", "29c", "+0000000000000000000000000000000", &hash.to_string().to_uppercase()]
        {
            assert_eq!(KeyHash::from_hex(bad), None, "{bad}");
        }
    }
}
