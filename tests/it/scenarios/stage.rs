//! Where a scenario is played: an origin, a proxy and a client, all of its own.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::script::{Expected, Fields, Scenario, Step};
use crate::harness::proxy::CACHED;
use crate::harness::{Gate, Origin, Proxy, Reply, Response};

/// Longer than any clock goes on: what is removed meanwhile would depend on who is first.
const LASTING_ZONE: &str = "[zone.test]\ninactive = \"1d\"";

/// Plays a scenario; the error is for whoever wrote it.
pub async fn play(name: &str, scenario: &Scenario) -> Result<(), String> {
    let origin = Origin::start().await;
    let config = format!("{}{}\n", CACHED.replace("[zone.test]", LASTING_ZONE), scenario.config);
    let proxy = Proxy::with(&config, &origin).await;
    let mut stage = Stage {
        clients_send: scenario.clients_send.clone(),
        origin,
        proxy,
        interim: HashMap::new(),
        slow: HashMap::new(),
        asked: None,
        found: Response::default(),
    };
    let mut so_far = String::new();
    for (line, step) in &scenario.steps {
        if let Step::Client { method, target, fields, .. } = step {
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

struct Stage {
    clients_send: Fields,
    origin: Origin,
    proxy: Proxy,
    /// What goes before the next answer for a path.
    interim: HashMap<String, Vec<(u16, Fields)>>,
    /// How long the next answer for a path takes.
    slow: HashMap<String, (u64, Gate)>,
    asked: Option<Asked>,
    found: Response,
}

/// A request, to be sent again.
#[derive(Clone)]
struct Asked {
    method: String,
    target: String,
    body: Option<String>,
    fields: Fields,
}

impl Stage {
    async fn take(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Origin { always, path, reply } => self.script(*always, path, reply.clone()),
            Step::Interim { path, status, fields } => {
                self.interim.entry(path.clone()).or_default().push((*status, fields.clone()));
            }
            Step::Slow { path, seconds } => {
                self.slow.insert(path.clone(), (*seconds, Gate::closed()));
            }
            Step::Client { method, target, body, fields } => {
                self.asked = Some(Asked {
                    method: method.clone(),
                    target: target.clone(),
                    body: body.clone(),
                    fields: with_defaults(fields, &self.clients_send),
                });
                self.ask().await?;
            }
            Step::Expect(expected) => return self.expect(expected).await,
            Step::ExpectInterim { status, fields } => return self.expect_interim(*status, fields),
            Step::Advance(seconds) => self.proxy.advance_s(*seconds),
            Step::OriginSaw { path, times, method, fields } => {
                self.saw(path, *times).await?;
                return self.saw_last(path, method.as_deref(), fields);
            }
        }
        Ok(())
    }

    fn script(&mut self, always: bool, path: &str, mut reply: Reply) {
        for (status, fields) in self.interim.remove(path).unwrap_or_default() {
            reply = reply.after(status, &borrowed(&fields));
        }
        if let Some((_, gate)) = self.slow.get(path) {
            reply = reply.behind(gate);
        }
        if always {
            self.origin.on(path, reply);
        } else {
            self.origin.next(path, reply);
        }
    }

    async fn ask(&mut self) -> Result<(), String> {
        let asked = self.asked.clone().ok_or("nothing was asked yet\n")?;
        let line = (asked.method.as_str(), asked.target.as_str());
        let fields = borrowed(&asked.fields);
        let answer = self.proxy.send_with_body(line, &fields, asked.body.as_deref());
        let Some((seconds, gate)) = self.slow.remove(&asked.target) else {
            self.found = answer.await;
            return Ok(());
        };
        let asked_for = self.origin.seen(&asked.target) + 1;
        let passes = async {
            let outcome = self.saw(&asked.target, asked_for).await;
            self.proxy.advance_s(seconds);
            gate.open();
            outcome
        };
        let (found, outcome) = tokio::join!(answer, passes);
        self.found = found;
        outcome
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

    /// Exactly this one came before the last answer, or none.
    fn expect_interim(&self, status: Option<u16>, fields: &Fields) -> Result<(), String> {
        let wanted = status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let found: Vec<_> =
            self.found.interim.iter().map(|interim| interim.status.to_string()).collect();
        let found = if found.is_empty() { "-".to_owned() } else { found.join(" ") };
        if wanted != found {
            return Err(not_as("not as expected before the answer", &wanted, &found));
        }
        let Some(interim) = self.found.interim.first() else { return Ok(()) };
        differing(fields, |name| interim.header(name))
            .map_or(Ok(()), |(wanted, found)| Err(not_as("before the answer", &wanted, &found)))
    }

    /// The origin may see a request a moment after the answer, so this waits a little.
    async fn saw(&self, path: &str, times: usize) -> Result<(), String> {
        let mut seen = self.origin.seen(path);
        for _ in 0..STEPS {
            if seen >= times {
                break;
            }
            tokio::time::sleep(STEP).await;
            seen = self.origin.seen(path);
        }
        if seen == times {
            return Ok(());
        }
        let wanted = format!("{times} requests for {path}");
        Err(not_as("the origin saw else", &wanted, &seen.to_string()))
    }

    fn saw_last(&self, path: &str, method: Option<&str>, fields: &Fields) -> Result<(), String> {
        let seen = self.origin.requests(path).pop();
        let found = seen.as_ref().map_or("-", |seen| seen.method.as_str());
        if let Some(method) = method.filter(|method| *method != found) {
            return Err(not_as("the origin saw else", method, found));
        }
        let header = |name: &str| seen.as_ref().map_or("-".to_owned(), |seen| seen.header(name));
        differing(fields, header)
            .map_or(Ok(()), |(wanted, found)| Err(not_as("the origin saw else", &wanted, &found)))
    }
}

impl Expected {
    /// What is not as it should be.
    fn mismatch(&self, found: &Response) -> Option<String> {
        let any = || "*".to_owned();
        let found_body = quoted(&found.body);
        let (mut wanted, mut got) = (format!("{}", self.status), format!("{}", found.status));
        for (expected, found) in [
            (self.cache.clone(), found.cache()),
            (self.body.as_ref().map(|body| quoted(body.as_bytes())), found_body),
        ] {
            let _ = write!(got, " {}", if expected.is_some() { found } else { any() });
            let _ = write!(wanted, " {}", expected.unwrap_or_else(any));
        }
        if let Some(reason) = &self.reason {
            let _ = write!(wanted, " reason={reason}");
            let _ = write!(got, " reason={}", found.detail());
        }
        for (name, value) in &self.fields {
            let _ = write!(wanted, " | {name}: {value}");
            let _ = write!(got, " | {name}: {}", found.header(name));
        }
        (wanted != got).then(|| not_as("not as expected", &wanted, &got))
    }
}

fn not_as(what: &str, wanted: &str, found: &str) -> String {
    format!("{what}\n  expected  {wanted}\n  found     {found}\n")
}

/// The first field that is not as it should be: what was wanted, what was found.
fn differing(fields: &Fields, found: impl Fn(&str) -> String) -> Option<(String, String)> {
    fields.iter().find_map(|(name, value)| {
        let found = found(name);
        (found != *value).then(|| (format!("{name}: {value}"), format!("{name}: {found}")))
    })
}

/// The fields of a request, and those of `defaults` that it does not name.
fn with_defaults(fields: &Fields, defaults: &Fields) -> Fields {
    let named = |name: &str| fields.iter().any(|(field, _)| field.eq_ignore_ascii_case(name));
    let unnamed = defaults.iter().filter(|(name, _)| !named(name));
    fields.iter().chain(unnamed).cloned().collect()
}

fn borrowed(fields: &Fields) -> Vec<(&str, &str)> {
    fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
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

const STEP: Duration = Duration::from_millis(10);
const STEPS: usize = 3000;
