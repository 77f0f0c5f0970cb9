//! Access logs: `[log]`, `[access_log.NAME]`, and which of them a part has. (nginx: access_log,
//! log_format)

use super::Import;
use super::document::{Section, Value};
use super::scope::{Level, Scope};
use super::tree::Directive;
use crate::config::units;

/// A log that parts name.
pub(super) struct Declared {
    name: String,
    keys: Vec<(String, Value)>,
    pub section: Section,
}

/// The one log of `http`, as that of all routes. Several of them, and those with a condition, are
/// declared and named: `named`.
pub(super) fn for_all<'a>(import: &mut Import<'a>, scope: &Scope<'a>, log: &mut Section) {
    let own = scope.own(&["access_log"]);
    let [directive] = own.as_slice() else { return };
    if is_conditional(directive) {
        return;
    }
    let value = match table(import, scope, directive) {
        Ok(None) => Value::text("off"),
        Ok(Some(entries)) => Value::Table(entries),
        Err(why) => return import.verdicts.unsupported(directive, &why),
    };
    log.set("access", value, &[directive]);
}

/// `access_log` of a level.
pub(super) fn named<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let directives = scope.effective(&["access_log"]);
    let is_for_all = |one: &&Directive| directives.len() == 1 && !is_conditional(one);
    if scope.level == Level::Http && directives.iter().all(is_for_all) {
        return;
    }
    let mut logs = Vec::new();
    for directive in &directives {
        match table(import, scope, directive) {
            Ok(None) => logs.clear(),
            Ok(Some(entries)) => {
                let name = declared(import, directive, entries);
                logs.push(reference(import, scope, directive, name));
            }
            Err(why) => import.verdicts.unsupported(directive, &why),
        }
    }
    let value = match logs.len() {
        0 => Value::text("off"),
        1 if matches!(logs[0], Value::Text(_)) => logs.remove(0),
        _ => Value::List(logs),
    };
    section.set("access_log", value, &directives);
}

fn is_conditional(directive: &Directive) -> bool {
    directive.texts().skip(1).any(|text| text.starts_with("if="))
}

/// The name alone, or with the condition.
fn reference(
    import: &mut Import<'_>,
    scope: &Scope<'_>,
    directive: &Directive,
    name: String,
) -> Value {
    let condition = directive.texts().skip(1).find_map(|text| text.strip_prefix("if="));
    match condition.map(|text| import.names.text(text, scope)) {
        None => Value::Text(name),
        Some(Ok(when)) => Value::table([("to", Value::Text(name)), ("when", Value::Text(when))]),
        Some(Err(why)) => {
            import.verdicts.differs(directive, &format!("in any case: {why}"));
            Value::Text(name)
        }
    }
}

/// The keys of a log; nothing for `off`.
fn table(
    import: &mut Import<'_>,
    scope: &Scope<'_>,
    directive: &Directive,
) -> Result<Option<Vec<(String, Value)>>, String> {
    let path = directive.arg(0);
    if path == "off" {
        import.verdicts.exact(directive);
        return Ok(None);
    }
    if path.starts_with("syslog:") || path.contains('$') {
        return Err("write to one file or to standard output: `path = \"-\"`".to_owned());
    }
    let path = match path {
        "/dev/stdout" => "-".to_owned(),
        path => import.paths.below(path),
    };
    import.verdicts.exact(directive);
    let mut entries = vec![("path".to_owned(), Value::Text(path))];
    let mut name = "combined";
    let mut others = Vec::new();
    for text in directive.texts().skip(1) {
        let read = text.split_once('=');
        match read {
            None if text != "gzip" => name = text,
            Some(("if", _)) => {}
            Some(("buffer", size)) if units::size(size).is_ok_and(|size| size <= 1 << 30) => {
                others.push(("buffer".to_owned(), Value::text(size)));
            }
            Some(("flush", time)) if units::duration(time).is_ok_and(|time| !time.is_zero()) => {
                others.push(("flush".to_owned(), Value::text(time)));
            }
            _ => import.verdicts.differs(directive, &format!("without `{text}`")),
        }
    }
    entries.extend(format(import, scope, directive, name));
    entries.extend(others);
    Ok(Some(entries))
}

