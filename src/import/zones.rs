//! Zones and limits. (nginx: proxy_cache_path, limit_req_zone, limit_conn_zone)

use super::Import;
use super::document::{Section, Value};
use super::plain;
use super::scope::Scope;
use super::tree::Directive;

/// `[zone.NAME]` and `[limit.NAME]` of all that are declared.
pub(super) fn write<'a>(import: &mut Import<'a>, http: &Scope<'a>) {
    for directive in http.own(&["proxy_cache_path"]) {
        match zone(import, directive) {
            Ok(section) => import.zones.push(section),
            Err(why) => import.verdicts.unsupported(directive, &why),
        }
    }
    for directive in http.own(&["limit_req_zone", "limit_conn_zone"]) {
        match limit(import, http, directive) {
            Ok(section) => import.limits.push(section),
            Err(why) => import.verdicts.unsupported(directive, &why),
        }
    }
}

fn zone(import: &mut Import<'_>, directive: &Directive) -> Result<Section, String> {
    let keys = directive.texts().find_map(|text| text.strip_prefix("keys_zone="));
    let name =
        keys.map(|keys| keys.split(':').next().unwrap_or(keys)).ok_or("`keys_zone=` is missing")?;
    let known = import.add_zone(name)?;
    let mut section = Section::new(format!("zone.{}", quoted_part(&known)));
    section.note_of(directive);
    let path = import.paths.below(directive.arg(0).trim_end_matches('/'));
    section.set("path", Value::Text(format!("{path}-larder")), &[]);
    // nginx keeps responses on disk only.
    section.set("memory", Value::text("0"), &[]);
    let mut levels = false;
    import
        .verdicts
        .differs(directive, "in a folder of its own: nginx's files are left as they are");
    let mut temp_path = true;
    for text in directive.texts().skip(1) {
        match text.split_once('=') {
            Some(("levels", text)) => {
                levels = true;
                section.set("levels", Value::text(text), &[]);
            }
            Some((key @ ("max_size" | "min_free"), size)) => {
                section.set(key, Value::Text(plain::size(size)?), &[]);
            }
            Some(("inactive", time)) => {
                section.set("inactive", Value::Text(plain::duration(time, true)?), &[]);
            }
            Some(("use_temp_path", text)) => temp_path = text != "off",
            Some(("keys_zone", _)) => {}
            Some((key, _)) if NEEDLESS.contains(&key) => {}
            _ => import.verdicts.differs(directive, &format!("without `{text}`")),
        }
    }
    if !levels {
        import.verdicts.differs(directive, "folders have two levels, `1:2`, where none are named");
    }
    if temp_path {
        section.set("use_temp_path", Value::Flag(true), &[]);
    }
    Ok(section)
}

fn limit(
    import: &mut Import<'_>,
    http: &Scope<'_>,
    directive: &Directive,
) -> Result<Section, String> {
    let key = import.names.text(directive.arg(0), http)?;
    let zone = directive.texts().find_map(|text| text.strip_prefix("zone="));
    let (name, size) = zone.and_then(|zone| zone.split_once(':')).ok_or("`zone=` is missing")?;
    let known = import.add_limit(name)?;
    let mut section = Section::new(format!("limit.{}", quoted_part(&known)));
    section.note_of(directive);
    section.set("key", Value::Text(key), &[]);
    let rate = directive.texts().find_map(|text| text.strip_prefix("rate="));
    if let Some(rate) = rate {
        section.set("rate", Value::text(rate.replace("r/", "/")), &[]);
    }
    section.set("size", Value::Text(plain::size(size)?), &[]);
    import.verdicts.exact(directive);
    Ok(section)
}

/// A name as part of a header, where a dot would end it.
pub(super) fn quoted_part(name: &str) -> String {
    if name.contains('.') { format!("\"{name}\"") } else { name.to_owned() }
}

/// Of processes that Larder has no need for.
const NEEDLESS: [&str; 9] = [
    "manager_files",
    "manager_sleep",
    "manager_threshold",
    "loader_files",
    "loader_sleep",
    "loader_threshold",
    "purger",
    "purger_files",
    "purger_sleep",
];

#[cfg(test)]
mod tests {
    use crate::import::fixtures::{toml, verdict};
    use crate::import::report::Verdict;

    #[test]
    fn zones_and_limits_are_tables_under_their_names() {
        let toml = toml(
            "http { proxy_cache_path cache/a levels=1:2 keys_zone=a.b:10m max_size=1g inactive=60m use_temp_path=off;
            limit_req_zone $binary_remote_addr zone=one:10m rate=30r/m; limit_conn_zone $server_name zone=two:64k; }",
        );
        for expected in [
            "# nginx.conf:1: proxy_cache_path cache/a levels=1:2 keys_zone=a.b:10m max_size=1g inactive=60m use_temp_path=off\n[zone.\"a.b\"]\npath = \"/etc/nginx/cache/a-larder\"\nmemory = \"0\"\nlevels = \"1:2\"\nmax_size = \"1g\"\ninactive = \"60m\"\n",
            "[limit.one]\nkey = \"$binary_remote_addr\"\nrate = \"30/m\"\nsize = \"10m\"\n",
            "[limit.two]\nkey = \"$server_name\"\nsize = \"64k\"\n",
        ] {
            assert!(toml.contains(expected), "{expected}: {toml}");
        }
    }

    #[test]
    fn a_zone_without_a_name_is_none() {
        let text = "http { proxy_cache_path /c levels=1:2 zone=a:8m; }";
        assert_eq!(verdict(text, "proxy_cache_path"), Verdict::Unsupported);
    }
}
