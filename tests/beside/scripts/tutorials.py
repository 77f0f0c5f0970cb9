"""What four tutorials on nginx as a reverse proxy show, each snippet in a whole configuration, and what each is to do."""

from types import SimpleNamespace

from steps import Burst, Tunnel, ask, down, get, head, page, up, wait

CSS = b"body { margin: 0 }\n" * 20
FORWARDED = {"X-Real-IP": r"^127\.0\.0\.1$", "X-Forwarded-For": r"^127\.0\.0\.1$"}


def script(name):
    host, steps, files = TUTORIALS[name]
    return SimpleNamespace(CONF=f"{name}.conf", HOST=host, CACHE_FIELD="x-cache-status", FILES=files, STEPS=steps)


def from_(origin):
    return {"X-Origin": f"^{origin}$"}


PATHS_1 = [
    get("/app1", 200, at="/app1", has=from_("origin"), origin={"Host": "^localhost:{origin}$"}),
    get("/app1/users?x=1", 200, at="/app1/users?x=1"),
    get("/app12", 200, at="/app12"),
    get("/app2/a%20b", 200, at="/app2/a%20b", has=from_("origin_b")),
    get("/app1//double", 200, at="/app1/double"),
    get("/app1/./x/../y", 200, at="/app1/y"),
    get("/x/../app2/z", 200, at="/app2/z"),
    # Behind the prefix nothing stands between: "/some/path" and "file".
    get("/some/path/file", 200, at="/some/pathfile", origin={"X-Real-IP": r"^127\.0\.0\.1$"}),
    get("/some/path", 301, has={"Location": r"^http://example.com:{listen}/some/path/$"}, seen=0),
    get("/", 404, seen=0, text="<h1>404 Not Found</h1>"),
    get("/App1", 404, seen=0),
    head("/app1", 200, seen=1),
    ask("POST", "/app2", 200, body=b"x=1", has=from_("origin_b")),
    page("/app1/go", 302, fields=[("Location", "http://localhost/app1/there")]),
    get("/app1/go", 302, has={"Location": "^http://localhost/app1/there$"}),
]

POOL = [
    *[get(f"/{n}", 200, has=from_(origin), origin={"Host": "^backend$"}, at=f"/{n}")
      for n, origin in enumerate(["origin", "origin_b", "origin_c"] * 2)],
    get("/a%2Fb", 200, at="/a/b"),
    get("/a%20b%3F", 200, at="/a%20b%3F"),
    get("/ä".encode().decode("latin-1"), 200, at="/ä".encode().decode("latin-1")),
    down("origin_b"),
    # Whoever does not answer is passed over, and for ten seconds not asked.
    *[get(f"/without/{n}", 200, seen=1) for n in range(4)],
    down("origin"),
    down("origin_c"),
    get("/nobody", 502),
    get("/nobody", 502),
    up("origin"), up("origin_b"), up("origin_c"),
]

TLS = [
    get("/over/tls", 200, port="listen_tls", at="/over/tls"),
    get("/", 200, port="listen_tls", host="www.example.com"),
    head("/", 200, port="listen_tls"),
    ask("POST", "/", 200, port="listen_tls", body=b"z" * 50_000),
    page("/big", body=200_000),
    get("/big", 200, port="listen_tls", size=200_000),
    page("/pieces", body=20_000, chunked=True),
    get("/pieces", 200, port="listen_tls", size=20_000),
]
TO_HTTP = TLS + [
    page("/go", 301, fields=[("Location", "http://backend/there")]),
    get("/go", 301, port="listen_tls", has={"Location": "^https://example.com:{listen_tls}/there$"}),
]
TO_HTTPS = TLS + [
    page("/go", 301, fields=[("Location", "https://backend/there")]),
    get("/go", 301, port="listen_tls", has={"Location": "^https://example.com:{listen_tls}/there$"}),
    # proxy_redirect is about what is written in proxy_pass.
    page("/other", 301, fields=[("Location", "http://backend/there")]),
    get("/other", 301, port="listen_tls", has={"Location": "^http://backend/there$"}),
    down("secure"),
    *[get(f"/without/{n}", 200, port="listen_tls", seen=1) for n in range(3)],
    up("secure"),
]

