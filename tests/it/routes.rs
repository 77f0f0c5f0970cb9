//! Which route answers by which rule, what its expression captures, and where it forwards to.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{Origin, Proxy, eventually, exchange_raw, ok};

/// One site with these lines, before the routes and in them.
fn site(lines: &str, routes: &[(&str, &str)]) -> String {
    let mut config = format!("[[site]]\nlisten = \"127.0.0.1:0\"\n{lines}\n");
    for (path, lines) in routes {
        config.push_str(&format!("[[site.route]]\npath = '{path}'\n{lines}\n"));
    }
    config
}

/// Asks for each target with each host, and checks what the origin was asked for; what begins with
/// a digit is the line of an answer of our own: status and `Location`.
async fn check(config: &str, cases: &[(&str, &str, &str)]) {
    for (host, target, expected) in cases {
        let origin = Origin::start().await;
        origin.on(expected, ok("reached"));
        let proxy = Proxy::with(config, &origin).await;
        let response = proxy.send("GET", target, &[("host", host)]).await;
        let shown = format!("{host} {target}: {}", response.line());
        if expected.starts_with('/') {
            assert_eq!((response.status, origin.seen(expected)), (200, 1), "{shown}");
        } else {
            let location = response.header("location").replace('-', "");
            let told = format!("{} {location}", response.status);
            assert_eq!((told.trim(), origin.connections()), (*expected, 0), "{shown}");
        }
    }
}

#[rustfmt::skip]
#[tokio::test]
async fn exact_then_final_prefix_then_expressions_in_order_then_the_longest_prefix() {
    let to = |uri: &str| format!("proxy = 'http://ORIGIN/{uri}$uri'");
    let routes = [
        ("/",          to("root")),
        ("/a/",        to("prefix")),
        ("/a/b/",      to("longer")),
        ("^~ /img/",   to("final")),
        ("/img/x/",    to("below-final")),
        ("~ \\.php$",  to("php")),
        ("~* \\.(JPG|png)$", to("image")),
        ("~ ^/a/.*jpg", to("late")),
        ("= /a/x.php", to("exact")),
    ];
    let routes: Vec<_> = routes.iter().map(|(path, to)| (*path, to.as_str())).collect();
    check(&site("", &routes), &[
        ("h", "/x",           "/root/x"),
        ("h", "/a/x",         "/prefix/a/x"),
        ("h", "/a/b/x",       "/longer/a/b/x"),
        ("h", "/a/x.php",     "/exact/a/x.php"),
        ("h", "/a/b/x.php",   "/php/a/b/x.php"),
        ("h", "/a/x.PHP",     "/prefix/a/x.PHP"),
        ("h", "/a/x.Jpg",     "/image/a/x.Jpg"),
        ("h", "/a/x.jpg/y",   "/late/a/x.jpg/y"),
        ("h", "/img/x.jpg",   "/final/img/x.jpg"),
        ("h", "/img/x/y.jpg", "/image/img/x/y.jpg"),
        ("h", "/img/x/y",     "/below-final/img/x/y"),
        ("h", "/q%2Ephp?z=1", "/php/q.php"),
    ]).await;
}

#[rustfmt::skip]
#[tokio::test]
async fn captures_are_told_by_number_and_name_escaped_and_empty_where_unset() {
    let config = site("", &[
        ("~ ^/u/(?<id>[^/]+)/(x)?(.*)$", "proxy = 'http://ORIGIN/user/$id?kind=$2&rest=$3&all=$arg_all'"),
        ("/p/", "proxy = 'http://ORIGIN/plain$1$id'"),
    ]);
    check(&config, &[
        ("h", "/u/7/xy",              "/user/7?kind=x&rest=y&all="),
        ("h", "/u/a%20b%3Fc/z?all=1", "/user/a%20b%3Fc?kind=&rest=z&all=1"),
        ("h", "/p/x",                 "/plain"),
    ]).await;
}

