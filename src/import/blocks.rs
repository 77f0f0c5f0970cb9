//! Which of nginx's directives have a block. A `;` that was forgotten makes one of a directive that has
//! none, which nginx refuses.

/// What is wrong about a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It has a block, and nginx wants none.
    HasBlock,
    /// It has none, and nginx wants one.
    HasNone,
}

/// What is wrong about a directive in a block of the name `around`. Of what other modules bring,
/// nothing is known.
pub(super) fn wrong(around: &str, name: &str, has_block: bool) -> Option<Wrong> {
    // Their lines are no directives.
    if LISTS.contains(&around) {
        return None;
    }
    let of_upstream = name == "server" && around == "upstream";
    if BLOCKS.contains(&name) && !of_upstream {
        (!has_block).then_some(Wrong::HasNone)
    } else if of_upstream || is_simple(name) {
        has_block.then_some(Wrong::HasBlock)
    } else {
        None
    }
}

fn is_simple(name: &str) -> bool {
    let is_of_family = || FAMILIES.iter().any(|begins| name.starts_with(begins));
    !name.ends_with("_block") && (SIMPLE.contains(&name) || is_of_family())
}

/// Blocks whose lines are pairs of words.
const LISTS: &[&str] = &["map", "geo", "types", "split_clients", "charset_map", "match"];

const BLOCKS: &[&str] = &[
    "events",
    "http",
    "server",
    "location",
    "upstream",
    "if",
    "limit_except",
    "map",
    "geo",
    "split_clients",
    "types",
    "match",
    "charset_map",
    "stream",
    "mail",
];

/// How names of directives without a block begin.
const FAMILIES: &[&str] = &[
    "absolute_",
    "accept_",
    "access_log",
    "add_",
    "addition_",
    "aio",
    "auth_",
    "autoindex",
    "charset_types",
    "chunked_",
    "client_",
    "connection_pool_",
    "debug_",
    "default_",
    "directio",
    "disable_symlinks",
    "empty_gif",
    "env",
    "error_",
    "expires",
    "fastcgi_",
    "grpc_",
    "gunzip",
    "gzip",
    "health_check",
    "http2",
    "http3",
    "if_modified_since",
    "ignore_invalid_headers",
    "keepalive",
    "large_client_",
    "limit_conn",
    "limit_rate",
    "limit_req",
    "lingering_",
    "log_",
    "map_hash_",
    "max_",
    "memcached_",
    "merge_slashes",
    "min_delete_depth",
    "mirror",
    "msie_",
    "multi_accept",
    "open_file_",
    "output_buffers",
    "override_charset",
    "pcre_jit",
    "port_in_redirect",
    "postpone_output",
    "proxy_",
    "quic_",
    "random_index",
    "read_ahead",
    "real_ip_",
    "recursive_error_pages",
    "referer_hash_",
    "request_pool_size",
    "reset_timedout_connection",
    "resolver",
    "scgi_",
    "secure_link",
    "send",
    "server_",
    "set_real_ip_from",
    "slice",
    "source_charset",
    "ssi",
    "ssl_",
    "stub_status",
    "sub_filter",
    "subrequest_",
    "tcp_no",
    "thread_pool",
    "timer_resolution",
    "try_files",
    "types_hash_",
    "underscores_in_headers",
    "uninitialized_variable_warn",
    "use",
    "uwsgi_",
    "valid_referers",
    "variables_hash_",
    "worker_",
    "xslt_",
];

/// Names of others without a block.
const SIMPLE: &[&str] = &[
    "alias",
    "allow",
    "break",
    "charset",
    "daemon",
    "deny",
    "etag",
    "hash",
    "include",
    "index",
    "internal",
    "ip_hash",
    "least_conn",
    "least_time",
    "listen",
    "load_module",
    "lock_file",
    "master_process",
    "ntlm",
    "pid",
    "queue",
    "random",
    "return",
    "rewrite",
    "rewrite_log",
    "root",
    "satisfy",
    "set",
    "state",
    "sticky",
    "user",
    "zone",
];

#[cfg(test)]
mod tests {
    use super::{Wrong, wrong};

    #[test]
    #[rustfmt::skip]
    fn a_block_is_where_nginx_wants_one_and_nowhere_else() {
        assert_eq!(wrong("server", "listen", true),      Some(Wrong::HasBlock));
        assert_eq!(wrong("server", "listen", false),     None);
        assert_eq!(wrong("server", "proxy_pass", true),  Some(Wrong::HasBlock));
        assert_eq!(wrong("server", "location", false),   Some(Wrong::HasNone));
        assert_eq!(wrong("server", "location", true),    None);
        assert_eq!(wrong("http", "server", false),       Some(Wrong::HasNone));
        assert_eq!(wrong("upstream", "server", false),   None);
        assert_eq!(wrong("upstream", "server", true),    Some(Wrong::HasBlock));
        assert_eq!(wrong("map", "server", false),        None);
        assert_eq!(wrong("location", "ssl_certificate_by_lua_block", true), None);
        assert_eq!(wrong("location", "nobody_knows_this", true), None);
    }
}
