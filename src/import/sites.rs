//! `[[site]]`: a server. Where its ports are not the usual ones it is one for its plain addresses and
//! one for those with TLS. (nginx: server)

use std::collections::BTreeSet;
use std::rc::Rc;

use super::Import;
use super::document::{Section, Value};
use super::files;
use super::gate;
use super::headers;
use super::listens::{Addresses, Listen, Server};
use super::locations;
use super::plain;
use super::process;
use super::rewrites;
use super::scope::{Level, Scope};
use super::settings;
use super::tls;
use crate::address::Address;

/// The sites of all servers.
pub(super) fn write<'a>(import: &mut Import<'a>, http: &Rc<Scope<'a>>) -> Vec<Section> {
    let directives = http.own(&["server"]);
    let mut addresses = Addresses::new();
    let mut servers = Vec::new();
    for (number, directive) in directives.into_iter().enumerate() {
        let scope = Scope::new(Level::Server, directive.inside(), Some(http));
        import.verdicts.exact(directive);
        servers.push(Server::new(import, (number, directive), &scope, &mut addresses));
    }
    let mut taken = BTreeSet::new();
    let mut sites = Vec::new();
    for number in 0..servers.len() {
        let of_scheme = |ssl: bool| {
            let listens = servers[number].listens.iter();
            let some = listens.filter(|listen| addresses[&listen.address].ssl == ssl);
            some.cloned().collect::<Vec<_>>()
        };
        let (plain, tls) = (of_scheme(false), of_scheme(true));
        let is_usual = |listens: &[Listen<'_>], port: u16| {
            listens.iter().all(|listen| listen.address.port().is_none_or(|it| it == port))
        };
        let scope = Scope::new(Level::Server, servers[number].directive.inside(), Some(http));
        // Where redirects are spelt out, a port is said or not in all of a site.
        let spells = ["port_in_redirect", "server_name_in_redirect"]
            .iter()
            .any(|name| scope.one(name).is_some());
        // Who refuses handshakes still answers without TLS.
        let rejects = scope.word("ssl_reject_handshake") == Some("on");
        let is_usual = is_usual(&plain, 80) && is_usual(&tls, 443);
        let together = (is_usual || !spells) && !rejects;
        let parts = if together { vec![[plain, tls].concat()] } else { vec![plain, tls] };
        for listens in parts.into_iter().filter(|listens| !listens.is_empty()) {
            let is_tls = |listen: &Listen<'_>| addresses[&listen.address].ssl;
            let ssl = listens.iter().any(is_tls);
            let mut place =
                Placed { number, listens, addresses: &addresses, ssl, servers: &servers };
            if ssl && !tls::has_certificate(import, http, &place) {
                tls::tell_missing(import, &place);
                place.listens.retain(|listen| !is_tls(listen));
                place.ssl = false;
                if place.listens.is_empty() {
                    continue;
                }
            }
            sites.extend(site(import, http, &place, &mut taken));
        }
    }
    sites
}

/// A server with those of its addresses that make one site.
pub(super) struct Placed<'s, 'a> {
    number: usize,
    listens: Vec<Listen<'a>>,
    addresses: &'s Addresses,
    ssl: bool,
    pub servers: &'s [Server<'a>],
}

impl<'a> Placed<'_, 'a> {
    pub(super) fn server(&self) -> &Server<'a> {
        &self.servers[self.number]
    }

    /// The servers that share an address with this one, itself first.
    pub(super) fn neighbours(&self) -> impl Iterator<Item = &Server<'a>> {
        let shares = |server: &&Server<'a>| {
            let mine = |one: &Listen<'a>| self.listens.iter().any(|own| own.address == one.address);
            server.listens.iter().any(mine)
        };
        std::iter::once(self.server()).chain(self.servers.iter().filter(shares))
    }

    fn is_default_at(&self, listen: &Listen<'_>) -> bool {
        self.addresses[&listen.address].default == self.number
    }
}