#[rustfmt::skip]
#[tokio::test]
async fn a_forwarded_prefix_with_a_slash_redirects_the_path_without_it() {
    let proxy = "proxy = 'http://ORIGIN'";
    let config = site("", &[
        ("/", proxy), ("/a/", proxy), ("/b/", proxy), ("= /b", proxy), ("/c/", "respond = 204"),
        ("/d/", proxy), ("/d", proxy), ("~ ^/a", proxy), ("/e f/", proxy),
    ]);
    check(&config, &[
        ("h", "/a",       "301 /a/"),
        ("h", "/a?b=c%20", "301 /a/?b=c%20"),
        ("h", "/b",       "/b"),
        ("h", "/c",       "/c"),
        ("h", "/d",       "/d"),
        ("h", "/e%20f",   "301 /e%20f/"),
    ]).await;
}

#[rustfmt::skip]
#[tokio::test]
async fn names_of_sites_may_be_beginnings_and_expressions_with_captures() {
    let route = |uri: &str| format!("proxy = 'http://ORIGIN/{uri}$uri'");
    let one = |name: &str, uri: &str| site(&format!("name = '{name}'"), &[("/", &route(uri))]);
    let config = [
        one("~^(?<sub>.+)\\.example\\.com$", "by-re/$sub"),
        one("~^www", "late"),
        one("www.*", "begins"),
        one("www.a.*", "begins-longer"),
        one("*.b.example.com", "ends"),
        one("www.b.example.com", "exact"),
    ].concat();
    check(&config, &[
        ("www.b.example.com", "/x", "/exact/x"),
        ("x.b.example.com",   "/x", "/ends/x"),
        ("www.a.c",           "/x", "/begins-longer/x"),
        ("www.example.com",   "/x", "/begins/x"),
        ("App.example.com:80", "/x", "/by-re/app/x"),
        ("wwwx",              "/x", "/late/x"),
    ]).await;
}

#[rustfmt::skip]
#[tokio::test]
async fn strip_prefix_leaves_the_rest_with_one_slash() {
    let strip = "proxy = 'http://ORIGIN'\nstrip_prefix = true";
    let config = site("", &[("/api/", strip), ("/v1", strip), ("= /one", strip)]);
    check(&config, &[
        ("h", "/api/users?a=b", "/users?a=b"),
        ("h", "/api/",          "/"),
        ("h", "/v1/x%20y",      "/x%20y"),
        ("h", "/v1",            "/"),
        ("h", "/one",           "/"),
    ]).await;
}

#[tokio::test]
async fn a_request_may_name_a_declared_upstream_and_nobody_else() {
    let config = "[upstream.one]\nserver = 'ORIGIN'\n[upstream.two]\nserver = '127.0.0.1:1'\n"
        .to_owned()
        + &site("", &[("/", "proxy = 'http://$http_x_to$request_uri'")]);
    let origin = Origin::start().await;
    origin.on("/a?b", ok("reached"));
    let proxy = Proxy::with(&config, &origin).await;
    assert_eq!(proxy.send("GET", "/a?b", &[("x-to", "one")]).await.status, 200);
    assert_eq!(origin.requests("/a?b")[0].header("host"), "one");
    let address = origin.address.to_string();
    for other in ["", "nobody", "one:80", "one/x", "@one", address.as_str()] {
        assert_eq!(proxy.send("GET", "/a?b", &[("x-to", other)]).await.status, 502, "{other}");
    }
    assert_eq!(origin.seen("/a?b"), 1);
}

#[tokio::test]
async fn methods_that_a_route_does_not_take_get_405_with_those_that_it_takes() {
    let origin = Origin::start().await;
    origin.on("/a", ok("x"));
    let lines = "proxy = 'http://ORIGIN'\nmethods = ['GET', 'PUT']";
    let proxy = Proxy::with(&site("", &[("/", lines)]), &origin).await;
    for (method, expected) in [("GET", 200), ("HEAD", 200), ("POST", 405), ("OPTIONS", 405)] {
        let response = proxy.send(method, "/a", &[]).await;
        assert_eq!(response.status, expected, "{method}");
        if expected == 405 {
            assert_eq!(response.header("allow"), "GET, PUT, HEAD");
        }
    }
    assert_eq!(origin.seen("/a"), 2);
}

