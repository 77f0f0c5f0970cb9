//! Text with variables, compiled once when the configuration is loaded: `$scheme$host$request_uri`.
//! (nginx: variables)

use std::fmt;
use std::sync::Arc;

use http::HeaderName;

use super::declared::Declared;
use super::fault::Problem;
use super::maps::Map;
pub use super::variables::{Busy, OfTried, Ssl};
use super::variables::{SECRET_FIELDS, VARIABLES, unknown, variable};

/// A text some parts of which are only known when there is a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// `$https`: `on` over TLS
    Https,
    /// `$http2`: `h2` over TLS, `h2c` without, empty for other versions
    Http2,
    /// `$http3`: never spoken
    Http3,
    /// `$connection`: its number since the start
    Connection,
    /// `$connection_requests`: that came on it, this one included
    ConnectionRequests,
    /// `$connection_time`: since it was let in; seconds, with milliseconds
    ConnectionTime,
    /// `$request_port`: the port that the client names
    RequestPort,
    /// `$is_request_port`: `:` where it names one
    IsRequestPort,
    /// `$ssl_NAME`: what a TLS handshake brought
    Ssl(Ssl),
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
    /// `$binary_remote_addr`: its bytes, 4 or 16
    BinaryRemoteAddr,
    /// `$realip_remote_addr`: the other end of the connection, whoever asks
    RealipRemoteAddr,
    /// `$realip_remote_port`
    RealipRemotePort,
    /// `$proxy_protocol_addr`: the client, as a proxy in front says
    ProxyProtocolAddr,
    /// `$proxy_protocol_port`
    ProxyProtocolPort,
    /// `$proxy_protocol_server_addr`: where it connected to
    ProxyProtocolServerAddr,
    /// `$proxy_protocol_server_port`
    ProxyProtocolServerPort,
    /// `$limit_req_status`: `PASSED`, `DELAYED`, `REJECTED` and so on
    LimitReqStatus,
    /// `$limit_conn_status`
    LimitConnStatus,
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
    /// `$upstream_uri`: path and query as they go upstream, the path in `proxy` with them
    UpstreamUri,
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
    /// `$upstream_addr` and others, with a value for each server that was asked
    Tried(OfTried),
    /// `$upstream_http_NAME`: a response field
    UpstreamHttp(HeaderName),
    /// `$upstream_cookie_NAME`: the value of a cookie that the response sets
    UpstreamCookie(String),
    /// `$sent_http_NAME`: a field of the answer to the client
    SentHttp(HeaderName),
    /// `$status`
    Status,
    /// `$hostname`: of this machine
    Hostname,
    /// `$pid`
    Pid,
    /// `$connections_NAME`, `$requests_total`: how busy the server is
    Busy(Busy),
    /// `$msec`: seconds since 1970, with milliseconds
    Msec,
    /// `$time_iso8601`
    TimeIso8601,
    /// `$time_local`
    TimeLocal,
    /// `$request_time`: seconds since the request came, with milliseconds
    RequestTime,
    /// `$request_length`: bytes of the request, as HTTP/1 has them
    RequestLength,
    /// `$request_completion`: `OK` once the whole response went out
    RequestCompletion,
    /// `$bytes_sent`: bytes of the response, as HTTP/1 has them
    BytesSent,
    /// `$body_bytes_sent`
    BodyBytesSent,
    /// `$pipe`: whether the request came while another was under way; never is said here
    Pipe,
    /// `$nginx_version`: of this program
    Version,
    /// `$1` to `$9`: what the regular expression that matched last captured
    Capture(u8),
    /// `$NAME`: a named group of a regular expression
    Named(Arc<str>),
    /// `$NAME`: what the answer to `auth_request` said
    Told(Arc<str>),
    /// `$NAME`: a map
    Map(Arc<Map>),
}

