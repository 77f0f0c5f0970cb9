//! Files of folders. (nginx: root, alias, index, try_files, autoindex, gzip_static)

use super::Import;
use super::document::{Section, Value};
use super::kinds;
use super::locations::Path;
use super::scope::{Level, Scope};
use super::settings;
use super::tree::Directive;

/// A location that nothing but files answers.
pub(super) fn write<'a>(
    import: &mut Import<'a>,
    scope: &Scope<'a>,
    path: &Path,
    section: &mut Section,
) {
    // Those of a server are in `[site.defaults]` already.
    if scope.level == Level::Location {
        settings::write(import, scope, section);
    }
    let Some(root) = scope.effective(&["root", "alias"]).last().copied() else {
        section.note("nginx would look into its own folder `html`");
        section.set("respond", Value::Number(404), &[]);
        return;
    };
    let folder = match folder(import, scope, path, root) {
        Ok(folder) => folder,
        Err(why) => {
            import.verdicts.unsupported(root, &format!("{why}; answered with 501"));
            section.set("respond", Value::Number(501), &[root]);
            return;
        }
    };
    match is_as_in_nginx(&folder, names_file(path, root)) {
        true => import.verdicts.exact(root),
        false => {
            import.verdicts.differs(root, "404 where a folder in it comes out empty or as `..`")
        }
    }
    let mut from = vec![root];
    let mut table = vec![(root.name.clone(), Value::Text(folder))];
    // Those of http and of the server are in their defaults.
    let is_own = |names: &[&str]| scope.level == Level::Location && scope.touches(names);
    for (names, read) in KEYS.iter().filter(|(names, _)| is_own(names)) {
        let directives = scope.effective(names);
        if let Some((key, value)) = read(import, scope, &directives) {
            table.push((key.to_owned(), value));
            from.extend(directives);
        }
    }
    // Those of a location are for no other one.
    if let Some(tries) = scope.own(&["try_files"]).last().copied() {
        match try_files(import, scope, tries) {
            Ok(_) if names_file(path, root) => {
                import.verdicts.unsupported(tries, "the `alias` says which file answers");
            }
            Ok(value) => {
                table.insert(1, ("try_files".to_owned(), value));
                from.push(tries);
                import.verdicts.exact(tries);
            }
            Err(why) => import.verdicts.unsupported(tries, &why),
        }
    }
    import.uses_types = true;
    section.set("static", Value::Table(table), &from);
}

/// The folder as ours write it.
///
/// # Errors
/// Say so: it is not known how it begins.
fn folder(
    import: &Import<'_>,
    scope: &Scope<'_>,
    path: &Path,
    root: &Directive,
) -> Result<String, String> {
    let text = import.names.text(root.arg(0), scope)?;
    if root.name == "alias" && !path.is_literal() && !names_file(path, root) {
        return Err("`alias` stands for what a path begins with".to_owned());
    }
    let Some(name) = text.strip_prefix('$') else { return Ok(import.paths.below(&text)) };
    let names_paths = |map: &Directive| {
        let paths = map.inside().iter().filter(|line| !line.args.is_empty());
        paths.into_iter().all(|line| line.arg(0).starts_with('/') && !line.arg(0).contains('$'))
    };
    let maps = scope.outermost().own(&["map"]);
    let begins = |map: &&Directive| {
        let own = map.arg(1).trim_start_matches('$');
        name.split('/').next() == Some(own) && names_paths(map)
    };
    match maps.iter().any(begins) {
        true => Ok(text),
        false => Err("it begins with what a request says".to_owned()),
    }
}

/// Whether it is the file that answers, and not the folder that has it.
fn names_file(path: &Path, root: &Directive) -> bool {
    root.name == "alias" && matches!(path, Path::Regex(_)) && root.arg(0).contains('$')
}

/// Whether nothing can come out of the variables that nginx would take and we do not.
fn is_as_in_nginx(folder: &str, names_file: bool) -> bool {
    folder.split('$').skip(1).all(|rest| {
        let rest = rest.trim_start_matches('{');
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let name = &rest[..end.unwrap_or(rest.len())];
        // What a path or a host has no request makes `..` of.
        let is_capture = name.starts_with(|c: char| c.is_ascii_digit());
        ["host", "server_name"].contains(&name) || names_file && is_capture
    })
}

/// `static` of the defaults: what files of a level have in common, and what `return` says with them.
/// The types are many, so they are left out where nothing goes by them.
pub(super) fn defaults<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    for (names, read) in KEYS.iter().filter(|(names, _)| scope.touches(names)) {
        let directives = scope.effective(names);
        let is_wanted = import.uses_types || *names != ["types"];
        if let Some((key, value)) = read(import, scope, &directives).filter(|_| is_wanted) {
            section.set(&format!("static.{key}"), value, &directives);
        }
    }
}