#[tokio::test]
async fn a_route_may_answer_itself_and_tell_where_else_to_go() {
    let origin = Origin::start().await;
    let config = site(
        "",
        &[
            ("= /ok", "respond = { status = 200, body = \"hello $arg_x\\n\", type = 'text/x' }"),
            ("= /empty", "respond = 204"),
            ("= /gone", "respond = 410"),
            ("~ ^/go/((?s:.*))$", "redirect = { to = 'https://$host/$1', status = 308 }"),
            ("= /default", "redirect = { to = '/there?$args' }"),
        ],
    );
    let proxy = Proxy::with(&config, &origin).await;
    let response = proxy.get("/ok?x=y%0Az").await;
    assert_eq!((response.status, response.header("content-type").as_str()), (200, "text/x"));
    assert_eq!(response.body, b"hello y%0Az\n");
    let response = proxy.send("HEAD", "/ok?x=y", &[]).await;
    assert_eq!((response.header("content-length").as_str(), response.body.len()), ("8", 0));
    assert_eq!(proxy.get("/empty").await.status, 204);
    assert_eq!(proxy.get("/gone").await.body, b"410 Gone\n");
    let response = proxy.get("/go/a%0D%0ASet-Cookie:%20x=y").await;
    let location = "https://example.com/a%0D%0ASet-Cookie:%20x=y";
    assert_eq!((response.status, response.header("location").as_str()), (308, location));
    assert_eq!(response.header("set-cookie"), "-");
    assert_eq!(proxy.get("/default?a=b").await.header("location"), "/there?a=b");
    assert_eq!(proxy.get("/default").await.status, 302);
}

#[rustfmt::skip]
#[tokio::test]
async fn what_a_route_says_may_have_the_type_that_the_path_ends_with() {
    let origin = Origin::start().await;
    let said = |kind: &str| format!("respond = {{ status = 200, body = 'said', type = {kind} }}");
    let lines = format!(
        "rewrite = [{{ match = '^/moved$', to = '/there.PNG' }}, {{ when = '$arg_rule', {} }}]\n\
         [site.defaults.static]\ntypes = {{ own = 'text/x-own' }}\ndefault_type = 'text/x-any'\ncharset = 'off'",
        said("'by_path'"),
    );
    let own = said("{ types = { html = 'text/x-html' }, types_only = true, charset = 'utf-16' }");
    let rule = format!("rewrite = {{ when = '$arg_none', {} }}\n{own}", said("{ default_type = 'off' }"));
    let routes = [("/", said("'by_path'")), ("/own/", rule), ("= /one.html", said("'text/x-one'"))];
    let routes: Vec<_> = routes.iter().map(|(path, lines)| (*path, lines.as_str())).collect();
    let proxy = Proxy::with(&site(&lines, &routes), &origin).await;
    for (target, expected) in [
        ("/a.html",               "text/html"),
        ("/a.HTML?b.css",         "text/html"),
        ("/a.ht%6dl",             "text/html"),
        ("/a.own",                "text/x-own"),
        ("/a.nobody-knows",       "text/x-any"),
        ("/",                     "text/x-any"),
        ("/.html",                "text/x-any"),
        ("/a.html/",              "text/x-any"),
        ("/moved",                "image/png"),
        ("/a.css?rule=1",         "text/css"),
        // What a route says itself stands in the place of what is around it, key by key.
        ("/own/a.html",           "text/x-html; charset=utf-16"),
        ("/own/a.css",            "text/x-any; charset=utf-16"),
        ("/own/a.own",            "text/x-any; charset=utf-16"),
        ("/own/a.own?none=1",     "text/x-own"),
        ("/own/a?none=1",         "-"),
        ("/one.html",             "text/x-one"),
    ] {
        let answer = proxy.get(target).await;
        let told = (answer.status, answer.header("content-type"), answer.text());
        assert_eq!(told, (200, expected.to_owned(), "said".to_owned()), "{target}");
        let head = proxy.send("HEAD", target, &[]).await;
        let told = (head.header("content-type"), head.header("content-length"), head.body.len());
        assert_eq!(told, (expected.to_owned(), "4".to_owned(), 0), "{target}");
    }
}

