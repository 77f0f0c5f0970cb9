//! A level of nginx's configuration with those around it: what is inherited. (nginx: http, server,
//! location)

use std::collections::BTreeMap;
use std::rc::Rc;

use super::tree::Directive;

/// What stands at a level, and around it.
#[derive(Clone, Debug)]
pub(super) struct Scope<'a> {
    pub level: Level,
    own: Vec<&'a Directive>,
    outer: Option<Rc<Scope<'a>>>,
    /// What `set` made of variables, as texts of ours; the digits are captures of an `if`.
    pub variables: BTreeMap<String, String>,
    /// The path that all its requests have, where that is one.
    pub path: Option<String>,
}

/// Where a directive stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Http,
    Server,
    Location,
}

impl<'a> Scope<'a> {
    /// The level of a block within `outer`.
    pub(super) fn new(level: Level, block: &'a [Directive], outer: Option<&Rc<Self>>) -> Self {
        let variables = outer.map(|outer| outer.variables.clone()).unwrap_or_default();
        Self { level, own: block.iter().collect(), outer: outer.cloned(), variables, path: None }
    }

    /// Another block of the same level.
    pub(super) fn add(&mut self, block: &'a [Directive]) {
        self.own.extend(block);
    }

    /// All that stands at this very level, in its order.
    pub(super) fn whole(&self) -> impl Iterator<Item = &'a Directive> {
        self.own.iter().copied()
    }

    /// The directives of these names at this very level, in their order.
    pub(super) fn own(&self, names: &[&str]) -> Vec<&'a Directive> {
        let named = |directive: &&&Directive| names.contains(&directive.name.as_str());
        self.own.iter().filter(named).copied().collect()
    }

    /// The directives of these names that count here: nginx takes those of the innermost level that
    /// has any.
    pub(super) fn effective(&self, names: &[&str]) -> Vec<&'a Directive> {
        let own = self.own(names);
        match &self.outer {
            Some(outer) if own.is_empty() => outer.effective(names),
            _ => own,
        }
    }

    /// The one of this name that counts here.
    pub(super) fn one(&self, name: &str) -> Option<&'a Directive> {
        self.effective(&[name]).last().copied()
    }

    /// Its first word.
    pub(super) fn word(&self, name: &str) -> Option<&'a str> {
        self.one(name).map(|directive| directive.arg(0))
    }

    /// Whether one of these names has to be written at this level of ours: it stands here, or in a
    /// location around this one, since those within others become routes beside them.
    pub(super) fn touches(&self, names: &[&str]) -> bool {
        if !self.own(names).is_empty() {
            return true;
        }
        let outer = self.outer.as_ref().filter(|outer| outer.level == self.level);
        outer.is_some_and(|outer| outer.touches(names))
    }

    /// The level of `http`.
    pub(super) fn outermost(&self) -> &Self {
        self.outer.as_deref().map_or(self, Self::outermost)
    }

    /// The directives of this name here and at all levels around, the innermost first.
    pub(super) fn all(&self, name: &str) -> Vec<&'a Directive> {
        let mut all = self.own(&[name]);
        all.extend(self.outer.iter().flat_map(|outer| outer.all(name)));
        all
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::{Level, Scope};
    use crate::import::tree::parse;

    #[test]
    fn the_innermost_level_that_has_any_counts_and_counts_alone() {
        let tree = parse(
            "add_header A 1; root /r; server { add_header B 1; add_header C 1; location / { root /l; location /x { } } }",
        );
        let http = Rc::new(Scope::new(Level::Http, &tree, None));
        let server = Rc::new(Scope::new(Level::Server, tree[2].inside(), Some(&http)));
        let location = &server.own(&["location"])[0];
        let outer = Rc::new(Scope::new(Level::Location, location.inside(), Some(&server)));
        let inner = Scope::new(Level::Location, location.inside()[1].inside(), Some(&outer));
        let names: Vec<_> = inner.effective(&["add_header"]).iter().map(|d| d.arg(0)).collect();
        assert_eq!(names, ["B", "C"]);
        assert_eq!(inner.word("root"), Some("/l"));
        assert!(inner.touches(&["root"]) && !inner.touches(&["add_header"]));
        assert!(server.touches(&["add_header"]) && !server.touches(&["root"]));
        assert_eq!(inner.all("add_header").len(), 3);
    }
}
