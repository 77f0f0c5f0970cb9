//! Texts with variables: nginx's as ours write them, and which of its variables there are here.

use std::collections::BTreeSet;

use super::scope::Scope;
use super::tree::Directive;
use crate::config::template::Template;

/// The variables that the configuration declares itself.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Of maps, in lower case.
    maps: BTreeSet<String>,
    /// Named groups of regular expressions.
    groups: BTreeSet<String>,
    /// What `auth_request_set` sets, in lower case.
    told: BTreeSet<String>,
}

impl Names {
    /// Those of the named groups in a tree, and of what answers to `auth_request` say.
    pub(super) fn of(tree: &[Directive]) -> Self {
        let mut names = Self::default();
        tree.iter().for_each(|directive| names.note_groups(directive));
        tree.iter().for_each(|directive| names.note_told(directive));
        names
    }

    fn note_groups(&mut self, directive: &Directive) {
        for text in directive.texts().chain([directive.name.as_str()]) {
            for begin in ["(?<", "(?P<"] {
                let groups = text.split(begin).skip(1).filter_map(|rest| rest.split_once('>'));
                let names = groups.map(|(name, _)| name).filter(|name| is_name(name));
                self.groups.extend(names.map(str::to_owned));
            }
        }
        directive.inside().iter().for_each(|inner| self.note_groups(inner));
    }

    fn note_told(&mut self, directive: &Directive) {
        if directive.name == "auth_request_set" {
            let name = directive.arg(0).trim_start_matches('$').to_ascii_lowercase();
            if is_name(&name) && !self.is_known(&name) && !is_ours(&name) {
                self.told.insert(name);
            }
        }
        directive.inside().iter().for_each(|inner| self.note_told(inner));
    }

    /// Whether answers to `auth_request` say what a variable is.
    pub(super) fn is_told(&self, name: &str) -> bool {
        self.told.contains(&name.to_ascii_lowercase())
    }

    /// All of which they say it.
    pub(super) fn told(&self) -> impl Iterator<Item = &String> {
        self.told.iter()
    }

    /// Declares a map under its own name; `None` where it cannot have it.
    pub(super) fn declare(&mut self, name: &str) -> Option<String> {
        let free = is_name(name) && !self.is_known(name) && !is_ours(name);
        free.then(|| self.maps.insert(name.to_ascii_lowercase())).map(|_| name.to_owned())
    }

    /// A name for a map that nobody has yet.
    pub(super) fn unique(&mut self, base: &str) -> String {
        let mut name = base.to_owned();
        let mut number = 1;
        while self.declare(&name).is_none() {
            number += 1;
            name = format!("{base}_{number}");
        }
        name
    }

    fn is_known(&self, name: &str) -> bool {
        let lower = name.to_ascii_lowercase();
        self.maps.contains(&lower) || self.told.contains(&lower) || self.groups.contains(name)
    }

    /// A text of nginx as ours write it, with what `set` made of variables in their places.
    ///
    /// # Errors
    /// Say so: a variable that there is not here.
    pub(super) fn text(&self, text: &str, scope: &Scope<'_>) -> Result<String, String> {
        self.replaced(text, scope, Err)
    }

    /// The same with `missing` where there is no such variable here, and the names of those.
    pub(super) fn text_without(
        &self,
        text: &str,
        scope: &Scope<'_>,
        missing: &str,
    ) -> (String, Vec<String>) {
        let mut unknown = Vec::new();
        let told = self.replaced(text, scope, |why| {
            let name = why.split('$').nth(1).and_then(|rest| rest.split('`').next());
            unknown.extend(name.map(str::to_owned));
            Ok(missing.to_owned())
        });
        (told.unwrap_or_default(), unknown)
    }

    fn replaced(
        &self,
        text: &str,
        scope: &Scope<'_>,
        mut missing: impl FnMut(String) -> Result<String, String>,
    ) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            out.push_str(&rest[..dollar]);
            let (name, behind) = variable(&rest[dollar + 1..])
                .ok_or_else(|| format!("`{text}` has a `$` without a name"))?;
            match scope.variables.get(name) {
                // What goes on behind it must not become part of a name.
                Some(value) => out.push_str(&braced(value, behind)),
                None => {
                    let shown = self.reference(name, behind, scope).or_else(&mut missing)?;
                    out.push_str(&shown);
                }
            }
            rest = behind;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// The same for a text that must be the same for all requests.
    pub(super) fn literal(&self, text: &str, scope: &Scope<'_>) -> Result<String, String> {
        let text = self.text(text, scope)?;
        if text.contains('$') { Err("variables do not count here".to_owned()) } else { Ok(text) }
    }

