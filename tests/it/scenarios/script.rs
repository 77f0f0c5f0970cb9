//! How a scenario is written: lines of text become steps. `tests/scenarios/README.md` lists them.

use std::time::Duration;

use larder::semantics::date::{Timestamp, http_date};

use crate::harness::Reply;
use crate::harness::proxy::STARTS_AT_S;

/// One exchange.
#[derive(Clone, Default)]
pub struct Scenario {
    /// Lines that say where the rule is written.
    pub sources: usize,
    /// Lines of the route's cache table.
    pub config: String,
    /// Fields that every request carries unless it names them itself.
    pub clients_send: Fields,
    pub steps: Vec<(usize, Step)>,
}

/// One of several scenarios of a file.
pub struct Titled {
    pub id: String,
    /// `required`, `optimal`, `check` or `own`.
    pub kind: String,
    pub line: usize,
    pub scenario: Scenario,
}

pub type Fields = Vec<(String, String)>;

/// What one line does.
#[derive(Clone)]
pub enum Step {
    Origin { always: bool, path: String, reply: Reply },
    Interim { path: String, status: u16, fields: Fields },
    Slow { path: String, seconds: u64 },
    Client { method: String, target: String, body: Option<String>, fields: Fields },
    Expect(Expected),
    ExpectInterim { status: Option<u16>, fields: Fields },
    Advance(u64),
    OriginSaw { path: String, times: usize, method: Option<String>, fields: Fields },
}

#[derive(Clone)]
pub struct Expected {
    /// Asked again until it is so: for what happens behind an answer.
    pub eventually: bool,
    pub status: u16,
    /// `None`: any.
    pub cache: Option<String>,
    /// `None`: any.
    pub body: Option<String>,
    pub reason: Option<String>,
    pub fields: Fields,
}

/// A line and what is wrong with it.
pub type Wrong = (usize, String);

/// Reads a file that is one scenario.
pub fn parse(text: &str) -> Result<Scenario, Wrong> {
    let mut scenario = Scenario::default();
    for (at, line) in text.lines().enumerate() {
        read_line(&mut scenario, at + 1, line)?;
    }
    Ok(scenario)
}

/// Reads a file of several: each begins with `== id (kind)`, and what stands before the first is
/// for all.
pub fn parse_many(text: &str) -> Result<Vec<Titled>, Wrong> {
    let mut head = Scenario::default();
    let mut all: Vec<Titled> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line_number = at + 1;
        if let Some(title) = line.strip_prefix("== ") {
            let (id, kind) = title
                .strip_suffix(')')
                .and_then(|title| title.split_once(" ("))
                .filter(|(_, kind)| KINDS.contains(kind))
                .ok_or_else(|| (line_number, "expected `== id (kind)`".to_owned()))?;
            all.push(Titled {
                id: id.to_owned(),
                kind: kind.to_owned(),
                line: line_number,
                scenario: head.clone(),
            });
        } else {
            let scenario = all.last_mut().map_or(&mut head, |titled| &mut titled.scenario);
            read_line(scenario, line_number, line)?;
        }
    }
    Ok(all)
}

/// Whom the suite would count it for; `own` is none of the suite's.
pub const KINDS: [&str; 4] = ["required", "optimal", "check", "own"];

fn read_line(scenario: &mut Scenario, number: usize, line: &str) -> Result<(), Wrong> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    if let Some(config) = line.strip_prefix("config:") {
        scenario.config.push_str(config.trim());
        scenario.config.push('\n');
    } else if let Some(field) = line.strip_prefix("clients-send:") {
        scenario.clients_send.push(read_field(field).map_err(|why| (number, why))?);
    } else if line.starts_with("rfc:") || line.starts_with("nginx:") {
        scenario.sources += 1;
    } else {
        let step = read_step(line).map_err(|why| (number, why))?;
        scenario.steps.push((number, step));
    }
    Ok(())
}