impl Variable {
    /// Whether its value lets whoever reads it act as the client: it is written into keys as a
    /// hash only.
    pub fn is_secret(&self) -> bool {
        match self {
            Self::Http(name) => SECRET_FIELDS.contains(&name.as_str()),
            // What is told may be a token, and what is stored by it is that client's.
            Self::Cookie(_) | Self::RemoteUser | Self::Told(_) => true,
            Self::Map(map) => map.variables().into_iter().any(Self::is_secret),
            // Who knows these is not the client, but what is stored by them is his.
            Self::Ssl(Ssl::ClientSDn | Ssl::ClientSerial | Ssl::ClientFingerprint) => true,
            _ => false,
        }
    }

    /// Whether its value is known only when the response has gone out, so that only logs have it.
    pub fn is_late(&self) -> bool {
        match self {
            Self::RequestTime
            | Self::RequestCompletion
            | Self::BytesSent
            | Self::BodyBytesSent
            | Self::Status
            | Self::Msec
            | Self::TimeIso8601
            | Self::TimeLocal
            | Self::Tried(OfTried::ResponseTime | OfTried::ResponseLength) => true,
            Self::Map(map) => map.variables().into_iter().any(Self::is_late),
            _ => false,
        }
    }

    /// Whether it stands for the query, or for a text with the query in it. A map over the query
    /// does not: its value is the same for many.
    pub fn has_query(&self) -> bool {
        matches!(self, Self::RequestUri | Self::Request | Self::Args | Self::IsArgs)
    }
}

/// As it is written: `$http_accept_language`.
impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_field = |field: &HeaderName| field.as_str().replace('-', "_");
        match self {
            Self::Arg(name) => write!(f, "$arg_{name}"),
            Self::Cookie(name) => write!(f, "$cookie_{name}"),
            Self::Http(field) => write!(f, "$http_{}", of_field(field)),
            Self::UpstreamHttp(field) => write!(f, "$upstream_http_{}", of_field(field)),
            Self::SentHttp(field) => write!(f, "$sent_http_{}", of_field(field)),
            Self::UpstreamCookie(name) => write!(f, "$upstream_cookie_{name}"),
            Self::Capture(number) => write!(f, "${number}"),
            Self::Named(name) | Self::Told(name) => write!(f, "${name}"),
            Self::Map(map) => write!(f, "${}", map.name),
            other => {
                let named = VARIABLES.iter().find(|(_, known)| known == other);
                write!(f, "${}", named.map_or("", |(name, _)| name))
            }
        }
    }
}

/// Whoever knows the facts of a request.
pub trait Facts {
    /// Appends the value of `variable` to `out`; nothing where there is none.
    fn write(&self, variable: &Variable, out: &mut Vec<u8>);
}

impl Template {
    /// The template that `text` writes, with no variables but those of Larder.
    ///
    /// # Errors
    /// As `compile_with`.
    pub fn compile(text: &str) -> Result<Self, Problem> {
        Self::compile_with(text, &Declared::default())
    }

    /// The template that `text` writes: `$name` and `${name}` are variables, all else is literal.
    ///
    /// # Errors
    /// Show the problem; its place is in `text`.
    pub(crate) fn compile_with(text: &str, declared: &Declared) -> Result<Self, Problem> {
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(dollar) = text[at..].find('$').map(|offset| at + offset) {
            push_literal(&mut parts, &text[at..dollar]);
            let (name, end) = name_at(text, dollar)?;
            let variable = match declared.variable(name) {
                Some(own) => own,
                None => variable(name)
                    .map_err(|reason| unknown(name, reason, declared).at(dollar..end))?,
            };
            parts.push(Part::Variable(variable));
            at = end;
        }
        push_literal(&mut parts, &text[at..]);
        Ok(Self { parts })
    }

