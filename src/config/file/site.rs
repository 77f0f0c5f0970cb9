//! `[[site]]`, `[[site.route]]` and what they inherit, as they are written.

use std::time::Duration;

use http::HeaderValue;

use super::answer::{
    AbsoluteRedirect, AddedFields, CookieFlag, CookieRules, ErrorPages, RedirectRules,
};
use super::{
    AuthBasic, AuthRequest, Cache, Compress, LimitConn, LimitReq, Methods, RealIp, Redirect,
};
use super::{DateFrom, ExpiresOf, FieldName, HeaderCase};
use super::{LogRef, Respond, Rewrite, Satisfy, SiteTls, Static, UpstreamTls};
use crate::config::address::{Bind, Listen, Names};
use crate::config::answers::CookieName;
use crate::config::proxy_url::ProxyUrl;
use crate::config::read::{List, OrOff, Pairs, Size, SizeOf, Timeout, table};
use crate::config::template::Template;
use crate::config::words::{Failure, MethodName, StatusHeader};
use crate::config::{AccessRule, PathMatch};

table! {
    /// `[[site]]`
    Site() {
        listen: List<Listen>,
        name: List<Names>,
        default: bool,
        strict: bool,
        redirect: Redirect,
        rewrite: List<Rewrite>,
        tls: List<SiteTls>,
        isolated: bool,
        http2: bool,
        header_timeout: Timeout,
        defaults: Settings,
        route: List<Route>,
    }
}

/// The keys of a route: those that it has alone, and those that it inherits where it leaves them
/// out, which are the keys of `[defaults]` and `[site.defaults]` as well.
macro_rules! route_and_settings {
    (alone { $($alone:ident: $alone_type:ty,)+ } inherited { $($key:ident: $type:ty,)+ }) => {
        table! {
            /// `[defaults]` and `[site.defaults]`
            Settings() {
                /// Of routes that have one: it makes no other route one of files.
                r#static: Static,
                $($key: $type,)+
            }
        }

        table! {
            /// `[[site.route]]`
            Route(path) {
                $($alone: $alone_type,)+
                $($key: $type,)+
            }
        }

        impl Route {
            /// The keys that can be inherited.
            pub(crate) fn settings(&self) -> Settings {
                Settings { r#static: self.r#static.clone(), $($key: self.$key.clone(),)+ }
            }
        }
    };
}

route_and_settings! {
    alone {
        path: PathMatch,
        within: List<String>,
        methods: Methods,
        internal: bool,
        rewrite: List<Rewrite>,
        proxy: ProxyUrl,
        strip_prefix: bool,
        r#static: Static,
        respond: Respond,
        redirect: Redirect,
    }
    inherited {
        set_header: Pairs<FieldName, List<Template>>,
        timeout: Timeouts,
        next_upstream: List<Failure>,
        tries: u32,
        tries_timeout: Duration,
        upstream_tls: UpstreamTls,
        upstream_bind: Bind,
        max_body: Size,
        body_timeout: Timeout,
        send_timeout: Timeout,
        keepalive_timeout: Duration,
        keepalive_requests: u32,
        keepalive_time: Timeout,
        status_header: StatusHeader,
        cache_status: bool,
        via: bool,
        server_header: HeaderValue,
        date: DateFrom,
        set_method: MethodName,
        set_body: Template,
        pass_body: bool,
        pass_headers: bool,
        header_case: HeaderCase,
        upgrade: bool,
        compress: Compress,
        add_header: AddedFields,
        expires: ExpiresOf,
        error_page: ErrorPages,
        intercept_errors: bool,
        proxy_redirect: RedirectRules,
        absolute_redirect: AbsoluteRedirect,
        accel_redirect: bool,
        cookie_domain: CookieRules,
        cookie_path: CookieRules,
        cookie_flags: Pairs<CookieName, List<CookieFlag>>,
        request_buffering: bool,
        request_buffer: Size,
        buffering: bool,
        buffers: Size,
        cache: Cache,
        real_ip: OrOff<RealIp>,
        limit_req: List<LimitReq>,
        limit_req_status: u32,
        limit_req_dry_run: bool,
        limit_conn: List<LimitConn>,
        limit_conn_status: u32,
        limit_conn_dry_run: bool,
        access: List<AccessRule>,
        satisfy: Satisfy,
        auth_basic: OrOff<AuthBasic>,
        auth_request: OrOff<AuthRequest>,
        access_log: OrOff<List<LogRef>>,
        max_ranges: u32,
        limit_rate: SizeOf,
        limit_rate_after: Size,
        upstream_rate: SizeOf,
    }
}

table! {
    /// `timeout`
    Timeouts() {
        connect: Timeout,
        send: Timeout,
        read: Timeout,
    }
}
