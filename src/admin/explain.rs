//! The documents of `/v1/explain`: what a request would get now, and why.

use http::{HeaderName, HeaderValue, Method, Request, header, request};
use serde::{Deserialize, Serialize};

use super::purge::check_url;

/// What `/v1/explain` is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Absolute, with the scheme and host that a client would use.
    pub url: String,
    /// The method; GET where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Request fields: name and value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
}

/// What `/v1/explain` answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The site that answers: the first of its names, empty for all hosts.
    pub site: String,
    /// The route.
    pub route: Route,
    /// What the cache knows, where the request may be answered from one.
    pub cache: Option<Cache>,
    /// What would happen now.
    pub now: Outcome,
}

/// Which route a request takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// As configured.
    pub path: String,
    /// Where that is written, `larder.toml:12`; nothing without a file.
    pub at: Option<String>,
    /// What it forwards to.
    pub upstream: String,
}

/// What the cache knows of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// The zone.
    pub zone: String,
    /// `rfc9111` or `nginx`.
    pub semantics: String,
    /// The key; what is secret in it is hashed.
    pub key: String,
    /// The hash that the response rests under: the name of its file.
    pub hash: String,
    /// The request fields that tell variants apart, and how many variants there are.
    pub vary: Option<Vary>,
    /// What is stored for this request.
    pub stored: Option<Stored>,
    /// The last answer that was not stored.
    pub not_stored: Option<NotStored>,
    /// The last answer could not be shared, so for a moment nobody waits for another's fetch.
    pub hit_for_miss: bool,
}

/// The variants of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vary {
    /// The request fields that tell them apart.
    pub by: Vec<String>,
    /// How many are known.
    pub variants: usize,
}

/// A stored response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its status.
    pub status: u16,
    /// `memory` or `disk`.
    pub tier: String,
    /// Bytes of its body.
    pub body_bytes: u64,
    /// When it came, as an HTTP date.
    pub received: String,
    /// Seconds since the origin made it.
    pub age_s: u64,
    /// Seconds that it is fresh for.
    pub lifetime_s: u64,
    /// The rule that says so.
    pub lifetime_from: String,
    /// Seconds that it stays fresh; below zero when it is stale.
    pub ttl_s: i64,
    /// Seconds past its lifetime that it may be served while it is validated.
    pub stale_while_revalidate_s: u64,
    /// Seconds past its lifetime that it may be served when the origin fails.
    pub stale_if_error_s: u64,
    /// It must be validated before every use.
    pub no_cache: bool,
    /// It must never be served stale.
    pub must_revalidate: bool,
    /// What it can be validated with: `ETag`, `Last-Modified`.
    pub validators: Vec<String>,
}

/// An answer that was not stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotStored {
    /// Seconds ago.
    pub ago_s: u64,
    /// Its status.
    pub status: u16,
    /// The reason's name.
    pub reason: String,
    /// What that means.
    pub why: String,
    /// The response field that said so.
    pub said: Option<String>,
}

/// What would happen now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// nginx's word; nothing where the cache has nothing to do with it.
    pub status: Option<String>,
    /// The origin would be asked before there is an answer.
    pub asks_origin: bool,
    /// The reason's name.
    pub reason: String,
    /// What that means.
    pub why: String,
    /// The smallest change that would let it be served from the cache.
    pub change: Option<String>,
}

impl Question {
    /// The request that is asked about; the scheme is in its extensions.
    ///
    /// # Errors
    /// What is wrong with it, for whoever wrote it.
    pub fn request(&self) -> Result<request::Parts, String> {
        let url = check_url(&self.url)?;
        let method = self.method.as_deref().unwrap_or("GET");
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| format!("`{method}` is no method"))?;
        let target = url.path_and_query().map_or("/", |target| target.as_str());
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().map_err(|_| format!("`{target}` is no target"))?;
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("`{name}` is no field name"))?;
            let value = HeaderValue::from_str(value)
                .map_err(|_| format!("the value of `{name}` is no field value"))?;
            request.headers_mut().append(name, value);
        }
        if !request.headers().contains_key(header::HOST) {
            let host = url.authority().map_or("", |authority| authority.as_str());
            let host = HeaderValue::from_str(host).map_err(|error| error.to_string())?;
            request.headers_mut().insert(header::HOST, host);
        }
        url.scheme().cloned().map(|scheme| request.extensions_mut().insert(scheme));
        Ok(request.into_parts().0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(method: Option<&str>, headers: &[(&str, &str)]) -> Question {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Question { url: "http://a.example/x?y".into(), method: method.map(Into::into), headers }
    }

    #[test]
    fn a_question_is_a_request() {
        let request = question(None, &[("accept", "text/html")]).request().unwrap();
        assert_eq!((request.method, request.uri.to_string()), (Method::GET, "/x?y".to_owned()));
        assert_eq!(request.headers["host"], "a.example");
        assert_eq!(request.headers["accept"], "text/html");
        let request = question(Some("HEAD"), &[("Host", "b")]).request().unwrap();
        assert_eq!((request.method, request.headers["host"].as_bytes()), (Method::HEAD, &b"b"[..]));
    }

    #[test]
    fn what_is_no_request_is_refused_in_words() {
        let refused = |question: Question| question.request().unwrap_err();
        assert_eq!(refused(question(Some("G T"), &[])), "`G T` is no method");
        assert_eq!(refused(question(None, &[("a b", "")])), "`a b` is no field name");
        assert!(refused(question(None, &[("a", "\n")])).contains("no field value"));
        assert!(
            refused(Question { url: "/x".into(), ..Question::default() }).contains("no absolute")
        );
    }
}