/// Names by the addresses that they are taken at.
type Taken = BTreeSet<(Address, String)>;

/// `None` where nginx never gets to the server.
fn site<'a>(
    import: &mut Import<'a>,
    http: &Rc<Scope<'a>>,
    place: &Placed<'_, 'a>,
    taken: &mut Taken,
) -> Option<Section> {
    let server = place.server();
    let mut scope = Scope::new(Level::Server, server.directive.inside(), Some(http));
    let mut section = Section::new("[site]");
    section.note_of(server.directive);
    listen(&mut section, place);
    if !name(import, &mut section, place, taken) {
        return None;
    }
    if place.ssl {
        tls::site(import, &scope, place, &mut section);
    }
    let http2 = place.listens.iter().any(|listen| place.addresses[&listen.address].http2);
    let own = scope.one("http2");
    own.iter().for_each(|directive| import.verdicts.exact(directive));
    if !http2 && own.is_none_or(|directive| directive.arg(0) != "on") {
        section.set("http2", Value::Flag(false), &[]);
    }
    let usual = |listen: &Listen<'_>| if place.addresses[&listen.address].ssl { 443 } else { 80 };
    let is_usual =
        |listen: &Listen<'_>| listen.address.port().is_none_or(|port| port == usual(listen));
    import.usual_port = place.listens.iter().all(is_usual);
    plain::write(import, &scope, plain::OF_SITES, &mut section);
    // Of this site, then of it and those before it.
    let used_types = std::mem::take(&mut import.uses_types);
    let rewritten = rewrites::read(import, &mut scope);
    gate::note_told(&mut scope);
    if !rewritten.rules.is_empty() {
        section.set("rewrite", Value::List(rewritten.rules), &rewritten.from);
    }
    process::within(import, &scope);
    settings::write(import, &scope, section.inner("defaults"));
    headers::origin(import, &scope, section.inner("defaults"));
    let scope = Rc::new(scope);
    locations::write(import, &scope, rewritten.answer, &mut section);
    files::defaults(import, &scope, section.inner("defaults"));
    import.uses_types |= used_types;
    import.note_missing(&scope, &mut section);
    Some(section)
}

fn listen(section: &mut Section, place: &Placed<'_, '_>) {
    let is_tls = |listen: &Listen<'_>| place.addresses[&listen.address].ssl;
    let is_mixed = place.ssl && !place.listens.iter().all(is_tls);
    let is_default = |listen: &Listen<'_>| listen.default && place.is_default_at(listen);
    let everywhere = place.listens.iter().all(is_default);
    let entries = place.listens.iter().map(|listen| {
        let address = Value::Text(listen.address.to_string());
        let flags = [
            ("tls", is_mixed && is_tls(listen)),
            ("default", is_default(listen) && !everywhere),
            ("proxy_protocol", place.addresses[&listen.address].proxy_protocol),
        ];
        let set = flags.into_iter().filter(|(_, is_set)| *is_set);
        let mut entry = vec![("address".to_owned(), address.clone())];
        entry.extend(set.map(|(key, _)| (key.to_owned(), Value::Flag(true))));
        if entry.len() > 1 { Value::Table(entry) } else { address }
    });
    let from: Vec<_> = place.listens.iter().filter_map(|listen| listen.directive).collect();
    section.set("listen", Value::List(entries.collect()), &from);
    if everywhere {
        section.set("default", Value::Flag(true), &[]);
    }
}