CACHE = [
    page("/a", body="one\n", etag='"1"'),
    get("/a", 200, "MISS", seen=1, origin={"Host": "^example.com$", "X-Real-IP": r"^127\.0\.0\.1$"}),
    get("/a", 200, "HIT", seen=0, text="^one$"),
    get("/a", 200, "MISS", host="www.example.com", seen=1),
    # The method is in the key, and HEAD is sent on as GET.
    head("/a", 200, "MISS", seen=1),
    head("/a", 200, "HIT", seen=0),
    get("/a?x=1", 200, "MISS", seen=1),
    get("/a?x=1", 200, "HIT", seen=0),
    get("/a", 304, "HIT", send={"If-None-Match": '"1"'}),
    page("/a", body="two\n", etag='"2"'),
    get("/a", 200, "BYPASS", send={"Cache-Control": "no-cache"}, text="^two$", seen=1),
    get("/a", 200, "HIT", text="^two$", seen=0),
    page("/gone", 404, body="gone\n"),
    # add_header is not for 404, but it is stored.
    get("/gone", 404, "-", seen=1),
    get("/gone", 404, "-", seen=0),
    page("/moved", 302, fields=[("Location", "/elsewhere")]),
    get("/moved", 302, "MISS", seen=1),
    get("/moved", 302, "HIT", seen=0),
    page("/error", 500),
    get("/error", 500, seen=1),
    get("/error", 500, seen=1),
    page("/cookie", fields=[("Set-Cookie", "s=1")]),
    get("/cookie", 200, "MISS", seen=1),
    get("/cookie", 200, "MISS", seen=1),
    page("/private", cache="private, max-age=60"),
    get("/private", 200, "MISS", seen=1),
    get("/private", 200, "MISS", seen=1),
    ask("POST", "/a", 200, "-", body=b"x", seen=1),
    ask("POST", "/a", 200, "-", body=b"x", seen=1),
    wait(),
    get("/a", 200, "EXPIRED", seen=1, text="^two$"),
    get("/a", 200, "HIT", seen=0),
    get("/gone", 404, seen=1),
    head("/a", 200, "EXPIRED", seen=1),
    wait(),
    down(),
    get("/a", 502),
    up(),
    get("/a", 200, "EXPIRED", seen=1),
]

API_3 = [
    get("/v1/users?page=2", 200, port="listen_tls", at="/v1/users?page=2", origin=FORWARDED | {"Host": "^api.example.com$", "X-Forwarded-Proto": "^https$"}),
    get("/", 200, port="listen_tls", send={"X-Forwarded-For": "10.9.8.7"}, origin={"X-Forwarded-For": r"^10\.9\.8\.7, 127\.0\.0\.1$"}),
    ask("PUT", "/v1/users/7", 200, port="listen_tls", body=b'{"name": "x"}', send={"Content-Type": "application/json"}, origin={"Content-Type": "json"}),
    ask("DELETE", "/v1/users/7", 200, port="listen_tls"),
    page("/v1/none", 204),
    get("/v1/none", 204, port="listen_tls"),
]

