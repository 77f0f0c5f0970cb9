//! Buffers, compression, and the TLS of upstreams. (nginx: proxy_buffers, gzip*, proxy_ssl_*)

use super::Import;
use super::document::{Section, Value};
use super::plain;
use super::scope::Scope;
use crate::config::media_types::is_media_type;
use crate::config::units;

/// How much of a response is held.
pub(super) const BUFFERS: &[&str] = &["proxy_buffers", "proxy_buffer_size"];

/// Who we are, to upstreams.
pub(super) const IDENTITY: &[&str] = &["proxy_ssl_certificate", "proxy_ssl_certificate_key"];

/// What together is `compress`.
pub(super) const GZIP: &[&str] =
    &["gzip", "gzip_types", "gzip_min_length", "gzip_comp_level", "gzip_vary", "gzip_proxied"];

/// `buffers`: all of nginx's together.
pub(super) fn buffers<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    for directive in scope.effective(&["proxy_buffer_size"]) {
        import.verdicts.needless(directive, "heads have room of their own");
    }
    let Some(directive) = scope.one("proxy_buffers") else { return };
    let number = plain::number(directive.arg(0));
    let size = units::size(directive.arg(1)).map_err(|problem| problem.reason);
    let total = number.and_then(|number| Ok(number.saturating_mul(size?)));
    match total.map(|total| total.clamp(1, BUFFERS_MAX)) {
        Ok(total) => {
            section.set("buffers", Value::Text(plain::bytes(total)), &[directive]);
            import.verdicts.exact(directive);
        }
        Err(why) => import.verdicts.unsupported(directive, &why),
    }
}

/// `compress`: with nginx's coding, types and level.
pub(super) fn gzip<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let directives: Vec<_> = GZIP.iter().flat_map(|name| scope.effective(&[name])).collect();
    directives.iter().for_each(|directive| import.verdicts.exact(directive));
    let Some(on) = scope.one("gzip").filter(|on| on.arg(0) == "on") else {
        if scope.touches(&["gzip"]) {
            section.set("compress", Value::Flag(false), &directives);
        }
        return;
    };
    import.verdicts.differs(on, "compressed once, into the cache, and not for each hit");
    if scope.word("gzip_vary") != Some("on") {
        import.verdicts.differs(on, "`Vary: Accept-Encoding` is always sent");
    }
    if let Some(proxied) = scope.one("gzip_proxied").filter(|proxied| proxied.arg(0) != "any") {
        import.verdicts.differs(proxied, "requests with `Via` are answered like others: `any`");
    }
    let mut types = vec!["text/html"];
    let named = scope.effective(&["gzip_types"]);
    types.extend(named.iter().flat_map(|directive| directive.texts()));
    let mut all: Vec<&str> = Vec::new();
    for kind in types {
        let is_type = is_media_type(kind) && !kind.contains(';');
        if (kind == "*" || is_type) && !all.contains(&kind) {
            all.push(kind);
        }
    }
    if all.contains(&"*") {
        all = vec!["*"];
    }
    let length = scope.word("gzip_min_length").filter(|text| units::size(text).is_ok());
    let level = scope.word("gzip_comp_level").and_then(|text| text.parse().ok());
    let table = Value::table([
        ("encodings", Value::texts(["gzip"])),
        ("types", Value::texts(all)),
        ("min_length", Value::text(length.unwrap_or("20"))),
        ("gzip_level", Value::Number(level.filter(|level| (1..=9).contains(level)).unwrap_or(1))),
    ]);
    section.set("compress", table, &directives);
}

/// `upstream_tls.protocols`: those that are still spoken.
pub(super) fn upstream_protocols<'a>(
    import: &mut Import<'a>,
    scope: &Scope<'a>,
    section: &mut Section,
) {
    let Some(directive) = scope.one("proxy_ssl_protocols") else { return };
    let spoken: Vec<_> = directive.texts().filter(|text| SPOKEN.contains(text)).collect();
    if spoken.len() < directive.args.len() {
        import.verdicts.differs(directive, "TLS 1.2 and 1.3 are spoken, nothing older");
    }
    import.verdicts.exact(directive);
    if !spoken.is_empty() && spoken.len() < SPOKEN.len() {
        section.set("upstream_tls.protocols", Value::texts(spoken), &[directive]);
    }
}

/// `upstream_tls.certificate` and `upstream_tls.key`
pub(super) fn identity<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let [certificate, key] = [IDENTITY[0], IDENTITY[1]].map(|name| scope.one(name));
    let (Some(certificate), Some(key)) = (certificate, key) else {
        let why = "certificate and key go together";
        let alone = certificate.or(key);
        return alone.into_iter().for_each(|one| import.verdicts.unsupported(one, why));
    };
    if [certificate, key].iter().any(|one| one.arg(0).contains(['$', ':'])) {
        let why = "write the files: no variables, and no engines";
        return [certificate, key].iter().for_each(|one| import.verdicts.unsupported(one, why));
    }
    for (name, directive) in [("certificate", certificate), ("key", key)] {
        let path = Value::Text(import.paths.beside(directive.arg(0)));
        section.set(&format!("upstream_tls.{name}"), path, &[directive]);
        import.verdicts.exact(directive);
    }
}

/// `upstream_tls.name`
pub(super) fn upstream_name<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    let Some(directive) = scope.one("proxy_ssl_name") else { return };
    match import.names.literal(directive.arg(0), scope) {
        Ok(name) => {
            section.set("upstream_tls.name", Value::Text(name), &[directive]);
            import.verdicts.exact(directive);
        }
        Err(_) if directive.arg(0) == "$proxy_host" => import.verdicts.exact(directive),
        Err(why) => import.verdicts.unsupported(directive, &why),
    }
}

/// The versions of TLS that there are here.
pub(super) const SPOKEN: [&str; 2] = ["TLSv1.2", "TLSv1.3"];
const BUFFERS_MAX: u64 = 1 << 30;

#[cfg(test)]
mod tests {
    use crate::import::fixtures::{check_defaults, verdict};
    use crate::import::report::Verdict;

    #[test]
    #[rustfmt::skip]
    fn buffers_are_added_up_and_compression_is_nginxs() {
        check_defaults("proxy_buffers 8 16k; proxy_buffer_size 4k;", "buffers = \"128k\"");
        check_defaults("gzip off;",      "compress = false");
        check_defaults("gzip on;",       "compress = { encodings = [\"gzip\"], types = [\"text/html\"], min_length = \"20\", gzip_level = 1 }");
        check_defaults("gzip on; gzip_types text/css text/html; gzip_comp_level 6; gzip_min_length 1k;",
                       "encodings = [\"gzip\"]|types = [\"text/html\", \"text/css\"]|min_length = \"1k\"|gzip_level = 6");
        check_defaults("gzip_types text/css;", "");
        check_defaults("proxy_ssl_protocols TLSv1.1 TLSv1.2;", "upstream_tls = { protocols = [\"TLSv1.2\"] }");
        check_defaults("proxy_ssl_name $proxy_host;", "");
        check_defaults("proxy_ssl_certificate a.crt; proxy_ssl_certificate_key a.key;",
                       "upstream_tls = { certificate = \"/etc/nginx/a.crt\", key = \"/etc/nginx/a.key\" }");
        check_defaults("proxy_ssl_certificate a.crt;", "");
        assert_eq!(verdict("http { proxy_ssl_protocols TLSv1 TLSv1.2 TLSv1.3; }", "proxy_ssl_protocols"), Verdict::Differs);
    }
}
