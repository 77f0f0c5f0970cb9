//! Structured fields: `No-Vary-Search`, `Cache-Groups` and the other tags of a response.
//!
//! A rule selects from a query what is in it and nothing else; what was selected is selected again
//! as it is; order counts for nothing where the rule says so. Tags are bounded, sorted and without
//! repetition; every tag that was written purges the response, and another origin's group does not.

use http::HeaderMap;
use larder::semantics::no_vary_search::{rule, says_the_same};
use larder::semantics::query::Selection;
use larder::semantics::tags::{ANY, SURROGATE_KEY, TAGS_MAX, carries, group, of, of_text};

use crate::message::Message;

/// Holds `data` to it: a message whose fields are the response's.
pub fn check(data: &[u8]) {
    let message = Message::of(data);
    tags(&message);
    assert!(says_the_same(&message.fields, &message.fields.clone()));
    let Some(selection) = rule(&message.fields) else { return };
    assert!(!selection.is_all(), "a rule that says nothing");
    let names = selection.keep.iter().flatten().chain(&selection.drop).count();
    assert!(names <= message.fields.values().map(|value| value.len()).sum());
    let query = message.text("query").and_then(|query| std::str::from_utf8(query).ok());
    selects_only_what_is_there(&selection, query.unwrap_or(QUERY));
}

fn selects_only_what_is_there(selection: &Selection, query: &str) {
    let selected = selection.of(query);
    assert_eq!(selection.of(&selected), selected, "selected again");
    let mut left: Vec<_> = query.split('&').collect();
    for parameter in selected.split('&').filter(|parameter| !parameter.is_empty()) {
        let at = left.iter().position(|known| *known == parameter);
        left.swap_remove(at.expect("what is selected was sent"));
    }
    if selection.sort {
        // Names swap places only with others: the values of one name keep their order.
        let mut names: Vec<_> = query.split('&').collect();
        names.sort_by_key(|parameter| parameter.split('=').next());
        if !query.contains(['%', '+']) {
            assert_eq!(selection.of(&names.join("&")), selected, "order");
        }
    }
}

fn tags(message: &Message<'_>) {
    let fields = &message.fields;
    let host = message.text("host").and_then(|host| std::str::from_utf8(host).ok());
    let host = host.unwrap_or("a.example").to_ascii_lowercase();
    let tags = of(fields, &host);
    assert!(tags.len() <= TAGS_MAX + 1);
    assert!(tags.windows(2).all(|pair| pair[0] < pair[1]), "{tags:?}");
    let all_kept = tags.last() != Some(&ANY);
    assert!(all_kept || tags.len() > 1, "{tags:?}");
    every_tag_purges(fields, &tags);
    if all_kept {
        assert_eq!(of(&backwards(fields), &host), tags);
        groups_belong_to_their_origin(fields, &host, &tags);
    }
}

fn every_tag_purges(fields: &HeaderMap, tags: &[u64]) {
    for line in fields.get_all(SURROGATE_KEY) {
        let words = line.as_bytes().split(|byte| b" \t".contains(byte));
        for tag in words.filter_map(|tag| std::str::from_utf8(tag).ok()) {
            // What is blank to Unicode and not to HTTP is cut from what an operator names.
            let named = !tag.is_empty() && tag.trim() == tag;
            assert!(!named || carries(tags, of_text(tag)), "{tag:?}");
        }
    }
    assert!(carries(tags, of_text("nobody's tag")) == (tags.last() == Some(&ANY)));
}

/// The fields in the opposite order; lines of one field keep theirs.
fn backwards(fields: &HeaderMap) -> HeaderMap {
    let mut names: Vec<_> = fields.keys().collect();
    names.reverse();
    let mut backwards = HeaderMap::new();
    for name in names {
        for value in fields.get_all(name) {
            backwards.append(name, value.clone());
        }
    }
    backwards
}

/// Tags are the same for every host; what differs are the groups, and they are none of the other's.
fn groups_belong_to_their_origin(fields: &HeaderMap, host: &str, tags: &[u64]) {
    let other = format!("{host}.other");
    let others = of(fields, &other);
    assert_eq!(others.len(), tags.len());
    let mut only_tags = fields.clone();
    only_tags.remove("cache-groups");
    let only_tags = of(&only_tags, host);
    assert!(only_tags.iter().all(|tag| tags.contains(tag) && others.contains(tag)));
    let groups = tags.iter().filter(|tag| !only_tags.contains(tag));
    assert!(groups.into_iter().all(|group| !others.contains(group)));
    assert_ne!(group(host, "a"), group(&other, "a"));
}

/// Of a message that has none.
const QUERY: &str = "a=1&c=3&b=2&&a=0&%61=2&d+e";
