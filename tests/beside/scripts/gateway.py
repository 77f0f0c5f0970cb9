"""A gateway's work: who may, how often, where to, with which fields, and what is said when it fails."""

import base64

from servers import htpasswd
from steps import Burst, ask, down, get, head, page, up, wait

CONF = "gateway.conf"
HOST = "api.example.com"
CACHE_FIELD = "x-cache-status"
FILES = {"admins": htpasswd("alice", "secret")}
JSON = '{"items": [' + ", ".join(f'{{"id": {n}}}' for n in range(100)) + "]}\n"
UNAVAILABLE = '^{"error":"unavailable"}$'


def basic(text):
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def client(address, **more):
    """So that limits by address are no matter of other steps."""
    return {"X-Forwarded-For": address} | more


OWN = [
    get("/", 200, text='^{"service":"gateway"}$', has={"Content-Type": "^application/json$", "X-Gateway": "^edge-1$", "Content-Length": "^22$"}, seen=0),
    head("/", 200, has={"Content-Length": "^22$"}),
    ask("POST", "/", 200, body=b"x", seen=0),
    get("/health", 200, text="^ok$", has={"Cache-Control": "^no-store$"}, lacks=("X-Gateway",)),
    # What `return` says is said before anybody is kept out.
    get("/status", 204),
    get("/status", 204, send=client("10.2.3.4")),
    get("/unknown", 404, text='{"error":"not found","path":"/unknown"}', has={"X-Gateway": "^edge-1$"}),
    get("/v1/users/7", 200, at="/users/7", seen=1),
    get("/v1/users/7?x=1", 200, at="/users/7?x=1"),
    get("/v1/things/7?x=1", 301, has={"Location": r"^http://api.example.com:{listen}/things/7\?x=1$"}),
    get("/go/mail/42", 200, at="/users/42?from=mail"),
    get("/go/mail/42?x=1", 200, at="/users/42?from=mail&x=1"),
    get("/moved/a/b?x=1", 302, has={"Location": r"^https://www.example.com/a/b\?x=1$"}),
    get("/moved/%20b", 302, has={"Location": "^https://www.example.com/%20b$"}),
    get("/break/run.do", 200, at="/app/run"),
    get("/break/run.do?x=1", 200, at="/app/run?x=1"),
    get("/break/a%20b", 200, at="/other/a%20b"),
    get("/a/b?c", 308, host="old.example.com", has={"Location": r"^http://api.example.com/a/b\?c$"}),
    ask("POST", "/a/b", 308, host="eu.old.example.com", body=b"x"),
    get("/bye", 410, host="old.example.com", text="^gone for good$", has={"Content-Type": "^application/json$"}),
    get("/", 0, host="nobody.example", error="closed without an answer", seen=0),
    get("/", 200, host="API.Example.COM"),
    get("/unknown/\"quoted\"", 404, text='"path":"/unknown/"quoted""'),
]

USERS = [
    get("/users/1", 200, has={"X-Origin": "^origin$|^origin_b$", "Vary": "^Origin$", "Server": "^origin$"}, lacks=("X-Gateway", "Access-Control-Allow-Origin"),
        origin={"Host": "^-$|^users$", "X-Tenant": "^-$", "X-Class": "^-$", "X-Request-Id": "^[0-9a-f]{32}$", "X-Real-IP": "^-$"}),
    get("/users/1", 200, host="acme7.api.example.com", origin={"X-Tenant": "^acme7$"}),
    get("/users/1", 200, send={"Origin": "https://shop.example.com"}, has={"Access-Control-Allow-Origin": "^https://shop.example.com$"}),
    get("/users/1", 200, send={"Origin": "http://localhost:3000"}, has={"Access-Control-Allow-Origin": "^http://localhost:3000$"}),
    get("/users/1", 200, send={"Origin": "https://example.com.evil.example"}, lacks=("Access-Control-Allow-Origin",)),
    ask("OPTIONS", "/users/1", 204, send={"Origin": "https://example.com", "Access-Control-Request-Method": "PUT"}, seen=0,
        has={"Access-Control-Allow-Origin": "^https://example.com$", "Access-Control-Allow-Methods": "PUT", "Access-Control-Max-Age": "^600$"}, lacks=("Vary",)),
    ask("OPTIONS", "/users/1", 204, send={"Origin": "https://evil.example"}, lacks=("Access-Control-Allow-Origin",), has={"Access-Control-Allow-Headers": "Content-Type"}),
    ask("PUT", "/users/1", 200, body=JSON.encode(), send={"Content-Type": "application/json"}, seen=1),
    ask("DELETE", "/users/1", 200),
    ask("PATCH", "/users/1", 200, body=b"{}"),
    ask("POST", "/users", 200, body=b"u" * 65_536, seen=1),
    ask("POST", "/users", 413, body=b"u" * 65_537, text='^{"error":"too large"}$', seen=0),
    page("/users/list", body=JSON, type="application/json", etag='"l1"'),
    get("/users/list", 200, send={"Accept-Encoding": "gzip"}, has={"Content-Encoding": "^gzip$", "Vary": r"Accept-Encoding", "ETag": '^W/"l1"$'}, text='"id": 99'),
    get("/users/list", 200, has={"ETag": '^"l1"$', "Vary": "Accept-Encoding"}),
    get("/users/list", 304, send={"If-None-Match": '"l1"'}),
    page("/users/text", body="plain " * 100, type="text/plain"),
    get("/users/text", 200, send={"Accept-Encoding": "gzip"}, lacks=("Content-Encoding",)),
    page("/users/none", 404, body='{"error":"no such user"}\n', type="application/json"),
    # The origin's own words: nothing is intercepted here.
    get("/users/none", 404, text="no such user", seen=1),
    page("/users/sick", 503, origin="origin"), page("/users/sick", 200, origin="origin_b", body="well\n"),
    get("/users/sick", 200, text="^well$"),
    get("/users/sick", 200, text="^well$"),
    ask("POST", "/users/sick", 200, body=b"x", text="^well$"),
    wait(1.2),
    page("/users/slow", delay=1.5),
    get("/users/slow", 503, text=UNAVAILABLE, has={"Retry-After": "^5$"}, lacks=("X-Gateway",)),
    wait(2.2),
    get("/users/" + "x" * 4200, 414),
    get("/users/1", 200, send={"X-Many": "h" * 3900}),
]

