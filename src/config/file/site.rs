//! `[[site]]`, `[[site.route]]` and what they inherit, as they are written.

use http::HeaderName;

use super::Cache;
use crate::config::PathMatch;
use crate::config::address::{Listen, Names, ProxyTarget};
use crate::config::read::{List, Pairs, Size, Timeout, table};
use crate::config::template::Template;
use crate::config::words::StatusHeader;

table! {
    /// `[[site]]`
    Site(route) {
        listen: List<Listen>,
        name: List<Names>,
        default: bool,
        strict: bool,
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
            Route(path, proxy) {
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
        proxy: ProxyTarget,
    }
    inherited {
        set_header: Pairs<HeaderName, Template>,
        timeout: Timeouts,
        max_body: Size,
        status_header: StatusHeader,
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