    /// Appends the text for one request to `out`.
    pub fn write(&self, facts: &(impl Facts + ?Sized), out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Variable(variable) => facts.write(variable, out),
            }
        }
    }

    /// The text, if it is the same for all requests.
    pub fn literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether a request could give this text, as far as its beginning and its end say.
    pub fn can_give(&self, text: &str) -> bool {
        let literal = |part: Option<&Part>| match part {
            Some(Part::Literal(text)) => text.clone(),
            _ => String::new(),
        };
        match self.literal() {
            Some(literal) => literal == text,
            None => {
                let rest = text.strip_prefix(literal(self.parts.first()).as_str());
                rest.is_some_and(|rest| rest.ends_with(&literal(self.parts.last())))
            }
        }
    }

    /// The variables in it.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(variable) => Some(variable),
            Part::Literal(_) => None,
        })
    }

    /// The same, and those that maps among them depend on.
    pub fn all_variables(&self) -> impl Iterator<Item = &Variable> {
        self.variables().flat_map(|variable| match variable {
            Variable::Map(map) => {
                let mut inside = map.variables();
                inside.push(variable);
                inside
            }
            plain => vec![plain],
        })
    }

    /// The template of one variable.
    pub fn of(variable: Variable) -> Self {
        Self { parts: vec![Part::Variable(variable)] }
    }

    /// Whether the text is neither empty nor `0`: how nginx reads a predicate.
    pub fn is_true(&self, facts: &impl Facts, scratch: &mut Vec<u8>) -> bool {
        scratch.clear();
        self.write(facts, scratch);
        !scratch.is_empty() && scratch.as_slice() != b"0"
    }
}

fn push_literal(parts: &mut Vec<Part>, text: &str) {
    if !text.is_empty() {
        parts.push(Part::Literal(text.to_owned()));
    }
}

/// The variable's name that the `$` at `dollar` begins, and the position behind it.
fn name_at(text: &str, dollar: usize) -> Result<(&str, usize), Problem> {
    let tail = &text[dollar + 1..];
    let braced = tail.starts_with('{');
    let tail = if braced { &tail[1..] } else { tail };
    let not_name = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let name = &tail[..tail.find(not_name).unwrap_or(tail.len())];
    let end = dollar + 1 + usize::from(braced) + name.len();
    if braced && !tail[name.len()..].starts_with('}') {
        return Err(Problem::new("`${` without a `}`")
            .help("write `${name}`; names are letters, digits and `_`")
            .at(dollar..end));
    }
    if name.is_empty() {
        return Err(Problem::new("`$` without the name of a variable")
            .help(
                "write a name after it, as in `$host`; a `$` cannot stand for itself, as in nginx",
            )
            .at(dollar..end + usize::from(braced)));
    }
    Ok((name, end + usize::from(braced)))
}

#[cfg(test)]
mod tests {
    use super::{Facts, Template, Variable};

