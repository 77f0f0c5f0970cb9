//! Which access logs an exchange is in, and what their lines say of it. (nginx: log_format)
//!
//! A line is written when the exchange has ended, and the request is gone by then. So what a format of
//! the operator's own asks of the request is written down while it is still there:
//!
//! ```text
//!   the answer is ready -> keep: the values of `asked` -> ... its last byte -> write: a line
//! ```

use crate::config::template::{Facts, Part, Template, Variable};
use crate::config::{self, AccessFormat, Escape, OwnFormat};
use crate::observe::exchange::Exchange;
use crate::observe::line::{self, Ending, write_seconds, write_time};

/// The access logs of a route.
#[derive(Debug)]
pub struct Logs {
    /// Each with its number, format and condition.
    pub to: Vec<To>,
    /// What lines say that must be written down before the exchange ends.
    asked: Vec<Variable>,
    /// A line says how long the response was with its head.
    pub counts_head: bool,
}

/// One of them.
#[derive(Debug)]
pub struct To {
    /// Its number among those of the configuration.
    pub number: usize,
    format: AccessFormat,
    when: Option<Template>,
}

/// The values of what logs ask for, in its order.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    text: Vec<u8>,
    /// Where each ends, and whether there is one.
    ends: Vec<(usize, bool)>,
    /// Bytes of the response's head.
    pub head_bytes: u64,
}

impl Logs {
    /// Those of a route; `None` where it has none.
    pub fn new(route: &[config::LogTo], all: &[config::AccessLog]) -> Option<Self> {
        let to = |log: &config::LogTo| {
            let format = all.get(log.number)?.format.clone();
            Some(To { number: log.number, format, when: log.when.clone() })
        };
        let to: Vec<To> = route.iter().filter_map(to).collect();
        let mut logs = Self { to: Vec::new(), asked: Vec::new(), counts_head: false };
        for template in to.iter().flat_map(To::templates) {
            template.variables().for_each(|variable| logs.ask(variable));
        }
        logs.to = to;
        (!logs.to.is_empty()).then_some(logs)
    }

    fn ask(&mut self, variable: &Variable) {
        self.counts_head |= *variable == Variable::BytesSent;
        match variable {
            // What it looks at is written down, and the rest is done at the end.
            Variable::Map(map) if variable.is_late() => {
                map.variables().into_iter().for_each(|inner| self.ask(inner));
            }
            _ if variable.is_late() || self.asked.contains(variable) => {}
            _ => self.asked.push(variable.clone()),
        }
    }

    /// Whether all that is asked for passes `test`, and what maps among it need.
    pub fn all_asked(&self, test: impl Fn(&Variable) -> bool) -> bool {
        self.asked.iter().all(|variable| match variable {
            Variable::Map(map) => map.variables().into_iter().all(&test),
            plain => test(plain),
        })
    }

    /// Writes down what is asked for. `is_there` says whether there is a value that is empty.
    pub fn keep(&self, facts: &dyn Facts, is_there: impl Fn(&Variable) -> bool) -> Kept {
        let mut kept = Kept::default();
        if self.asked.is_empty() {
            return kept;
        }
        kept.ends.reserve_exact(self.asked.len());
        for variable in &self.asked {
            let start = kept.text.len();
            facts.write(variable, &mut kept.text);
            let has_value = kept.text.len() > start || is_there(variable);
            kept.ends.push((kept.text.len(), has_value));
        }
        kept
    }

    fn value<'a>(&self, kept: &'a Kept, variable: &Variable) -> Option<&'a [u8]> {
        let number = self.asked.iter().position(|asked| asked == variable)?;
        let (end, has_value) = *kept.ends.get(number)?;
        let start = number.checked_sub(1).and_then(|before| kept.ends.get(before));
        has_value.then(|| kept.text.get(start.map_or(0, |(end, _)| *end)..end)).flatten()
    }
}

impl To {
    fn templates(&self) -> impl Iterator<Item = &Template> {
        let own = match &self.format {
            AccessFormat::Own(own) => Some(&own.text),
            AccessFormat::Combined | AccessFormat::Cache => None,
        };
        own.into_iter().chain(&self.when)
    }

