//! Which request filled a response that varies? (nginx: ngx_http_file_cache_vary)
//!
//! nginx keeps a hash of what the request said in the fields that `Vary` names, and not what it
//! said. So what clients are known to say is tried until the hash is the same.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use md5::{Digest, Md5};

use super::file::Kept;

/// What requests are tried with.
#[derive(Clone, Debug, Default)]
pub struct Tries {
    /// Fields that the operator knows clients to send.
    pub known: Vec<(HeaderName, HeaderValue)>,
}

impl Tries {
    /// The fields of a request, as far as `Vary` names them, that filled this file, whose response
    /// has these fields and is of this host; `None` where none of those tried did.
    pub(super) fn request(
        &self,
        kept: &Kept,
        response: &HeaderMap,
        host: &str,
    ) -> Option<HeaderMap> {
        let names = kept.vary.split(|byte| b" ,".contains(byte)).filter(|name| !name.is_empty());
        let fields: Option<Vec<_>> = names
            .map(|name| {
                // A word that is no name no request has.
                let name = HeaderName::from_bytes(name).ok()?;
                let values = self.values(&name, response, host);
                Some((name, values))
            })
            .collect();
        let fields = fields?;
        let mut search =
            Search { wanted: kept.variant, left: TRIES_MAX, request: HeaderMap::new() };
        let begun = Md5::new_with_prefix(kept.main);
        search.finds(&begun, &fields).then_some(search.request)
    }

    /// What clients may have said in a field, the likely first; that it was absent is tried anyway.
    fn values(&self, name: &HeaderName, response: &HeaderMap, host: &str) -> Vec<HeaderValue> {
        let known = self.known.iter().filter(|(known, _)| known == name);
        let mut values: Vec<_> = known.map(|(_, value)| value.clone()).collect();
        let usual = USUAL.iter().filter(|(known, _)| name == known).flat_map(|(_, values)| *values);
        values.extend(usual.map(|value| HeaderValue::from_static(value)));
        // An answer may repeat what it was asked for.
        let said = match *name {
            header::ORIGIN => Some(header::ACCESS_CONTROL_ALLOW_ORIGIN),
            header::ACCEPT_ENCODING => Some(header::CONTENT_ENCODING),
            header::ACCEPT_LANGUAGE => Some(header::CONTENT_LANGUAGE),
            header::ACCEPT => Some(header::CONTENT_TYPE),
            _ => None,
        };
        values.extend(said.and_then(|said| response.get(said)).cloned());
        let of_host = |text: &str| HeaderValue::try_from(text.replace("HOST", host)).ok();
        match *name {
            header::ORIGIN if !host.is_empty() => {
                values.extend(["https://HOST", "http://HOST"].into_iter().filter_map(of_host));
            }
            header::HOST if !host.is_empty() => values.extend(of_host("HOST")),
            header::ACCEPT_LANGUAGE => values.extend(LANGUAGES.iter().flat_map(|(tag, short)| {
                [
                    format!("{tag},{short};q=0.9,en-US;q=0.8,en;q=0.7"),
                    format!("{tag},{short};q=0.9,en;q=0.8"),
                    format!("{tag},{short};q=0.9"),
                    format!("{tag},{short};q=0.8,en-US;q=0.5,en;q=0.3"),
                    format!("{tag},{short};q=0.5"),
                    (*tag).to_owned(),
                    (*short).to_owned(),
                ]
                .into_iter()
                .filter_map(|text| HeaderValue::try_from(text).ok())
            })),
            _ => {}
        }
        values
    }
}

/// A search through what requests may have said.
struct Search {
    wanted: [u8; 16],
    left: usize,
    request: HeaderMap,
}

impl Search {
    /// Whether some values of the fields that are left bring the hash that is wanted; then they are
    /// in the request.
    fn finds(&mut self, begun: &Md5, fields: &[(HeaderName, Vec<HeaderValue>)]) -> bool {
        let Some(((name, values), rest)) = fields.split_first() else {
            self.left = self.left.saturating_sub(1);
            return begun.clone().finalize()[..] == self.wanted;
        };
        for value in std::iter::once(None).chain(values.iter().map(Some)) {
            if self.left == 0 {
                return false;
            }
            let mut hash = begun.clone();
            hash.update(name.as_str());
            hash.update(":");
            value.into_iter().for_each(|value| update(&mut hash, name, value));
            hash.update("\r\n");
            if self.finds(&hash, rest) {
                // Named twice, it was looked at twice, and says the same.
                value.into_iter().for_each(|value| {
                    self.request.insert(name.clone(), value.clone());
                });
                return true;
            }
        }
        false
    }
}

/// Adds a value as nginx reads it.
fn update(hash: &mut Md5, name: &HeaderName, value: &HeaderValue) {
    if !WORDS.contains(name) {
        return hash.update(value.as_bytes());
    }
    let words = value.as_bytes().split(|byte| b" ,".contains(byte));
    for (number, word) in words.filter(|word| !word.is_empty()).enumerate() {
        if number > 0 {
            hash.update(",");
        }
        hash.update(word);
    }
}

/// Fields of which nginx takes the words.
const WORDS: [HeaderName; 3] =
    [header::ACCEPT_CHARSET, header::ACCEPT_ENCODING, header::ACCEPT_LANGUAGE];

/// A few milliseconds for one response.
const TRIES_MAX: usize = 20_000;

