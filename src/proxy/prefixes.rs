//! Routes by what paths begin with, found without a look at each. (nginx: location)

use std::sync::Arc;

use super::route::Route;

/// Routes by what paths begin with, sorted: of the prefixes of a path the longest is the nearest
/// before it, or one that the nearest begins with.
#[derive(Default)]
pub(super) struct Prefixes(pub(super) Vec<Below>);

/// One of them.
pub(super) struct Below {
    pub(super) prefix: String,
    pub(super) route: Arc<Route>,
    /// The longest other prefix that this one begins with.
    above: Option<usize>,
}

impl Prefixes {
    /// These, in any order.
    pub(super) fn new(mut prefixes: Vec<(String, Arc<Route>)>) -> Self {
        prefixes.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut all: Vec<Below> = Vec::with_capacity(prefixes.len());
        for (prefix, route) in prefixes {
            let mut above = all.len().checked_sub(1);
            while let Some(number) = above.filter(|n| !prefix.starts_with(&all[*n].prefix)) {
                above = all[number].above;
            }
            all.push(Below { prefix, route, above });
        }
        Self(all)
    }

    /// Whether there is one for this very prefix.
    pub(super) fn has(&self, prefix: &str) -> bool {
        self.0.binary_search_by(|below| below.prefix.as_str().cmp(prefix)).is_ok()
    }

    /// The route with the longest prefix of a path.
    pub(super) fn longest(&self, path: &str) -> Option<&Arc<Route>> {
        let behind = self.0.partition_point(|below| below.prefix.as_str() <= path);
        let mut at = self.0.get(behind.checked_sub(1)?)?;
        while !path.starts_with(&at.prefix) {
            at = &self.0[at.above?];
        }
        Some(&at.route)
    }
}
