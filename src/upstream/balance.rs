//! Whose turn is it? By turns, by load or by chance, as nginx does it; pure.
//!
//! Health is none of its business: it is told who may be picked. What goes by the request is in
//! `hash`.

/// A peer's share of the requests, and how far it is from its next turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) weight: i64,
    /// `weight`, less what failures took; recovers by one a round.
    effective: i64,
    /// The peer that has waited longest for its weight has the most.
    current: i64,
}

/// What is known of the peers when one is picked.
pub(super) trait Peers {
    /// Whether it may be picked.
    fn may(&self, at: usize) -> bool;

    /// Requests under way there.
    fn active(&self, at: usize) -> u64;

    /// How much of its weight counts, in thousandths and at least one: less than all after a
    /// return (nginx: slow_start).
    fn part(&self, at: usize) -> i64;
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

    /// Goes on to the next round; what this one added.
    fn advance(&mut self, part: i64) -> i64 {
        let added = self.effective * part;
        self.current += added;
        self.effective = (self.effective + 1).min(self.weight);
        added
    }
}

/// The peer whose turn it is among those that may be picked: smooth weighted round robin.
pub(super) fn round_robin(shares: &mut [Share], peers: &impl Peers) -> Option<usize> {
    turn(shares, peers, |_, _| true)
}

/// The peer with the fewest requests under way for its weight; of several by turns.
pub(super) fn least_conn(shares: &mut [Share], peers: &impl Peers) -> Option<usize> {
    let all = 0..shares.len();
    let loads = all.filter(|at| peers.may(*at)).map(|at| Load::of(&shares[at], peers, at));
    let least = loads.reduce(Load::lesser)?;
    turn(shares, peers, |at, share| Load::of(share, peers, at).equals(&least))
}

fn turn(
    shares: &mut [Share],
    peers: &impl Peers,
    among: impl Fn(usize, &Share) -> bool,
) -> Option<usize> {
    let mut total = 0;
    let mut best: Option<(usize, i64)> = None;
    for (at, share) in shares.iter_mut().enumerate() {
        if !peers.may(at) || !among(at, share) {
            continue;
        }
        total += share.advance(peers.part(at));
        if best.is_none_or(|(_, most)| share.current > most) {
            best = Some((at, share.current));
        }
    }
    let (at, _) = best?;
    shares[at].current -= total;
    Some(at)
}

/// One of those that may be picked, by chance and weight; `None` where luck found none in 20 times:
/// then it goes by turns, as in nginx. `draw` gives a number below the one it is given.
pub(super) fn random(
    shares: &[Share],
    peers: &impl Peers,
    draw: impl FnMut(i64) -> i64,
) -> Option<usize> {
    drawn(shares, draw).find(|at| peers.may(*at))
}

/// Of two different ones by chance the one with fewer requests under way for its weight, the
/// second if they are equal; `None` as with `random`, also where there is one alone.
pub(super) fn random_two(
    shares: &[Share],
    peers: &impl Peers,
    draw: impl FnMut(i64) -> i64,
) -> Option<usize> {
    let mut drawn = drawn(shares, draw).filter(|at| peers.may(*at));
    let first = drawn.next()?;
    let second = drawn.find(|at| *at != first)?;
    let load = |at: usize| Load::of(&shares[at], peers, at);
    Some(Load::lesser(load(second), load(first)).at)
}

fn drawn(shares: &[Share], mut draw: impl FnMut(i64) -> i64) -> impl Iterator<Item = usize> {
    let total: i64 = shares.iter().map(|share| share.weight).sum();
    (0..TRIES).filter(move |_| total > 0).map(move |_| by_weight(shares, draw(total)))
}

/// The peer at `place` if each had as many places as its weight; a place beyond all is the last's.
pub(super) fn by_weight(shares: &[Share], mut place: i64) -> usize {
    for (at, share) in shares.iter().enumerate() {
        if place < share.weight {
            return at;
        }
        place -= share.weight;
    }
    shares.len().saturating_sub(1)
}

/// How many requests are under way at a peer, to be compared by weight.
#[derive(Clone, Copy)]
struct Load {
    at: usize,
    active: i128,
    weight: i128,
}

impl Load {
    fn of(share: &Share, peers: &impl Peers, at: usize) -> Self {
        let weight = i128::from(share.weight) * i128::from(peers.part(at));
        Self { at, active: peers.active(at).into(), weight }
    }

    /// The first of two unless the second is less.
    fn lesser(one: Self, other: Self) -> Self {
        if other.active * one.weight < one.active * other.weight { other } else { one }
    }

    fn equals(&self, other: &Self) -> bool {
        self.active * other.weight == other.active * self.weight
    }
}

