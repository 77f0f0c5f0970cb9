//! Directives that are known by their names alone: those that need nothing, and those that there is
//! nothing for.

use super::report::Verdict;

/// What is said of a directive that nobody took.
pub(super) fn verdict(name: &str) -> (Verdict, String) {
    let known = |list: &[(&str, &str)]| {
        let found = list.iter().find(|(names, _)| has(names, name));
        found.map(|(_, note)| (*note).to_owned())
    };
    if let Some(note) = known(NEEDLESS) {
        return (Verdict::Exact, note);
    }
    if let Some(note) = known(DIFFERENT) {
        return (Verdict::Differs, note);
    }
    if let Some(note) = known(MISSING) {
        return (Verdict::Unsupported, note);
    }
    let room = OUT_OF_SCOPE.iter().find(|(begins, _)| {
        begins
            .split(' ')
            .any(|begin| name.starts_with(begin) || name == begin.trim_end_matches('_'))
    });
    match room {
        Some((_, note)) => (Verdict::Unsupported, (*note).to_owned()),
        None if has(OF_ROUTES, name) => (Verdict::Exact, "no route has use for it".to_owned()),
        None => (Verdict::Unknown, "unknown to larder".to_owned()),
    }
}

fn has(names: &str, name: &str) -> bool {
    names.split(' ').any(|known| known == name)
}

/// Nothing has to be set for these.
const NEEDLESS: &[(&str, &str)] = &[
    (
        "variables_hash_max_size variables_hash_bucket_size server_names_hash_max_size \
         server_names_hash_bucket_size types_hash_max_size types_hash_bucket_size \
         map_hash_max_size map_hash_bucket_size proxy_headers_hash_max_size \
         proxy_headers_hash_bucket_size connection_pool_size request_pool_size \
         client_header_buffer_size output_buffers gzip_buffers gzip_window gzip_hash \
         gzip_no_buffer postpone_gzipping postpone_output sendfile_max_chunk \
         subrequest_output_buffer_size limit_req_log_level limit_conn_log_level \
         proxy_busy_buffers_size proxy_temp_file_write_size ssl_buffer_size http2_chunk_size \
         http2_recv_buffer_size read_ahead pcre_jit timer_resolution thread_pool aio aio_write \
         directio directio_alignment ssl_dyn_rec_enable",
        "of nginx's own memory and ways: nothing to set",
    ),
    (
        "tcp_nodelay tcp_nopush proxy_socket_keepalive reset_timedout_connection",
        "done as is best: nothing to set",
    ),
    (
        "use multi_accept accept_mutex accept_mutex_delay debug_connection worker_aio_requests \
         epoll_events",
        "of nginx's event loop: nothing to set",
    ),
    ("worker_rlimit_nofile", "the limit is raised as far as the system lets it, at the start"),
    ("daemon master_process lock_file", "there is one process, in the foreground"),
    (
        "open_file_cache open_file_cache_valid open_file_cache_min_uses open_file_cache_errors",
        "files are opened anew at no cost worth caching",
    ),
    ("merge_slashes chunked_transfer_encoding etag", "always so, as by default in nginx"),
    (
        "log_not_found log_subrequest rewrite_log uninitialized_variable_warn proxy_log_errors \
         open_log_file_cache",
        "of nginx's error log",
    ),
    ("include", "its directives stand in its place"),
    ("load_module", "what a module does is told where its directives stand"),
    ("ssl_session_cache ssl_session_timeout", "sessions are resumed without being told"),
    ("ssl_prefer_server_ciphers", "the server's order counts"),
    ("log_format", "no `access_log` uses it"),
    ("ssl", "said by `listen ... ssl`"),
    ("gzip_vary gzip_http_version gzip_disable", "always so, but for old browsers"),
    ("server_tokens", "no version is told to anybody"),
    ("lingering_close lingering_time lingering_timeout", "always on, for 5 seconds"),
    ("keepalive_disable", "of old browsers"),
];