ORDERS = [
    page("/check", 204, fields=[("X-User", "alice")]),
    get("/orders/7?x=1", 200, at="/v3/7?x=1", seen=2, origin={"Host": "^orders.internal$", "X-User": "^alice$", "Authorization": "^-$"}, send={"Authorization": "Bearer t"},
        has={"X-Origin": "^origin_c$"}),
    ask("POST", "/orders/", 200, body=b"{}", at="/v3/", seen=2),
    ask("POST", "/orders/", 413, body=b"x" * 1025, seen=0, text="too large"),
    page("/v3/new", 201, fields=[("Location", "http://orders.internal/v3/8"), ("Set-Cookie", "cart=1; Domain=orders.internal; Path=/v3/new; HttpOnly"), ("X-Powered-By", "cobol")]),
    ask("POST", "/orders/new", 201, body=b"{}", has={"Location": "^http://api.example.com:{listen}/orders/8$", "Set-Cookie": "^cart=1; Domain=example.com; Path=/orders/new; HttpOnly$"},
        lacks=("X-Powered-By",)),
    page("/check", 401, fields=[("WWW-Authenticate", "Bearer")]),
    get("/orders/7", 401, seen=1, text="unauthorized", has={"WWW-Authenticate": "^Bearer$"}),
    page("/check", 403),
    get("/orders/7", 403, seen=1, text="forbidden"),
    page("/check", 500),
    get("/orders/7", 503, seen=1, text=UNAVAILABLE),
    page("/check", 204),
    get("/_auth", 404, seen=0, text="not found"),
    get("/orders", 301, has={"Location": "^http://api.example.com:{listen}/orders/$"}),
    get("/orders/a/../b%20c", 200, at="/v3/b%20c"),
    down("origin_c"),
    get("/orders/7", 200, has={"X-Origin": "^origin_d$"}),
    get("/orders/7", 200, has={"X-Origin": "^origin_d$"}),
    up("origin_c"),
    # Who failed is not asked for its fail_timeout, counted in whole seconds.
    wait(2.2),
]

LEGACY = [
    get("/legacy/run?id=7", 200, at="/cgi-bin/run?id=7", has={"X-Origin": "^origin_e$", "X-Gateway": "^edge-1$"}, origin={"Connection": "^close$", "Host": "^legacy$"}),
    page("/cgi-bin/none", 404, body="Not here, said the machine.\n"),
    get("/legacy/none", 404, seen=1, text='{"error":"not found","path":"/legacy/none"}'),
    page("/cgi-bin/crash", 500, body="core dumped\n"),
    get("/legacy/crash", 503, seen=1, text=UNAVAILABLE),
    page("/cgi-bin/busy", 503),
    get("/legacy/busy", 503, text=UNAVAILABLE),
    page("/cgi-bin/odd", 418),
    get("/legacy/odd", 418),
    page("/cgi-bin/cookie", fields=[("Set-Cookie", "a=1"), ("Location", "http://legacy/cgi-bin/x")]),
    get("/legacy/cookie", 200, lacks=("Set-Cookie",), has={"Location": "^http://legacy/cgi-bin/x$"}),
    ask("POST", "/legacy/run", 200, body=b"x", seen=1),
    head("/legacy/run", 200),
    ask("PUT", "/legacy/run", 403, body=b"x", seen=0, text="forbidden"),
    ask("DELETE", "/legacy/run", 403, seen=0, text="forbidden"),
    get("/files/0123abcd/report.pdf", 200, at="/blobs/0123abcd?name=report.pdf", has={"Content-Disposition": "^attachment; filename=report.pdf$"}, lacks=("X-Gateway",)),
    get("/files/0123abcd/report.pdf?x=1", 200, at="/blobs/0123abcd?name=report.pdf"),
    get("/files/xyz/report.pdf", 404, seen=0, text="not found"),
    get("/proxied/a?x", 200, at="/proxied/a?x", has={"X-Origin": "^origin_c$"}, origin={"Host": "^api.example.com$"}),
    get("/proxied/a", 200, send={"X-Target": "legacy"}, has={"X-Origin": "^origin_e$"}),
    get("/proxied/a", 200, send={"X-Target": "evil"}, has={"X-Origin": "^origin_c$"}),
]

