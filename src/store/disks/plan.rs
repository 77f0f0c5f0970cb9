//! What is to be done with a zone's folders at a start, so that no purge is missed. Pure.
//!
//! A purge of one URL removes its file where it lies now, and the zone's log lies in one folder,
//! its *home*. So nothing may be found later in a folder that was away meanwhile, or in one where
//! it was not looked for.
//!
//! ```text
//!  one home, and it has seen all          the folders it knows stay, others are emptied
//!    a change, all settled                they stay; a scan removes what belongs into another one
//!    a change before that                 all are emptied
//!    other levels                         all are emptied
//!  no mark anywhere                       the folder with a log is home: a zone of one, of old
//!  two homes, or damage, or no home       all are emptied
//!  one home, and it was away itself       all are emptied
//!  no home, and it may be out of reach    none is used
//! ```

use super::mark::{Left, Mark, Set};
use super::share::Share;

/// A folder that can be used.
#[derive(Debug)]
pub(super) struct Seen {
    /// Its place in the configuration.
    pub(super) number: usize,
    /// Its part in the zone.
    pub(super) share: Share,
    /// What an earlier server left in it.
    pub(super) left: Left,
    /// The log of a zone is in it.
    pub(super) has_log: bool,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The folder, among those seen, for what is about the whole zone.
    pub(super) home: usize,
    /// The folders, among those seen, to be emptied.
    pub(super) emptied: Vec<usize>,
    /// What the home's mark shall say.
    pub(super) set: Set,
    /// Something changed: every folder gets a mark with a new era.
    pub(super) changed: bool,
}

/// What to do with these folders; `None` is to use none of them. `all_seen` says that there is no
/// other one that cannot be used.
pub(super) fn plan(seen: &[Seen], levels: &[u8], all_seen: bool) -> Option<Plan> {
    let homes: Vec<_> = (0..seen.len()).filter(|at| known(&seen[*at]).is_some()).collect();
    let unmarked = seen.iter().all(|folder| folder.left == Left::Nothing);
    if seen.is_empty() || (homes.is_empty() && !unmarked && !all_seen) {
        return None;
    }
    let home = match homes[..] {
        [home, ..] => home,
        [] => seen.iter().position(|folder| folder.has_log).unwrap_or(0),
    };
    let old = known(&seen[home]);
    let set = wanted(seen, levels);
    let same = old.is_some_and(|(_, old)| Set { settled: false, ..old.clone() } == set);
    let trusted = match old {
        Some((era, old)) => {
            let was_away = seen.iter().any(|folder| folder.era() > era);
            let alone = homes.len() == 1 && !was_away;
            alone && old.levels == levels && (same || old.settled)
        }
        None => unmarked,
    };
    let stays = |at: usize| trusted && (at == home || belongs(&seen[at], old));
    let emptied: Vec<_> = (0..seen.len()).filter(|at| !stays(*at)).collect();
    let settled = seen.len() == 1 || !trusted || (same && old.is_some_and(|(_, old)| old.settled));
    let changed = !same || !emptied.is_empty();
    Some(Plan { home, emptied, set: Set { settled, ..set }, changed })
}

impl Seen {
    /// When the last change was that it saw; 0 where it does not say.
    pub(super) fn era(&self) -> u64 {
        match &self.left {
            Left::Mark(mark) => mark.era,
            Left::Nothing | Left::Damaged => 0,
        }
    }
}

/// Era and set of a home.
fn known(folder: &Seen) -> Option<(u64, &Set)> {
    match &folder.left {
        Left::Mark(Mark { era, set: Some(set) }) => Some((*era, set)),
        _ => None,
    }
}

/// Whether a folder was there whenever its home was.
fn belongs(folder: &Seen, home: Option<(u64, &Set)>) -> bool {
    let (Some((home_era, set)), Left::Mark(Mark { era, .. })) = (home, &folder.left) else {
        return false;
    };
    *era == home_era && set.folders.iter().any(|(path, _)| *path == folder.share.path)
}

