//! How a request came to its route, where there is more to it than its path: what expressions
//! captured, what it was rewritten from, which upstream it names.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Uri;

use super::call::Call;
use crate::config::PathMatch;
use crate::config::answers::AddedField;
use crate::config::pattern::Captured;
use crate::config::template::{Facts, Template, Variable};

/// How a request came to its route.
#[derive(Clone, Default)]
pub(super) struct Way {
    /// The target as it was sent, where another one stands in the request by now.
    pub(super) sent: Option<Uri>,
    /// What expressions captured, the last one last.
    pub(super) captured: Vec<Captured>,
    /// It was rewritten by the route that answers, so that no part of it is what the route matched
    /// (nginx: rewrite ... break).
    pub(super) is_rewritten_here: bool,
    /// It is asked for on behalf of an answer that was an error.
    pub(super) is_for_error: bool,
    /// Where it goes, where the request says it.
    pub(super) destination: Option<Destination>,
    /// What is added to its answer, where a rule says so in place of the route.
    pub(super) added: Option<Arc<[AddedField]>>,
    /// What answers to `auth_request` said of it.
    pub(super) told: Told,
}

/// Variables that answers to `auth_request` set. Whoever looks after the answer sees what was set on
/// the way to it.
#[derive(Default)]
pub(super) struct Told(
    /// Their values, each name once.
    Mutex<Vec<(Arc<str>, Vec<u8>)>>,
);

/// Where a request goes.
#[derive(Clone)]
pub(super) struct Destination {
    /// The upstream that it names; `None` where it names none that it may.
    pub(super) upstream: Option<String>,
    /// The request target, if the route says it.
    pub(super) target: Option<String>,
}

impl Way {
    /// Appends a capture of the last expression that matched.
    pub(super) fn write_number(&self, number: u8, out: &mut Vec<u8>) {
        let last = self.captured.last();
        let text = last.map_or("", |captured| captured.number(usize::from(number)));
        out.extend_from_slice(text.as_bytes());
    }

    /// Appends a named group, of the last expression that has it.
    pub(super) fn write_named(&self, name: &str, out: &mut Vec<u8>) {
        let text = self.captured.iter().rev().find_map(|captured| captured.named(name));
        out.extend_from_slice(text.unwrap_or_default().as_bytes());
    }
}

impl Told {
    /// Sets a variable.
    pub(super) fn set(&self, name: &Arc<str>, value: Vec<u8>) {
        let mut values = self.values();
        values.retain(|(known, _)| known != name);
        values.push((Arc::clone(name), value));
    }

    /// Appends the value of a variable.
    pub(super) fn write(&self, name: &str, out: &mut Vec<u8>) {
        if let Some((_, value)) = self.values().iter().find(|(known, _)| **known == *name) {
            out.extend_from_slice(value);
        }
    }

    fn values(&self) -> MutexGuard<'_, Vec<(Arc<str>, Vec<u8>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for Told {
    fn clone(&self) -> Self {
        Self(Mutex::new(self.values().clone()))
    }
}

impl<'a> Call<'a> {
    /// Whether another target stands in the request than the client sent.
    pub(super) fn is_rewritten(&self) -> bool {
        self.way.is_some_and(|way| way.sent.is_some())
    }

    /// Whether the site sent the request to its route by name.
    pub(super) fn is_at_name(&self) -> bool {
        matches!(self.route.settings.path, PathMatch::Named(_))
    }

    /// The name of the upstream and the target that this request names, for a route that lets it.
    pub(super) fn destination(&self) -> Option<Destination> {
        let by_request = self.route.settings.action.proxy()?.by_request.as_ref()?;
        let upstream = by_request.upstream.as_ref().and_then(|template| {
            let mut name = Vec::new();
            template.write(self, &mut name);
            let name = String::from_utf8_lossy(&name).into_owned();
            self.route.forwards.contains_key(&name).then_some(name)
        });
        let target = by_request.target.as_ref().map(|template| self.target_of(template));
        Some(Destination { upstream, target })
    }

    /// A request target of a template: what is decoded is escaped again, and what follows a path
    /// begins with a `/`.
    fn target_of(&self, template: &Template) -> String {
        let mut target = Vec::new();
        template.write(&InTarget(self), &mut target);
        if !target.starts_with(b"/") {
            target.insert(0, b'/');
        }
        escaped(&target, b"")
    }
}

/// The facts of a request as they stand in a request target.
struct InTarget<'a>(&'a Call<'a>);

impl Facts for InTarget<'_> {
    fn write(&self, variable: &Variable, out: &mut Vec<u8>) {
        let start = out.len();
        match variable {
            Variable::Map(map) => return map.write_value(self.0, self, out),
            other => self.0.write(other, out),
        }
        if matches!(variable, Variable::Uri | Variable::Capture(_) | Variable::Named(_)) {
            let text = escaped(&out[start..], b"#%?");
            out.truncate(start);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Escapes what a path must not hold literally.
pub(super) fn escaped_path(path: &str) -> String {
    escaped(path.as_bytes(), b"#%?")
}

/// Escapes what a value of a query must not hold literally.
pub(super) fn escaped_args(text: &[u8]) -> String {
    escaped(text, b"#%?&+=")
}

/// Escapes what no URI holds, and `also` these.
pub(super) fn escaped(text: &[u8], also: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text {
        let plain = byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(byte);
        if plain && !also.contains(byte) {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The upstream's name for a request that names one.
pub(super) fn upstream_named(way: Option<&Arc<Way>>) -> Option<&str> {
    way?.destination.as_ref()?.upstream.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_a_path_must_not_hold() {
        assert_eq!(escaped_path("/a b?#%é"), "/a%20b%3F%23%25%C3%A9");
        assert_eq!(escaped_path("/a:@!$&'()*+,;=~"), "/a:@!$&'()*+,;=~");
        assert_eq!(escaped_args(b"a=b&c d"), "a%3Db%26c%20d");
        assert_eq!(escaped(b"/a?b=%20\r\n", b""), "/a?b=%20%0D%0A");
    }
}
