//! Exchanges in plain text, one file each, that anybody can read and add to: `tests/scenarios`.
//! The folder's `README.md` says how they are written.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::harness::{Origin, Proxy, Reply, Response};

#[tokio::test]
async fn every_scenario_holds() {
    let files = files();
    assert!(files.len() >= 20, "{}", files.len());
    let mut failed = String::new();
    for (name, text) in files {
        if let Err(why) = run(&name, &text).await {
            let _ = writeln!(failed, "\n{why}");
        }
    }
    assert!(failed.is_empty(), "{failed}");
}

#[test]
fn every_scenario_begins_with_what_it_shows_and_names_where_that_is_written() {
    for (name, text) in files() {
        assert!(text.starts_with("# "), "{name} begins with a sentence");
        let scenario = parse(&text).unwrap_or_else(|(line, why)| panic!("{name}:{line}: {why}"));
        assert!(scenario.sources > 0, "{name} has a line `rfc: ...` or `nginx: ...`");
        let number: String = name.chars().take_while(char::is_ascii_digit).collect();
        assert_eq!(number.len(), 2, "{name} begins with a number of two digits");
    }
}

#[tokio::test]
async fn a_scenario_that_does_not_hold_says_where_and_what_was_found_instead() {
    let text = "# A hit.\nrfc: 9111 4\norigin /a 200 \"one\" | cache-control: max-age=9\n\
                client GET /a\nexpect 200 MISS \"one\"\nclient GET /a\nexpect 200 MISS \"two\"\n";
    let said = run("x.txt", text).await.unwrap_err();
    let expected = "x.txt:7: not as expected\n\
                    \x20 expected  200 MISS \"two\"\n\
                    \x20 found     200 HIT \"one\"\n\
                    \x20 so far:\n\
                    \x20   GET /a\n\
                    \x20     200 MISS \"one\" reason=absent\n\
                    \x20   GET /a\n\
                    \x20     200 HIT \"one\" reason=fresh\n";
    assert_eq!(said, expected, "got:\n{said}");
    for (text, expected) in [
        ("frob", "2: unknown line"),
        ("expect 200 HIT \"a\"", "2: nothing was asked yet"),
        ("expect 200", "2: expected a cache status"),
        ("client GET /a | nothing", "2: expected `name: value`"),
        ("advance 3 days", "2: expected seconds"),
        ("origin /a two \"b\"", "2: expected a status"),
    ] {
        let said = run("x.txt", &format!("# Wrong.\n{text}\n")).await.unwrap_err();
        assert!(said.starts_with(&format!("x.txt:{expected}")), "{text}: {said}");
    }
}

/// The reasons that some scenario expects.
pub(crate) fn reasons_expected() -> BTreeSet<String> {
    let mut reasons = BTreeSet::new();
    for (_, text) in files() {
        for (_, step) in parse(&text).map_or_else(|_| Vec::new(), |scenario| scenario.steps) {
            if let Step::Expect(Expected { reason: Some(reason), .. }) = step {
                reasons.insert(reason);
            }
        }
    }
    reasons
}

/// One file.
#[derive(Default)]
struct Scenario {
    sources: usize,
    config: String,
    steps: Vec<(usize, Step)>,
}

type Fields = Vec<(String, String)>;

/// What one line does.
enum Step {
    Origin { always: bool, path: String, reply: Reply },
    Client { method: String, target: String, fields: Fields },
    Expect(Expected),
    Advance(u64),
    OriginSaw { path: String, times: usize, fields: Fields },
}

struct Expected {
    /// Asked again until it is so: for what happens behind an answer.
    eventually: bool,
    status: u16,
    cache: String,
    body: String,
    reason: Option<String>,
    fields: Fields,
}

/// Runs one file; the error is for whoever wrote it.
async fn run(name: &str, text: &str) -> Result<(), String> {
    let scenario = parse(text).map_err(|(line, why)| format!("{name}:{line}: {why}\n"))?;
    let origin = Origin::start().await;
    let proxy = Proxy::cached_with(&scenario.config, &origin).await;
    let mut stage = Stage { origin, proxy, asked: None, found: Response::default() };
    let mut so_far = String::new();
    for (line, step) in &scenario.steps {
        if let Step::Client { method, target, fields } = step {
            let _ = writeln!(so_far, "    {method} {target}{}", listed(fields));
        }
        let is_client = matches!(step, Step::Client { .. });
        let outcome = stage.take(step).await;
        if is_client {
            let _ = writeln!(so_far, "      {}", told(&stage.found));
        }
        outcome.map_err(|why| format!("{name}:{line}: {why}  so far:\n{so_far}"))?;
    }
    Ok(())
}

/// What a scenario acts on.
struct Stage {
    origin: Origin,
    proxy: Proxy,
    asked: Option<(String, String, Fields)>,
    found: Response,
}

