//! The documents of `/v1/purge`: what it is sent, and what it answers.

use http::Uri;
use serde::{Deserialize, Serialize};

use crate::cache::purge::{self, Wanted, What};

/// What `/v1/purge` is sent: one of `url`, `prefix`, `tags` and `all`, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Purge {
    /// Absolute, with the scheme and host that a client would use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How such a URL begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// What carries any of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Everything.
    #[serde(skip_serializing_if = "is_false")]
    pub all: bool,
    /// In which zone; needed only where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Make it stale instead of removing it.
    #[serde(skip_serializing_if = "is_false")]
    pub soft: bool,
    /// Only say what would go.
    #[serde(skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

/// What `/v1/purge` answers. A reader finds `null`, empty or `false` what is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Purged {
    /// Responses that were removed or made stale; `null` where nobody counted them.
    pub purged: Option<u64>,
    /// `prefix`, `tag` or `all`; nothing for a URL.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// The zones it was about; none for a URL.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
    /// They are stale instead of gone.
    #[serde(skip_serializing_if = "is_false")]
    pub soft: bool,
    /// `false` where the disk failed, and a restart would undo it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durable: Option<bool>,
    /// What would have gone, for a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_purge: Option<WouldPurge>,
}

/// What would have gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WouldPurge {
    /// Responses that were counted.
    pub responses: u64,
    /// Their keys, the first thousand.
    pub keys: Vec<KeyCount>,
    /// Responses under further keys.
    pub more: u64,
    /// The zone was not looked through to its end: there may be others.
    pub truncated: bool,
}

/// Responses under one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyCount {
    /// The key.
    pub key: String,
    /// How many, with all variants.
    pub responses: u64,
}

impl Purge {
    /// The purge that a document asks for.
    ///
    /// # Errors
    /// What is wrong with it, for whoever wrote it.
    pub fn read(text: &[u8]) -> Result<Wanted, String> {
        let purge: Self = serde_json::from_slice(text)
            .map_err(|error| format!("expected `{{\"url\": \"http://host/path\"}}`: {error}"))?;
        purge.wanted()
    }

    /// What it asks for.
    ///
    /// # Errors
    /// What is wrong with it, for whoever wrote it.
    pub fn wanted(self) -> Result<Wanted, String> {
        let Self { url, prefix, tags, all, zone, soft, dry_run } = self;
        if tags.iter().any(|tag| tag.trim().is_empty()) {
            return Err("a tag is empty".to_owned());
        }
        if tags.len() > TAGS_MAX {
            return Err(format!("more than {TAGS_MAX} tags"));
        }
        let by_url = url.is_some() || prefix.is_some();
        let what = match (url, prefix, tags.is_empty(), all) {
            (Some(url), None, true, false) => What::Url(check_url(&url)?),
            (None, Some(prefix), true, false) => What::Prefix(check_url(&prefix)?),
            (None, None, false, false) => What::Tags(tags, zone.clone()),
            (None, None, true, true) => What::All(zone.clone()),
            _ => return Err("name one of `url`, `prefix`, `tags` and `\"all\": true`".to_owned()),
        };
        if by_url && zone.is_some() {
            return Err("`zone` goes with `tags` and `all`: a URL has its route's".to_owned());
        }
        Ok(Wanted { what, soft, dry_run })
    }
}

impl From<purge::Purged> for Purged {
    fn from(purged: purge::Purged) -> Self {
        let is_url = purged.scope == "url";
        Self {
            purged: purged.responses,
            scope: if is_url { String::new() } else { purged.scope.to_owned() },
            zones: if is_url { Vec::new() } else { purged.zones },
            soft: purged.soft,
            durable: purged.not_durable.then_some(false),
            would_purge: purged.listed.map(|listed| WouldPurge {
                responses: listed.keys.iter().map(|(_, responses)| responses).sum::<u64>()
                    + listed.more,
                keys: listed
                    .keys
                    .into_iter()
                    .map(|(key, responses)| KeyCount { key, responses })
                    .collect(),
                more: listed.more,
                truncated: listed.cut_off,
            }),
        }
    }
}

/// Reads a URL that a stored response can have.
///
/// # Errors
///
/// What is wrong with it, for whoever wrote it.
pub fn check_url(url: &str) -> Result<Uri, String> {
    let is_absolute = |uri: &Uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
    };
    let uri = url.parse().ok().filter(is_absolute);
    uri.ok_or_else(|| format!("`{url}` is no absolute URL, such as `http://host/path`"))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over like this")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Each is a record of its own: so many do not crowd out what was purged before.
const TAGS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[rustfmt::skip]
    #[test]
    fn a_document_names_one_thing() {
        check(r#"{"url":"http://a/b"}"#,                          Ok("Url(http://a/b)"));
        check(r#"{"prefix":"http://a/b","soft":true}"#,           Ok("Prefix(http://a/b) soft"));
        check(r#"{"tags":["a","b"],"zone":"z"}"#,                 Ok("Tags([\"a\", \"b\"], Some(\"z\"))"));
        check(r#"{"all":true,"dry_run":true}"#,                   Ok("All(None) dry"));
        check(r#"{}"#,                                            Err("name one of"));
        check(r#"{"all":false}"#,                                 Err("name one of"));
        check(r#"{"tags":[]}"#,                                   Err("name one of"));
        check(r#"{"url":"http://a/b","all":true}"#,               Err("name one of"));
        check(r#"{"url":"http://a/b","tags":["a"]}"#,             Err("name one of"));
        check(r#"{"url":"http://a/b","zone":"z"}"#,               Err("`zone` goes with"));
        check(r#"{"url":"/b"}"#,                                  Err("no absolute URL"));
        check(r#"{"prefix":"a/b"}"#,                              Err("a/b"));
        check(r#"{"tags":["a"," "]}"#,                            Err("a tag is empty"));
        check(r#"{"tags":"a"}"#,                                  Err("invalid type"));
        check(r#"{"urls":"http://a/b"}"#,                         Err("unknown field"));
        check(r#""#,                                              Err("expected"));
    }

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        match (Purge::read(text.as_bytes()), expected) {
            (Ok(Wanted { what, soft, dry_run }), Ok(expected)) => {
                let how = [("", ""), (" soft", " dry")];
                let shown =
                    format!("{what:?}{}{}", how[usize::from(soft)].0, how[usize::from(dry_run)].1);
                assert_eq!(shown, expected, "{text}");
            }
            (Err(problem), Err(expected)) => assert!(problem.contains(expected), "{problem}"),
            (found, _) => panic!("{text}: {found:?}"),
        }
    }

    #[test]
    fn urls_are_absolute() {
        for url in ["http://a.example/x?y", "https://a.example", "http://[::1]:80/"] {
            assert!(check_url(url).is_ok(), "{url}");
        }
        for url in [
            "",
            "/x",
            "a.example/x",
            "a.example:80",
            "ftp://a.example/",
            "http:///x",
            "http://a b/",
        ] {
            assert!(check_url(url).is_err(), "{url}");
        }
    }
}