/// What browsers, libraries and tools say.
const USUAL: &[(&str, &[&str])] = &[
    (
        "accept-encoding",
        &[
            "gzip, deflate, br, zstd",
            "gzip, deflate, br",
            "gzip, deflate",
            "gzip",
            "deflate, gzip, br, zstd",
            "deflate, gzip, br",
            "deflate, gzip",
            "gzip, br",
            "br, gzip",
            "br, gzip, deflate",
            "gzip, br, zstd",
            "gzip, deflate, zstd",
            "br",
            "zstd",
            "deflate",
            "identity",
            "*",
            "gzip, x-gzip, deflate",
            "gzip, identity",
            "gzip, deflate, br, zstd, dcb, dcz",
            "gzip;q=1.0,deflate;q=0.6,identity;q=0.3",
            "gzip,deflate;q=0.9",
            "identity;q=1, *;q=0",
            "gzip, compress, deflate, br",
            "gzip, deflate, sdch",
        ],
    ),
    (
        "accept",
        &[
            "*/*",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/png,image/svg+xml,*/*;q=0.8",
            "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8",
            "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5",
            "image/webp,image/avif,video/*;q=0.8,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5",
            "image/avif,image/webp,*/*",
            "image/webp,*/*",
            "image/webp",
            "text/css,*/*;q=0.1",
            "application/json, text/plain, */*",
            "application/json",
        ],
    ),
    ("accept-language", &["en-US,en;q=0.9", "en-US,en;q=0.5", "*"]),
    ("origin", &["null"]),
    ("upgrade-insecure-requests", &["1"]),
    ("x-requested-with", &["XMLHttpRequest"]),
    ("x-forwarded-proto", &["https", "http"]),
    ("save-data", &["on"]),
    ("rsc", &["1"]),
    ("sec-fetch-mode", &["navigate", "no-cors", "cors", "same-origin"]),
    ("sec-fetch-site", &["none", "same-origin", "same-site", "cross-site"]),
    ("sec-fetch-dest", &["document", "image", "script", "style", "empty", "font", "iframe"]),
];

/// Languages of browsers, the one of a country before the one of all.
const LANGUAGES: &[(&str, &str)] = &[
    ("en-US", "en"),
    ("en-GB", "en"),
    ("de-DE", "de"),
    ("fr-FR", "fr"),
    ("es-ES", "es"),
    ("it-IT", "it"),
    ("pt-BR", "pt"),
    ("pt-PT", "pt"),
    ("nl-NL", "nl"),
    ("pl-PL", "pl"),
    ("ru-RU", "ru"),
    ("uk-UA", "uk"),
    ("cs-CZ", "cs"),
    ("sv-SE", "sv"),
    ("tr-TR", "tr"),
    ("ja-JP", "ja"),
    ("ko-KR", "ko"),
    ("zh-CN", "zh"),
    ("zh-TW", "zh"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash as nginx reckons it for a request with these fields.
    fn variant(main: [u8; 16], said: &[(&str, &str)]) -> [u8; 16] {
        let lines = said.iter().map(|(name, text)| format!("{name}:{text}\r\n"));
        Md5::digest([&main[..], lines.collect::<String>().as_bytes()].concat()).into()
    }

    #[track_caller]
    fn check(vary: &str, said: &[(&str, &str)], expected: Option<&str>) {
        let main = Md5::digest(b"key").into();
        let kept = Kept {
            valid_s: 0,
            date_s: 0,
            updating_s: 0,
            error_s: 0,
            key: b"key".to_vec(),
            main,
            vary: vary.as_bytes().to_vec(),
            variant: variant(main, said),
            head_at: 0,
            body_at: 0,
        };
        let known = vec![(header::COOKIE, HeaderValue::from_static("a=1"))];
        let response =
            HeaderMap::from_iter([(header::CONTENT_LANGUAGE, HeaderValue::from_static("gsw"))]);
        let found = Tries { known }.request(&kept, &response, "a.test").map(|request| {
            let fields = request.iter();
            let mut fields: Vec<_> = fields
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                .collect();
            fields.sort();
            fields.join(" | ")
        });
        assert_eq!(found.as_deref(), expected, "{vary} {said:?}");
    }

    #[rustfmt::skip]
    #[test]
    fn what_ordinary_clients_said_is_found_by_its_hash() {
        const AE: &str = "accept-encoding";
        const AL: &str = "accept-language";
        check("Accept-Encoding", &[(AE, "")], Some(""));
        check("Accept-Encoding", &[(AE, "gzip,deflate,br")], Some("accept-encoding: gzip, deflate, br"));
        check(", accept-Encoding,Accept-Language ", &[(AE, "gzip"), (AL, "de-DE,de;q=0.9,en;q=0.8")],
              Some("accept-encoding: gzip | accept-language: de-DE,de;q=0.9,en;q=0.8"));
        check("Accept-Language", &[(AL, "gsw")], Some("accept-language: gsw"));
        check("Origin", &[("origin", "https://a.test")], Some("origin: https://a.test"));
        check("Cookie", &[("cookie", "a=1")], Some("cookie: a=1"));
        check("Cookie", &[("cookie", "a=2")], None);
        check("Accept-Encoding", &[(AE, "whatever")], None);
        check("a(b", &[("a(b", "")], None);
    }

    #[test]
    fn the_search_ends() {
        let vary = ["accept-encoding"; 8].join(",");
        check(&vary, &[("accept-encoding", "x")], None);
    }
}