    /// Appends the line of `exchange`, if it has one here.
    pub fn write(&self, out: &mut Vec<u8>, exchange: &Exchange, end: Ending<'_>) {
        let ended = exchange.logged.as_deref().map(|logged| Ended {
            logs: &logged.logs,
            kept: &logged.kept,
            exchange,
            end,
        });
        if let (Some(when), Some(ended)) = (&self.when, &ended)
            && !when.is_true(ended, &mut Vec::new())
        {
            return;
        }
        match (&self.format, &ended) {
            (AccessFormat::Own(own), Some(ended)) => ended.write_own(own, out),
            (AccessFormat::Own(_), None) => {}
            (format, _) => {
                line::write_line(out, *format == AccessFormat::Cache, exchange, end);
            }
        }
    }
}

/// An exchange that has ended, as its lines see it.
struct Ended<'a> {
    logs: &'a Logs,
    kept: &'a Kept,
    exchange: &'a Exchange,
    end: Ending<'a>,
}

impl Ended<'_> {
    fn write_own(&self, own: &OwnFormat, out: &mut Vec<u8>) {
        let mut value = Vec::new();
        for part in &own.text.parts {
            let variable = match part {
                Part::Literal(text) => {
                    out.extend_from_slice(text.as_bytes());
                    continue;
                }
                Part::Variable(variable) => variable,
            };
            value.clear();
            self.write(variable, &mut value);
            let is_there = !value.is_empty()
                || is_never_missing(variable)
                || self.logs.value(self.kept, variable).is_some();
            match own.escape {
                Escape::Default if !is_there => out.push(b'-'),
                Escape::Default => line::escape(out, &value),
                Escape::Json => escape_json(out, &value),
                Escape::None => out.extend_from_slice(&value),
            }
        }
        out.push(b'\n');
    }
}

impl Facts for Ended<'_> {
    fn write(&self, variable: &Variable, out: &mut Vec<u8>) {
        let number = |number: u64, out: &mut Vec<u8>| {
            out.extend_from_slice(number.to_string().as_bytes());
        };
        match variable {
            Variable::RequestTime => write_seconds(out, self.end.request_time),
            Variable::RequestCompletion if self.end.complete => out.extend_from_slice(b"OK"),
            Variable::RequestCompletion => {}
            Variable::BodyBytesSent => number(self.end.sent_bytes, out),
            Variable::BytesSent => number(self.kept.head_bytes + self.end.sent_bytes, out),
            Variable::Status => number(self.exchange.status.into(), out),
            Variable::TimeLocal => out.extend_from_slice(self.end.time_local.as_bytes()),
            Variable::Msec | Variable::TimeIso8601 => write_time(self.end.time, variable, out),
            Variable::Tried(what) if variable.is_late() => {
                line::write_tried(*what, &self.exchange.tried, out);
            }
            Variable::Map(map) if variable.is_late() => map.write(self, out),
            other => out.extend_from_slice(self.logs.value(self.kept, other).unwrap_or_default()),
        }
    }
}

/// Whether nginx has a value for it always, even if that is empty.
fn is_never_missing(variable: &Variable) -> bool {
    matches!(variable, Variable::Map(_) | Variable::IsArgs | Variable::Https)
}

/// As nginx writes strings of JSON: what is not ASCII stays as it is.
fn escape_json(out: &mut Vec<u8>, value: &[u8]) {
    for byte in value {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            control @ ..32 => out.extend_from_slice(format!("\\u{control:04X}").as_bytes()),
            plain => out.push(*plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::escape_json;

    #[test]
    fn json_is_escaped_as_nginx_does() {
        let mut out = Vec::new();
        escape_json(&mut out, "a\"b\\c\n\r\t\u{8}\u{c}\u{1}\u{1f}\u{7f}é".as_bytes());
        assert_eq!(out, "a\\\"b\\\\c\\n\\r\\t\\b\\f\\u0001\\u001F\u{7f}é".as_bytes());
    }
}
