//! The line of a key, read back into the variables that it was made of.

use std::cell::Cell;

use regex::bytes::Regex;

use crate::config::template::{Facts, Part, Template, Variable};
use crate::semantics::key::KeyHash;
use crate::semantics::query::Selection;

/// A template of nginx's, as an expression that takes its keys apart.
pub(super) struct Reading {
    /// In the order of its groups.
    variables: Vec<Variable>,
    /// Takes as much as it can for each variable from the first on, and `least` as little: where
    /// the two differ in what they say, a key has more than one meaning.
    most: Regex,
    least: Regex,
}

/// What is the same for all keys of a route, and for those of others another.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Values that a variable has for every request.
    pub(super) fixed: Vec<(Variable, String)>,
    /// Values of which it has one.
    pub(super) one_of: Vec<(Variable, Vec<String>)>,
    /// In a key the path of a request begins with this, where it begins with the second itself.
    pub(super) replaced: Option<(String, String)>,
}

impl Reading {
    /// Reads keys of a template.
    ///
    /// # Errors
    /// It is longer than an expression may be.
    pub(super) fn new(template: &Template, known: &Known) -> Result<Self, regex::Error> {
        let (mut text, mut variables) = (String::new(), Vec::new());
        let mut rest = &template.parts[..];
        while let [part, behind @ ..] = rest {
            rest = behind;
            let variable = match part {
                Part::Literal(literal) => {
                    text.push_str(&escaped(literal));
                    continue;
                }
                Part::Variable(variable) => variable,
            };
            variables.push(variable.clone());
            let replaced = known.replaced.as_ref().filter(|_| *variable == Variable::RequestUri);
            match (variable, behind, replaced) {
                // There is no query without its mark.
                (Variable::IsArgs, [Part::Variable(Variable::Args), behind @ ..], _) => {
                    text.push_str("(?:([?])(.*))?");
                    variables.push(Variable::Args);
                    rest = behind;
                }
                (.., Some((with, _))) => text.push_str(&format!("{}(.*)", escaped(with))),
                _ => text.push_str(&format!("({})", known.pattern(variable))),
            }
        }
        let most = Regex::new(&format!("(?s-u)^{text}$"))?;
        let least = Regex::new(&format!("(?sU-u)^{text}$"))?;
        Ok(Self { variables, most, least })
    }

    /// The variables of a key, read in both ways; nothing where it is not of this template.
    pub(super) fn read<'a>(&'a self, key: &'a [u8], known: &'a Known) -> Option<[Said<'a>; 2]> {
        let said = |expression: &Regex| {
            let groups = expression.captures(key)?;
            let groups = groups.iter().skip(1);
            let groups = groups.map(|group| group.map_or(&b""[..], |group| group.as_bytes()));
            let values = self.variables.iter().zip(groups).map(|(variable, value)| {
                let value = match &known.replaced {
                    Some((_, itself)) if *variable == Variable::RequestUri => {
                        [itself.as_bytes(), value].concat()
                    }
                    _ => value.to_vec(),
                };
                (variable, value)
            });
            Some(Said { values: values.collect(), known })
        };
        Some([said(&self.most)?, said(&self.least)?])
    }

    /// Whether what a key says is enough for a variable of ours.
    pub(super) fn gives(&self, variable: &Variable, known: &Known) -> bool {
        use Variable::{Arg, Args, IsArgs, RequestMethod, RequestUri, Uri};
        let has = |variable: &Variable| self.variables.contains(variable);
        has(variable)
            || known.fixed.iter().any(|(fixed, _)| fixed == variable)
            || match variable {
                RequestMethod => true,
                Uri => has(&RequestUri),
                Args | IsArgs | Arg(_) => has(&RequestUri) || has(&Args),
                RequestUri => has(&Uri) && has(&Args),
                _ => false,
            }
    }
}

impl Known {
    /// What the value of a variable may look like.
    fn pattern(&self, variable: &Variable) -> String {
        let one_of = |values: &[String]| {
            values.iter().map(|value| escaped(value)).collect::<Vec<_>>().join("|")
        };
        let fixed = self.fixed.iter().find(|(fixed, _)| fixed == variable);
        let among = self.one_of.iter().find(|(among, _)| among == variable);
        match (variable, fixed, among) {
            (_, Some((_, value)), _) => escaped(value),
            (_, _, Some((_, values))) => one_of(values),
            (Variable::Scheme, ..) => "https|http".to_owned(),
            (Variable::RequestMethod, ..) => "[A-Z]+".to_owned(),
            (Variable::RequestUri, ..) => "/.*".to_owned(),
            (Variable::Uri, ..) => "/[^?]*".to_owned(),
            (Variable::IsArgs, ..) => "[?]?".to_owned(),
            (Variable::Arg(_), ..) => "[^&]*".to_owned(),
            (Variable::Host | Variable::ProxyHost | Variable::Http(_), ..) if is_host(variable) => {
                "[^/?]*".to_owned()
            }
            _ => ".*".to_owned(),
        }
    }
}

fn is_host(variable: &Variable) -> bool {
    match variable {
        Variable::Http(name) => *name == http::header::HOST,
        _ => true,
    }
}

/// A literal text, for bytes that need be no characters.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("\\x{byte:02x}")).collect()
}

/// What a key says.
pub(super) struct Said<'a> {
    values: Vec<(&'a Variable, Vec<u8>)>,
    known: &'a Known,
}

