//! Text with variables, compiled once when the configuration is loaded: `$scheme$host$request_uri`.
//! (nginx: variables)

use http::HeaderName;

/// A text some parts of which are only known when there is a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Neighbouring literals are joined; no literal is empty.
    pub parts: Vec<Part>,
}

/// One part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Stands for itself.
    Literal(String),
    /// Stands for a fact of the request.
    Variable(Variable),
}

/// The facts a template can ask for, under nginx's names. What a variable gives when there is
/// nothing to give is the empty text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    /// `$scheme`
    Scheme,
    /// `$host`: in lower case, without the port
    Host,
    /// `$http_NAME`: all lines of a request field, joined by `, `
    Http(HeaderName),
    /// `$arg_NAME`: the first such parameter of the query, as it was sent
    Arg(String),
    /// `$cookie_NAME`
    Cookie(String),
    /// `$request_uri`: path and query as they were sent
    RequestUri,
    /// `$uri` and `$document_uri`: the decoded, normalised path
    Uri,
    /// `$args` and `$query_string`
    Args,
    /// `$is_args`: `?` or nothing
    IsArgs,
    /// `$request_method`
    RequestMethod,
    /// `$request`: the request line
    Request,
    /// `$request_id`: 32 random hexadecimal digits
    RequestId,
    /// `$remote_addr`
    RemoteAddr,
    /// `$remote_port`
    RemotePort,
    /// `$remote_user`: the user of basic authentication
    RemoteUser,
    /// `$server_name`: the first name of the site
    ServerName,
    /// `$server_addr`
    ServerAddr,
    /// `$server_port`
    ServerPort,
    /// `$server_protocol`: `HTTP/1.1`
    ServerProtocol,
    /// `$proxy_host`
    ProxyHost,
    /// `$proxy_port`
    ProxyPort,
    /// `$proxy_add_x_forwarded_for`: the request's `X-Forwarded-For` with the client's address added
    ProxyAddXForwardedFor,
    /// `$content_length`
    ContentLength,
    /// `$content_type`
    ContentType,
    /// `$upstream_cache_status`
    UpstreamCacheStatus,
    /// `$upstream_addr`
    UpstreamAddr,
    /// `$upstream_http_NAME`: a response field
    UpstreamHttp(HeaderName),
    /// `$status`
    Status,
}

/// Whoever knows the facts of a request.
pub trait Facts {
    /// Appends the value of `variable` to `out`; nothing where there is none.
    fn write(&self, variable: &Variable, out: &mut Vec<u8>);
}

impl Template {
    /// Appends the text for one request to `out`.
    pub fn write(&self, facts: &impl Facts, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Variable(variable) => facts.write(variable, out),
            }
        }
    }

    /// Whether the text is neither empty nor `0`: how nginx reads a predicate.
    pub fn is_true(&self, facts: &impl Facts, scratch: &mut Vec<u8>) -> bool {
        scratch.clear();
        self.write(facts, scratch);
        !scratch.is_empty() && scratch.as_slice() != b"0"
    }
}
