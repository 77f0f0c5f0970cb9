//! What an upstream's answer says of its own place, in the words of the client: `Location`,
//! `Refresh`, and where cookies are for. Done as it is delivered, so that what is stored is right for
//! every host and route that shares it. (nginx: proxy_redirect, proxy_cookie_*)

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::call::Call;
use super::way::escaped;
use crate::config::answers::{Compared, CookieFlags, CookieName, Finish, Origin, Replacement};
use crate::config::pattern::Captured;
use crate::config::template::{Facts, Template, Variable};
use crate::semantics::fields::Names;

/// The fields that are changed on a route.
pub struct Changed {
    names: Vec<HeaderName>,
    /// Their bits: where one is changed, most responses have none of it.
    bits: Names,
}

impl Changed {
    /// Those that these settings change.
    pub fn new(finish: &Finish) -> Self {
        let cookies = !finish.cookie_domain.is_empty()
            || !finish.cookie_path.is_empty()
            || !finish.cookie_flags.is_empty();
        let locations = !finish.location.is_empty();
        let mut names = Vec::new();
        if locations {
            names.extend([header::LOCATION, header::REFRESH]);
        }
        if cookies {
            names.push(header::SET_COOKIE);
        }
        let bits = Names::of_all(&names);
        Self { names, bits }
    }

    /// Whether some of them are among these, whose names are known like this.
    pub(super) fn are_in(&self, fields: &HeaderMap, names: Names) -> bool {
        names.may_have(self.bits) && self.names.iter().any(|name| fields.contains_key(name))
    }
}

/// Changes the fields of an answer that was an upstream's.
pub(super) fn change(call: &Call<'_>, fields: &mut HeaderMap) {
    let finish = &call.route.settings.finish;
    for (name, offset) in [(header::LOCATION, no_offset as Offset), (header::REFRESH, behind_url)] {
        if finish.location.is_empty() {
            break;
        }
        let changed = fields.get(&name).and_then(|value| {
            let text = value.to_str().ok()?;
            let (kept, url) = text.split_at(offset(text)?);
            let url = replaced(call, &finish.location, url, At::Beginning)?;
            // nginx: what is not changed stays a path.
            let url = if kept.is_empty() { whole(call, url) } else { url };
            HeaderValue::try_from(format!("{kept}{url}")).ok()
        });
        changed.into_iter().for_each(|value| drop(fields.insert(name.clone(), value)));
    }
    let cookies = !finish.cookie_domain.is_empty()
        || !finish.cookie_path.is_empty()
        || !finish.cookie_flags.is_empty();
    if cookies && fields.contains_key(header::SET_COOKIE) {
        change_cookies(call, finish, fields);
    }
}

/// A `Location` of ours: what stands before a path, where the route says so.
pub(super) fn whole(call: &Call<'_>, location: String) -> String {
    let Some(origin) = &call.route.settings.finish.origin else { return location };
    if !location.starts_with('/') {
        return location;
    }
    match origin {
        Origin::Written(template) => {
            format!("{}{location}", escaped(written(template, call).as_bytes(), b""))
        }
        Origin::Asked => {
            let (scheme, local) = (call.connection.scheme(), call.connection.local);
            let host = match (call.host, local.tcp().map(|address| address.ip())) {
                ("", Some(IpAddr::V6(ip))) => format!("[{ip}]"),
                ("", _) => local.host().to_string(),
                (host, _) => host.to_owned(),
            };
            let usual = if call.connection.tls.is_some() { 443 } else { 80 };
            match local.port().filter(|port| *port != usual) {
                None => format!("{scheme}://{host}{location}"),
                Some(port) => format!("{scheme}://{host}:{port}{location}"),
            }
        }
    }
}

type Offset = fn(&str) -> Option<usize>;

fn no_offset(_: &str) -> Option<usize> {
    Some(0)
}

/// Behind `url=` of `Refresh: 5; url=/a`.
fn behind_url(text: &str) -> Option<usize> {
    Some(text.to_ascii_lowercase().find("url=")? + "url=".len())
}

/// Which part of a text a rule without an expression is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Beginning,
    Whole,
}

