//! Texts shared out by their hash: the same text has the same share always, here as in nginx.
//! (nginx: split_clients)

/// The upper end of each share, in the order they are written.
#[derive(Clone, Debug, Default)]
pub(super) struct Shares(Vec<End>);

#[derive(Clone, Copy, Debug)]
enum End {
    /// Hashes below this.
    Below(u32),
    /// All that are left.
    Rest,
}

impl Shares {
    /// Of these hundredths of a percent each; `None` is the rest.
    pub(super) fn new(shares: impl Iterator<Item = Option<u32>>) -> Self {
        let mut last = 0;
        let end = |share: Option<u32>| match share {
            None => End::Rest,
            Some(share) => {
                last += u64::from(u32::MAX) * u64::from(share) / u64::from(WHOLE);
                End::Below(u32::try_from(last).unwrap_or(u32::MAX))
            }
        };
        Self(shares.map(end).collect())
    }

    /// The number of the share that a text is in.
    pub(super) fn find(&self, text: &[u8]) -> Option<usize> {
        let hash = murmur2(text);
        let has = |end: &End| match end {
            End::Below(end) => hash < *end,
            End::Rest => true,
        };
        self.0.iter().position(has)
    }
}

/// MurmurHash2 in 32 bits, with seed 0.
fn murmur2(bytes: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    #[expect(clippy::cast_possible_truncation, reason = "as in the definition")]
    let mut hash = bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// All of it, in hundredths of a percent.
pub(super) const WHOLE: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::{Shares, murmur2};

    #[test]
    #[rustfmt::skip]
    fn hashes_are_those_of_murmurhash2() {
        check("",              0);
        check("a",             0x9268_5f5e);
        #[track_caller]
        fn check(text: &str, expected: u32) {
            assert_eq!(murmur2(text.as_bytes()), expected, "{text} {:#x}", murmur2(text.as_bytes()));
        }
    }

    #[test]
    fn shares_are_as_large_as_they_are_said_to_be() {
        let shares = Shares::new([Some(1000), Some(2550), None].into_iter());
        let mut counts = [0_u32; 3];
        for client in 0..100_000_u32 {
            counts[shares.find(format!("client {client}").as_bytes()).unwrap()] += 1;
        }
        assert!(counts[0].abs_diff(10_000) < 400 && counts[1].abs_diff(25_500) < 600, "{counts:?}");
        let some = Shares::new([Some(1)].into_iter());
        assert_eq!(some.find(b"hello, world"), None);
    }
}