    #[test]
    #[rustfmt::skip]
    fn variables_are_read_as_nginx_reads_them() {
        //    text                          parts
        check("",                           "");
        check("plain text",                 "[plain text]");
        check("$host",                      "Host");
        check("${host}name",                "Host [name]");
        check("$hostnames",                 "unknown variable `$hostnames` at 0..10");
        check("$scheme://$host$request_uri", "Scheme [://] Host RequestUri");
        check("a$uri.b$args",               "[a] Uri [.b] Args");
        check("$HOST",                      "Host");
        check("$http_user_agent",           "Http(\"user-agent\")");
        check("$http_X_Forwarded_For",      "Http(\"x-forwarded-for\")");
        check("$upstream_http_etag",        "UpstreamHttp(\"etag\")");
        check("$arg_Page",                  "Arg(\"Page\")");
        check("$cookie_session",            "Cookie(\"session\")");
        check("$status",                    "Status");
        check("\u{e9}$host\u{e9}",          "[\u{e9}] Host [\u{e9}]");
        check("x$",                         "`$` without the name of a variable at 1..2");
        check("$ 5",                        "`$` without the name of a variable at 0..1");
        check("$$host",                     "`$` without the name of a variable at 0..1");
        check("${}",                        "`$` without the name of a variable at 0..3");
        check("a${host",                    "`${` without a `}` at 1..7");
        check("${ho-st}",                   "`${` without a `}` at 0..4");
        check("$host$hots",                 "unknown variable `$hots` at 5..10");
        check("$http_",                     "unknown variable `$http_` at 0..6");
        check("$arg_",                      "unknown variable `$arg_` at 0..5");
        check("$1-${9}",                    "Capture(1) [-] Capture(9)");
        check("$10",                        "unknown variable `$10` at 0..3");
        check("$0",                         "unknown variable `$0` at 0..2");

        #[track_caller]
        fn check(text: &str, expected: &str) {
            let shown = match Template::compile(text) {
                Ok(template) => shown(&template),
                Err(problem) => format!("{} at {:?}", problem.reason, problem.at.unwrap()),
            };
            assert_eq!(shown, expected, "{text}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_text_can_come_of_a_template_or_not() {
        check("api",           "api",       true);
        check("api",           "apis",      false);
        check("api-$arg_tier", "api-gold",  true);
        check("api-$arg_tier", "api-",      true);
        check("api-$arg_tier", "web",       false);
        check("$host-x",       "a-x",       true);
        check("$host-x",       "a-y",       false);
        check("ab${host}ba",   "aba",       false);
        check("$host",         "anything",  true);

        #[track_caller]
        fn check(template: &str, text: &str, expected: bool) {
            assert_eq!(Template::compile(template).unwrap().can_give(text), expected, "{template}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn what_is_secret_is_known_by_its_name() {
        check("$http_authorization $http_cookie $http_x_api_key $HTTP_X_Auth_Token", true);
        check("$http_proxy_authorization $cookie_theme $remote_user", true);
        check("$host $request_uri $args $http_accept_language $arg_token $remote_addr", false);

        #[track_caller]
        fn check(text: &str, expected: bool) {
            for variable in Template::compile(text).unwrap().variables() {
                assert_eq!(variable.is_secret(), expected, "{variable:?}");
            }
        }
    }

    #[test]
    #[rustfmt::skip]
    fn the_help_names_the_nearest_variable() {
        check("$hots",   "did you mean `$host`?");
        check("$reqest_uri", "did you mean `$request_uri`?");
        check("$zzzzzz", crate::config::variables::KINDS_HELP);
        check("$22",     "captures are `$1` to `$9`, or `$NAME` of `(?<NAME>...)`");
        check("$http_",  "write the name of a field, as in `$http_user_agent`");

        #[track_caller]
        fn check(text: &str, expected: &str) {
            assert_eq!(Template::compile(text).unwrap_err().help.unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn variables_are_shown_as_they_are_written() {
        for (name, variable) in crate::config::variables::VARIABLES.iter().cloned() {
            // Of two names the first is shown.
            let shown = variable.to_string();
            assert_eq!(crate::config::variables::variable(&shown[1..]), Ok(variable), "{name}");
        }
        for text in
            ["$arg_q", "$cookie_Session", "$http_x_user", "$upstream_http_etag", "$args", "$1"]
        {
            let template = Template::compile(text).unwrap();
            assert_eq!(template.variables().next().unwrap().to_string(), text);
        }
    }

    fn shown(template: &Template) -> String {
        let mut out = Vec::new();
        let mut words = Vec::new();
        for part in &template.parts {
            out.clear();
            let one = Template { parts: vec![part.clone()] };
            one.write(&Names, &mut out);
            let text = String::from_utf8(out.clone()).unwrap();
            let literal = matches!(part, super::Part::Literal(_));
            words.push(if literal { format!("[{text}]") } else { text });
        }
        words.join(" ")
    }

    /// Gives every variable its own name as its value.
    struct Names;

    impl Facts for Names {
        fn write(&self, variable: &Variable, out: &mut Vec<u8>) {
            out.extend_from_slice(format!("{variable:?}").as_bytes());
        }
    }
}
