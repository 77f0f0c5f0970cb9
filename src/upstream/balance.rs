//! Whose turn is it? Smooth weighted round robin, as nginx does it; pure.
//!
//! Health is none of its business: it is told who may be picked.

/// A peer's share of the requests, and how far it is from its next turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    weight: i64,
    /// `weight`, less what failures took; recovers by one a round.
    effective: i64,
    /// The peer that has waited longest for its weight has the most.
    current: i64,
}

impl Share {
    pub(super) fn new(weight: u32) -> Self {
        let weight = i64::from(weight.max(1));
        Self { weight, effective: weight, current: 0 }
    }

    /// Takes a `max_fails`th of the weight away, so that a peer that fails now and then gets less.
    pub(super) fn failed(&mut self, max_fails: u32) {
        if max_fails > 0 {
            self.effective = (self.effective - self.weight / i64::from(max_fails)).max(0);
        }
    }
}

/// The peer whose turn it is among those that `may` be picked.
pub(super) fn pick(shares: &mut [Share], may: impl Fn(usize) -> bool) -> Option<usize> {
    let mut total = 0;
    let mut best: Option<(usize, i64)> = None;
    for (at, share) in shares.iter_mut().enumerate().filter(|(at, _)| may(*at)) {
        share.current += share.effective;
        total += share.effective;
        share.effective = (share.effective + 1).min(share.weight);
        if best.is_none_or(|(_, most)| share.current > most) {
            best = Some((at, share.current));
        }
    }
    let (at, _) = best?;
    shares[at].current -= total;
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn picks_in_nginx_order() {
        check(&[1, 1, 1], "abcabc",   "equal weights take turns");
        check(&[5, 1, 1], "aabacaa",  "nginx's own example");
        check(&[3, 1],    "aabaaaba", "the heavy one is not served in a burst");
        check(&[1],       "aaa",      "alone");
        check(&[],        "",         "nobody");
    }

    #[track_caller]
    fn check(weights: &[u32], expected: &str, why: &str) {
        let mut shares: Vec<_> = weights.iter().copied().map(Share::new).collect();
        let turns: String = (0..expected.len()).map(|_| turn(&mut shares)).collect();
        assert_eq!(turns, expected, "{why}");
    }

    fn turn(shares: &mut [Share]) -> char {
        pick(shares, |_| true).map_or('-', |at| char::from(b'a' + at as u8))
    }

    #[test]
    fn who_may_not_be_picked_gets_no_turn() {
        let mut shares = vec![Share::new(1), Share::new(1), Share::new(1)];
        let turns: Vec<_> = (0..4).map(|_| pick(&mut shares, |at| at != 1)).collect();
        assert_eq!(turns, [Some(0), Some(2), Some(0), Some(2)]);
    }

    #[test]
    fn failures_take_weight_that_comes_back() {
        let mut shares = vec![Share::new(4), Share::new(4)];
        shares[0].failed(1);
        let turns: String = (0..8).map(|_| turn(&mut shares)).collect();
        assert_eq!(turns.matches('a').count(), 3, "{turns}");
        let turns: String = (0..8).map(|_| turn(&mut shares)).collect();
        assert_eq!(turns.matches('a').count(), 4, "{turns}");
    }
}
