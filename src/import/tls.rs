//! `tls` of a site. (nginx: ssl_*)

use std::rc::Rc;

use super::Import;
use super::bodies::SPOKEN;
use super::document::{Section, Value};
use super::listens::Server;
use super::scope::{Level, Scope};
use super::sites::Placed;

/// Whether there is a certificate for a server at its addresses.
pub(super) fn has_certificate<'a>(
    import: &Import<'a>,
    http: &Rc<Scope<'a>>,
    place: &Placed<'_, 'a>,
) -> bool {
    let directive = place.server().directive;
    let scope = Scope::new(Level::Server, directive.inside(), Some(http));
    !pairs_of(import, &scope).is_empty() || !borrowed(import, place).is_empty()
}

/// All sites of an address need one here, a site that refuses handshakes too.
fn borrowed(import: &Import<'_>, place: &Placed<'_, '_>) -> Vec<(String, String)> {
    let of = |other: &Server<'_>| {
        pairs_of(import, &Scope::new(Level::Server, other.directive.inside(), None))
    };
    place.neighbours().map(of).find(|pairs| !pairs.is_empty()).unwrap_or_default()
}

/// Says that a server is left out where it would need one.
pub(super) fn tell_missing(import: &mut Import<'_>, place: &Placed<'_, '_>) {
    let why = "there is no certificate for TLS at its addresses, so the site is left out there";
    import.verdicts.unsupported(place.server().directive, why);
}

/// Writes `tls`.
pub(super) fn site<'a>(
    import: &mut Import<'a>,
    scope: &Scope<'a>,
    place: &Placed<'_, 'a>,
    section: &mut Section,
) {
    let mut pairs = pairs(import, scope);
    if pairs.is_empty() {
        pairs = borrowed(import, place);
    }
    let from = scope.effective(&["ssl_certificate", "ssl_certificate_key"]);
    let mut tables: Vec<Vec<(String, Value)>> = pairs
        .into_iter()
        .map(|(certificate, key)| {
            let entries = [("certificate", certificate), ("key", key)];
            entries.map(|(name, text)| (name.to_owned(), Value::Text(text))).into()
        })
        .collect();
    let whole = of_site(import, scope);
    if let Some(first) = tables.first_mut() {
        first.extend(whole);
    }
    let mut tables: Vec<Value> = tables.into_iter().map(Value::Table).collect();
    let value = if tables.len() == 1 { tables.remove(0) } else { Value::List(tables) };
    section.set("tls", value, &from);
    if let Some(reject) = scope.one("ssl_reject_handshake") {
        if reject.arg(0) == "on" {
            section.set("strict", Value::Flag(true), &[reject]);
        }
        import.verdicts.exact(reject);
    }
}

/// Certificates with their keys.
fn pairs<'a>(import: &mut Import<'a>, scope: &Scope<'a>) -> Vec<(String, String)> {
    for directive in scope.effective(&["ssl_certificate", "ssl_certificate_key"]) {
        match directive.arg(0) {
            text if text.contains('$') || text.starts_with("data:") => {
                let why = "write the files: certificates are read before there are requests";
                import.verdicts.unsupported(directive, why);
            }
            text if text.starts_with("engine:") || text.starts_with("store:") => {
                import.verdicts.unsupported(directive, "keys are read from files");
            }
            _ => import.verdicts.exact(directive),
        }
    }
    pairs_of(import, scope)
}

fn pairs_of(import: &Import<'_>, scope: &Scope<'_>) -> Vec<(String, String)> {
    let files = |name: &str| -> Vec<String> {
        let all = scope.effective(&[name]);
        let all = all.iter().map(|directive| directive.arg(0));
        all.filter(|text| !text.contains(['$', ':']))
            .map(|text| import.paths.beside(text))
            .collect()
    };
    files("ssl_certificate").into_iter().zip(files("ssl_certificate_key")).collect()
}

/// What is said once for all certificates.
fn of_site(import: &mut Import<'_>, scope: &Scope<'_>) -> Vec<(String, Value)> {
    let mut entries = Vec::new();
    if let Some(directive) = scope.one("ssl_protocols") {
        let spoken: Vec<_> = directive.texts().filter(|text| SPOKEN.contains(text)).collect();
        if spoken.len() < directive.args.len() {
            import.verdicts.differs(directive, "TLS 1.2 and 1.3 are spoken, nothing older");
        }
        import.verdicts.exact(directive);
        if !spoken.is_empty() && spoken.len() < SPOKEN.len() {
            entries.push(("protocols".to_owned(), Value::texts(spoken)));
        }
    }
    let verify = scope.one("ssl_verify_client").filter(|one| one.arg(0) != "off");
    let ca = scope.one("ssl_client_certificate").or_else(|| scope.one("ssl_trusted_certificate"));
    for (key, directive) in [("client_ca", ca), ("client_crl", scope.one("ssl_crl"))] {
        let Some(directive) = directive.filter(|_| verify.is_some()) else { continue };
        entries.push((key.to_owned(), Value::Text(import.paths.beside(directive.arg(0)))));
        import.verdicts.exact(directive);
    }
    if let Some(directive) = verify {
        if ca.is_some() || directive.arg(0) == "optional_no_ca" {
            entries.push(("verify_client".to_owned(), Value::text(directive.arg(0))));
            import
                .verdicts
                .differs(directive, "answers 421 over connections made for another site");
        } else {
            let why = "there is no `ssl_client_certificate`";
            import.verdicts.unsupported(directive, why);
        }
    }
    if let Some(directive) = scope.one("ssl_session_tickets") {
        if directive.arg(0) == "off" {
            entries.push(("session_tickets".to_owned(), Value::Flag(false)));
        }
        import.verdicts.exact(directive);
    }
    entries
}

#[cfg(test)]
mod tests {
    use crate::import::fixtures::{toml, verdict};
    use crate::import::report::Verdict;

    fn site(text: &str) -> String {
        format!(
            "http {{ server {{ listen 443 ssl; server_name a; ssl_certificate a.crt; ssl_certificate_key a.key; {text} return 200; }} server {{ listen 443 ssl default_server; ssl_reject_handshake on; }} }}"
        )
    }

    #[test]
    fn a_site_has_its_certificates_and_what_it_asks_of_clients() {
        let toml = toml(&site(
            "ssl_protocols TLSv1.1 TLSv1.3; ssl_verify_client on; ssl_client_certificate ca.crt; ssl_session_tickets off;",
        ));
        for expected in [
            "[site.tls]",
            "certificate = \"/etc/nginx/a.crt\"\nkey = \"/etc/nginx/a.key\"\nprotocols = [\"TLSv1.3\"]\nclient_ca = \"/etc/nginx/ca.crt\"\nverify_client = \"on\"\nsession_tickets = false\n",
            "strict",
        ] {
            assert!(toml.contains(expected), "{expected}: {toml}");
        }
        let sites: Vec<&str> = toml.split("[[site]]").collect();
        assert!(
            sites[2].contains("/etc/nginx/a.crt") && sites[2].contains("default = true"),
            "{toml}"
        );
    }

    #[test]
    #[rustfmt::skip]
    fn what_is_not_spoken_is_told() {
        assert_eq!(verdict(&site("ssl_protocols TLSv1 TLSv1.2 TLSv1.3;"), "ssl_protocols"), Verdict::Differs);
        assert_eq!(verdict(&site("ssl_verify_client on;"), "ssl_verify_client"), Verdict::Unsupported);
        assert_eq!(verdict("http { server { listen 443 ssl; return 200; } }", "server"), Verdict::Unsupported);
    }
}
