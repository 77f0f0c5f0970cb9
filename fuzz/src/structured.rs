//! Structured fields: `No-Vary-Search`.
//!
//! A rule selects from a query what is in it and nothing else; what was selected is selected again
//! as it is; order counts for nothing where the rule says so.

use larder::semantics::no_vary_search::{rule, says_the_same};
use larder::semantics::query::Selection;

use crate::message::Message;

/// Holds `data` to it: a message whose fields are the response's.
pub fn check(data: &[u8]) {
    let message = Message::of(data);
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

/// Of a message that has none.
const QUERY: &str = "a=1&c=3&b=2&&a=0&%61=2&d+e";
