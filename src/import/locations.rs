//! `[[site.route]]`: locations, those within others beside them. (nginx: location)

use std::collections::BTreeSet;
use std::rc::Rc;

use super::Import;
use super::document::{Section, Value};
use super::headers::expression;
use super::rewrites;
use super::routes;
use super::scope::{Level, Scope};
use super::tree::Directive;

/// For which paths a location is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Path {
    Prefix(String),
    Final(String),
    Exact(String),
    /// As it is written, `~` or `~*` first.
    Regex(String),
    Named(String),
}

/// The routes of a server, in the order in which they are tried.
pub(super) fn write<'a>(
    import: &mut Import<'a>,
    server: &Rc<Scope<'a>>,
    answer: Option<&'a Directive>,
    site: &mut Section,
) {
    let locations = server.own(&["location"]);
    if let Some(answer) = answer {
        for location in locations {
            unreached(import, location, "never reached: the `return` of the server answers");
        }
        let mut section = Section::new("[site.route]");
        section.set("path", Value::text("/"), &[]);
        routes::answered(import, server, answer, &mut section);
        site.push(section);
        return;
    }
    let mut found = Vec::new();
    for location in &locations {
        collect(import, server, location, None, &mut found);
    }
    let is_regex = |one: &Found<'_>| matches!(one.path, Path::Regex(_));
    // nginx tries those within a prefix before those beside it.
    if found.iter().any(|one| is_regex(one) && one.depth > 0) {
        found.sort_by_key(|one| if is_regex(one) { (0, usize::MAX - one.depth) } else { (1, 0) });
    }
    import.named = found
        .iter()
        .filter_map(|one| if let Path::Named(name) = &one.path { Some(name.clone()) } else { None })
        .collect();
    let mut taken = BTreeSet::new();
    let mut has_root = false;
    for one in found {
        let shown = one.path.shown();
        if !taken.insert(shown.trim_start_matches("^~ ").to_owned()) {
            unreached(import, one.directive, "never reached: another one is for this path");
            continue;
        }
        has_root |= matches!(&one.path, Path::Prefix(path) | Path::Final(path) if path == "/");
        let mut section = Section::new("[site.route]");
        section.note_of(one.directive);
        section.set("path", Value::Text(shown), &[]);
        if !one.within.is_empty() {
            section.set("within", Value::texts(one.within), &[]);
        }
        routes::write(import, one.scope, &one.path, &mut section);
        site.push(section);
    }
    if !has_root {
        let mut section = Section::new("[site.route]");
        section.note("what no location is for");
        section.set("path", Value::text("/"), &[]);
        routes::rest(import, server, &mut section);
        site.push(section);
    }
}

/// A location as it becomes a route.
struct Found<'a> {
    directive: &'a Directive,
    scope: Scope<'a>,
    path: Path,
    /// How many it stands within.
    depth: usize,
    /// The prefixes below which it is tried.
    within: Vec<String>,
}

fn collect<'a>(
    import: &mut Import<'a>,
    outer: &Rc<Scope<'a>>,
    directive: &'a Directive,
    around: Option<(&Directive, usize)>,
    found: &mut Vec<Found<'a>>,
) {
    let path = match Path::of(directive).and_then(|path| path.within(around)) {
        Ok(path) => path,
        Err(why) => return import.verdicts.unsupported_whole(directive, &why),
    };
    import.verdicts.exact(directive);
    let mut scope = Scope::new(Level::Location, directive.inside(), Some(outer));
    if let Path::Exact(path) = &path
        && !rewrites::has_any(directive)
    {
        scope.path = Some(path.clone());
    }
    let shared = Rc::new(scope.clone());
    let within = match (&path, around) {
        (Path::Regex(_), Some((outer, _))) => prefixes(outer),
        _ => Vec::new(),
    };
    let depth = around.map_or(0, |(_, depth)| depth);
    found.push(Found { directive, scope, path: path.clone(), depth, within });
    for inner in shared.own(&["location"]) {
        collect(import, &shared, inner, Some((directive, depth + 1)), found);
    }
}

/// The prefix of a location, and those of the locations within it: nginx tries expressions within it
/// for all of these.
fn prefixes(directive: &Directive) -> Vec<String> {
    let own = match Path::of(directive) {
        Ok(Path::Prefix(path) | Path::Final(path)) => Some(path),
        _ => None,
    };
    let within = directive.inside().iter().filter(|inner| inner.name == "location");
    own.into_iter().chain(within.flat_map(prefixes)).collect()
}

/// What nginx never gets to is carried over by leaving it out.
pub(super) fn unreached(import: &mut Import<'_>, directive: &Directive, why: &str) {
    import.verdicts.needless(directive, why);
    directive.inside().iter().for_each(|inner| unreached(import, inner, why));
}