/// What nginx does where it is told nothing.
pub(super) fn of_nginx() -> [(&'static str, Value); 3] {
    [
        ("static.symlinks", Value::text("on")),
        ("static.dot_files", Value::Flag(true)),
        ("static.if_modified_since", Value::text("exact")),
    ]
}

type Read = fn(&mut Import<'_>, &Scope<'_>, &[&Directive]) -> Option<(&'static str, Value)>;

const KEYS: &[(&[&str], Read)] = &[
    (&["index"], index),
    (&["if_modified_since"], if_modified_since),
    (&["default_type"], kinds::default_type),
    (&["types"], kinds::types),
    (&["charset"], kinds::charset),
    (&["autoindex", "autoindex_format"], autoindex),
    (&["gzip_static"], precompressed),
    (&["disable_symlinks"], symlinks),
];

fn index(
    import: &mut Import<'_>,
    scope: &Scope<'_>,
    directives: &[&Directive],
) -> Option<(&'static str, Value)> {
    let mut names = Vec::new();
    for directive in directives {
        import.verdicts.exact(directive);
        for text in directive.texts() {
            let is_name = |text: &str| text.split('/').all(|part| !matches!(part, "" | "." | ".."));
            match import.names.literal(text, scope) {
                Ok(text) if is_name(&text) => names.push(text),
                _ => import.verdicts.differs(
                    directive,
                    &format!("without `{text}`, which is no name of a file in the folder"),
                ),
            }
        }
    }
    (!names.is_empty()).then(|| ("index", Value::texts(names)))
}

fn if_modified_since(
    import: &mut Import<'_>,
    _: &Scope<'_>,
    directives: &[&Directive],
) -> Option<(&'static str, Value)> {
    let word = directives.last().map_or("exact", |directive| directive.arg(0));
    for directive in directives {
        match word {
            "off" => import.verdicts.differs(directive, "conditions count: `before`"),
            _ => import.verdicts.exact(directive),
        }
    }
    let key = if word == "exact" { "exact" } else { "before" };
    Some(("if_modified_since", Value::text(key)))
}

fn autoindex(
    import: &mut Import<'_>,
    scope: &Scope<'_>,
    directives: &[&Directive],
) -> Option<(&'static str, Value)> {
    directives.iter().for_each(|directive| import.verdicts.exact(directive));
    if scope.word("autoindex") != Some("on") {
        return Some(("autoindex", Value::Flag(false)));
    }
    let Some(format) = scope.one("autoindex_format") else {
        return Some(("autoindex", Value::Flag(true)));
    };
    if !["html", "json"].contains(&format.arg(0)) {
        import.verdicts.differs(format, "as `json`");
    }
    let json = format.arg(0) != "html";
    Some(("autoindex", if json { Value::text("json") } else { Value::Flag(true) }))
}

fn precompressed(
    import: &mut Import<'_>,
    _: &Scope<'_>,
    directives: &[&Directive],
) -> Option<(&'static str, Value)> {
    let directive = directives.last()?;
    match directive.arg(0) {
        "on" => import
            .verdicts
            .differs(directive, "one that is older than its file is not used; `Vary` is sent"),
        "off" => import.verdicts.exact(directive),
        _ => import.verdicts.unsupported(directive, "only clients that take gzip get it"),
    }
    let is_on = directive.arg(0) == "on";
    Some(("precompressed", Value::texts(if is_on { &["gzip"][..] } else { &[] }.to_vec())))
}

fn symlinks(
    import: &mut Import<'_>,
    _: &Scope<'_>,
    directives: &[&Directive],
) -> Option<(&'static str, Value)> {
    let text = directives.last().map_or("off", |directive| directive.arg(0));
    let (value, is_exact) = match text {
        "off" => ("on", true),
        "on" => ("off", true),
        _ => ("inside", false),
    };
    for directive in directives {
        match is_exact {
            true => import.verdicts.exact(directive),
            false => {
                import.verdicts.differs(directive, "links that stay below the root are followed")
            }
        }
    }
    Some(("symlinks", Value::text(value)))
}

fn try_files(
    import: &Import<'_>,
    scope: &Scope<'_>,
    directive: &Directive,
) -> Result<Value, String> {
    let texts: Vec<&str> = directive.texts().collect();
    let (last, others) = texts.split_last().ok_or("nothing is tried")?;
    if others.is_empty() {
        return Err("nothing is tried before the last one".to_owned());
    }
    let mut tried = Vec::new();
    for text in others {
        let text = import.names.text(text, scope)?;
        if !text.starts_with('/')
            && !["$uri", "${uri}", "$document_uri"].iter().any(|begin| text.starts_with(begin))
        {
            return Err(format!("`{text}` is no path: it begins with `$uri` or `/`"));
        }
        tried.push(text);
    }
    let is_status =
        |text: &str| text.parse::<u16>().is_ok_and(|status| (400..=599).contains(&status));
    match (last.strip_prefix('='), last.strip_prefix('@')) {
        (Some(status), _) if is_status(status) => tried.push((*last).to_owned()),
        (_, Some(name)) if import.named.contains(name) => tried.push((*last).to_owned()),
        (None, None) => {
            let last = import.names.text(last, scope)?;
            if !last.starts_with('/') {
                return Err(format!(
                    "`{last}` only leads here again: end with a path, `=404` or `@name`"
                ));
            }
            tried.push(last);
        }
        _ => {
            return Err(format!(
                "`{last}` is neither a status of an error nor a location of this server"
            ));
        }
    }
    Ok(Value::texts(tried))
}

#[cfg(test)]
mod tests {
    use crate::import::fixtures::{toml, verdict};
    use crate::import::report::Verdict;

    fn site(text: &str) -> String {
        format!(
            "http {{ types {{ text/html html; text/x-own own; }} server {{ server_name a; root /www; {text} location @app {{ return 200; }} }} }}"
        )
    }

    #[test]
    #[rustfmt::skip]
    fn files_of_a_folder() {
        check("location / { index index.php index.html; try_files $uri $uri/ @app; }",
              "static = { root = \"/www\", try_files = [\"$uri\", \"$uri/\", \"@app\"], index = [\"index.php\", \"index.html\"] }");
        check("location /a/ { alias b/; expires 30d; autoindex on; gzip_static on; }",
              "static = { alias = \"/etc/nginx/b/\", autoindex = true, precompressed = [\"gzip\"] }");
        check("autoindex on; location / { autoindex off; types { } }",
              "static = { root = \"/www\", types = {}, autoindex = false }");
        let whole = toml(&site("expires 1h; location / { }"));
        for expected in [
            "[defaults.static]\ntypes = { html = \"text/html\", own = \"text/x-own\" }\ndefault_type = \"text/plain\"\ncharset = \"off\"\ntypes_only = true\nsymlinks = \"on\"\ndot_files = true\nif_modified_since = \"exact\"\n",
            "[site.defaults]\nexpires = \"1h\"",
            "static = { root = \"/www\" }",
        ] {
            let shown: Vec<_> = whole.lines().map(|line| line.split(" # ").next().unwrap().trim()).collect();
            assert!(shown.join("\n").contains(expected), "{expected}\n{whole}");
        }

        #[track_caller]
        fn check(text: &str, expected: &str) {
            let toml = toml(&site(text));
            let shown: Vec<_> = toml.lines().map(|line| line.split(" # ").next().unwrap().trim()).collect();
            assert!(shown.join("|").contains(expected), "{expected}\n{toml}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_folder_may_be_one_that_requests_say() {
        check("location / { root /www/$host; }",             "root = \"/www/$host\"", Verdict::Exact);
        check("location / { root sites/${host}x/$arg_a; }",  "root = \"/etc/nginx/sites/${host}x/$arg_a\"", Verdict::Differs);
        check("location ~ ^/(.*)$ { alias /b/$1; }",         "alias = \"/b/$1\"", Verdict::Exact);
        check("location ~ ^/(.*)$ { alias /b/$arg_a; }",     "alias = \"/b/$arg_a\"", Verdict::Differs);
        check("location /a/ { alias /b/$host/; }",           "alias = \"/b/$host/\"", Verdict::Exact);
        check("location / { set $where /b; root $where/$host; }", "root = \"/b/$host\"", Verdict::Exact);
        check("location / { root /w/$host; if (-f $request_filename.x) { return 403; } }", "file = \"/w/$host$uri.x\"", Verdict::Exact);

        #[track_caller]
        fn check(text: &str, expected: &str, verdict: Verdict) {
            let toml = toml(&site(text));
            assert!(toml.contains(expected), "{expected}\n{toml}");
            let begins = if text.contains("alias") { "alias" } else { "root" };
            let report = crate::import::fixtures::imported(&site(text)).report;
            let line = report.directives.iter().rfind(|line| line.directive.starts_with(begins));
            assert_eq!(line.unwrap().verdict, verdict, "{text}");
        }
        let map = |values: &str| format!("http {{ map $host $base {{ {values} }} server {{ location / {{ root $base/www; }} }} }}");
        assert!(toml(&map("default /a; b /b;")).contains("root = \"$base/www\""));
        assert_eq!(verdict(&map("default /a; b $uri;"), "root"), Verdict::Unsupported);
    }

    #[test]
    fn what_no_location_is_for_is_of_files() {
        let toml = toml(&site("index a.html;"));
        assert!(
            toml.contains("# what no location is for\n[[site.route]]\npath = \"/\"\n"),
            "{toml}"
        );
        assert!(toml.contains("root = \"/www\""), "{toml}");
    }

    #[test]
    #[rustfmt::skip]
    fn what_cannot_be_tried_is_told() {
        assert_eq!(verdict(&site("location / { try_files $uri @none; }"), "try_files"), Verdict::Unsupported);
        assert_eq!(verdict(&site("location / { try_files $request_uri =404; }"), "try_files"), Verdict::Unsupported);
        assert_eq!(verdict(&site("location / { root $host; }"), "root $host"), Verdict::Unsupported);
        assert_eq!(verdict(&site("location ~ ^/(.*)$ { alias /b; }"), "alias"), Verdict::Unsupported);
        assert_eq!(verdict(&site("location ~ ^/(.*)$ { alias /b/$1; try_files $uri =404; }"), "try_files"), Verdict::Unsupported);
        assert_eq!(verdict(&site("location / { expires $e; }"), "expires"), Verdict::Unsupported);
    }
}