WHO = [
    get("/admin/x", 401, seen=0, text="unauthorized", has={"WWW-Authenticate": '^Basic realm="admins"$'}),
    get("/admin/x", 200, send=basic("alice:secret"), seen=1, origin={"X-User": "^alice$", "Authorization": "^Basic "}),
    get("/admin/x", 401, send=basic("alice:wrong"), seen=0, text="unauthorized"),
    get("/admin/x", 401, send=basic("bob:secret"), seen=0, text="unauthorized"),
    get("/admin/x", 401, send={"Authorization": "Bearer x"}, seen=0, text="unauthorized"),
    get("/admin/x", 200, send=basic("alice:secret") | client("10.1.9.9"), seen=1),
    get("/admin/x", 403, send=basic("alice:secret") | client("10.2.9.9"), seen=0, text="forbidden"),
    get("/inside/x", 403, seen=0, text="forbidden"),
    get("/inside/x", 200, send=client("10.20.30.40"), seen=1, origin={"X-Real-IP": r"^10\.20\.30\.40$", "X-Forwarded-For": r"^10\.20\.30\.40, 10\.20\.30\.40$"}),
    get("/inside/x", 200, send=client("192.168.1.77"), seen=1),
    get("/inside/x", 403, send=client("192.168.2.77"), seen=0),
    # Of several the last that is not trusted counts.
    get("/inside/x", 403, send=client("10.0.0.1, 8.8.8.8, 127.0.0.9"), seen=0),
    get("/inside/x", 200, send=client("8.8.8.8, 10.0.0.1"), seen=1),
    get("/inside/x", 403, send=client("not an address"), seen=0),
    get("/inside/x", 200, send=client("192.168.1.5:4711"), seen=1),
]

HOW_OFTEN = [
    Burst(10, "/limited/a", {200: 4, 429: 6}, send=client("9.9.9.1"), seen=4),
    Burst(3, "/limited/b", {200: 3}, send=client("9.9.9.2"), seen=3),
    Burst(12, "/limited/gold", {200: 12}, send=client("9.9.9.1", **{"X-API-Key": "gold-1"}), seen=12),
    Burst(8, "/limited/silver", {200: 4, 429: 4}, send=client("9.9.9.3", **{"X-API-Key": "silver-17"})),
    wait(1.2),
    # Two more each second.
    Burst(5, "/limited/a", {200: 2, 429: 3}, send=client("9.9.9.1")),
    page("/hold", delay=0.5),
    Burst(6, "/at-once/hold", {200: 3, 429: 3}, send=client("9.9.9.4"), seen=3),
    Burst(3, "/at-once/hold", {200: 3}, send=client("9.9.9.4")),
]