fn wanted(seen: &[Seen], levels: &[u8]) -> Set {
    let folder = |folder: &Seen| (folder.share.path.clone(), folder.share.weight);
    let mut folders: Vec<_> = seen.iter().map(folder).collect();
    folders.sort();
    Set { settled: false, levels: levels.to_vec(), folders }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Weight of `/a`, `/b`, `/c`; 0 is one that is not there.
    fn set(weights: [u32; 3], settled: bool) -> Set {
        let all = ["/a", "/b", "/c"].into_iter().zip(weights);
        let folders = all.filter(|(_, weight)| *weight > 0);
        let folders = folders.map(|(path, weight)| (path.into(), weight)).collect();
        Set { settled, levels: vec![1, 2], folders }
    }

    fn home(era: u64, weights: [u32; 3], settled: bool) -> Left {
        Left::Mark(Mark { era, set: Some(set(weights, settled)) })
    }

    fn member(era: u64) -> Left {
        Left::Mark(Mark { era, set: None })
    }

    /// Home, what is emptied, whether it is settled, whether it changed.
    type Expected = Option<(&'static str, &'static str, bool, bool)>;

    #[rustfmt::skip]
    #[test]
    fn what_missed_a_purge_does_not_stay() {
        use Left::{Damaged, Nothing};
        let h = home;
        let m = member;
        //     a, b, c with weights                                          all seen, expected                       why
        check(&[("a", 1, h(1, [1, 1, 0], true)), ("b", 1, m(1))],                  true,  Some(("a", "", true, false)),    "as it was");
        check(&[("a", 1, h(1, [1, 1, 0], false)), ("b", 1, m(1))],                 true,  Some(("a", "", false, false)),   "scanned again");
        check(&[("b", 1, m(1)), ("a", 1, h(1, [1, 1, 0], true))],                  true,  Some(("a", "", true, false)),    "in another order");
        check(&[("a", 2, h(1, [1, 1, 0], true)), ("b", 1, m(1))],                  true,  Some(("a", "", false, true)),    "other weights");
        check(&[("a", 2, h(1, [1, 1, 0], false)), ("b", 1, m(1))],                 true,  Some(("a", "ab", true, true)),   "a second change before the first was over");
        check(&[("a", 1, h(1, [1, 1, 0], true)), ("b", 1, m(1)), ("c", 1, Nothing)], true, Some(("a", "c", false, true)),  "one comes");
        check(&[("a", 1, h(1, [1, 1, 0], true)), ("b", 1, m(1)), ("c", 1, m(1))],  true,  Some(("a", "c", false, true)),   "the home does not know it");
        check(&[("a", 1, h(1, [1, 1, 1], true)), ("b", 1, m(1))],                  true,  Some(("a", "", false, true)),    "one goes");
        check(&[("a", 1, h(1, [1, 1, 0], true))],                                  true,  Some(("a", "", true, true)),     "one is left");
        check(&[("a", 1, h(1, [1, 1, 0], true))],                                  false, Some(("a", "", true, true)),     "the other cannot be used");
        check(&[("a", 1, h(1, [1, 1, 0], false))],                                 true,  Some(("a", "a", true, true)),    "one is left before it was settled");
        check(&[("a", 1, h(2, [1, 0, 0], true)), ("b", 1, m(1))],                  true,  Some(("a", "b", false, true)),   "it was away");
        check(&[("a", 1, h(2, [1, 1, 0], true)), ("b", 1, m(1))],                  true,  Some(("a", "b", true, true)),    "it was away, or its disk is an older one");
        check(&[("a", 1, h(1, [1, 1, 0], true)), ("b", 1, Nothing)],               true,  Some(("a", "b", true, true)),    "a new disk");
        check(&[("a", 1, h(1, [1, 1, 0], true)), ("b", 1, Damaged)],               true,  Some(("a", "b", true, true)),    "damage in one");
        check(&[("b", 1, m(1)), ("c", 1, m(1))],                                   true,  Some(("b", "bc", true, true)),   "the home was taken out");
        check(&[("b", 1, m(1)), ("c", 1, m(1))],                                   false, None,                            "the home may be out of reach");
        check(&[("a", 1, h(1, [1, 1, 0], true)), ("b", 1, h(2, [0, 1, 0], true))], true,  Some(("a", "ab", true, true)),   "two homes");
        check(&[("a", 1, h(1, [1, 1, 1], true)), ("c", 1, m(2))],                  false, Some(("a", "ac", true, true)),   "the others went on without it");
        check(&[("a", 1, Damaged), ("b", 1, m(1))],                                true,  Some(("a", "ab", true, true)),   "damage in the home");
        check(&[("a", 1, Nothing), ("b", 1, m(1))],                                true,  Some(("a", "ab", true, true)),   "the home's mark is gone");
        check(&[("a", 1, Damaged)],                                                true,  Some(("a", "a", true, true)),    "damage in the only one");
        check(&[("a", 1, Nothing)],                                                true,  Some(("a", "", true, true)),     "the only one, without a mark");
        check(&[("a", 1, h(1, [1, 0, 0], true))],                                  true,  Some(("a", "", true, false)),    "the only one");
        check(&[("a", 1, Nothing), ("b", 1, Nothing)],                             true,  Some(("a", "b", false, true)),   "the first time");
        check(&[("b", 1, Nothing)],                                                false, Some(("b", "", true, true)),     "the first time, without the first");
        check(&[],                                                                 false, None,                            "none can be used");
    }

    #[track_caller]
    fn check(folders: &[(&str, u32, Left)], all_seen: bool, expected: Expected, why: &str) {
        let seen = seen(folders, "");
        let name = |at: usize| folders[at].0;
        let planned = plan(&seen, &[1, 2], all_seen).map(|plan| {
            let emptied: String = plan.emptied.iter().map(|at| name(*at)).collect();
            (name(plan.home), emptied, plan.set.settled, plan.changed)
        });
        let expected = expected.map(|(home, emptied, s, c)| (home, emptied.to_owned(), s, c));
        assert_eq!(planned, expected, "{why}");
    }

    /// What is seen, with a log in those folders whose names are in `logs`.
    fn seen(folders: &[(&str, u32, Left)], logs: &str) -> Vec<Seen> {
        let seen = folders.iter().enumerate().map(|(number, (name, weight, left))| Seen {
            number,
            share: Share::of(&Path::new("/").join(name), *weight),
            left: left.clone(),
            has_log: logs.contains(name),
        });
        seen.collect()
    }

    #[test]
    fn a_zone_of_one_keeps_its_files_wherever_others_are_added() {
        let folders = [("b", 1, Left::Nothing), ("a", 1, Left::Nothing)];
        let plan = plan(&seen(&folders, "a"), &[1, 2], true).unwrap();
        assert_eq!((plan.home, plan.emptied), (1, vec![0]));
    }

    #[test]
    fn other_levels_are_another_place_for_everything() {
        let folders = [("a", 1, home(1, [1, 1, 0], true)), ("b", 1, member(1))];
        let plan = plan(&seen(&folders, "a"), &[2], true).unwrap();
        assert_eq!((plan.emptied, plan.set.levels), (vec![0, 1], vec![2]));
    }
}
