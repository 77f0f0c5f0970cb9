//! What must not be read where it rests: only a keyed hash of it is kept.

use super::key::KeyHash;

/// The key of the hashes. Whoever does not have it cannot find out by guessing what was hashed.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A secret of these bytes, which nobody can guess.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, to be kept where nobody else can read them.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The hash of some values for one `purpose`: a purpose of its own gives other hashes.
    pub fn hash<'a>(&self, purpose: &str, values: impl Iterator<Item = &'a [u8]>) -> KeyHash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        // Each with its length, so that values cannot run into each other.
        let mut update = |value: &[u8]| {
            hasher.update(&(value.len() as u64).to_le_bytes());
            hasher.update(value);
        };
        update(purpose.as_bytes());
        values.for_each(&mut update);
        KeyHash::from_blake3(&hasher.finalize())
    }
}

/// Whether a key holds a keyed hash: that of who asks, which stands at a place of its own, or, where
/// `anywhere`, one in its text, which may also be something else that looks like one.
pub fn may_hold_hash(key: &[u8], anywhere: bool) -> bool {
    let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let marked = |at: usize| key[..at].ends_with(PARTITION_MARK.as_bytes());
    let mut run = 0;
    key.iter().enumerate().any(|(at, byte)| {
        run = if is_hex(byte) { run + 1 } else { 0 };
        run >= HASH_DIGITS && (anywhere || marked(at + 1 - HASH_DIGITS))
    })
}

/// Stands between the text of a key and the hash of who asks.
pub const PARTITION_MARK: &str = " partition=";
/// Digits of a `KeyHash` in a key.
const HASH_DIGITS: usize = 32;

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rustfmt::skip]
    #[test]
    fn keys_that_only_one_machine_makes_are_told_apart() {
        let hash = Secret::new([1; 32]).hash("key", std::iter::empty());
        //    key                                              who asks  anywhere
        check("http://a/b".to_owned(),                         false,    false);
        check(format!("http://a/b partition={hash}"),          true,     true);
        check(format!("http://a/b partition={hash}\0bytes="), true,     true);
        check(format!("http://a/b{hash}"),                     false,    true);
        check(format!("http://a/abc{hash}abc"),                false,    true);
        check(format!("http://a/{}", &hash.to_string()[1..]),  false,    false);
        check("http://a/b partition=x".to_owned(),             false,    false);
    }

    #[track_caller]
    fn check(key: String, who: bool, anywhere: bool) {
        let told = (may_hold_hash(key.as_bytes(), false), may_hold_hash(key.as_bytes(), true));
        assert_eq!(told, (who, anywhere), "{key}");
    }

    #[test]
    fn hashes_differ_by_secret_purpose_and_values() {
        let hash = |secret: u8, purpose: &str, values: &[&str]| {
            Secret::new([secret; 32]).hash(purpose, values.iter().map(|value| value.as_bytes()))
        };
        let one = hash(1, "a", &["x", "y"]);
        assert_eq!(one, hash(1, "a", &["x", "y"]));
        for other in [hash(2, "a", &["x", "y"]), hash(1, "b", &["x", "y"]), hash(1, "a", &["xy"])] {
            assert_ne!(one, other);
        }
        assert_ne!(hash(1, "a", &["x", ""]), hash(1, "a", &["x"]));
        assert_eq!(format!("{:?}", Secret::new([1; 32])), "Secret");
    }
}
