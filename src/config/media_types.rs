//! Media types by how paths end. (nginx: types, default_type, charset)

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::HeaderValue;

/// The types of what a route answers with, made ready with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaTypes {
    /// By the end in lower case, without the dot.
    by_end: BTreeMap<String, HeaderValue>,
    /// Other ends have the types that they usually have.
    usual: bool,
    /// Of all other paths; `None`: nothing is said.
    default: Option<HeaderValue>,
}

impl MediaTypes {
    /// Those of the operator by their ends, in lower case and without the dot; with `usual` those of
    /// other ends, where they are known; and that of all else. What is text and names no character
    /// set gets this one.
    pub(crate) fn new(
        own: impl Iterator<Item = (String, HeaderValue)>,
        usual: bool,
        default: Option<HeaderValue>,
        charset: Option<&str>,
    ) -> Self {
        let complete = |kind: HeaderValue| {
            let text = kind.to_str().ok().and_then(|kind| with_charset(kind, charset));
            text.and_then(|text| HeaderValue::try_from(text).ok()).unwrap_or(kind)
        };
        let texts = mime_guess::get_extensions("text", "*").unwrap_or_default();
        let texts = texts.iter().filter(|_| usual && charset.is_some()).filter_map(|end| {
            let kind = HeaderValue::from_static(mime_guess::from_ext(end).first_raw()?);
            Some(((*end).to_owned(), kind))
        });
        Self {
            by_end: texts.chain(own).map(|(end, kind)| (end, complete(kind))).collect(),
            usual,
            default: default.map(complete),
        }
    }

    /// The value of `Content-Type` for a path, decoded and without its query.
    pub fn of(&self, path: &str) -> Option<HeaderValue> {
        let Some(end) = end(path) else { return self.default.clone() };
        let lower = match end.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(end.to_ascii_lowercase()),
            false => Cow::Borrowed(end),
        };
        if let Some(kind) = self.by_end.get(lower.as_ref()) {
            return Some(kind.clone());
        }
        let usual = self.usual.then(|| mime_guess::from_ext(end).first_raw()).flatten();
        usual.map(HeaderValue::from_static).or_else(|| self.default.clone())
    }
}

/// How a path ends, without the dot. Dots that a name begins with are no end (nginx:
/// ngx_http_set_exten).
pub(crate) fn end(path: &str) -> Option<&str> {
    let name = path.rsplit('/').next().unwrap_or(path).trim_start_matches('.');
    name.rsplit_once('.').map(|(_, end)| end).filter(|end| !end.is_empty())
}

/// Whether a text is `text/html` or the like, with parameters or without.
pub(crate) fn is_media_type(text: &str) -> bool {
    let essence = text.split_once(';').map_or(text, |(essence, _)| essence.trim_end());
    let is_token = |part: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-*".contains(&byte);
        !part.is_empty() && part.bytes().all(fits)
    };
    text.is_ascii() && essence.split_once('/').is_some_and(|(a, b)| is_token(a) && is_token(b))
}

/// The type with the character set; `None` where it needs none.
pub(crate) fn with_charset(kind: &str, charset: Option<&str>) -> Option<String> {
    let needs_one = kind.starts_with("text/") && !kind.contains(';');
    charset.filter(|_| needs_one).map(|charset| format!("{kind}; charset={charset}"))
}

#[cfg(test)]
mod tests {
    use super::{MediaTypes, end};
    use http::HeaderValue;

    fn types(usual: bool, default: Option<&'static str>, charset: Option<&str>) -> MediaTypes {
        let own = [("own", "text/x-own"), ("set", "text/x; charset=a"), ("js", "application/own")];
        let own = own.map(|(end, kind)| (end.to_owned(), HeaderValue::from_static(kind)));
        MediaTypes::new(own.into_iter(), usual, default.map(HeaderValue::from_static), charset)
    }

    #[test]
    #[rustfmt::skip]
    fn the_end_of_a_path_says_the_type() {
        let own = types(false, Some("text/plain"), None);
        let usual = types(true, Some("x/y"), Some("utf-8"));
        let none = types(false, None, Some("utf-8"));
        //    path               own                          usual                        none
        for (path, expected) in [
            ("/a.own",          ["text/x-own",               "text/x-own; charset=utf-8", "text/x-own; charset=utf-8"]),
            ("/a.OwN",          ["text/x-own",               "text/x-own; charset=utf-8", "text/x-own; charset=utf-8"]),
            ("/a.set",          ["text/x; charset=a",        "text/x; charset=a",         "text/x; charset=a"]),
            ("/a.js",           ["application/own",          "application/own",           "application/own"]),
            ("/a.html",         ["text/plain",               "text/html; charset=utf-8",  "-"]),
            ("/a.PNG",          ["text/plain",               "image/png",                 "-"]),
            ("/a.tar.gz",       ["text/plain",               "application/gzip",          "-"]),
            ("/a.none",         ["text/plain",               "x/y",                       "-"]),
            ("/a.own/b",        ["text/plain",               "x/y",                       "-"]),
            ("/",               ["text/plain",               "x/y",                       "-"]),
        ] {
            let shown = |types: &MediaTypes| {
                types.of(path).map_or("-".to_owned(), |kind| kind.to_str().unwrap().to_owned())
            };
            assert_eq!([shown(&own), shown(&usual), shown(&none)], expected, "{path}");
        }
    }

    #[test]
    fn a_default_that_is_text_gets_the_character_set() {
        let kind = types(false, Some("text/plain"), Some("utf-8")).of("/a");
        assert_eq!(kind.unwrap(), "text/plain; charset=utf-8");
    }

    #[test]
    fn dots_that_a_name_begins_with_are_no_end() {
        for (path, expected) in [
            ("/.own", None),
            ("/..own", None),
            ("/a/.own", None),
            ("/.a.own", Some("own")),
            ("/a.b.own", Some("own")),
            ("/a.", None),
            ("/a..", None),
            ("", None),
        ] {
            assert_eq!(end(path), expected, "{path}");
        }
    }

    #[test]
    fn what_is_usual_is_always_a_value_of_a_field() {
        let kinds = ["text", "application", "image", "audio", "video", "font", "model", "chemical"];
        let ends = kinds.iter().filter_map(|kind| mime_guess::get_extensions(kind, "*")).flatten();
        let types = types(true, None, Some("utf-8"));
        for end in ends {
            assert!(types.of(&format!("/a.{end}")).is_some(), "{end}");
        }
    }
}