PATHS_3 = [
    get("/api/users", 200, port="listen_tls", at="/api/users", has=from_("origin")),
    get("/page", 200, port="listen_tls", has=from_("origin_b")),
    get("/api", 301, port="listen_tls", has={"Location": "^https://example.com:{listen_tls}/api/$"}),
    get("/uploads/a.css", 200, port="listen_tls", size=len(CSS), has={"Content-Type": "^text/css$", "Accept-Ranges": "^bytes$", "Last-Modified": "14 Nov 2023"}),
    get("/uploads/a.css", 206, port="listen_tls", send={"Range": "bytes=0-3"}, text="^body$"),
    get("/uploads/a.css", 206, port="listen_tls", send={"Range": "bytes=0-3,8-9"}, has={"Content-Type": "^multipart/byteranges; boundary="}),
    get("/uploads/a.css", 304, port="listen_tls", send={"If-Modified-Since": "Tue, 14 Nov 2023 22:13:20 GMT"}),
    get("/uploads/none", 404, port="listen_tls"),
    get("/uploads/", 403, port="listen_tls"),
    get("/uploads", 200, port="listen_tls", has=from_("origin_b")),
    ask("POST", "/uploads/a.css", 405, port="listen_tls", body=b"x"),
]

BASIC = [
    get("/", 200, origin=FORWARDED | {"Host": "^app.example.com$", "X-Forwarded-Proto": "^http$"}),
    get("/a//b/../c?x=%20", 200, at="/a//b/../c?x=%20"),
    ask("PATCH", "/a", 200, body=b"x"),
    head("/", 200),
    page("/moved", 301, fields=[("Location", "http://127.0.0.1/there")]),
    get("/moved", 301),
]

BALANCE = [
    # 3 to 1, and as evenly as that can be done.
    *[get(f"/{n}", 200, has=from_(origin)) for n, origin in enumerate(["origin", "origin", "origin_b", "origin"] * 2)],
    get("/least/1", 200, has=from_("origin")),
    get("/least/2", 200, has=from_("origin_b")),
    *[get(f"/same/{n}", 200) for n in range(3)],
    down("origin"),
    get("/other", 200, has=from_("origin_b")),
    down("origin_b"),
    get("/backup", 200, has=from_("origin_c")),
    get("/backup", 200, has=from_("origin_c")),
    up("origin"), up("origin_b"),
]

HEALTH = [
    page("/bad", 503, origin="origin", body="not well\n"),
    page("/bad", 200, origin="origin_b", body="well\n"),
    *[get("/bad", 200, text="^well$") for _ in range(3)],
    page("/bad", 502, origin="origin_b", body="not well either\n"),
    get("/bad", 502, seen=1),
    # The fail_timeout of both, counted in whole seconds.
    wait(12),
    page("/worse", 500, origin="origin"),
    page("/worse", 500, origin="origin_b"),
    # 500 is not in the list.
    get("/worse", 500, seen=1),
    down("origin"),
    get("/", 200, has=from_("origin_b")),
    get("/", 200, has=from_("origin_b"), seen=1),
    ask("POST", "/", 200, body=b"x", has=from_("origin_b"), seen=1),
    up("origin"),
]

WEBSOCKET = [
    page("/chat", upgrade=True),
    Tunnel("/chat"),
    Tunnel("/chat", b"x" * 100_000),
    get("/chat", 200, seen=1),
    page("/refused", 403),
    get("/refused", 403, send={"Upgrade": "websocket", "Connection": "Upgrade"}),
    get("/plain", 200),
]

