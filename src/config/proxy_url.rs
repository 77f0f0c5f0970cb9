//! `proxy` of a route: a URL, parts of which may be known only when there is a request.
//! (nginx: proxy_pass)

use super::address::ProxyTarget;
use super::fault::Problem;
use super::read::{FromNode, FromText, checked, wrong_kind};
use super::report::Report;
use super::template::Template;
use super::tree::{Node, Value};

/// Where to forward to.
#[derive(Clone, Debug)]
pub(crate) enum ProxyUrl {
    /// All of it is known.
    Plain(ProxyTarget),
    /// This upstream, with a request target that is not known.
    Target(ProxyTarget, Template),
    /// An upstream that this names, and the target, if one is written.
    Upstream(Template, Option<Template>),
}

impl FromNode for ProxyUrl {
    fn from_node(node: &Node, report: &mut Report) -> Option<Self> {
        let Value::Text(text) = &node.value else {
            return wrong_kind(node, "a string", report);
        };
        if !text.contains('$') {
            return checked(ProxyTarget::from_text(text), node.span, report).map(Self::Plain);
        }
        let Some(start) = text.find("://").map(|at| at + 3) else {
            let problem = Problem::new(format!("`{text}` is not a URL to forward to"));
            let problem = problem.help("write the scheme before it: `http://$upstream`");
            return checked(Err(problem), node.span, report);
        };
        let end = start + authority_end(&text[start..]);
        // nginx: the path of a socket ends with a colon if anything follows.
        let target_at = if text[end..].starts_with(':') { end + 1 } else { end };
        // Places of problems are those in the whole text.
        let part = |from: usize, to: usize| {
            Template::compile_with(&text[from..to], &report.declared).map_err(|problem| {
                let at = problem.at.clone().map(|at| at.start + from..at.end + from);
                Problem { at, ..problem }
            })
        };
        let target = (target_at < text.len()).then(|| part(target_at, text.len())).transpose();
        let url = target.and_then(|target| {
            if !text[start..end].contains('$') {
                let known = ProxyTarget::from_text(&text[..end])?;
                return Ok(Self::Target(known, target.unwrap_or_default()));
            }
            if &text[..start] != "http://" {
                let problem = Problem::new("only `http://` may be followed by a variable");
                return Err(problem.help("name the upstream itself").at(0..start));
            }
            Ok(Self::Upstream(part(start, end)?, target))
        });
        checked(url, node.span, report)
    }
}

/// Where the request target begins: at a `/` or `?`, or at a variable that begins with one.
fn authority_end(text: &str) -> usize {
    if let Some(path) = text.strip_prefix("unix:") {
        return path.find(':').map_or(text.len(), |colon| "unix:".len() + colon);
    }
    let begins = ["/", "?", "$request_uri", "${request_uri}", "$uri", "${uri}", "$is_args"];
    begins.iter().filter_map(|begin| text.find(begin)).min().unwrap_or(text.len())
}
