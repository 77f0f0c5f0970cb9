//! The variables by their names. (nginx: embedded variables)

use http::HeaderName;

use super::declared::Declared;
use super::fault::{Problem, nearest};
use super::template::Variable;

/// A variable of Larder's own by its name.
///
/// # Errors
/// Why the name is none, if there is a better reason than that nobody knows it.
pub(super) fn variable(name: &str) -> Result<Variable, Option<&'static str>> {
    // nginx does not tell upper case from lower case here.
    let lower = name.to_ascii_lowercase();
    if let Some((_, variable)) = VARIABLES.iter().find(|(known, _)| *known == lower) {
        return Ok(variable.clone());
    }
    if let Some(field) = lower.strip_prefix("upstream_http_") {
        return field_name(field).map(Variable::UpstreamHttp);
    }
    if let Some(field) = lower.strip_prefix("sent_http_") {
        return field_name(field).map(Variable::SentHttp);
    }
    if let Some(cookie) = lower.strip_prefix("upstream_cookie_").filter(|rest| !rest.is_empty()) {
        return Ok(Variable::UpstreamCookie(name[name.len() - cookie.len()..].to_owned()));
    }
    if let Some(field) = lower.strip_prefix("http_") {
        return field_name(field).map(Variable::Http);
    }
    for (prefix, variable) in
        [("arg_", Variable::Arg as fn(String) -> Variable), ("cookie_", Variable::Cookie)]
    {
        if lower.len() > prefix.len() && lower.starts_with(prefix) {
            return Ok(variable(name[prefix.len()..].to_owned()));
        }
    }
    match name.as_bytes() {
        [digit @ b'1'..=b'9'] => Ok(Variable::Capture(digit - b'0')),
        [b'0'..=b'9', ..] => Err(Some("captures are `$1` to `$9`, or `$NAME` of `(?<NAME>...)`")),
        _ => Err(None),
    }
}

fn field_name(name: &str) -> Result<HeaderName, Option<&'static str>> {
    HeaderName::from_bytes(name.replace('_', "-").as_bytes())
        .map_err(|_| Some("write the name of a field, as in `$http_user_agent`"))
}

/// Says that there is no such variable, and which could be meant.
pub(super) fn unknown(name: &str, reason: Option<&str>, declared: &Declared) -> Problem {
    let problem = Problem::new(format!("unknown variable `${name}`"));
    let names = VARIABLES.iter().map(|(known, _)| *known).chain(declared.names());
    match (reason, nearest(name, names)) {
        (Some(reason), _) => problem.help(reason),
        (None, Some(near)) => problem.help(format!("did you mean `${near}`?")),
        (None, None) => problem.help(KINDS_HELP),
    }
}

pub(super) const KINDS_HELP: &str = "fields of the request are `$http_NAME`, its parameters `$arg_NAME`, its cookies `$cookie_NAME`";

/// Fields that say who the client is, and prove it.
pub(super) const SECRET_FIELDS: [&str; 9] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "x-auth-token",
    "x-access-token",
    "x-csrf-token",
    "api-key",
    "apikey",
];

