//! What lies on disk under one hash, told to the operator of the running server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::access::Problem;
use super::audit::{self, Examined};
use super::format::{Fault, Found, Layout};
use super::order::UnderWay;
use super::{Disk, is_missing};
use crate::semantics::key::KeyHash;

/// What lies on disk under a hash.
#[derive(Debug)]
pub struct Resting {
    /// The folder of the zone that a lookup goes to.
    pub folder: PathBuf,
    /// The file there, whether it exists or not.
    pub path: PathBuf,
    /// What is in it.
    pub state: State,
}

/// What is in a file.
#[derive(Debug)]
pub enum State {
    /// There is none.
    Absent,
    /// What shall be in it waits to be written.
    Waiting,
    /// Its head is as it was written; the body was not looked at.
    Head(Box<(Found, Layout)>),
    /// All of it was read, or as much as there was time for.
    Read(Box<Examined>),
    /// It is damaged, and was put aside; where that was seen.
    Damaged(String),
    /// It has another format.
    OtherVersion,
    /// The disk fails.
    Unreadable(String),
}

impl State {
    /// The head that counts, and where the parts lie.
    pub fn head(&self) -> Option<(&Found, Layout)> {
        match self {
            Self::Head(head) => Some((&head.0, head.1)),
            Self::Read(examined) => Some((&examined.found, examined.layout)),
            _ => None,
        }
    }
}

impl Disk {
    /// Looks at the file of a hash: at its head only, or at `all` of it, as far as it comes in
    /// `TIME_MAX`. Damage is counted, logged and put aside, as when a lookup meets it.
    pub(in crate::store) fn resting(self: &Arc<Self>, hash: KeyHash, all: bool) -> Resting {
        let path = self.path(hash);
        let (_, under_way) = self.order.enter(hash);
        let state = match under_way {
            UnderWay::Entry(_) => State::Waiting,
            UnderWay::Gone => State::Absent,
            UnderWay::Nothing if self.is_outdated(hash) => State::Absent,
            UnderWay::Nothing => self.look_at(hash, &path, all),
        };
        Resting { folder: self.root.clone(), path, state }
    }

    fn look_at(self: &Arc<Self>, hash: KeyHash, path: &std::path::Path, all: bool) -> State {
        let begun = self.clock.instant();
        let mut in_time = |_| self.clock.instant().duration_since(begun) < TIME_MAX;
        let mut opened = None;
        let state = audit::open(path).and_then(|file| {
            let file = opened.insert(file);
            if !all {
                return Ok(State::Head(Box::new(audit::head_of(file, hash)?)));
            }
            let examined = audit::examine(file, hash, &mut in_time)?;
            match examined.damage() {
                None => Ok(State::Read(Box::new(examined))),
                Some(damage) => {
                    let problem = Problem::Format(Fault::Corrupt("body"));
                    self.note_problem(hash, path, problem, Some(&*file));
                    Ok(State::Damaged(damage))
                }
            }
        });
        state.unwrap_or_else(|problem| {
            let state = match &problem {
                Problem::Io(error) if is_missing(error) => State::Absent,
                Problem::Format(Fault::OtherVersion) => State::OtherVersion,
                Problem::Format(Fault::Corrupt(part)) => State::Damaged((*part).to_owned()),
                problem => State::Unreadable(problem.to_string()),
            };
            self.note_problem(hash, path, problem, opened.as_ref());
            state
        })
    }
}

/// Half of what the command line waits for.
const TIME_MAX: Duration = Duration::from_secs(5);
