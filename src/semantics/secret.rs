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

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