#[rustfmt::skip]
#[tokio::test]
async fn an_expression_may_be_tried_below_some_prefixes_only() {
    let to = |uri: &str| format!("proxy = 'http://ORIGIN/{uri}$uri'");
    let within = |uri: &str, list: &str| format!("within = [{list}]\nproxy = 'http://ORIGIN/{uri}$uri'");
    let routes = [
        ("/",            to("root")),
        ("^~ /a/",       to("a")),
        ("/a/in/",       to("in")),
        ("/a/beside/",   to("beside")),
        ("~ \\.js$",      within("js", "'/a/', '/a/in/'")),
        ("~ \\.(js|css)$", to("any")),
    ];
    // Many expressions are looked for in one pass.
    let more: Vec<_> = (0..20).map(|n| format!("~ ^/n{n}$")).collect();
    let more = more.iter().map(|path| (path.as_str(), to("many")));
    for routes in [routes.to_vec(), more.chain(routes.iter().cloned()).collect()] {
        let routes: Vec<_> = routes.iter().map(|(path, to)| (*path, to.as_str())).collect();
        check(&site("", &routes), &[
            ("h", "/a/x.js",         "/js/a/x.js"),
            ("h", "/a/in/x.js",      "/js/a/in/x.js"),
            ("h", "/a/beside/x.js",  "/any/a/beside/x.js"),
            ("h", "/x.js",           "/any/x.js"),
            ("h", "/a/x.css",        "/a/a/x.css"),
            ("h", "/a/in/x.css",     "/any/a/in/x.css"),
        ]).await;
    }
}

#[rustfmt::skip]
#[tokio::test]
async fn expressions_may_look_around() {
    let config = site("", &[
        ("/",              "proxy = 'http://ORIGIN/root$uri'"),
        ("~ ^/(?!api/)(\\w+)/\\1", "proxy = 'http://ORIGIN/twice/$1'"),
    ]);
    check(&config, &[
        ("h", "/a/a",     "/twice/a"),
        ("h", "/a/b",     "/root/a/b"),
        ("h", "/api/api", "/root/api/api"),
    ]).await;
}

#[tokio::test]
async fn a_key_may_have_what_goes_upstream() {
    let cached = |proxy: &str| {
        format!(
            "proxy = '{proxy}'\ncache.zone = 'test'\ncache.key = '$proxy_host$upstream_uri'\ncache.query = {{ drop = ['utm'] }}"
        )
    };
    let (v1, as_sent) = (cached("http://ORIGIN/v1/"), cached("http://ORIGIN"));
    let config = "[zone.test]\nmemory = '8m'\n".to_owned()
        + &site(
            "",
            &[("/", &as_sent), ("/a/", &v1), ("/b/", &v1), ("/v1/", &as_sent), ("/v2/", &as_sent)],
        );
    let origin = Origin::start().await;
    let proxy = Proxy::with(&config, &origin).await;
    for target in ["/v1/x", "/v1/x?q=1", "/v1/x?q=1&utm=2", "/v2/x"] {
        origin.on(target, ok("x").header("cache-control", "max-age=60"));
    }
    let ask = async |target: &str| proxy.send("GET", target, &[]).await.line();
    for target in
        ["/a/x", "/b/x", "/v1/x", "/a/x?q=1&utm=2", "/v1/x?utm=5&q=1", "/b/x?q=1", "/v2/x"]
    {
        ask(target).await;
    }
    let seen =
        || ["/v1/x", "/v1/x?q=1&utm=2", "/v1/x?q=1", "/v2/x"].map(|target| origin.seen(target));
    assert_eq!(seen(), [1, 1, 0, 1]);
    // One URL, then all that begin with another: each of their routes says what goes upstream.
    assert_eq!(proxy.send("PURGE", "/b/x?q=1", &[]).await.status, 200);
    ask("/a/x?q=1").await;
    ask("/a/x").await;
    assert_eq!(seen(), [1, 1, 1, 1]);
    assert_eq!(proxy.send("PURGE", "/a/*", &[]).await.status, 200);
    ask("/v1/x").await;
    ask("/v2/x").await;
    assert_eq!(seen(), [2, 1, 1, 1]);
    assert_eq!(proxy.send("PURGE", "/*", &[]).await.status, 200);
    ask("/b/x").await;
    ask("/v2/x").await;
    assert_eq!(seen(), [3, 1, 1, 2]);
}