impl Said<'_> {
    /// What it says of a variable itself.
    pub(super) fn value(&self, variable: &Variable) -> Option<&[u8]> {
        let said = self.values.iter().find(|(said, _)| *said == variable);
        said.map(|(_, value)| &value[..])
    }

    /// The path as it was sent, or as it is decoded where that is what the key has.
    pub(super) fn path(&self) -> Option<&[u8]> {
        let target = self.value(&Variable::RequestUri);
        target.map(|target| split(target).0).or_else(|| self.value(&Variable::Uri))
    }

    /// The path, decoded.
    pub(super) fn decoded_path(&self) -> Option<Vec<u8>> {
        match self.value(&Variable::RequestUri) {
            Some(target) => decoded(split(target).0),
            None => self.value(&Variable::Uri).map(<[u8]>::to_vec),
        }
    }

    /// The query; empty where there is none.
    fn query(&self) -> Option<&[u8]> {
        let target = self.value(&Variable::RequestUri);
        target.map(|target| split(target).1).or_else(|| self.value(&Variable::Args))
    }

    /// The target of the request, path and query.
    fn target(&self) -> Option<Vec<u8>> {
        if let Some(target) = self.value(&Variable::RequestUri) {
            return Some(target.to_vec());
        }
        let mut target = encoded(self.value(&Variable::Uri)?);
        let query = self.query()?;
        if !query.is_empty() {
            target.push(b'?');
            target.extend_from_slice(query);
        }
        Some(target)
    }
}

/// The variables of our key, from what nginx's says. (proxy/key.rs does this for requests.)
pub(super) struct Ours<'a> {
    pub(super) said: &'a Said<'a>,
    /// What counts of queries.
    pub(super) query: &'a Selection,
    /// Hashes what must not be read where it rests.
    pub(super) hash: &'a dyn Fn(&[u8]) -> KeyHash,
    /// Something could not be said.
    pub(super) failed: Cell<bool>,
}

impl Facts for Ours<'_> {
    fn write(&self, variable: &Variable, out: &mut Vec<u8>) {
        match self.value(variable) {
            Some(value) if variable.is_secret() && !value.is_empty() => {
                out.extend_from_slice((self.hash)(&value).to_string().as_bytes());
            }
            Some(value) => out.extend_from_slice(&value),
            None => self.failed.set(true),
        }
    }
}

impl Ours<'_> {
    fn value(&self, variable: &Variable) -> Option<Vec<u8>> {
        let said = self.said;
        if *variable == Variable::Uri {
            let path = String::from_utf8(said.decoded_path()?).ok()?;
            // As keys have it, a `?` in it is no beginning of a query.
            return Some(path.replace('%', "%25").replace('?', "%3F").into_bytes());
        }
        if variable.has_query() && !self.query.is_all() {
            let own = said.query()?;
            let query = self.query.of(str::from_utf8(own).ok()?);
            let mark = if query.is_empty() { "" } else { "?" };
            return match variable {
                Variable::Args => Some(query.as_bytes().to_vec()),
                Variable::IsArgs => Some(mark.as_bytes().to_vec()),
                Variable::RequestUri if said.target()?.contains(&b'?') => {
                    let target = said.target()?;
                    Some([split(&target).0, mark.as_bytes(), query.as_bytes()].concat())
                }
                Variable::RequestUri => said.target(),
                _ => None,
            };
        }
        if let Some(value) = said.value(variable) {
            return Some(value.to_vec());
        }
        let fixed = said.known.fixed.iter().find(|(fixed, _)| fixed == variable);
        if let Some((_, value)) = fixed {
            return Some(value.clone().into_bytes());
        }
        match variable {
            Variable::RequestMethod => Some(b"GET".to_vec()),
            Variable::RequestUri => said.target(),
            Variable::Args => said.query().map(<[u8]>::to_vec),
            Variable::IsArgs => {
                let has_mark = said.target()?.contains(&b'?');
                Some(if has_mark { b"?".to_vec() } else { Vec::new() })
            }
            Variable::Arg(name) => Some(argument(said.query()?, name)),
            _ => None,
        }
    }
}

fn split(target: &[u8]) -> (&[u8], &[u8]) {
    let mark = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
    (&target[..mark], target.get(mark + 1..).unwrap_or_default())
}

/// The first parameter of this name, whatever its case (nginx: $arg_NAME).
fn argument(query: &[u8], name: &str) -> Vec<u8> {
    let parameters = query.split(|byte| *byte == b'&');
    let mut pairs = parameters.map(|pair| {
        let sign = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        (&pair[..sign], pair.get(sign + 1..).unwrap_or_default())
    });
    let found = pairs.find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()));
    found.map(|(_, value)| value.to_vec()).unwrap_or_default()
}

/// The path that a path as it was sent means, if it is that simple: with steps or double slashes in
/// it, it means another one.
fn decoded(path: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [byte, behind @ ..] = rest {
        rest = behind;
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let digits = str::from_utf8(rest.get(..2)?).ok()?;
        out.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    let steps = out.split(|byte| *byte == b'/').collect::<Vec<_>>();
    let (last, before) = steps.split_last()?;
    let is_step = |step: &&[u8]| matches!(*step, b"." | b"..");
    let doubled = before.iter().skip(1).any(|step| step.is_empty());
    (!doubled && !is_step(last) && !before.iter().any(is_step)).then_some(out)
}

/// A decoded path as ordinary clients send it.
fn encoded(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for byte in path {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(byte) {
            out.push(*byte);
        } else {
            out.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    out
}