/// Every variable that has one name; some have two.
pub(super) const VARIABLES: &[(&str, Variable)] = &[
    ("scheme", Variable::Scheme),
    ("https", Variable::Https),
    ("ssl_protocol", Variable::Ssl(Ssl::Protocol)),
    ("ssl_cipher", Variable::Ssl(Ssl::Cipher)),
    ("ssl_server_name", Variable::Ssl(Ssl::ServerName)),
    ("ssl_session_reused", Variable::Ssl(Ssl::SessionReused)),
    ("ssl_client_verify", Variable::Ssl(Ssl::ClientVerify)),
    ("ssl_client_s_dn", Variable::Ssl(Ssl::ClientSDn)),
    ("ssl_client_i_dn", Variable::Ssl(Ssl::ClientIDn)),
    ("ssl_client_serial", Variable::Ssl(Ssl::ClientSerial)),
    ("ssl_client_fingerprint", Variable::Ssl(Ssl::ClientFingerprint)),
    ("ssl_alpn_protocol", Variable::Ssl(Ssl::AlpnProtocol)),
    ("ssl_curve", Variable::Ssl(Ssl::Curve)),
    ("ssl_early_data", Variable::Ssl(Ssl::EarlyData)),
    ("http2", Variable::Http2),
    ("http3", Variable::Http3),
    ("connection", Variable::Connection),
    ("connection_requests", Variable::ConnectionRequests),
    ("connection_time", Variable::ConnectionTime),
    ("request_port", Variable::RequestPort),
    ("is_request_port", Variable::IsRequestPort),
    ("host", Variable::Host),
    ("request_uri", Variable::RequestUri),
    ("uri", Variable::Uri),
    ("document_uri", Variable::Uri),
    ("args", Variable::Args),
    ("query_string", Variable::Args),
    ("is_args", Variable::IsArgs),
    ("request_method", Variable::RequestMethod),
    ("request", Variable::Request),
    ("request_id", Variable::RequestId),
    ("remote_addr", Variable::RemoteAddr),
    ("remote_port", Variable::RemotePort),
    ("binary_remote_addr", Variable::BinaryRemoteAddr),
    ("realip_remote_addr", Variable::RealipRemoteAddr),
    ("realip_remote_port", Variable::RealipRemotePort),
    ("proxy_protocol_addr", Variable::ProxyProtocolAddr),
    ("proxy_protocol_port", Variable::ProxyProtocolPort),
    ("proxy_protocol_server_addr", Variable::ProxyProtocolServerAddr),
    ("proxy_protocol_server_port", Variable::ProxyProtocolServerPort),
    ("limit_req_status", Variable::LimitReqStatus),
    ("limit_conn_status", Variable::LimitConnStatus),
    ("remote_user", Variable::RemoteUser),
    ("server_name", Variable::ServerName),
    ("server_addr", Variable::ServerAddr),
    ("server_port", Variable::ServerPort),
    ("server_protocol", Variable::ServerProtocol),
    ("upstream_uri", Variable::UpstreamUri),
    ("proxy_host", Variable::ProxyHost),
    ("proxy_port", Variable::ProxyPort),
    ("proxy_add_x_forwarded_for", Variable::ProxyAddXForwardedFor),
    ("content_length", Variable::ContentLength),
    ("content_type", Variable::ContentType),
    ("upstream_cache_status", Variable::UpstreamCacheStatus),
    ("upstream_addr", Variable::Tried(OfTried::Addr)),
    ("upstream_response_time", Variable::Tried(OfTried::ResponseTime)),
    ("upstream_status", Variable::Tried(OfTried::Status)),
    ("upstream_header_time", Variable::Tried(OfTried::HeaderTime)),
    ("upstream_connect_time", Variable::Tried(OfTried::ConnectTime)),
    ("upstream_response_length", Variable::Tried(OfTried::ResponseLength)),
    ("status", Variable::Status),
    ("request_time", Variable::RequestTime),
    ("request_length", Variable::RequestLength),
    ("request_completion", Variable::RequestCompletion),
    ("bytes_sent", Variable::BytesSent),
    ("body_bytes_sent", Variable::BodyBytesSent),
    ("pipe", Variable::Pipe),
    ("nginx_version", Variable::Version),
    ("hostname", Variable::Hostname),
    ("pid", Variable::Pid),
    ("connections_active", Variable::Busy(Busy::Active)),
    ("connections_reading", Variable::Busy(Busy::Reading)),
    ("connections_writing", Variable::Busy(Busy::Writing)),
    ("connections_waiting", Variable::Busy(Busy::Waiting)),
    ("connections_accepted", Variable::Busy(Busy::Accepted)),
    ("requests_total", Variable::Busy(Busy::Requests)),
    ("msec", Variable::Msec),
    ("time_iso8601", Variable::TimeIso8601),
    ("time_local", Variable::TimeLocal),
];

/// How busy the server is. (nginx: stub_status)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// Connections of clients.
    Active,
    /// Of these, those whose request is being read.
    Reading,
    /// Of these, those whose request is being answered.
    Writing,
    /// Of these, those without a request.
    Waiting,
    /// Connections since the start.
    Accepted,
    /// Requests since the start.
    Requests,
}

/// What a TLS handshake brought, by the names of nginx behind `$ssl_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Ssl {
    Protocol,
    Cipher,
    ServerName,
    SessionReused,
    ClientVerify,
    ClientSDn,
    ClientIDn,
    ClientSerial,
    ClientFingerprint,
    AlpnProtocol,
    Curve,
    EarlyData,
}

/// What is told of each server that was asked, by the names of nginx behind `$upstream_`. Times are from
/// when it was its turn, in seconds with milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum OfTried {
    Addr,
    Status,
    ConnectTime,
    HeaderTime,
    ResponseTime,
    ResponseLength,
}
