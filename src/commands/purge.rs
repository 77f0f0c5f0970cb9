//! `larder purge`: removes what a running server has stored, or says what it would remove.

use std::fmt::Write as _;
use std::io::Write as _;

use http::StatusCode;

use crate::admin::client;
use crate::admin::purge::{KeyCount, Purge, Purged, WouldPurge};
use crate::cli;
use crate::commands::{self, Failure};

/// Asks the server to forget and prints what was removed. That nothing was stored is no failure:
/// it is gone either way.
///
/// # Errors
///
/// The server is not running, or refused.
pub fn run(arguments: &cli::purge::Purge) -> Result<(), Failure> {
    let document = document(arguments);
    document.clone().wanted().map_err(Failure::new)?;
    let text = serde_json::to_vec(&document).map_err(Failure::new)?;
    let answer = commands::block_on(client::post(&arguments.admin, "/v1/purge", text))??;
    let lines = match (answer.status, serde_json::from_slice(&answer.body)) {
        (StatusCode::OK | StatusCode::NOT_FOUND, Ok(purged)) => describe(&purged, &document),
        _ => return Err(commands::refusal(&answer)),
    };
    write!(anstream::stdout(), "{lines}")?;
    Ok(())
}

fn document(arguments: &cli::purge::Purge) -> Purge {
    // A `*` at the end of a path is how `PURGE` asks for a prefix.
    let prefix = arguments.prefix.as_ref().map(|url| match url.strip_suffix('*') {
        Some(start) if !url.contains('?') => start.to_owned(),
        _ => url.clone(),
    });
    Purge {
        url: arguments.url.clone(),
        prefix,
        tags: arguments.tags.clone(),
        all: arguments.all,
        zone: arguments.zone.clone(),
        soft: arguments.soft,
        dry_run: arguments.dry_run,
    }
}

fn describe(purged: &Purged, asked: &Purge) -> String {
    let what = match (&asked.url, &asked.prefix) {
        (Some(url), _) => url.clone(),
        (None, Some(prefix)) => format!("everything below {prefix}*"),
        (None, None) if asked.all => "everything".to_owned(),
        (None, None) => format!("everything tagged {}", asked.tags.join(", ")),
    };
    let zones = match &purged.zones[..] {
        [] => String::new(),
        [zone] => format!(" in zone {zone}"),
        zones => format!(" in zones {}", zones.join(", ")),
    };
    if let Some(would_purge) = &purged.would_purge {
        return list(would_purge, &format!("{what}{zones}"));
    }
    let done = if purged.soft { "made stale" } else { "purged" };
    let mut text = match purged.purged {
        None => format!(
            "{done}: {what}{zones}, from now on\n\
             how many responses that were is not counted; `--dry-run` looks\n"
        ),
        Some(0) => format!("nothing was stored for {what}\n"),
        Some(1) => format!("{done} 1 response for {what}\n"),
        Some(purged) => format!("{done} {purged} responses for {what}\n"),
    };
    if purged.durable == Some(false) {
        text.push_str("the disk failed: a restart of the server would undo this\n");
    }
    text
}

fn list(would_purge: &WouldPurge, what: &str) -> String {
    let mut text = String::new();
    for KeyCount { key, responses } in &would_purge.keys {
        let _ = match responses {
            1 => writeln!(text, "{key}"),
            _ => writeln!(text, "{key}  ({responses} variants)"),
        };
    }
    if would_purge.more > 0 {
        let _ = writeln!(text, "and {} more", would_purge.more);
    }
    let at_least = if would_purge.truncated { "at least " } else { "" };
    let _ = match would_purge.responses {
        1 => writeln!(text, "{at_least}1 response would go for {what}; nothing was removed"),
        many => {
            writeln!(text, "{at_least}{many} responses would go for {what}; nothing was removed")
        }
    };
    if would_purge.truncated {
        text.push_str("the zone is too large, or was started too recently, to look at all of it\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    use crate::config::AdminAddress;

    fn purge(url: &str) -> Failure {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let arguments = cli::purge::Purge {
            url: Some(url.to_owned()),
            prefix: None,
            tags: Vec::new(),
            all: false,
            zone: None,
            soft: false,
            dry_run: false,
            admin: AdminAddress::Tcp(free),
        };
        run(&arguments).unwrap_err()
    }

    #[test]
    fn a_server_that_is_not_running_is_status_3() {
        let failure = purge("http://a.example/");
        assert_eq!(failure.status, 3);
        let problem = failure.problem.unwrap();
        assert!(problem.starts_with("not running: nobody listens on 127.0.0.1:"), "{problem}");
    }

    #[test]
    fn a_url_without_a_host_is_refused_before_anybody_is_asked() {
        let failure = purge("/a");
        assert_eq!(failure.status, 1);
        assert!(failure.problem.unwrap().contains("no absolute URL"));
    }

    #[rustfmt::skip]
    #[test]
    fn says_what_happened() {
        let url = Purge { url: Some("u".to_owned()), ..Purge::default() };
        let prefix = Purge { prefix: Some("u/".to_owned()), ..Purge::default() };
        let tags = Purge { tags: vec!["a".to_owned(), "b".to_owned()], ..Purge::default() };
        let all = Purge { all: true, ..Purge::default() };
        let counts = "how many responses that were is not counted; `--dry-run` looks\n";
        let keys = r#""keys":[{"key":"a","responses":1},{"key":"b","responses":3}]"#;
        //    answer                                   asked    said
        check(r#"{"purged":0}"#,                       &url,    "nothing was stored for u\n");
        check(r#"{"purged":1}"#,                       &url,    "purged 1 response for u\n");
        check(r#"{"purged":2}"#,                       &url,    "purged 2 responses for u\n");
        check(r#"{"purged":2,"soft":true}"#,           &url,    "made stale 2 responses for u\n");
        check(r#"{"purged":null,"zones":["z"]}"#,      &prefix, &format!("purged: everything below u/* in zone z, from now on\n{counts}"));
        check(r#"{"purged":null,"zones":["z"]}"#,      &tags,   &format!("purged: everything tagged a, b in zone z, from now on\n{counts}"));
        check(r#"{"soft":true,"zones":["y","z"]}"#,    &all,    &format!("made stale: everything in zones y, z, from now on\n{counts}"));
        check(r#"{"purged":1,"durable":false}"#,       &url,    "purged 1 response for u\nthe disk failed: a restart of the server would undo this\n");
        check(&format!(r#"{{"would_purge":{{"responses":4,{keys}}}}}"#), &all,
              "a\nb  (3 variants)\n4 responses would go for everything; nothing was removed\n");
        check(r#"{"would_purge":{"responses":9,"more":9,"truncated":true}}"#, &all,
              "and 9 more\nat least 9 responses would go for everything; nothing was removed\n\
               the zone is too large, or was started too recently, to look at all of it\n");
    }

    #[track_caller]
    fn check(answer: &str, asked: &Purge, said: &str) {
        assert_eq!(describe(&serde_json::from_str(answer).unwrap(), asked), said, "{answer}");
    }
}
