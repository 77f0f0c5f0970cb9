//! Variables of the operator's own. (nginx: map)

use super::Import;
use super::document::{Section, Value};
use super::headers::expression;
use super::scope::Scope;
use super::tree::Directive;

/// `[map.NAME]` of all that are declared. Names first: one may need another.
pub(super) fn write<'a>(import: &mut Import<'a>, http: &Scope<'a>) {
    let mut named = Vec::new();
    for directive in http.own(&["map"]) {
        let name = directive.arg(1).trim_start_matches('$');
        match import.names.declare(name) {
            Some(name) => named.push((name, directive)),
            None => import.verdicts.unsupported_whole(
                directive,
                "there is a variable of this name already: give it another one",
            ),
        }
    }
    for (name, directive) in named {
        let section = map(import, http, &name, directive);
        import.maps.push(section);
    }
}

fn map<'a>(import: &mut Import<'a>, http: &Scope<'a>, name: &str, map: &'a Directive) -> Section {
    let mut section = Section::new(format!("map.{name}"));
    section.note_of(map);
    match import.names.text(map.arg(0), http) {
        Ok(key) => {
            section.set("key", Value::Text(key), &[]);
            import.verdicts.exact(map);
        }
        Err(why) => {
            section.set("key", Value::text(""), &[]);
            import.verdicts.unsupported(map, &format!("{why}: it always has its default"));
        }
    }
    let mut values: Vec<(String, Value)> = Vec::new();
    for line in map.inside() {
        if let ("hostnames" | "volatile", 0) = (line.name.as_str(), line.args.len()) {
            if line.name == "hostnames" {
                section.set("hostnames", Value::Flag(true), &[]);
            }
            import.verdicts.exact(line);
            continue;
        }
        let value = match import.names.text(line.arg(0), http) {
            Ok(value) => Value::Text(value),
            Err(why) => {
                import.verdicts.unsupported(line, &why);
                continue;
            }
        };
        if line.name == "default" {
            section.set("default", value, &[]);
            import.verdicts.exact(line);
            continue;
        }
        match key(&line.name) {
            Ok(key) if values.iter().any(|(known, _)| known.eq_ignore_ascii_case(&key)) => {
                import.verdicts.needless(line, "never counts: stands here twice");
            }
            Ok(key) => {
                values.push((key, value));
                import.verdicts.exact(line);
            }
            Err(why) => import.verdicts.unsupported(line, &why),
        }
    }
    section.set("values", Value::Table(values), &[]);
    section
}

/// What is compared, as ours write it.
fn key(text: &str) -> Result<String, String> {
    if let Some(pattern) = text.strip_prefix('~') {
        let any_case = pattern.strip_prefix('*');
        expression(any_case.unwrap_or(pattern), any_case.is_some())?;
        return Ok(text.to_owned());
    }
    // nginx: a backslash stands before what would mean something else.
    let plain = text.strip_prefix('\\').unwrap_or(text);
    Ok(if plain.starts_with(['~', '\\']) { format!("\\{plain}") } else { plain.to_owned() })
}

#[cfg(test)]
mod tests {
    use crate::import::fixtures::{toml, verdict};
    use crate::import::report::Verdict;

    #[test]
    fn a_map_is_a_table_of_its_values() {
        let toml = toml(
            "http { map $http_upgrade $connection_upgrade { default upgrade; '' close; }
            map $host $tier { hostnames; *.example.com gold; ~^(?<x>a+)$ $x; \\default $connection_upgrade; } }",
        );
        for expected in [
            "[map.connection_upgrade]\nkey = \"$http_upgrade\"\ndefault = \"upgrade\"\nvalues = { \"\" = \"close\" }\n",
            "hostnames = true\nvalues = { \"*.example.com\" = \"gold\", \"~^(?<x>a+)$\" = \"$x\", default = \"$connection_upgrade\" }\n",
        ] {
            assert!(toml.contains(expected), "{expected}: {toml}");
        }
    }

    #[test]
    fn what_cannot_be_compared_is_told_by_its_line() {
        let text = "http { map $uri $a { ~^(x 1; /b 2; } }";
        assert_eq!(verdict(text, "~^(x"), Verdict::Unsupported);
        assert_eq!(verdict(text, "/b"), Verdict::Exact);
        assert_eq!(verdict("http { map $uri $host { /a 1; } }", "/a"), Verdict::Unsupported);
    }
}
