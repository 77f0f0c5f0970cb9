//! Rules of a site or route, applied in turn: to the path, or as an answer. (nginx: rewrite, return,
//! break)

use std::sync::Arc;

use http::Uri;

use super::Journey;
use crate::config::answers::{Does, Moved, Rewrite, Then, When};
use crate::config::template::{Facts, Template, Variable};
use crate::files;
use crate::proxy::call::Call;
use crate::proxy::deliver::Answer;
use crate::proxy::error::Error;
use crate::proxy::way::{escaped, escaped_args, escaped_path};
use crate::proxy::{own, route};

/// How a request goes on behind some rules.
pub(super) enum Goes {
    /// As it was.
    On,
    /// A route is looked for.
    Again,
    /// This route answers.
    Here,
}

impl Journey<'_> {
    /// Applies rules in turn; how it goes on, and an answer where one of them gives it.
    pub(super) async fn rewrite(
        &mut self,
        rules: &[Rewrite],
    ) -> Result<(Goes, Option<Answer>), Error> {
        let mut goes = Goes::On;
        for rule in rules {
            if !self.counts(rule).await || !self.matches(rule) {
                continue;
            }
            let moved = match &rule.does {
                Does::Moves(moved) => moved,
                Does::Ends => return Ok((Goes::On, None)),
                Does::Answers(respond) => {
                    self.note_added(rule);
                    return Ok((Goes::On, Some(own::respond(&self.call(), respond)?)));
                }
                Does::Redirects(redirect) => {
                    self.note_added(rule);
                    return Ok((Goes::On, Some(own::redirect(&self.call(), redirect)?)));
                }
            };
            if let Then::Redirect(status) = moved.then {
                let location = self.location(moved);
                let answer = own::redirected(&self.call(), status, location)?;
                return Ok((Goes::On, Some(answer)));
            }
            let path = text(&moved.path, &self.call());
            let args = self.args(moved);
            self.move_to(path, args)?;
            match moved.then {
                Then::Break => return Ok((Goes::Here, None)),
                Then::Last => return Ok((Goes::Again, None)),
                // All rules are tried, then a route is looked for.
                Then::Next | Then::Redirect(_) => goes = Goes::Again,
            }
        }
        Ok((goes, None))
    }

    /// Notes what a rule adds to its answer.
    fn note_added(&mut self, rule: &Rewrite) {
        if rule.add_header.is_some() {
            Arc::make_mut(&mut self.way).added = rule.add_header.clone();
        }
    }

    /// Whether what a rule asks of a request is so.
    async fn counts(&self, rule: &Rewrite) -> bool {
        match &rule.when {
            None => true,
            Some(When::True(when)) => when.is_true(&self.call(), &mut Vec::new()),
            Some(When::There { path, kind, not }) => {
                let path = text(path, &self.call());
                files::is_there(path, *kind).await != *not
            }
        }
    }

    /// Whether the path is one that a rule is for; what its expression captures is noted.
    fn matches(&mut self, rule: &Rewrite) -> bool {
        let Some(pattern) = &rule.pattern else { return true };
        let captured = pattern.captures(&self.path);
        let matches = captured.is_some();
        Arc::make_mut(&mut self.way).captured.extend(captured);
        matches
    }

    /// The query that a rule makes: its own, then the one that there is.
    fn args(&self, moved: &Moved) -> Option<String> {
        let own = moved.args.as_ref().map(|args| text(args, &InArgs(&self.call())));
        let old = self.request.uri.query().filter(|old| moved.keeps_args && !old.is_empty());
        match (own, old) {
            (Some(own), Some(old)) => Some(format!("{own}&{old}")),
            (Some(own), _) => Some(own),
            (None, old) => old.map(str::to_owned),
        }
    }

    fn location(&self, moved: &Moved) -> String {
        let mut location = text(&moved.path, &InPath(&self.call()));
        if let Some(args) = self.args(moved) {
            location.push('?');
            location.push_str(&args);
        }
        location
    }

    /// Puts another target in the place of the one that there is.
    pub(super) fn move_to(&mut self, path: String, args: Option<String>) -> Result<(), Error> {
        let path = route::without_detours(path.as_bytes()).ok_or(Error::Cycle)?;
        let mut target = escaped_path(&path);
        if let Some(args) = args {
            target.push('?');
            target.push_str(&escaped(args.as_bytes(), b"#"));
        }
        if target.len() > self.from.worker.proxy.limits.uri_bytes_max.max(TARGET_BYTES_MIN) {
            return Err(Error::UriTooLong);
        }
        let uri: Uri = target.parse().map_err(|_| Error::BadRequest("rewritten target"))?;
        let sent = std::mem::replace(&mut self.request.uri, uri);
        Arc::make_mut(&mut self.way).sent.get_or_insert(sent);
        self.path = path;
        Ok(())
    }
}

fn text(template: &Template, facts: &impl Facts) -> String {
    let mut out = Vec::new();
    template.write(facts, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The facts of a request as they stand in the path of a URL.
struct InPath<'a>(&'a Call<'a>);

impl Facts for InPath<'_> {
    fn write(&self, variable: &Variable, out: &mut Vec<u8>) {
        write_escaped(self.0, variable, (self, |text| escaped(text, b"#%?")), out);
    }
}

/// The facts of a request as they stand in a query.
struct InArgs<'a>(&'a Call<'a>);

impl Facts for InArgs<'_> {
    fn write(&self, variable: &Variable, out: &mut Vec<u8>) {
        write_escaped(self.0, variable, (self, escaped_args), out);
    }
}

/// What is decoded is escaped; all else stands in the request as it can stand in a URL.
fn write_escaped(
    call: &Call<'_>,
    variable: &Variable,
    (facts, escape): (&dyn Facts, impl Fn(&[u8]) -> String),
    out: &mut Vec<u8>,
) {
    let start = out.len();
    match variable {
        Variable::Map(map) => map.write_value(call, facts, out),
        Variable::Uri | Variable::Capture(_) | Variable::Named(_) => {
            call.write(variable, out);
            let text = escape(&out[start..]);
            out.truncate(start);
            out.extend_from_slice(text.as_bytes());
        }
        other => call.write(other, out),
    }
}

/// What a rewritten target may always be long.
const TARGET_BYTES_MIN: usize = 8 << 10;
