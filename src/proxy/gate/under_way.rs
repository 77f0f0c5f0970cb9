//! Requests at a time: counted from here to the last byte of the response. (nginx: limit_conn)

use std::sync::{Arc, PoisonError};

use super::limit::Limit;
use crate::config::LimitConn;
use crate::proxy::call::Call;

/// A request is under way until this is dropped.
pub(in crate::proxy) struct Held(Vec<(Arc<Limit>, u64)>);

/// Counts a request in all limits of its route; `None` if one of them has too many, and then it is
/// counted in none. Without a key it is not counted.
pub(super) fn hold(call: &Call<'_>, rules: &[(LimitConn, Arc<Limit>)]) -> Option<Held> {
    let mut scratch = Vec::new();
    let mut held = Held(Vec::with_capacity(rules.len()));
    for (rule, limit) in rules {
        let Some(key) = limit.key(call, &mut scratch) else { continue };
        limit.enter(key, rule.connections)?;
        held.0.push((Arc::clone(limit), key));
    }
    Some(held)
}

impl Held {
    /// It is counted nowhere.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.iter().for_each(|(limit, key)| limit.leave(*key));
    }
}

impl Limit {
    /// `None` if there are `max` already, or no room for another key.
    fn enter(&self, key: u64, max: u32) -> Option<()> {
        let shard = self.shard(key);
        let mut under_way = shard.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = under_way.get_mut(&key) {
            return (*count < max).then(|| *count += 1);
        }
        // What is under way cannot be forgotten, so a table that is full lets nobody in.
        if under_way.len() >= shard.capacity {
            return None;
        }
        under_way.insert(key, 1);
        Some(())
    }

    fn leave(&self, key: u64) {
        let mut under_way =
            self.shard(key).under_way.lock().unwrap_or_else(PoisonError::into_inner);
        match under_way.get_mut(&key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(under_way.remove(&key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::template::Template;

    #[test]
    fn a_key_has_so_many_and_a_table_so_many_keys() {
        let key = Template::compile("$remote_addr").unwrap();
        let settings =
            crate::config::Limit { name: "l".to_owned(), key, rate_millis: None, entries: 16 };
        let limit = Arc::new(Limit::new(&settings));
        assert!(limit.enter(1, 2).is_some() && limit.enter(1, 2).is_some());
        assert!(limit.enter(1, 2).is_none(), "two at a time");
        assert!(limit.enter(2, 2).is_none(), "its shard has room for one key");
        let held = Held(vec![(Arc::clone(&limit), 1)]);
        drop(held);
        assert!(limit.enter(1, 2).is_some());
        limit.leave(1);
        limit.leave(1);
        assert!(limit.enter(2, 2).is_some(), "nothing is left of the other");
    }
}
