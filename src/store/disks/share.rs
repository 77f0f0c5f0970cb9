//! Which of a zone's folders is the one for a hash? (weighted rendezvous hashing)

use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::config;
use crate::semantics::key::KeyHash;

/// A folder's part in its zone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) struct Share {
    /// Where the folder is, written in one way only.
    pub(in crate::store) path: PathBuf,
    /// How much it takes compared with the others.
    pub(in crate::store) weight: u32,
    /// Of its path: tells it from the others.
    seed: u64,
}

impl Share {
    pub(in crate::store) fn new(folder: &config::Folder) -> Self {
        Self::of(&folder.path, folder.weight)
    }

    /// The share of the folder at this path.
    pub(super) fn of(path: &Path, weight: u32) -> Self {
        // `a//b/` and `a/b` are the same folder and must draw alike, from wherever we are started.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let path: PathBuf = path.components().collect();
        let seed = xxh3_64(path.as_os_str().as_encoded_bytes());
        Self { path, weight, seed }
    }

    /// How much it is the one for a hash: the highest claim counts. Each wins by its weight, and
    /// one that comes or goes moves no more than its share.
    pub(super) fn claim(&self, hash: KeyHash) -> f64 {
        let drawn = xxh3_64_with_seed(&hash.0.to_le_bytes(), self.seed) >> 11;
        // In (0, 1): 2^53 steps, none of them an end.
        let drawn = (drawn as f64 + 0.5) / (1u64 << 53) as f64;
        -f64::from(self.weight) / drawn.ln()
    }

    /// Whether it is the one for a hash, and none of `others`.
    pub(in crate::store) fn owns(&self, hash: KeyHash, others: &[Self]) -> bool {
        let mine = self.claim(hash);
        others.iter().all(|other| other.claim(hash) < mine)
    }
}

/// The place among `shares` of the one for a hash; 0 where there is one or none.
pub(super) fn owner<'a>(hash: KeyHash, shares: impl ExactSizeIterator<Item = &'a Share>) -> usize {
    if shares.len() < 2 {
        return 0;
    }
    let mut best = (0, 0.0);
    for (number, share) in shares.enumerate() {
        let claim = share.claim(hash);
        if claim > best.1 {
            best = (number, claim);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(weights: &[(&str, u32)]) -> Vec<Share> {
        weights.iter().map(|(path, weight)| Share::of(Path::new(path), *weight)).collect()
    }

    fn owners(shares: &[Share]) -> Vec<usize> {
        let hashes = (0..100_000u32).map(|n| KeyHash::of(&n.to_le_bytes()));
        hashes.map(|hash| owner(hash, shares.iter())).collect()
    }

    #[test]
    fn each_wins_by_its_weight() {
        for weights in [&[("/a", 1), ("/b", 1)][..], &[("/a", 1), ("/b", 2), ("/c", 5)]] {
            let shares = shares(weights);
            let owners = owners(&shares);
            let all: u32 = weights.iter().map(|(_, weight)| weight).sum();
            for (number, (path, weight)) in weights.iter().enumerate() {
                let won = owners.iter().filter(|owner| **owner == number).count();
                let (won, due) = (won as f64 / 1e5, f64::from(*weight) / f64::from(all));
                assert!((won - due).abs() < 0.01, "{path}: {won}, not {due}");
            }
        }
    }

    #[test]
    fn one_that_comes_takes_its_share_and_moves_nothing_else() {
        let before = owners(&shares(&[("/a", 1), ("/b", 2)]));
        let after = owners(&shares(&[("/a", 1), ("/b", 2), ("/c", 1)]));
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
        assert!(moved.clone().all(|(_, after)| *after == 2), "only to the new one");
        let moved = moved.count() as f64 / 1e5;
        assert!((moved - 0.25).abs() < 0.01, "{moved}");
    }

    #[test]
    fn more_weight_only_takes() {
        let before = owners(&shares(&[("/a", 1), ("/b", 2)]));
        let after = owners(&shares(&[("/a", 1), ("/b", 3)]));
        assert!(before.iter().zip(&after).all(|(before, after)| before == after || *after == 1));
    }

    #[test]
    fn one_alone_owns_what_it_is_the_owner_of() {
        let shares = shares(&[("/a", 1), ("/b", 2), ("/c", 3)]);
        for (number, owner) in owners(&shares).into_iter().enumerate().take(1000) {
            let hash = KeyHash::of(&(number as u32).to_le_bytes());
            let owns = |mine: usize| {
                let mut others = shares.clone();
                others.remove(mine);
                shares[mine].owns(hash, &others)
            };
            assert_eq!((0..3).filter(|mine| owns(*mine)).collect::<Vec<_>>(), [owner]);
        }
    }

    #[test]
    fn the_same_folder_written_otherwise_is_the_same() {
        assert_eq!(shares(&[("/a/b/", 1)]), shares(&[("/a//./b", 1)]));
        let here = std::env::current_dir().unwrap().join("b");
        assert_eq!(Share::of(Path::new("b"), 1), Share::of(&here, 1));
    }
}
