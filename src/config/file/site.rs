//! `[[site]]`, `[[site.route]]` and what they inherit, as they are written.

use http::HeaderName;

use super::answer::{AddedFields, CookieFlag, CookieRules, ErrorPages, RedirectRules};
use super::{Cache, Redirect, Respond, Rewrite};
use crate::config::PathMatch;
use crate::config::address::{Listen, Names};
use crate::config::answers::CookieName;
use crate::config::proxy_url::ProxyUrl;
use crate::config::read::{List, Pairs, Size, Timeout, table};
use crate::config::template::Template;
use crate::config::words::{MethodName, StatusHeader};

table! {
    /// `[[site]]`
    Site() {
        listen: List<Listen>,
        name: List<Names>,
        default: bool,
        strict: bool,
        redirect: Redirect,
        rewrite: List<Rewrite>,
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
                Settings { $($key: self.$key.clone(),)+ }
            }
        }
    };
}

route_and_settings! {
    alone {
        path: PathMatch,
        methods: List<MethodName>,
        rewrite: List<Rewrite>,
        proxy: ProxyUrl,
        strip_prefix: bool,
        respond: Respond,
        redirect: Redirect,
    }
    inherited {
        set_header: Pairs<HeaderName, Template>,
        timeout: Timeouts,
        max_body: Size,
        status_header: StatusHeader,
        add_header: AddedFields,
        error_page: ErrorPages,
        intercept_errors: bool,
        proxy_redirect: RedirectRules,
        cookie_domain: CookieRules,
        cookie_path: CookieRules,
        cookie_flags: Pairs<CookieName, List<CookieFlag>>,
        request_buffering: bool,
        request_buffer: Size,
        buffering: bool,
        buffers: Size,
        cache: Cache,
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