/// The text with what the first rule that fits makes of it.
fn replaced(call: &Call<'_>, rules: &[Replacement], text: &str, at: At) -> Option<String> {
    rules.iter().find_map(|rule| match &rule.from {
        Compared::Text(from) => {
            let from = written(from, call);
            let rest = match at {
                At::Beginning => text.strip_prefix(from.as_str())?,
                At::Whole => {
                    // The dot before a domain says nothing (RFC 6265 section 5.2.3).
                    let bare = |text: &str| text.trim_start_matches('.').to_ascii_lowercase();
                    (bare(text) == bare(&from)).then_some("")?
                }
            };
            Some(format!("{}{rest}", written(&rule.to, call)))
        }
        Compared::Pattern(pattern) => {
            let captured = pattern.captures(text)?;
            let matched = captured.range();
            let to = written(&rule.to, &Inside { call, captured });
            match at {
                At::Beginning => {
                    Some(format!("{}{to}{}", &text[..matched.start], &text[matched.end..]))
                }
                At::Whole => Some(to),
            }
        }
    })
}

fn written(template: &Template, facts: &impl Facts) -> String {
    let mut out = Vec::new();
    template.write(facts, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The facts for what replaces a text that an expression found.
struct Inside<'a> {
    call: &'a Call<'a>,
    captured: Captured,
}

impl Facts for Inside<'_> {
    fn write(&self, variable: &Variable, out: &mut Vec<u8>) {
        let text = match variable {
            Variable::Capture(number) => Some(self.captured.number(usize::from(*number))),
            Variable::Named(name) => self.captured.named(name),
            _ => None,
        };
        match text {
            Some(text) => out.extend_from_slice(text.as_bytes()),
            None => self.call.write(variable, out),
        }
    }
}

fn change_cookies(call: &Call<'_>, finish: &Finish, fields: &mut HeaderMap) {
    let lines: Vec<_> = fields.get_all(header::SET_COOKIE).iter().cloned().collect();
    fields.remove(header::SET_COOKIE);
    for line in lines {
        let changed = line
            .to_str()
            .ok()
            .and_then(|text| HeaderValue::try_from(cookie(call, finish, text)).ok());
        fields.append(header::SET_COOKIE, changed.unwrap_or(line));
    }
}

fn cookie(call: &Call<'_>, finish: &Finish, text: &str) -> String {
    let mut parts = text.split(';');
    let pair = parts.next().unwrap_or_default();
    let mut out = vec![pair.trim_end().to_owned()];
    let name = pair.split('=').next().unwrap_or_default().trim();
    let flags = finish.cookie_flags.iter().find(|flags| match &flags.name {
        CookieName::Text(known) => known.eq_ignore_ascii_case(name),
        CookieName::Pattern(pattern) => pattern.is_match(name),
    });
    for part in parts.map(str::trim) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let (key, value) = (key.trim(), value.trim());
        if flags.is_some_and(|flags| is_said(flags, key)) {
            continue;
        }
        let changed = if key.eq_ignore_ascii_case("domain") {
            replaced(call, &finish.cookie_domain, value, At::Whole)
        } else if key.eq_ignore_ascii_case("path") {
            replaced(call, &finish.cookie_path, value, At::Beginning)
        } else {
            None
        };
        out.push(changed.map_or_else(|| part.to_owned(), |value| format!("{key}={value}")));
    }
    if let Some(flags) = flags {
        out.extend((flags.secure == Some(true)).then(|| "Secure".to_owned()));
        out.extend((flags.http_only == Some(true)).then(|| "HttpOnly".to_owned()));
        out.extend(flags.same_site.flatten().map(|kind| format!("SameSite={kind}")));
    }
    out.join("; ")
}

/// Whether the operator says what becomes of this attribute.
fn is_said(flags: &CookieFlags, key: &str) -> bool {
    let said: [(&str, bool); 3] = [
        ("secure", flags.secure.is_some()),
        ("httponly", flags.http_only.is_some()),
        ("samesite", flags.same_site.is_some()),
    ];
    said.iter().any(|(name, is_said)| *is_said && name.eq_ignore_ascii_case(key))
}
