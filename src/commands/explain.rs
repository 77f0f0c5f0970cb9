//! `larder explain`: what a request would get now, and why.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use crate::admin::client;
use crate::admin::explain::{Cache, Explanation, NotStored, Outcome, Question, Stored};
use crate::cli::Explain;
use crate::commands::{self, Failure};

/// Asks the server and prints what it says.
///
/// # Errors
///
/// The server is not running, or the request is none that it serves.
pub fn run(arguments: &Explain) -> Result<(), Failure> {
    let question = Question {
        url: arguments.url.clone(),
        method: arguments.method.clone(),
        headers: arguments.headers.clone(),
    };
    question.request().map_err(Failure::new)?;
    let document = serde_json::to_vec(&question).map_err(Failure::new)?;
    let answer = commands::block_on(client::post(&arguments.admin, "/v1/explain", document))??;
    commands::show(&answer, arguments.json, |explanation| describe(&question, explanation))
}

fn describe(question: &Question, explanation: &Explanation) -> String {
    let mut text = String::new();
    let method = question.method.as_deref().unwrap_or("GET");
    line(&mut text, "request", &format!("{method} {}", question.url));
    let route = &explanation.route;
    let at = route.at.as_ref().map_or(String::new(), |at| format!("  ({at})"));
    line(&mut text, "route", &format!("{} -> {}{at}", route.path, route.upstream));
    if let Some(cache) = &explanation.cache {
        describe_cache(&mut text, cache);
    }
    describe_outcome(&mut text, &explanation.now);
    text
}

fn describe_cache(text: &mut String, cache: &Cache) {
    line(text, "zone", &format!("{}, semantics {}", cache.zone, cache.semantics));
    line(text, "key", &format!("{}  ({})", cache.key, cache.hash));
    if let Some(vary) = &cache.vary {
        let (by, count) = (vary.by.join(", "), vary.variants);
        let word = if count == 1 { "variant" } else { "variants" };
        line(text, "variants", &format!("{count} {word}, told apart by {by}"));
    }
    match &cache.stored {
        None => line(text, "stored", "nothing"),
        Some(stored) => describe_stored(text, stored),
    }
    if let Some(not_stored) = &cache.not_stored {
        describe_not_stored(text, not_stored);
    }
}

pub(super) fn describe_stored(text: &mut String, stored: &Stored) {
    let Stored { status, body_bytes, tier, received, .. } = stored;
    let at = if tier == "disk" { "on disk" } else { "in memory" };
    line(text, "stored", &format!("{status}, {body_bytes} bytes {at}, since {received}"));
    let rest = match stored.ttl_s {
        ttl_s if ttl_s > 0 => format!("fresh for {ttl_s} s more"),
        ttl_s => format!("stale for {} s", -ttl_s),
    };
    line(text, "age", &format!("{} s of {} s: {rest}", stored.age_s, stored.lifetime_s));
    line(text, "lifetime", &format!("from {}", stored.lifetime_from));
    let windows = [
        (stored.stale_while_revalidate_s, "while it is validated"),
        (stored.stale_if_error_s, "when the origin fails"),
    ];
    for (seconds, when) in windows.into_iter().filter(|(seconds, _)| *seconds > 0) {
        line(text, "stale", &format!("may be served {seconds} s longer {when}"));
    }
    if stored.no_cache {
        line(text, "validate", "before every use (no-cache)");
    } else if stored.must_revalidate {
        line(text, "validate", "never served stale (must-revalidate)");
    }
    if !stored.validators.is_empty() {
        line(text, "validator", &stored.validators.join(", "));
    }
}

fn describe_not_stored(text: &mut String, not_stored: &NotStored) {
    let NotStored { ago_s, status, reason, why, .. } = not_stored;
    line(text, "not stored", &format!("the {status} of {ago_s} s ago: {why}  ({reason})"));
    if let Some(said) = &not_stored.said {
        line(text, "it said", said);
    }
}

fn describe_outcome(text: &mut String, now: &Outcome) {
    let word = now.status.as_deref().unwrap_or("not cached");
    let (style, what) = if now.asks_origin {
        (YELLOW, "the origin is asked")
    } else {
        (GREEN, "served from the cache")
    };
    let _ = writeln!(text, "{BOLD}{:<14}{BOLD:#}{style}{word}{style:#}: {what}", "now");
    line(text, "because", &format!("{}  ({})", now.why, now.reason));
    if let Some(change) = &now.change {
        line(text, "to change it", change);
    }
}

pub(super) fn line(text: &mut String, label: &str, value: &str) {
    let _ = writeln!(text, "{BOLD}{label:<14}{BOLD:#}{value}");
}

const BOLD: Style = Style::new().bold();
const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(explanation: &Explanation) -> String {
        let question = Question { url: "http://a/x".into(), ..Question::default() };
        anstream::adapter::strip_str(&describe(&question, explanation)).to_string()
    }

    #[test]
    fn what_is_stored_is_told_with_the_rule_that_gave_its_lifetime() {
        let stored = Stored {
            status: 200,
            tier: "memory".into(),
            body_bytes: 5,
            received: "Mon, 21 Sep 2026 14:13:20 GMT".into(),
            age_s: 70,
            lifetime_s: 60,
            lifetime_from: "Cache-Control: max-age".into(),
            ttl_s: -10,
            stale_if_error_s: 30,
            validators: vec!["ETag".into()],
            ..Stored::default()
        };
        let cache = Cache {
            zone: "main".into(),
            semantics: "rfc9111".into(),
            key: "http://a/x".into(),
            hash: "00".into(),
            stored: Some(stored),
            ..Cache::default()
        };
        let now = Outcome {
            status: Some("EXPIRED".into()),
            asks_origin: true,
            reason: "expired".into(),
            why: "it is stale".into(),
            change: None,
        };
        let explanation = Explanation { cache: Some(cache), now, ..Explanation::default() };
        let text = plain(&explanation);
        for expected in [
            "request       GET http://a/x\n",
            "zone          main, semantics rfc9111\n",
            "stored        200, 5 bytes in memory, since Mon, 21 Sep 2026 14:13:20 GMT\n",
            "age           70 s of 60 s: stale for 10 s\n",
            "lifetime      from Cache-Control: max-age\n",
            "stale         may be served 30 s longer when the origin fails\n",
            "validator     ETag\n",
            "now           EXPIRED: the origin is asked\n",
            "because       it is stale  (expired)\n",
        ] {
            assert!(text.contains(expected), "{expected}\nin\n{text}");
        }
    }
}