impl Path {
    fn of(directive: &Directive) -> Result<Self, String> {
        let (sign, text) = match (directive.args.len(), directive.arg(0)) {
            (2, sign) => (sign, directive.arg(1)),
            // nginx: the sign may touch what it is for.
            (_, text) => {
                let sign =
                    ["=", "^~", "~*", "~", "@"].into_iter().find(|sign| text.starts_with(sign));
                let sign = sign.unwrap_or("");
                (sign, &text[sign.len()..])
            }
        };
        let path = match sign {
            "" => Self::Prefix(text.to_owned()),
            "=" => Self::Exact(text.to_owned()),
            "^~" => Self::Final(text.to_owned()),
            "@" => return Ok(Self::Named(text.to_owned())),
            "~" | "~*" => {
                expression(text, sign == "~*")?;
                return Ok(Self::Regex(format!("{sign} {text}")));
            }
            _ => return Err(format!("`{sign}` is no way to compare paths")),
        };
        if text.starts_with('/') && !text.contains(['?', '#']) {
            return Ok(path);
        }
        Err("no request has such a path".to_owned())
    }

    /// The same as a route beside the location that it stands in.
    fn within(self, around: Option<(&Directive, usize)>) -> Result<Self, String> {
        let Some(outer) = around.and_then(|(outer, _)| Self::of(outer).ok()) else {
            return Ok(self);
        };
        match (&self, outer) {
            (_, Self::Regex(_)) => {
                Err("within a regular expression there is no route here".to_owned())
            }
            (Self::Regex(_), Self::Exact(_) | Self::Named(_)) => {
                Err("only within a prefix there are regular expressions here".to_owned())
            }
            _ => Ok(self),
        }
    }

    /// As ours write it.
    fn shown(&self) -> String {
        match self {
            Self::Prefix(path) | Self::Regex(path) => path.clone(),
            Self::Final(path) => format!("^~ {path}"),
            Self::Exact(path) => format!("= {path}"),
            Self::Named(name) => format!("@{name}"),
        }
    }

    /// Whether it is a text that a path has or begins with.
    pub(super) fn is_literal(&self) -> bool {
        !matches!(self, Self::Regex(_) | Self::Named(_))
    }
}

#[cfg(test)]
mod tests {
    use crate::import::fixtures::{toml, verdict};
    use crate::import::report::Verdict;

    fn paths(text: &str) -> Vec<String> {
        let toml = toml(&format!("http {{ server {{ server_name a; {text} }} }}"));
        let lines = toml.lines().filter_map(|line| line.strip_prefix("path"));
        lines.map(|line| line.trim_start_matches([' ', '=']).to_owned()).collect()
    }

    #[test]
    #[rustfmt::skip]
    fn locations_are_routes_and_those_within_stand_beside() {
        assert_eq!(paths("location / { return 200; location = /a { return 200; } }"), ["\"/\"", "\"= /a\""]);
        assert_eq!(paths("location =/x { return 200; } location ~*\\.png$ { return 200; } location ^~ /s { return 200; }"),
                   ["\"= /x\"", "'~* \\.png$'", "\"^~ /s\"", "\"/\""]);
        assert_eq!(paths("location ~ ^/z { return 200; } location /a/ { return 200; location ~ \\.php$ { return 200; } } location @n { return 200; }"),
                   ["'~ \\.php$'", "\"~ ^/z\"", "\"/a/\"", "\"@n\"", "\"/\""]);
    }

    #[test]
    fn expressions_within_a_prefix_are_tried_for_it_and_for_what_is_within_it() {
        let toml = toml(
            "http { server { location ^~ /a/ { return 200; location ~ x { return 200; } location /a/b/ { return 200; location ~ y { return 200; } } } location ~ z { return 200; } } }",
        );
        let lines =
            toml.lines().filter(|line| line.starts_with("within") || line.starts_with("path"));
        let lines: Vec<_> =
            lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines[..6],
            [
                "path = \"~ y\"",
                "within = [\"/a/b/\"]",
                "path = \"~ x\"",
                "within = [\"/a/\", \"/a/b/\"]",
                "path = \"~ z\"",
                "path = \"^~ /a/\"",
            ]
        );
    }

    #[test]
    #[rustfmt::skip]
    fn what_is_no_route_is_told() {
        let site = |text: &str| format!("http {{ server {{ {text} }} }}");
        assert_eq!(verdict(&site("location ~ ^/a(b { return 200; }"), "location"), Verdict::Unsupported);
        assert_eq!(verdict(&site("location ~ ^/a(?!b) { return 200; }"), "location"), Verdict::Exact);
        assert_eq!(verdict(&site("location ~ ^/a { location ~ b { return 200; } }"), "location ~ b"), Verdict::Unsupported);
        assert_eq!(verdict(&site("return 200; location /a { return 404; }"), "location"), Verdict::Exact);
        assert_eq!(verdict(&site("location /a/ { location ~ b { return 200; } }"), "location ~ b"), Verdict::Exact);
    }
}