/// `format`, and `escape` where it is not the usual one.
fn format(
    import: &mut Import<'_>,
    scope: &Scope<'_>,
    directive: &Directive,
    name: &str,
) -> Vec<(String, Value)> {
    let combined = || vec![("format".to_owned(), Value::text("combined"))];
    if name == "combined" {
        return combined();
    }
    let formats = scope.outermost().own(&["log_format"]);
    let Some(written) = formats.into_iter().find(|format| format.arg(0) == name) else {
        import.verdicts.differs(directive, &format!("as `combined`: there is no format `{name}`"));
        return combined();
    };
    import.verdicts.exact(written);
    let texts: Vec<&str> = written.texts().skip(1).collect();
    let (escape, texts) = match texts.split_first() {
        Some((first, others)) if first.starts_with("escape=") => (&first[7..], others),
        _ => ("default", texts.as_slice()),
    };
    let missing = if escape == "default" { "-" } else { "" };
    let (text, unknown) = import.names.text_without(&texts.concat(), scope, missing);
    if !unknown.is_empty() {
        let unknown: Vec<_> = unknown.iter().map(|name| format!("`${name}`")).collect();
        let how = format!("there is no {} here", unknown.join(", "));
        import.verdicts.differs(written, &how);
    }
    if !text.contains('$') {
        import.verdicts.differs(directive, "as `combined`: the format has no variables");
        return combined();
    }
    let mut entries = vec![("format".to_owned(), Value::Text(text))];
    if ["json", "none"].contains(&escape) {
        entries.push(("escape".to_owned(), Value::text(escape)));
    }
    entries
}

/// The name of a log with these keys, which is declared if there is none yet.
fn declared<'a>(
    import: &mut Import<'a>,
    directive: &Directive,
    entries: Vec<(String, Value)>,
) -> String {
    if let Some(log) = import.logs.iter().find(|log| log.keys == entries) {
        return log.name.clone();
    }
    let file = directive.arg(0).rsplit('/').next().unwrap_or_default();
    let file = file.strip_suffix(".log").unwrap_or(file);
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
    let base: String = file.chars().map(plain).collect();
    let base = if base.is_empty() || base == "off" { "log".to_owned() } else { base };
    let mut name = base.clone();
    let mut number = 1;
    while import.logs.iter().any(|log| log.name == name) {
        number += 1;
        name = format!("{base}_{number}");
    }
    let mut section = Section::new(format!("access_log.{name}"));
    for (key, value) in &entries {
        section.set(key, value.clone(), &[]);
    }
    section.note_of(directive);
    import.logs.push(Declared { name: name.clone(), keys: entries, section });
    name
}

#[cfg(test)]
mod tests {
    use crate::import::fixtures::{toml, verdict};
    use crate::import::report::Verdict;

    #[test]
    fn a_log_of_a_part_is_declared_and_named_there() {
        let toml = toml(
            "http { log_format main '$remote_addr $request_time ' '\"$request\" $gzip_ratio'; log_format j escape=json '{\"s\":\"$status\"}';
            access_log /a.log main; map $status $bad { ~^[23] 0; default 1; }
            server { access_log /s.log j buffer=8k if=$bad; access_log /a.log main;
                     location / { access_log off; return 200; } location /b { access_log /s.log j buffer=8k; return 200; } } }",
        );
        for expected in [
            "access = { path = \"/a.log\", format = '$remote_addr $request_time \"$request\" -' }",
            "[access_log.s]\npath = \"/s.log\"\nformat = '{\"s\":\"$status\"}'\nescape = \"json\"\nbuffer = \"8k\"\n",
            "access_log = [{ to = \"s\", when = \"$bad\" }, \"a\"]",
            "access_log = \"off\"",
            "access_log = \"s\"",
        ] {
            assert!(toml.contains(expected), "{expected}: {toml}");
        }
        assert_eq!(toml.matches("[access_log.").count(), 2, "{toml}");
    }

    #[test]
    #[rustfmt::skip]
    fn what_is_not_logged_as_it_was_is_told() {
        let http = |text: &str| format!("http {{ {text} server {{ location / {{ return 200; }} }} }}");
        assert_eq!(verdict(&http("access_log syslog:server=a;"), "access_log"), Verdict::Unsupported);
        assert_eq!(verdict(&http("access_log /a none;"), "access_log"), Verdict::Differs);
        assert_eq!(verdict(&http("access_log /a combined gzip=3;"), "access_log"), Verdict::Differs);
        assert_eq!(verdict(&http("log_format m $gzip_ratio$host; access_log /a m;"), "log_format"), Verdict::Differs);
        assert_eq!(verdict(&http("log_format m $host; access_log /a m if=$arg_x;"), "access_log"), Verdict::Exact);
        assert_eq!(verdict(&http("log_format m $host;"), "log_format"), Verdict::Exact);
    }
}