    fn reference(&self, name: &str, behind: &str, scope: &Scope<'_>) -> Result<String, String> {
        let is_capture = matches!(name.as_bytes(), [b'1'..=b'9']);
        if is_capture || self.is_known(name) || is_ours(name) {
            return Ok(if behind.starts_with(is_part) {
                format!("${{{name}}}")
            } else {
                format!("${name}")
            });
        }
        // An alias stands for a part of the path only.
        let root = scope.word("root").filter(|_| scope.one("alias").is_none());
        let root = root.filter(|root| !OF_ROOT.iter().any(|of_root| root.contains(of_root)));
        match (name, root) {
            ("document_root" | "realpath_root", Some(root)) => {
                Ok(braced(&self.text(root, scope)?, behind))
            }
            ("request_filename", Some(root)) => {
                let root = self.text(root, scope)?;
                Ok(braced(&format!("{root}$uri"), behind))
            }
            _ => Err(format!("there is no variable `${name}` here")),
        }
    }
}

/// Variables that are made of the root, which has none of them.
const OF_ROOT: [&str; 3] = ["document_root", "realpath_root", "request_filename"];

/// The name behind a `$`, and what comes behind that.
fn variable(text: &str) -> Option<(&str, &str)> {
    if let Some(inside) = text.strip_prefix('{') {
        let (name, behind) = inside.split_once('}')?;
        return Some((name, behind));
    }
    // nginx: a capture is one digit, whatever follows.
    let end = match text.as_bytes().first() {
        Some(b'1'..=b'9') => 1,
        _ => text.find(|c| !is_part(c)).unwrap_or(text.len()),
    };
    (end > 0).then(|| text.split_at(end))
}

/// A value that ends with a variable, so that `behind` can stand behind it.
fn braced(value: &str, behind: &str) -> String {
    let Some((before, name)) = value.rsplit_once('$') else { return value.to_owned() };
    if behind.starts_with(is_part) && !name.is_empty() && name.chars().all(is_part) {
        return format!("{before}${{{name}}}");
    }
    value.to_owned()
}

/// Whether Larder has a variable of this name itself.
fn is_ours(name: &str) -> bool {
    is_name(name) && Template::compile(&format!("${name}")).is_ok()
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_part) && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::Names;
    use crate::import::scope::{Level, Scope};
    use crate::import::tree::parse;

    #[test]
    #[rustfmt::skip]
    fn variables_are_written_as_ours_are() {
        check("http://$host/x",       Ok("http://$host/x"));
        check("${host}name",          Ok("${host}name"));
        check("$1last",               Ok("${1}last"));
        check("$1/$2",                Ok("$1/$2"));
        check("$own-$sub",            Ok("$own-$sub"));
        check("$skip",                Ok("$skip_4"));
        check("${skip}x",             Ok("${skip_4}x"));
        check("$zero$zero",           Ok("00"));
        check("$document_root/a",     Ok("/var/www/a"));
        check("$request_filename",    Ok("/var/www$uri"));
        check("${request_filename}x", Ok("/var/www${uri}x"));
        check("$tcpinfo_rtt", Err("there is no variable `$tcpinfo_rtt` here"));
        check("a$",                   Err("`a$` has a `$` without a name"));

        #[track_caller]
        fn check(text: &str, expected: Result<&str, &str>) {
            let tree = parse("root /var/www; server_name ~^(?<sub>.+)$;");
            let mut names = Names::of(&tree);
            names.declare("own").unwrap();
            let mut scope = Scope::new(Level::Http, &tree, None);
            scope.variables.insert("skip".into(), "$skip_4".into());
            scope.variables.insert("zero".into(), "0".into());
            let read = names.text(text, &scope);
            assert_eq!(read.as_deref().map_err(String::as_str), expected, "{text}");
        }
    }

    #[test]
    fn names_of_maps_are_nobody_elses() {
        let mut names = Names::of(&parse("server_name ~^(?<sub>.+)$;"));
        assert_eq!(names.unique("if_3"), "if_3");
        assert_eq!(names.unique("if_3"), "if_3_2");
        assert_eq!(names.unique("host"), "host_2");
        assert_eq!(names.unique("sub"), "sub_2");
    }
}