/// Its names; `false` where all of them are those of servers before it.
fn name(
    import: &mut Import<'_>,
    section: &mut Section,
    place: &Placed<'_, '_>,
    taken: &mut Taken,
) -> bool {
    let server = place.server();
    let everywhere = place.listens.iter().all(|listen| place.is_default_at(listen));
    let free = |name: &String| {
        let claim = |listen: &Listen<'_>| (listen.address, name.to_ascii_lowercase());
        !place.listens.iter().any(|listen| taken.contains(&claim(listen)))
    };
    let mut names: Vec<String> = server.names.iter().filter(|name| free(name)).cloned().collect();
    if names.len() < server.names.len() {
        for directive in &server.named {
            import.verdicts.needless(directive, "of two servers with one name the first counts");
        }
    }
    // nginx: a name that no host has is for the default of an address.
    if everywhere && names.iter().all(|name| ["_", ""].contains(&name.as_str())) {
        return true;
    }
    // nginx: a server without a name is for requests without a host.
    if server.names.is_empty() && free(&String::new()) {
        names.push(String::new());
    }
    if names.is_empty() {
        if everywhere {
            return true;
        }
        locations::unreached(import, server.directive, "never answers: another has its names");
        return false;
    }
    for listen in &place.listens {
        taken.extend(names.iter().map(|name| (listen.address, name.to_ascii_lowercase())));
    }
    section.set("name", Value::texts(names), &server.named);
    true
}

#[cfg(test)]
mod tests {
    use crate::import::fixtures::{toml, verdict};
    use crate::import::report::Verdict;

    #[test]
    fn a_server_with_and_without_tls_is_one_site_unless_redirects_name_its_ports() {
        let server = |ports: [u16; 2], more: &str| {
            toml(&format!(
                "http {{ server {{ listen {}; listen [::]:{} ssl default_server; server_name a.example;
                ssl_certificate a.crt; ssl_certificate_key a.key; return 301 /x; {more} }} }}",
                ports[0], ports[1]
            ))
        };
        let listen = |ports: [u16; 2]| {
            format!(
                "listen = [\"0.0.0.0:{}\", {{ address = \"[::]:{}\", tls = true, default = true }}]",
                ports[0], ports[1]
            )
        };
        let spelt = "server_name_in_redirect on;";
        for (ports, more) in [([80, 443], ""), ([81, 444], ""), ([80, 443], spelt)] {
            let one = server(ports, more);
            assert_eq!(one.matches("[[site]]").count(), 1, "{one}");
            assert!(one.contains(&listen(ports)) && one.contains("to = \"/x\""), "{one}");
        }
        let two = server([81, 444], spelt);
        let sites: Vec<&str> = two.split("[[site]]").collect();
        assert_eq!(sites.len(), 3, "{two}");
        assert!(
            sites[1].contains("listen = [\"0.0.0.0:81\"]") && !sites[1].contains("tls"),
            "{two}"
        );
        assert!(sites[2].contains("listen = [\"[::]:444\"]"), "{two}");
        let tls = "tls = { certificate = \"/etc/nginx/a.crt\", key = \"/etc/nginx/a.key\" }";
        assert!(sites[2].contains(tls), "{two}");
    }

    #[test]
    fn who_answers_where_no_name_fits_is_who_did_before() {
        let toml = toml(
            "http { server { server_name a; return 200; } server { listen 80 default_server; server_name _; return 404; } server { return 200; } server { server_name a; return 200; } }",
        );
        let sites: Vec<&str> = toml.split("[[site]]").skip(1).collect();
        assert_eq!(sites.len(), 3, "{toml}");
        assert!(sites[0].contains("name = [\"a\"]"), "{toml}");
        assert!(sites[1].contains("default = true") && !sites[1].contains("name "), "{toml}");
        assert!(sites[2].contains("name = [\"\"]"), "{toml}");
    }

    #[test]
    #[rustfmt::skip]
    fn what_cannot_be_listened_on_is_told() {
        let site = |text: &str| format!("http {{ server {{ listen 81; {text} return 200; }} }}");
        assert_eq!(verdict(&site("listen unix:/a;"), "listen unix"), Verdict::Exact);
        assert_eq!(verdict(&site("listen 443 quic;"), "listen 443"), Verdict::Unsupported);
        assert_eq!(verdict(&site("listen 82 backlog=9;"), "listen 82"), Verdict::Differs);
        assert_eq!(verdict(&site("server_name $hostname b;"), "server_name"), Verdict::Differs);
    }
}