#[tokio::test]
async fn a_site_may_be_for_requests_without_a_host() {
    let sites = [("", "all"), ("name = ['', 'a']", "none"), ("name = '~.'", "any")];
    let config: String = sites
        .iter()
        .map(|(name, text)| {
            site(name, &[("/", &format!("respond = {{ status = 200, body = '{text}' }}"))])
        })
        .collect();
    let origin = Origin::start().await;
    let proxy = Proxy::with(&config, &origin).await;
    for (request, expected) in [
        ("GET / HTTP/1.0\r\n\r\n", "none"),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", "none"),
        ("GET / HTTP/1.0\r\nHost: b\r\n\r\n", "any"),
    ] {
        let answer = exchange_raw(proxy.address, request.as_bytes()).await;
        assert_eq!(String::from_utf8_lossy(&answer.body), expected, "{request}");
    }
}

#[tokio::test]
async fn other_methods_are_let_in_by_address() {
    let others = |rules: &str| {
        format!("methods = {{ allow = ['GET'], others = [{rules}] }}\nproxy = 'http://ORIGIN'")
    };
    let (closed, open) = (others("'deny all'"), others("'allow 127.0.0.0/8', 'deny all'"));
    let elsewhere = others("'allow 10.0.0.0/8', 'deny all'");
    // For those that are listed the usual rules count, for others they do not.
    let turned = format!("access = ['deny all']\n{open}");
    let config = site(
        "",
        &[("/closed", &closed), ("/open", &open), ("/elsewhere", &elsewhere), ("/turned", &turned)],
    );
    let origin = Origin::start().await;
    for path in ["/closed", "/open", "/elsewhere", "/turned"] {
        origin.on(path, ok("reached"));
    }
    let proxy = Proxy::with(&config, &origin).await;
    for (method, path, status) in [
        ("GET", "/closed", 200),
        ("HEAD", "/closed", 200),
        ("POST", "/closed", 403),
        ("DELETE", "/closed", 403),
        ("POST", "/open", 200),
        ("POST", "/elsewhere", 403),
        ("GET", "/turned", 403),
        ("POST", "/turned", 200),
    ] {
        let response = proxy.send(method, path, &[]).await;
        assert_eq!(response.status, status, "{method} {path}");
        assert_eq!(response.header("allow"), "-", "{method} {path}");
    }
}