/// Draws before it goes by turns (nginx).
const TRIES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests under way at each, and what part of its weight is missing; all idle if empty.
    struct Of<'a>(&'a [(u64, i64)]);

    const OUT: u64 = u64::MAX;

    impl Peers for Of<'_> {
        fn may(&self, at: usize) -> bool {
            self.active(at) != OUT
        }

        fn active(&self, at: usize) -> u64 {
            self.0.get(at).map_or(0, |(active, _)| *active)
        }

        fn part(&self, at: usize) -> i64 {
            1000 - self.0.get(at).map_or(0, |(_, missing)| *missing)
        }
    }

    fn shares(weights: &[u32]) -> Vec<Share> {
        weights.iter().copied().map(Share::new).collect()
    }

    #[test]
    #[rustfmt::skip]
    fn least_conn_goes_by_load_for_the_weight_and_then_by_turns() {
        //     weights     active             picked   why
        least(&[1, 1, 1], &[2, 1, 3],         "bbb",   "the fewest");
        least(&[3, 1],    &[2, 1],            "aaa",   "two of three are less than one of one");
        least(&[1, 1, 1], &[1, 1, 1],         "abc",   "equals take turns");
        least(&[2, 1, 1], &[2, 1, 5],         "aba",   "equal for their weight, by weight");
        least(&[1, 1],    &[0, OUT],          "aaa",   "who may not is not picked");
        least(&[1, 1],    &[OUT, OUT],        "---",   "nobody");
    }

    #[track_caller]
    fn least(weights: &[u32], active: &[u64], expected: &str, why: &str) {
        let mut shares = shares(weights);
        let known: Vec<_> = active.iter().map(|active| (*active, 0)).collect();
        let letter = |at: Option<usize>| at.map_or('-', |at| char::from(b'a' + at as u8));
        let turns: String =
            (0..expected.len()).map(|_| letter(least_conn(&mut shares, &Of(&known)))).collect();
        assert_eq!(turns, expected, "{why}");
    }

    #[test]
    fn a_part_of_the_weight_is_a_part_of_the_turns() {
        let mut shares = shares(&[1, 1]);
        let known = [(0, 0), (0, 750)];
        let turns = (0..100).filter_map(|_| round_robin(&mut shares, &Of(&known)));
        assert_eq!(turns.filter(|at| *at == 1).count(), 20, "a quarter against a whole");
        // One of a quarter is as much as four of a whole.
        assert_eq!(least_conn(&mut shares, &Of(&[(3, 0), (1, 750)])), Some(0));
        assert_eq!(least_conn(&mut shares, &Of(&[(5, 0), (1, 750)])), Some(1));
    }

    #[test]
    fn chance_goes_by_weight_and_two_by_load() {
        let shares = shares(&[3, 1]);
        let draws = |numbers: [i64; 4]| {
            let mut numbers = numbers.into_iter().cycle();
            move |_| numbers.next().unwrap_or(0)
        };
        let idle = Of(&[]);
        assert_eq!(random(&shares, &idle, draws([2, 0, 0, 0])), Some(0));
        assert_eq!(random(&shares, &idle, draws([3, 0, 0, 0])), Some(1));
        assert_eq!(random(&shares, &Of(&[(OUT, 0), (0, 0)]), draws([0, 1, 3, 0])), Some(1));
        assert_eq!(random(&shares, &Of(&[(OUT, 0), (0, 0)]), draws([0, 1, 2, 0])), None);
        assert_eq!(random_two(&shares, &Of(&[(4, 0), (1, 0)]), draws([0, 0, 3, 0])), Some(1));
        assert_eq!(random_two(&shares, &Of(&[(2, 0), (1, 0)]), draws([0, 0, 3, 0])), Some(0));
        assert_eq!(random_two(&shares, &idle, draws([0, 1, 2, 0])), None, "never another one");
    }

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
        let mut shares = shares(weights);
        let turns: String = (0..expected.len()).map(|_| letter(&mut shares)).collect();
        assert_eq!(turns, expected, "{why}");
    }

    fn letter(shares: &mut [Share]) -> char {
        round_robin(shares, &Of(&[])).map_or('-', |at| char::from(b'a' + at as u8))
    }

    #[test]
    fn who_may_not_be_picked_gets_no_turn() {
        let mut shares = shares(&[1, 1, 1]);
        let mut turn = || round_robin(&mut shares, &Of(&[(0, 0), (OUT, 0), (0, 0)]));
        let turns: Vec<_> = (0..4).map(|_| turn()).collect();
        assert_eq!(turns, [Some(0), Some(2), Some(0), Some(2)]);
    }

    #[test]
    fn failures_take_weight_that_comes_back() {
        let mut shares = shares(&[4, 4]);
        shares[0].failed(1);
        let turns: String = (0..8).map(|_| letter(&mut shares)).collect();
        assert_eq!(turns.matches('a').count(), 3, "{turns}");
        let turns: String = (0..8).map(|_| letter(&mut shares)).collect();
        assert_eq!(turns.matches('a').count(), 4, "{turns}");
    }
}
