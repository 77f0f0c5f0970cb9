//! What routes inherit: the keys of `[defaults]`, `[site.defaults]` and `[[site.route]]`.

use super::document::Section;
use super::scope::{Level, Scope};
use super::{Import, bodies, cache, gate, headers, logs, pages, plain, process, upstreams};

/// Writes what of a level of nginx belongs to the same level of ours.
pub(super) fn write<'a>(import: &mut Import<'a>, scope: &Scope<'a>, section: &mut Section) {
    plain::write(import, scope, plain::OF_ROUTES, section);
    if scope.level != Level::Http {
        process::of_clients(import, scope, section);
    }
    for (names, topic) in TOPICS {
        if scope.touches(names) {
            topic(import, scope, section);
        }
    }
}

type Topic = for<'a> fn(&mut Import<'a>, &Scope<'a>, &mut Section);

/// Directives that are one key together, or that need more than a table to be read.
const TOPICS: &[(&[&str], Topic)] = &[
    (&["proxy_set_header"], headers::set),
    (headers::ADDED, headers::added),
    (&["expires"], headers::expires),
    (&["proxy_next_upstream"], upstreams::next),
    (&["proxy_bind"], upstreams::bind),
    (&["proxy_redirect"], headers::redirects),
    (headers::REDIRECTED, headers::origin),
    (&["proxy_cookie_domain"], headers::cookie_domain),
    (&["proxy_cookie_path"], headers::cookie_path),
    (&["proxy_cookie_flags"], headers::cookie_flags),
    (&["error_page"], pages::error_page),
    (&["access_log"], logs::named),
    (bodies::BUFFERS, bodies::buffers),
    (bodies::GZIP, bodies::gzip),
    (&["proxy_ssl_protocols"], bodies::upstream_protocols),
    (&["proxy_ssl_name"], bodies::upstream_name),
    (bodies::IDENTITY, bodies::identity),
    (&["proxy_cache"], cache::zone),
    (&["proxy_cache_key"], cache::key),
    (&["proxy_cache_methods"], cache::methods),
    (&["proxy_cache_valid"], cache::valid),
    (&["proxy_ignore_headers"], cache::ignored),
    (cache::HIDDEN, cache::hidden),
    (&["proxy_cache_purge"], cache::purge),
    (gate::REAL_IP, gate::real_ip),
    (&["limit_req"], gate::limit_req),
    (&["limit_conn"], gate::limit_conn),
    (gate::ACCESS, gate::access),
    (gate::AUTH_BASIC, gate::auth_basic),
    (gate::AUTH_REQUEST, gate::auth_request),
];