#[tokio::test]
async fn status_444_closes_the_connection_without_a_byte() {
    let origin = Origin::start().await;
    let proxy = Proxy::with(&site("", &[("/", "respond = 444")]), &origin).await;
    let answer = exchange_raw(proxy.address, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!((answer.status, answer.body.len()), (0, 0));
}

#[tokio::test]
async fn a_whole_site_may_be_elsewhere() {
    let lines = "redirect = { to = 'https://$host$request_uri', status = 301 }";
    check(&site(lines, &[]), &[("a.example:80", "/x%20y?z", "301 https://a.example/x%20y?z")])
        .await;
}

#[tokio::test]
async fn a_thousand_routes_of_each_kind_are_told_apart() {
    let mut routes = Vec::new();
    for number in 0..1000 {
        routes.push((format!("/p{number}/"), format!("proxy = 'http://ORIGIN/prefix{number}/'")));
        routes.push((
            format!("~ ^/r{number}/(.*)$"),
            format!("proxy = 'http://ORIGIN/re{number}/$1'"),
        ));
    }
    let routes: Vec<_> = routes.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    check(
        &site("", &routes),
        &[
            ("h", "/p0/x", "/prefix0/x"),
            ("h", "/p999/x", "/prefix999/x"),
            ("h", "/p99/x", "/prefix99/x"),
            ("h", "/r7/x", "/re7/x"),
            ("h", "/r998/x", "/re998/x"),
            ("h", "/r1000/x", "404"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_purge_by_prefix_reaches_routes_with_expressions_and_names() {
    let cached = "proxy = 'http://ORIGIN'\ncache.zone = 'test'";
    let config = "[zone.test]\nmemory = '8m'\n".to_owned()
        + &site("", &[("/", cached), ("~ \\.jpg$", cached)]);
    let origin = Origin::start().await;
    let proxy = Proxy::with(&config, &origin).await;
    for target in ["/a/x", "/a/y.jpg", "/b/z.jpg"] {
        origin.on(target, ok("x").header("cache-control", "max-age=60"));
        proxy.get(target).await;
    }
    assert_eq!(proxy.send("PURGE", "/a/*", &[]).await.status, 200);
    for target in ["/a/x", "/a/y.jpg", "/b/z.jpg"] {
        proxy.get(target).await;
    }
    let seen = ["/a/x", "/a/y.jpg", "/b/z.jpg"].map(|target| origin.seen(target));
    assert_eq!(seen, [2, 2, 1]);
}

#[tokio::test]
async fn explain_names_the_route_as_it_is_written() {
    let origin = Origin::start().await;
    let config = site("", &[("~* ^/A", "proxy = 'http://ORIGIN'"), ("/", "respond = 404")]);
    let proxy = Proxy::with(&config, &origin).await;
    let (_, told) = proxy.admin_post("/v1/explain", r#"{"url":"http://h/abc"}"#).await;
    assert_eq!(told["route"]["path"], "~* ^/A");
    assert_eq!(told["route"]["at"], "test.toml:4");
    let (_, told) = proxy.admin_post("/v1/explain", r#"{"url":"http://h/x"}"#).await;
    assert_eq!(told["now"]["reason"], "respond");
}

#[tokio::test]
async fn a_route_may_say_how_busy_the_server_is() {
    let body = "$connections_active $connections_reading $connections_writing $connections_waiting \
        $connections_accepted $requests_total";
    let config = format!(
        "[[site]]\nlisten = '127.0.0.1:0'\n[[site.route]]\npath = '/'\n\
         respond = {{ status = 200, body = '{body}', type = 'text/plain' }}\n"
    );
    let proxy = Proxy::with(&config, &Origin::start().await).await;
    let _idle = TcpStream::connect(proxy.address).await.unwrap();
    let mut half = TcpStream::connect(proxy.address).await.unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    let counts = async || -> Vec<u64> {
        let answer = proxy.get("/").await;
        answer.text().split(' ').map(|count| count.parse().unwrap()).collect()
    };
    // Who asked before may not be quite gone. Two have sent no request.
    eventually("each is counted once", async || {
        let counts = counts().await;
        counts[..4] == [3, 1, 1, 1] && counts[5] == counts[4] - 2
    })
    .await;
    let (before, after) = (counts().await, counts().await);
    assert_eq!(after[4], before[4] + 1, "each has come over a connection of its own");
}