fn read_step(line: &str) -> Result<Step, String> {
    let mut parts = line.split(" | ");
    let (verb, rest) = parts.next().unwrap_or("").split_once(' ').unwrap_or((line, ""));
    let fields = parts.map(read_field).collect::<Result<Fields, _>>()?;
    let mut words = Words(rest.trim());
    Ok(match verb {
        "origin" | "origin*" => {
            let path = words.next("a path")?;
            let reply = read_reply(&mut words, &fields)?;
            Step::Origin { always: verb == "origin*", path, reply }
        }
        "interim" => {
            let (path, status) = (words.next("a path")?, words.number("a status")?);
            Step::Interim { path, status, fields }
        }
        "slow" => Step::Slow { path: words.next("a path")?, seconds: seconds(words.0)? },
        "client" => {
            let (method, target) = (words.next("a method")?, words.next("a path")?);
            Step::Client { method, target, body: words.rest_as_body()?, fields }
        }
        "expect" | "eventually" => Step::Expect(Expected {
            eventually: verb == "eventually",
            status: words.number("a status")?,
            cache: Some(words.next("a cache status")?).filter(|word| word != "*"),
            body: words.expected_body()?,
            reason: words.reason()?,
            fields,
        }),
        "expect-interim" => {
            let none = words.0 == "-";
            let status = if none { None } else { Some(words.number("a status or `-`")?) };
            Step::ExpectInterim { status, fields }
        }
        "advance" => Step::Advance(seconds(words.0)?),
        "origin-saw" => {
            let (path, times) = (words.next("a path")?, words.number("a number")?);
            let method = if words.0.is_empty() { None } else { Some(words.next("a method")?) };
            Step::OriginSaw { path, times: usize::from(times), method, fields }
        }
        _ => return Err(format!("unknown line `{line}`")),
    })
}

fn read_reply(words: &mut Words<'_>, fields: &Fields) -> Result<Reply, String> {
    if words.0 == "closes" {
        return Ok(Reply::hang_up());
    }
    let status = words.number("a status")?;
    let mut reply = Reply::status(status, &words.body()?);
    for (name, value) in fields {
        reply = reply.header(name, value);
    }
    Ok(reply)
}

fn read_field(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once(':').ok_or_else(|| format!("expected `name: value`, not `{text}`"))?;
    Ok((name.trim().to_owned(), with_dates(value.trim())?))
}

/// A value with the date that `{start}`, `{start+10s}` or `{start-10s}` stands for.
fn with_dates(value: &str) -> Result<String, String> {
    let Some((before, rest)) = value.split_once("{start") else { return Ok(value.to_owned()) };
    let (offset, after) = rest.split_once('}').ok_or("`{start` has no closing brace")?;
    let start = Timestamp::from_secs(STARTS_AT_S);
    let date = match offset.split_at_checked(1) {
        None => start,
        Some(("+", offset)) => start.plus(Duration::from_secs(seconds(offset)?)),
        Some(("-", offset)) => Timestamp::from_secs(STARTS_AT_S.saturating_sub(seconds(offset)?)),
        Some(_) => return Err(format!("expected `{{start+10s}}`, not `{{start{offset}}}`")),
    };
    Ok(format!("{before}{}{}", http_date(date), with_dates(after)?))
}

fn seconds(text: &str) -> Result<u64, String> {
    let digits = text.trim().strip_suffix('s').and_then(|digits| digits.parse().ok());
    digits.ok_or_else(|| "expected seconds, as in `10s`".to_owned())
}

/// What is left of a line.
struct Words<'a>(&'a str);

impl Words<'_> {
    fn next(&mut self, what: &str) -> Result<String, String> {
        let (word, rest) = self.0.split_once(' ').unwrap_or((self.0, ""));
        if word.is_empty() {
            return Err(format!("expected {what}"));
        }
        self.0 = rest.trim_start();
        Ok(word.to_owned())
    }

    fn number(&mut self, what: &str) -> Result<u16, String> {
        let word = self.next(what)?;
        word.parse().map_err(|_| format!("expected {what}, not `{word}`"))
    }

    /// `"text"`, or `-` for none.
    fn body(&mut self) -> Result<String, String> {
        if let Some(rest) = self.0.strip_prefix('"') {
            let (body, rest) = rest.split_once('"').ok_or("the body has no closing quote")?;
            self.0 = rest.trim_start();
            return Ok(body.to_owned());
        }
        match self.next("a body")?.as_str() {
            "-" => Ok(String::new()),
            other => Err(format!("expected a body in quotes or `-`, not `{other}`")),
        }
    }

    /// The same, or `*` for any.
    fn expected_body(&mut self) -> Result<Option<String>, String> {
        if self.0 == "*" || self.0.starts_with("* ") {
            self.next("a body")?;
            return Ok(None);
        }
        self.body().map(Some)
    }

    fn rest_as_body(&mut self) -> Result<Option<String>, String> {
        if self.0.is_empty() { Ok(None) } else { self.body().map(Some) }
    }

    fn reason(&mut self) -> Result<Option<String>, String> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let word = self.next("a reason")?;
        let reason = word.strip_prefix("reason=");
        reason.map(|reason| Some(reason.to_owned())).ok_or(format!("unknown word `{word}`"))
    }
}
