"""Rules that answer, routes that clients do not get, and an upstream that leaves the answer to a file."""

from steps import ask, get, head, page

CONF = "rules.conf"
HOST = "example.com"
CACHE_FIELD = "x-cache-status"
FILES = {"there.txt": b"0123456789\n"}

REFUSED = [
    get("/", 404, text="^nothing at /$", has={"X-Site": "^rules$"}, seen=0),
    # The rule refuses its own page as well.
    get("/x?a=1", 403, send={"User-Agent": "BadBot/1.0"}, text="403 Forbidden", seen=0),
    get("/closed?a=1", 403, text=r"^refused: /closed\?a=1$", has={"X-Site": "^rules$"}, seen=0),
    get("/app/x", 403, send={"User-Agent": "scraper/2"}, text="403 Forbidden", seen=0),
    ask("POST", "/app/x", 403, send={"User-Agent": "badbot"}, body=b"x", text="403 Forbidden", seen=0),
    head("/app/x", 403, send={"User-Agent": "badbot"}, size=0, seen=0),
    ask("OPTIONS", "/app/x", 204, send={"Origin": "http://a"}, has={"Access-Control-Allow-Origin": "^http://a$", "Access-Control-Max-Age": "^600$"}, lacks=("X-Site",), seen=0),
    get("/app/x?quiet=1", 0, error="closed without an answer", seen=0),
    get("/app/x", 426, send={"X-Version": "3.1"}, text="^not version 3 of example.com$", seen=0),
    get("/refused", 404, seen=0),
]

PASSED = [
    get("/allowed/a", 403, text="^no key$", seen=0),
    get("/allowed/a?key=open", 200, at="/allowed/a?key=open", seen=1),
    get("/allowed/a?key=shut", 403, seen=0),
    get("/maybe/a?file=there.txt", 200, text="^there: there.txt$", seen=0),
    get("/maybe/a?file=none", 200, at="/a?file=none", seen=1),
    get("/app", 301, has={"Location": "^http://example.com:{listen}/app/$"}, seen=0),
    get("/app?a=1", 301, has={"Location": r"^http://example.com:{listen}/app/\?a=1$"}, seen=0),
    get("/upload", 200, seen=1),
    head("/upload", 200, seen=1),
    ask("POST", "/upload", 403, body=b"x", seen=0),
    ask("DELETE", "/upload", 403, seen=0),
    get("/assets/a.js", 200, text="^script /assets/a.js$", seen=0),
    get("/assets/a.css", 200, at="/assets/a.css", seen=1),
    get("/assets/more/a.js", 200, text="^more$", seen=0),
    get("/b.js", 404, text="^nothing at /b.js$", seen=0),
    get("/abc/abc", 200, text="^twice abc$", seen=0),
    get("/abc/abd", 404, seen=0),
    get("/app/app", 200, at="/app", seen=1),
]

KINDS = [
    get("/a.css", 404, has={"Content-Type": "^text/css$"}, seen=0),
    get("/a.JPG", 404, has={"Content-Type": "^image/jpeg$"}, seen=0),
    get("/a.nobody-knows", 404, has={"Content-Type": "^text/plain$"}, seen=0),
    get("/.html", 404, has={"Content-Type": "^text/plain$"}, seen=0),
    head("/a.json?b.css", 404, has={"Content-Type": "^application/json$"}, size=0, seen=0),
    get("/kinds/a.OWN", 200, has={"Content-Type": "^text/x-own$"}, seen=0),
    get("/kinds/a.html", 200, has={"Content-Type": "^application/x-any$"}, seen=0),
    get("/kinds/none", 200, lacks=("Content-Type",), seen=0),
]

LEFT = [
    page("/let-in", fields=[("X-Accel-Redirect", "/files/there.txt"), ("Set-Cookie", "a=1"), ("Content-Type", "text/own"), ("X-More", "gone")], cache="max-age=60", body="let in\n"),
    get("/app/let-in", 200, text="^0123456789$", has={"Set-Cookie": "^a=1$", "Content-Type": "^text/own$", "Cache-Control": "^max-age=60$"}, lacks=("X-Accel-Redirect", "X-More"), seen=1),
    get("/app/let-in", 206, send={"Range": "bytes=2-3"}, text="^23$", seen=1),
    ask("POST", "/app/let-in", 200, body=b"x", text="^0123456789$", seen=1),
    page("/let-in", fields=[("X-Accel-Redirect", "/files/none.txt")], body="let in\n"),
    get("/app/let-in", 404, seen=1),
    get("/files/there.txt", 404, seen=0),
]

SHARED = [
    get("/one/x?a=1", 200, "MISS", at="/v1/x?a=1", seen=1),
    get("/two/x?a=1", 200, "HIT", seen=0),
    get("/two/x", 200, "MISS", seen=1),
    get("/one/x", 200, "HIT", seen=0),
]

STEPS = REFUSED + PASSED + KINDS + LEFT + SHARED
