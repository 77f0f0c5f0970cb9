//! That whatever is imported loads: lines of nginx, any of them together.

use proptest::prelude::{ProptestConfig, Strategy, prop, prop_assert, proptest};
use proptest::sample::{select, subsequence};

use super::fixtures::imported;
use super::report::Verdict;

/// What may stand at every level of http.
const ANYWHERE: [&str; 66] = [
    "proxy_set_header Host $host;",
    "proxy_set_header X-A $none$host;",
    "proxy_set_header Connection upgrade;",
    "proxy_set_header Upgrade $http_upgrade;",
    "proxy_set_header Content-Length 5;",
    "add_header X-A \"a'b\\\"c\" always;",
    "add_header X-A $upstream_cache_status;",
    "add_header Connection x;",
    "add_header_inherit merge;",
    "error_page 404 497 /404.html;",
    "error_page 500 = @named;",
    "error_page 404 =302 https://a/;",
    "error_page 200 /a;",
    "proxy_redirect ~^http://a(.*)$ /$1;",
    "proxy_redirect default;",
    "proxy_cookie_path ~^/(a|b) /$1;",
    "proxy_cookie_domain a.example $host;",
    "proxy_cookie_flags ~ secure samesite=none;",
    "gzip on;",
    "gzip_types *;",
    "gzip_types text/css nonsense;",
    "gzip_comp_level 12;",
    "gzip_min_length 1k;",
    "proxy_ignore_headers Vary Set-Cookie X-Accel-Charset;",
    "proxy_cache pages;",
    "proxy_cache $host;",
    "proxy_cache off;",
    "proxy_cache nobody;",
    "proxy_cache_key $host$uri$is_args$args;",
    "proxy_cache_key $none;",
    "proxy_cache_valid 200 10m;",
    "proxy_cache_valid any 0;",
    "proxy_cache_valid 999 1m;",
    "proxy_cache_methods GET POST PUT;",
    "proxy_cache_use_stale error updating http_404;",
    "proxy_cache_min_uses 0;",
    "proxy_cache_bypass $cookie_a $arg_b;",
    "proxy_no_cache $own;",
    "proxy_cache_purge PURGE from 10.0.0.0/8;",
    "proxy_cache_max_range_offset 10m;",
    "slice 1k;",
    "slice 1m;",
    "proxy_buffering off;",
    "proxy_buffers 8 16k;",
    "proxy_buffers 0 0;",
    "proxy_hide_header X-B;",
    "proxy_pass_header X-Accel-Expires;",
    "proxy_ssl_verify on;",
    "proxy_ssl_certificate a.crt;",
    "proxy_ssl_protocols TLSv1.1;",
    "proxy_read_timeout 0;",
    "proxy_connect_timeout 75s;",
    "client_max_body_size 9999999999g;",
    "client_body_buffer_size 0;",
    "limit_req zone=req burst=2 delay=1;",
    "limit_conn conn 70000;",
    "limit_conn conn 3;",
    "limit_req_status 200;",
    "allow 10.0.0.0/8;",
    "deny all;",
    "satisfy any;",
    "auth_basic \"a\\nb\";",
    "auth_basic_user_file users;",
    "set_real_ip_from unix:;",
    "set_real_ip_from 10.0.0.1;",
    "proxy_next_upstream off;",
];

/// What may stand in a location beside those.
const IN_LOCATIONS: [&str; 29] = [
    "proxy_pass http://app;",
    "proxy_pass http://app/v1/;",
    "proxy_pass https://10.0.0.1:8443$request_uri;",
    "proxy_pass http://$own;",
    "proxy_pass http://app:81;",
    "proxy_pass http://unix:/a.sock:/b;",
    "root /www/$host;",
    "root \"/a 'b\";",
    "alias /www/;",
    "index index.php /a.html;",
    "try_files $uri $uri/ =404;",
    "try_files $uri @nobody;",
    "try_files /a $uri;",
    "expires modified +1h;",
    "expires -1;",
    "expires soon;",
    "default_type \"\";",
    "default_type \"text/a; b='c'\";",
    "types { text/html html htm; nonsense x; a/b C c.d \"\"; } types { }",
    "return 200 \"$uri\";",
    "charset utf-8;",
    "autoindex on;",
    "return 204;",
    "return 301 /a;",
    "return 999;",
    "rewrite ^/(.*)$ /b/$1 last;",
    "rewrite ^(?=a) /c;",
    "if ($arg_a ~ \"^(.+)$\") { set $x $1; return 302 http://$1/; }",
    "limit_except GET { deny all; }",
];