PATHS_4 = [
    get("/api/users/7?q=1", 200, at="/users/7?q=1", has=from_("origin"), origin={"Host": "^example.com$"}),
    get("/api/a%2Fb/%20", 200, at="/a/b/%20"),
    get("/api//x", 200, at="/x"),
    get("/api", 301, has={"Location": "^http://example.com:{listen}/api/$"}),
    get("/api?x=1", 301, has={"Location": r"^http://example.com:{listen}/api/\?x=1$"}),
    page("/go", 302, fields=[("Location", "http://127.0.0.1/x")]),
    get("/api/go", 302, has={"Location": "^http://127.0.0.1/x$"}),
    page("/chat", upgrade=True),
    Tunnel("/ws/chat"),
    get("/ws/plain", 200, at="/plain", has=from_("origin_b")),
    get("/static/site.css", 200, size=len(CSS), has={"Expires": "GMT$", "Cache-Control": "^max-age=2592000$", "Content-Type": "^text/css$"}),
    get("/static/site.css", 206, send={"Range": "bytes=5-"}, size=len(CSS) - 5, has={"Content-Range": f"^bytes 5-{len(CSS) - 1}/{len(CSS)}$"}),
    get("/static/site.css", 206, send={"Range": "bytes=-4"}, size=4),
    get("/static/site.css", 416, send={"Range": "bytes=9999-"}),
    get("/static/site.css", 206, send={"Range": "bytes=0-3, 9999-"}, size=4),
    get("/static/site.css", 200, send={"Range": "bytes=0-3", "If-Range": '"no"'}, size=len(CSS)),
    get("/static/site.css", 206, send={"Range": "bytes=0-3", "If-Range": "Tue, 14 Nov 2023 22:13:20 GMT"}, size=4),
    get("/static/site.css", 304, send={"If-Modified-Since": "Tue, 14 Nov 2023 22:13:20 GMT"}),
    # A moment that is not the very one: `if_modified_since exact`.
    get("/static/site.css", 200, send={"If-Modified-Since": "Wed, 15 Nov 2023 22:13:20 GMT"}),
    get("/static/site.css", 412, send={"If-Unmodified-Since": "Mon, 13 Nov 2023 22:13:20 GMT"}),
    head("/static/site.css", 200, has={"Content-Length": f"^{len(CSS)}$"}),
    get("/static/page.html", 200, has={"Content-Type": "^text/html$"}),
    get("/static/data.unknown", 200, has={"Content-Type": "^application/octet-stream$"}),
    get("/static/a%20b.txt", 200, text="^blank$"),
    get("/static/folder", 301, has={"Location": "^http://example.com:{listen}/static/folder/$"}),
    get("/static/folder/", 200, text="^index$"),
    get("/static/none.css", 404, lacks=("Expires",)),
    get("/static/", 403),
    get("/static/../../etc/passwd", 400),
    get("/static/%2e%2e/%2e%2e/etc/passwd", 400),
    get("/static/..%2fnginx.conf", 200, has=from_("origin_c")),
    ask("POST", "/static/site.css", 405, body=b"x"),
    ask("OPTIONS", "/static/site.css", 405),
    get("/", 200, has=from_("origin_c"), origin={"Host": "^127.0.0.1:{origin_c}$"}),
    get("/statics", 200, has=from_("origin_c")),
]

BUFFERING = [
    page("/page", body=500_000),
    get("/page", 200, size=500_000),
    page("/events", body="data: 1\n\ndata: 2\n\n", type="text/event-stream", chunked=True),
    get("/events", 200, text="data: 2"),
    page("/cut", body=100_000, cut=50_000),
    get("/cut", 200, error="cut short"),
    Burst(8, "/many", {200: 8}, seen=8),
]

STATIC = {"static/site.css": CSS, "static/page.html": b"<p>page</p>\n", "static/data.unknown": b"data\n", "static/a b.txt": b"blank\n",
          "static/folder/index.html": b"index\n"}
TUTORIALS = {
    "tutorial-1-paths": ("example.com", PATHS_1, {}),
    "tutorial-2-pool": ("example.com", POOL, {}),
    "tutorial-2-tls": ("example.com", TO_HTTP, {}),
    "tutorial-2-end-to-end": ("example.com", TO_HTTPS, {}),
    "tutorial-2-cache": ("example.com", CACHE, {}),
    "tutorial-3-api": ("api.example.com", API_3, {}),
    "tutorial-3-paths": ("example.com", PATHS_3, {"storage/uploads/a.css": CSS}),
    "tutorial-4-basic": ("app.example.com", BASIC, {}),
    "tutorial-4-balance": ("app.example.com", BALANCE, {}),
    "tutorial-4-health": ("example.com", HEALTH, {}),
    "tutorial-4-websocket": ("app.example.com", WEBSOCKET, {}),
    "tutorial-4-paths": ("example.com", PATHS_4, STATIC),
    "tutorial-4-buffering": ("example.com", BUFFERING, {}),
}