/// It works, and not quite the same.
const DIFFERENT: &[(&str, &str)] = &[
    (
        "ssl_ciphers ssl_ecdh_curve ssl_dhparam ssl_conf_command proxy_ssl_ciphers \
         proxy_ssl_conf_command",
        "the suites of rustls, all with forward secrecy: there is no list to keep",
    ),
    (
        "proxy_max_temp_file_size proxy_temp_path",
        "responses are read ahead in memory only: raise `buffers`, or cache them",
    ),
    ("ssl_trusted_certificate", "of client certificates and OCSP: `client_ca`"),
    ("ssl_verify_depth proxy_ssl_verify_depth", "chains are followed as far as they go"),
    ("proxy_pass_trailers", "always on for what is not stored"),
    ("satisfy_any", "write `satisfy any`"),
    ("recursive_error_pages", "a page is replaced once"),
    ("proxy_ignore_client_abort", "a fetch for the cache goes on, any other ends with its client"),
    (
        "http2_idle_timeout http2_recv_timeout http2_max_requests http2_max_field_size \
         http2_max_header_size http2_body_preread_size http2_max_concurrent_pushes",
        "the limits of HTTP/1 count for HTTP/2 as well",
    ),
    ("env", "the service manager gives it"),
];

/// There is nothing for these: what to do instead.
const MISSING: &[(&str, &str)] = &[
    (
        "http events server location upstream map geo split_clients listen server_name if set rewrite return break \
         proxy_pass",
        "stands where nginx does not take it",
    ),
    ("user", "run it as that user: `User=` of systemd; it needs no root but for ports below 1024"),
    (
        "worker_cpu_affinity worker_priority worker_rlimit_core working_directory",
        "the service manager says so: `CPUAffinity=`, `Nice=`, `LimitCORE=`, `WorkingDirectory=`",
    ),
    ("geoip_country geoip_city geoip_org geoip_proxy geoip2", "no database of addresses is read"),
    ("add_trailer", "no trailers are added"),
    ("try_files", "tried by routes with `static` only"),
    ("proxy_store proxy_store_access", "cache instead: `cache.zone`"),
    ("proxy_send_lowat proxy_upload_rate", "what goes upstream has no rate"),
    ("proxy_cookie_flags", "`cookie_flags`"),
    (
        "proxy_ssl_crl proxy_ssl_password_file ssl_password_file",
        "no such list of upstreams, and no keys with a password: decrypt the key",
    ),
    (
        "ssl_stapling ssl_stapling_file ssl_stapling_responder ssl_stapling_verify",
        "no OCSP answers go out with certificates: clients ask for themselves, if their authority has any",
    ),
    (
        "ssl_ocsp ssl_ocsp_cache ssl_ocsp_responder",
        "no OCSP: certificates of clients are checked against `client_crl`",
    ),
    (
        "ssl_early_data ssl_session_ticket_key ssl_certificate_cache ssl_key_log \
         ssl_certificate_compression ssl_ech_file",
        "not there: sessions are resumed with keys that are drawn anew",
    ),
    (
        "auth_delay auth_jwt auth_jwt_key_file auth_oidc",
        "`auth_basic`, or `auth_request` to whoever knows",
    ),
    (
        "client_body_in_file_only client_body_in_single_buffer",
        "bodies beyond `request_buffer` lie in files without names",
    ),
    ("mirror mirror_request_body", "no request is sent twice"),
    (
        "sub_filter sub_filter_once sub_filter_types sub_filter_last_modified addition_types \
         add_before_body add_after_body xslt_stylesheet image_filter",
        "bodies are not changed",
    ),
    (
        "valid_referers referer_hash_max_size secure_link secure_link_md5 secure_link_secret",
        "compare fields by a `[map.NAME]`, or ask somebody: `auth_request`",
    ),
    ("random_index", "name the files in `index`"),
    (
        "gunzip gunzip_buffers brotli brotli_static brotli_types brotli_comp_level zstd \
         zstd_static",
        "`compress` of a route speaks gzip, brotli and zstd",
    ),
    (
        "source_charset charset_types charset_map override_charset",
        "bodies are passed on in the character set they are in",
    ),
    (
        "http3 http3_hq quic_retry quic_gso quic_host_key quic_active_connection_id_limit \
         http3_max_concurrent_streams",
        "there is no HTTP/3: clients use HTTP/2",
    ),
    (
        "http2_push http2_push_preload early_hints",
        "interim responses of the origin are passed on to clients of HTTP/1.1",
    ),
    ("health_check match", "write `health_check` of the `[upstream.NAME]`"),
    ("least_time ntlm state upstream_conf", "not there: see `balance` of an upstream"),
    (
        "status_zone status_format api stub_status session_log session_log_zone",
        "`larder stats`, and the operator's listener",
    ),
    ("resolver_timeout", "a lookup is within `timeout.connect`"),
    (
        "more_set_headers more_clear_headers more_set_input_headers more_clear_input_headers",
        "`add_header`, `cache.hide_header` and `set_header`",
    ),
    ("limit_req_zone limit_conn_zone", "a table `[limit.NAME]`"),
    ("upstream_hash fair", "see `balance` of an upstream"),
    ("default_server", "a word of `listen`"),
    (
        "js_import js_set js_content js_header_filter js_body_filter js_path",
        "out of scope: no scripts run here",
    ),
    (
        "acme_issuer acme_certificate acme_shared_zone",
        "certificates come as files: any ACME client may renew them",
    ),
];