impl Stage {
    async fn take(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Origin { always: true, path, reply } => {
                self.origin.on(path, reply.clone());
            }
            Step::Origin { path, reply, .. } => {
                self.origin.next(path, reply.clone());
            }
            Step::Client { method, target, fields } => {
                self.asked = Some((method.clone(), target.clone(), fields.clone()));
                self.ask().await?;
            }
            Step::Expect(expected) => return self.expect(expected).await,
            Step::Advance(seconds) => self.proxy.advance_s(*seconds),
            Step::OriginSaw { path, times, fields } => return self.saw(path, *times, fields).await,
        }
        Ok(())
    }

    async fn ask(&mut self) -> Result<(), String> {
        let (method, target, fields) = self.asked.as_ref().ok_or("nothing was asked yet\n")?;
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.found = self.proxy.send(method, target, &fields).await;
        Ok(())
    }

    async fn expect(&mut self, expected: &Expected) -> Result<(), String> {
        if self.asked.is_none() {
            return Err("nothing was asked yet\n".to_owned());
        }
        let mut mismatch = expected.mismatch(&self.found);
        for _ in 0..STEPS {
            if mismatch.is_none() || !expected.eventually {
                break;
            }
            tokio::time::sleep(STEP).await;
            self.ask().await?;
            mismatch = expected.mismatch(&self.found);
        }
        mismatch.map_or(Ok(()), Err)
    }

    /// The origin may see a request a moment after the answer, so this waits a little.
    async fn saw(&self, path: &str, times: usize, fields: &Fields) -> Result<(), String> {
        let mut seen = self.origin.requests(path);
        for _ in 0..STEPS {
            if seen.len() >= times {
                break;
            }
            tokio::time::sleep(STEP).await;
            seen = self.origin.requests(path);
        }
        let said = |expected: String, found: String| {
            Err(format!("the origin saw else\n  expected  {expected}\n  found     {found}\n"))
        };
        if seen.len() != times {
            return said(format!("{times} requests for {path}"), seen.len().to_string());
        }
        for (name, value) in fields {
            let found = seen.last().map_or_else(|| "-".to_owned(), |seen| seen.header(name));
            if found != *value {
                return said(format!("{name}: {value}"), format!("{name}: {found}"));
            }
        }
        Ok(())
    }
}

impl Expected {
    /// What is not as it should be.
    fn mismatch(&self, found: &Response) -> Option<String> {
        let (mut wanted, mut got) = (
            format!("{} {} {}", self.status, self.cache, quoted(self.body.as_bytes())),
            format!("{} {} {}", found.status, found.cache(), quoted(&found.body)),
        );
        if let Some(reason) = &self.reason {
            let _ = write!(wanted, " reason={reason}");
            let _ = write!(got, " reason={}", found.detail());
        }
        for (name, value) in &self.fields {
            let _ = write!(wanted, " | {name}: {value}");
            let _ = write!(got, " | {name}: {}", found.header(name));
        }
        let differs = wanted != got;
        differs.then(|| format!("not as expected\n  expected  {wanted}\n  found     {got}\n"))
    }
}

/// An answer as the story so far tells it.
fn told(found: &Response) -> String {
    let reason = found.detail();
    format!("{} {} {} reason={reason}", found.status, found.cache(), quoted(&found.body))
}

fn quoted(body: &[u8]) -> String {
    if body.is_empty() { "-".to_owned() } else { format!("\"{}\"", String::from_utf8_lossy(body)) }
}

fn listed(fields: &Fields) -> String {
    fields.iter().map(|(name, value)| format!(" | {name}: {value}")).collect()
}

/// Reads a file; the error is a line and what is wrong with it.
fn parse(text: &str) -> Result<Scenario, (usize, String)> {
    let mut scenario = Scenario::default();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        let number = at + 1;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(config) = line.strip_prefix("config:") {
            scenario.config.push_str(config.trim());
            scenario.config.push('\n');
        } else if line.starts_with("rfc:") || line.starts_with("nginx:") {
            scenario.sources += 1;
        } else {
            let step = read_step(line).map_err(|why| (number, why))?;
            scenario.steps.push((number, step));
        }
    }
    Ok(scenario)
}

fn read_step(line: &str) -> Result<Step, String> {
    let mut parts = line.split(" | ");
    let (verb, rest) = parts.next().unwrap_or("").split_once(' ').unwrap_or((line, ""));
    let fields = parts.map(read_field).collect::<Result<Fields, _>>()?;
    let mut words = Words(rest.trim());
    Ok(match verb {
        "origin" | "origin*" => {
            let path = words.next("a path")?;
            let status = words.number("a status")?;
            let body = words.body()?;
            let mut reply =
                if status == 0 { Reply::hang_up() } else { Reply::status(status, &body) };
            for (name, value) in &fields {
                reply = reply.header(name, value);
            }
            Step::Origin { always: verb == "origin*", path, reply }
        }
        "client" => {
            let (method, target) = (words.next("a method")?, words.next("a path")?);
            Step::Client { method, target, fields }
        }
        "expect" | "eventually" => Step::Expect(Expected {
            eventually: verb == "eventually",
            status: words.number("a status")?,
            cache: words.next("a cache status")?,
            body: words.body()?,
            reason: words.reason()?,
            fields,
        }),
        "advance" => {
            let seconds = rest.trim().strip_suffix('s').and_then(|digits| digits.parse().ok());
            Step::Advance(seconds.ok_or("expected seconds, as in `advance 10s`")?)
        }
        "origin-saw" => {
            let (path, times) = (words.next("a path")?, words.number("a number")?);
            Step::OriginSaw { path, times: usize::from(times), fields }
        }
        _ => return Err(format!("unknown line `{line}`")),
    })
}

fn read_field(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once(':').ok_or_else(|| format!("expected `name: value`, not `{text}`"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
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

    fn reason(&mut self) -> Result<Option<String>, String> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let word = self.next("a reason")?;
        let reason = word.strip_prefix("reason=");
        reason.map(|reason| Some(reason.to_owned())).ok_or(format!("unknown word `{word}`"))
    }
}

/// Name and text of every scenario, in their order.
fn files() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

const STEP: Duration = Duration::from_millis(10);
const STEPS: usize = 300;