FEED = [
    page("/feed/a", body=JSON, type="application/json", cache="max-age=2", etag='"f1"'),
    get("/feed/a", 200, "MISS", seen=1),
    get("/feed/a", 200, "HIT", seen=0, has={"Cache-Control": "^max-age=2$"}),
    head("/feed/a", 200, "HIT", seen=0),
    get("/feed/a?b=1&c=2", 200, "MISS", seen=1),
    get("/feed/a?c=2&b=1", 200, "MISS", seen=1),
    get("/feed/a", 200, "MISS", send={"Authorization": "Bearer me"}, seen=1),
    get("/feed/a", 200, "HIT", send={"Authorization": "Bearer me"}, seen=0),
    get("/feed/a", 200, "BYPASS", send={"X-Refresh": "1"}, seen=1),
    get("/feed/a", 200, "HIT", send={"X-Refresh": "0"}, seen=0),
    get("/feed/a?nocache=1", 200, "BYPASS", seen=1),
    get("/feed/%61", 200, "HIT", seen=0),
    get("/feed/x/../a", 200, "HIT", seen=0),
    get("/feed//a", 200, "HIT", seen=0),
    get("/feed/private", 200, "MISS", send={"X-Private": "1"}, seen=1),
    get("/feed/private", 200, "MISS", seen=1),
    get("/feed/private", 200, "HIT", seen=0),
    ask("POST", "/feed/a", 200, "-", body=b"x", seen=1),
    page("/feed/cookie", cache="max-age=2", fields=[("Set-Cookie", "a=1")]),
    get("/feed/cookie", 200, "MISS", lacks=("Set-Cookie",)),
    get("/feed/cookie", 200, "HIT", lacks=("Set-Cookie",)),
    page("/feed/500", 500, body="oh\n"),
    get("/feed/500", 500, "MISS", seen=1),
    get("/feed/500", 500, "HIT", seen=0),
    page("/feed/nostore", cache="no-store"),
    get("/feed/nostore", 200, "MISS", seen=1),
    get("/feed/nostore", 200, "MISS", seen=1),
    page("/feed/smaxage", cache="max-age=0, s-maxage=2"),
    get("/feed/smaxage", 200, "MISS"),
    get("/feed/smaxage", 200, "HIT"),
    page("/feed/expires", fields=[("Expires", "Thu, 01 Jan 1970 00:00:01 GMT")]),
    get("/feed/expires", 200, "MISS"),
    get("/feed/expires", 200, "MISS"),
    page("/feed/swr", cache="max-age=1, stale-while-revalidate=30", body="one\n"),
    get("/feed/swr", 200, "MISS"),
    page("/feed/sie", cache="max-age=1", body="one\n"),
    get("/feed/sie", 200, "MISS"),
    page("/feed/slow", cache="max-age=1", body="one\n"),
    get("/feed/slow", 200, "MISS"),
    page("/feed/lock", delay=0.4, cache="max-age=2"),
    Burst(6, "/feed/lock", {200: 6}, {"MISS": 1, "HIT": 5}, seen=1),
    wait(),
    page("/feed/a", body=JSON, type="application/json", cache="max-age=2", etag='"f2"'),
    # Behind the stale answer it is fetched.
    get("/feed/a", 200, "STALE", has={"ETag": '^"f1"$'}, settle=0.3, seen=1),
    get("/feed/a", 200, "HIT", has={"ETag": '^"f2"$'}, seen=0),
    page("/feed/swr", cache="max-age=1, stale-while-revalidate=30", body="two\n"),
    get("/feed/swr", 200, "STALE", text="^one$", settle=0.3, seen=1),
    page("/feed/sie", 503),
    get("/feed/sie", 200, "STALE", text="^one$", settle=0.3, seen=1),
    page("/feed/slow", cache="max-age=1", body="two\n", delay=0.3),
    Burst(4, "/feed/slow", {200: 4}, {"STALE": 1, "UPDATING": 3}, settle=0.6, seen=1),
    down("origin_c"), down("origin_d"),
    get("/feed/sie", 200, "STALE", text="^one$", settle=0.2),
    get("/feed/never", 503, text=UNAVAILABLE),
    up("origin_c"), up("origin_d"),
    wait(2.2),
]

POSTS = [
    page("/posts/q", cache="max-age=10", body="found\n"),
    ask("POST", "/posts/q", 200, "MISS", body=b"query", seen=1),
    ask("POST", "/posts/q", 200, "HIT", body=b"query", seen=0),
    # The body is not in the key: that is how it is written.
    ask("POST", "/posts/q", 200, "HIT", body=b"another", seen=0),
    get("/posts/q", 200, "MISS", seen=1),
    get("/posts/q", 200, "HIT", seen=0),
    head("/posts/q", 200, "MISS", seen=1),
    ask("PUT", "/posts/q", 200, "-", body=b"x", seen=1),
    get("/posts/q", 200, "HIT", seen=0),
]

FAILURES = [
    down("origin"),
    get("/users/1", 200, has={"X-Origin": "^origin_b$"}),
    get("/users/1", 200, has={"X-Origin": "^origin_b$"}),
    down("origin_b"),
    get("/users/1", 503, text=UNAVAILABLE, has={"Retry-After": "^5$"}),
    ask("POST", "/users/1", 503, body=b"x", text=UNAVAILABLE),
    get("/orders/7", 503, text=UNAVAILABLE),
    up("origin"), up("origin_b"),
    wait(2.2),
    get("/users/1", 200),
    # More than large_client_header_buffers, and than proxy_buffer_size. They come last: whoever does not mind them asks
    # another number of servers, and so whose turn it is changes.
    get("/users/1", 400, send={"X-Many": "h" * 4200}),
    page("/users/wide", fields=[("X-Wide", "w" * 6000)]),
    get("/users/wide", 503, text=UNAVAILABLE),
]

STEPS = OWN + USERS + ORDERS + LEGACY + WHO + HOW_OFTEN + FEED + POSTS + FAILURES