/// By how names begin.
const OUT_OF_SCOPE: &[(&str, &str)] = &[
    (
        "fastcgi_ scgi_ uwsgi_ memcached_ grpc_",
        "out of scope: keep nginx for it, and `proxy` to that",
    ),
    ("stream mail ssl_preread proxy_protocol_", "out of scope: HTTP only"),
    (
        "ssi perl js_ lua_ dav_ mp4_ flv hls_ image_filter_ xslt_ userid_ userid otel_ keyval \
         zone_sync mgmt memc_ echo set_by_ access_by_ content_by_ header_filter_by_ \
         body_filter_by_ rewrite_by_ init_by_ init_worker_by_ log_by_ balancer_by_ passenger_ \
         modsecurity pagespeed vhost_traffic_status create_full_put_path ancient_browser \
         modern_browser empty_gif degradation google_perftools_profiles tunnel_",
        "out of scope: a module that Larder has no part of",
    ),
];

/// Those that are taken where something has use for them.
const OF_ROUTES: &str = "root alias index default_type types charset autoindex autoindex_format \
    autoindex_exact_size autoindex_localtime gzip_static disable_symlinks http2 \
    proxy_http_version ssl_certificate \
    ssl_certificate_key ssl_protocols ssl_verify_client ssl_client_certificate ssl_crl \
    ssl_session_tickets ssl_reject_handshake default hostnames volatile \
    large_client_header_buffers client_body_temp_path";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{DIFFERENT, MISSING, NEEDLESS, OF_ROUTES, verdict};
    use crate::import::report::Verdict;

    #[test]
    fn no_name_stands_in_two_lists() {
        let lists = [NEEDLESS, DIFFERENT, MISSING];
        let names = lists.iter().flat_map(|list| list.iter()).map(|(names, _)| *names);
        let names = names.chain([OF_ROUTES]).flat_map(|names| names.split(' '));
        let mut seen = BTreeSet::new();
        let twice: Vec<_> = names.filter(|name| !seen.insert(*name)).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }

    #[test]
    #[rustfmt::skip]
    fn what_nobody_takes_is_known_by_its_name() {
        assert_eq!(verdict("tcp_nopush").0,        Verdict::Exact);
        assert_eq!(verdict("ssl_ciphers").0,       Verdict::Differs);
        assert_eq!(verdict("mirror").0,            Verdict::Unsupported);
        assert_eq!(verdict("fastcgi_param").0,     Verdict::Unsupported);
        assert_eq!(verdict("stream").0,            Verdict::Unsupported);
        assert_eq!(verdict("root").0,              Verdict::Exact);
        assert_eq!(verdict("nobody_knows_this").0, Verdict::Unknown);
    }
}