/// What may stand in a server beside those.
const IN_SERVERS: [&str; 19] = [
    "return 403;",
    "return 301 https://$host$request_uri;",
    "rewrite ^/a$ /b permanent;",
    "rewrite ^ https://b/ break;",
    "set $skip 0;",
    "set $skip $none;",
    "if ($http_cookie ~* \"a|b\") { set $skip 1; }",
    "if ($request_method != POST) { rewrite ^/(.*)$ /get/$1; break; }",
    "if ($skip) { return 444; }",
    "if ($host ~ ^(?<sub>.+)\\.example$) { return 301 https://$sub/$1; }",
    "auth_request /auth; auth_request_set $who $upstream_http_x; proxy_set_header X-W $who;",
    "absolute_redirect off;",
    "http2 on;",
    "root html;",
    "access_log off;",
    "access_log /b.log main if=$own;",
    "keepalive_timeout 5s 6s;",
    "ssl_verify_client on;",
    "ssl_protocols TLSv1 TLSv1.2;",
];

/// What may stand in http beside those.
const IN_HTTP: [&str; 17] = [
    "keepalive_timeout 0;",
    "send_timeout 0;",
    "large_client_header_buffers 8 1m;",
    "log_format main '$remote_addr $none $request_time'; log_format j escape=json '$uri';",
    "access_log /a.log main buffer=32k flush=5m gzip if=$x;",
    "access_log syslog:server=x;",
    "error_log /e.log crit;",
    "resolver 10.0.0.1 [::1] valid=5s;",
    "resolver dns.example;",
    "http2_max_concurrent_streams 0;",
    "client_body_temp_path tmp 1 2;",
    "geo $geo { default 0; 10.0.0.0/8 1; }",
    "split_clients $host $split { 50% a; * b; }",
    "map $uri $page { default x; ~^/(?<rest>.*)$ $rest; \\~a b; \"\" c; }",
    "upstream b { hash $uri; server c:81 backup; server d weight=0; keepalive 0; }",
    "upstream e { sticky cookie s expires=1h samesite=lax; random two least_conn; server f max_fails=3 fail_timeout=0; zone z 1m; }",
    "proxy_cache_path /d levels=1:2:2 keys_zone=more:1m inactive=0 max_size=1x;",
];

const PATHS: [&str; 9] = [
    "/",
    "/a/",
    "^~ /b",
    "= /c",
    "~ \\.php$",
    "~* ^/d/(?<name>x+)",
    "@named",
    "~ ^/(?!e)",
    "/a/ { location ~ x$ { return 200; } } location /f",
];

fn lines(pool: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
    subsequence(pool.to_vec(), 0..=most).prop_map(|lines| lines.join("\n"))
}

fn location() -> impl Strategy<Value = String> {
    let parts = (select(PATHS.to_vec()), lines(&ANYWHERE, 5), lines(&IN_LOCATIONS, 3));
    parts.prop_map(|(path, any, own)| format!("location {path} {{\n{any}\n{own}\n}}"))
}

fn whole() -> impl Strategy<Value = String> {
    let listens = vec!["", "listen 80;", LISTENS_TWICE];
    let locations = prop::collection::vec(location(), 0..4);
    let http = (lines(&IN_HTTP, 4), lines(&ANYWHERE, 8));
    let server = (select(listens), lines(&IN_SERVERS, 3), lines(&ANYWHERE, 6), locations);
    (http, server).prop_map(|((http, any), (listen, server, own, locations))| {
        let locations = locations.join("\n");
        format!(
            "http {{ {ZONES} {http} {any} server {{ {listen} server_name a; {server} {own}\n{locations} }}
            server {{ {listen} return 404; }} }}"
        )
    })
}

const LISTENS_TWICE: &str = "listen 80; listen 443 ssl; ssl_certificate a; ssl_certificate_key b;";
const ZONES: &str = "proxy_cache_path /c keys_zone=pages:1m;
    limit_req_zone $host zone=req:1m rate=1r/s; limit_conn_zone $host zone=conn:1m;
    upstream app { server 10.0.0.1; } map $host $own { a app; }";

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_imported_loads(text in whole()) {
        // Which panics if it does not load.
        let imported = imported(&text);
        let known = imported.report.directives.iter().all(|line| line.verdict != Verdict::Unknown);
        prop_assert!(known, "{:?}", imported.report);
    }
}
