"""Debian's nginx as it is installed, in front of an origin: no cache, gzip for HTML, and everything else as nginx has it."""

from steps import Raw, ask, down, get, head, page, up

CONF = "stock"
HOST = "example.com"
CACHE_FIELD = "x-cache-status"
FILES = {}

HTML = "<p>Some words that are said again, and again, and again.</p>\n" * 40
FORWARDED = {"Host": "^example.com$", "X-Real-IP": r"^127\.0\.0\.1$", "X-Forwarded-For": r"^127\.0\.0\.1$", "X-Forwarded-Proto": "^http$"}


def raw(text, statuses, closes=None, title=""):
    return Raw(text.replace("\n", "\r\n").encode("latin-1"), statuses, closes, title=title)


STATUSES = [step for status in (200, 201, 202, 203, 301, 302, 307, 308, 400, 401, 402, 403, 404, 405, 409, 410, 418, 422, 429, 451, 500, 501, 503, 599)
            for step in (page(f"/status/{status}", status, body=f"this is {status}\n"), get(f"/status/{status}", status, text=f"^this is {status}\n$", seen=1))]

FORMS = [
    get("/", 200, text="^/\n$", origin=FORWARDED, at="/", has={"Content-Type": "^text/plain$", "Content-Length": "^2$", "X-Origin": "^origin$"}),
    get("/a?x=1&y=2", 200, at="/a?x=1&y=2"),
    get("/a?y=2&x=1", 200, at="/a?y=2&x=1"),
    get("/a?", 200, at="/a?"),
    get("/a%20b/%C3%A4", 200, at="/a%20b/%C3%A4"),
    get("/a%2Fb", 200, at="/a%2Fb"),
    get("/a%2fb%3fc", 200, at="/a%2fb%3fc"),
    get("/a//b///c", 200, at="/a//b///c"),
    get("/a/./b/../c", 200, at="/a/./b/../c"),
    get("/a/%2e%2e/b", 200, at="/a/%2e%2e/b"),
    get("/../secret", 400, seen=0),
    get("/a/../../secret", 400, seen=0),
    get("/%2e%2e/secret", 400, seen=0),
    get("/a%00b", 400, seen=0),
    get("/a%zz", 400, seen=0),
    get("/\xe4", 200, at="/\xe4"),
    get("/a;b=c,d", 200, at="/a;b=c,d"),
    get("/a\"<>^`{|}", 200, at="/a\"<>^`{|}"),
    get("/a#fragment", 200, at="/a#fragment"),
    get("/" + "a" * 8000, 200, seen=1),
    get("/" + "a" * 9000, 414, seen=0),
    get("/long?" + "q" * 8000, 200, seen=1),
    get("http://example.com/absolute?x=1", 200, at="/absolute?x=1"),
    get("http://other.example/absolute", 200, at="/absolute", origin={"Host": "^other.example$"}),
    get("http://example.com", 200, at="/"),
    ask("OPTIONS", "*", 400, seen=0),
]

METHODS = [
    head("/", 200, has={"Content-Length": "^2$"}, size=0, seen=1),
    ask("POST", "/post", 200, body=b"a=1&b=2", send={"Content-Type": "application/x-www-form-urlencoded"}, origin={"Content-Length": "^7$"}),
    ask("POST", "/post", 200, body=b"", origin={"Content-Length": "^0$"}),
    ask("POST", "/post", 200, origin={"Content-Length": "^-$"}),
    ask("POST", "/post", 200, body=b"z" * 10_000, chunked=True, origin={"Content-Length": "^10000$", "Transfer-Encoding": "^-$"}),
    ask("PUT", "/put", 200, body=b"y" * 100_000),
    ask("PATCH", "/patch", 200, body=b"{}", send={"Content-Type": "application/json"}),
    ask("DELETE", "/delete", 200, seen=1),
    ask("DELETE", "/delete", 200, body=b"why", seen=1),
    ask("OPTIONS", "/options", 200, seen=1),
    ask("PROPFIND", "/dav", 200, seen=1),
    ask("REPORT", "/dav", 200, seen=1),
    ask("get", "/", 400, seen=0),
    ask("TRACE", "/", 405, seen=0),
    # Only upper case and "_" and "-" are a method for nginx; the first is what it reads before it looks at more.
    ask("G-T", "/", 200, seen=1),
    get("/", 200, body=b"a body", seen=1, origin={"Content-Length": "^6$"}),
    ask("POST", "/limit", 200, body=b"x" * (1 << 20), seen=1),
    ask("POST", "/limit", 413, body=b"x" * ((1 << 20) + 1), seen=0, closes=True),
    ask("POST", "/limit", 413, body=b"x" * ((1 << 20) + 1), chunked=True, seen=0),
    ask("POST", "/continue", 200, body=b"patience", patient=True, send={"Expect": "100-continue"}, origin={"Expect": "^-$"}),
    ask("POST", "/continue", 413, body=b"x" * ((1 << 20) + 1), patient=True, send={"Expect": "100-continue"}, seen=0),
    ask("POST", "/continue", 200, body=b"not awaited", send={"Expect": "100-continue"}, seen=1),
    ask("POST", "/continue", 200, body=b"something else", send={"Expect": "200-maybe"}, seen=1),
]

FIELDS = [
    get("/fields", 200, send={"X-One": "1", "x-two": "a  b", "X-Empty": ""}, origin={"X-One": "^1$", "X-Two": "^a  b$", "X-Empty": "^$|^-$"}),
    get("/fields", 200, send={"X-Forwarded-For": "10.0.0.1, 10.0.0.2"}, origin={"X-Forwarded-For": r"^10\.0\.0\.1, 10\.0\.0\.2, 127\.0\.0\.1$"}),
    get("/fields", 200, send={"X-Real-IP": "1.2.3.4", "X-Forwarded-Proto": "https"}, origin={"X-Real-IP": r"^127\.0\.0\.1$", "X-Forwarded-Proto": "^http$"}),
    get("/fields", 200, send={"X_Under": "dropped", "X-Kept": "1"}, origin={"X_Under": "^-$", "X-Kept": "^1$"}),
    get("/fields", 200, send={"X.Dot": "dropped"}, origin={"X.Dot": "^-$"}),
    get("/fields", 200, send={"Cookie": "a=1; b=2", "Authorization": "Basic eDp5"}, origin={"Cookie": "^a=1; b=2$", "Authorization": "^Basic eDp5$"}),
    get("/fields", 200, send={"TE": "trailers", "Keep-Alive": "timeout=5"}, origin={"Keep-Alive": "^-$"}),
    get("/fields", 200, send={"Connection": "close, X-Hop", "X-Hop": "1"}, seen=1),
    get("/fields", 200, send={"Upgrade": "h2c", "Connection": "Upgrade, close"}, origin={"Upgrade": "^-$"}),
    get("/fields", 200, send={"Via": "1.1 somebody", "Accept-Encoding": "identity"}, origin={"Via": "^1.1 somebody$"}),
    get("/fields", 200, send={"Accept-Encoding": "gzip, br"}, origin={"Accept-Encoding": "^gzip, br$"}),
    get("/fields", 200, send={"Range": "bytes=0-3", "If-None-Match": '"x"'}, origin={"Range": "^bytes=0-3$", "If-None-Match": '^"x"$'}),
    get("/fields", 200, send={"Proxy": "http://evil"}, seen=1),
    get("/fields", 200, send={"X-Long": "v" * 7000}, seen=1),
    get("/fields", 400, send={"X-Long": "v" * 9000}, seen=0, text="Request Header Or Cookie Too Large"),
    get("/fields", 200, host="EXAMPLE.com:8080", origin={"Host": "^example.com$"}),
    get("/fields", 200, host="unknown.example", origin={"Host": "^unknown.example$"}),
    get("/fields", 200, host="example.com.", origin={"Host": "^example.com$"}),
    get("/fields", 400, host="exa mple.com", seen=0),
    get("/fields", 400, host="example.com/x", seen=0),
    get("/fields", 400, host="", seen=0),
    page("/answer", fields=[("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2"), ("X-Accel-Expires", "10"), ("X-Pad", "pad"), ("x-lower", "kept"),
                            ("X-Multi", "1"), ("X-Multi", "2"), ("Keep-Alive", "timeout=3"), ("Via", "1.1 behind"), ("Age", "7"), ("Expires", "Thu, 01 Dec 1994 16:00:00 GMT"),
                            ("Link", "</a.css>; rel=preload"), ("X-Powered-By", "PHP")], cache="max-age=60"),
    get("/answer", 200, has={"Set-Cookie": r"^a=1; Path=/ \| b=2$", "X-Multi": r"^1 \| 2$", "Cache-Control": "^max-age=60$", "Age": "^7$", "Server": "^nginx"},
        lacks=("X-Accel-Expires", "X-Pad")),
    page("/redirect", 302, fields=[("Location", "http://127.0.0.1:1/elsewhere")]),
    get("/redirect", 302, has={"Location": "^http://127.0.0.1:1/elsewhere$"}),
    page("/relative", 301, fields=[("Location", "/there?x=1")]),
    get("/relative", 301, has={"Location": r"^/there\?x=1$"}),
    page("/none", 204),
    get("/none", 204, size=0, lacks=("Content-Length", "Content-Type")),
    page("/reason", 200, reason="Fine By Me"),
    get("/reason", 200),
    page("/untyped", type=""),
    get("/untyped", 200, lacks=("Content-Type",)),
    page("/wide", fields=[(f"X-Field-{n}", "v" * 100) for n in range(30)]),
    get("/wide", 200, has={"X-Field-29": "^v+$"}),
    page("/wider", fields=[(f"X-Field-{n}", "v" * 100) for n in range(45)]),
    # More than one buffer of 4k, proxy_buffer_size.
    get("/wider", 502),
]

VALIDATORS = [
    page("/tagged", etag='"v1"', modified="Tue, 14 Nov 2023 22:13:20 GMT", body="tagged\n"),
    get("/tagged", 200, has={"ETag": '^"v1"$'}),
    get("/tagged", 304, send={"If-None-Match": '"v1"'}, size=0),
    get("/tagged", 200, send={"If-None-Match": '"v2"'}),
    get("/tagged", 304, send={"If-Modified-Since": "Tue, 14 Nov 2023 22:13:20 GMT"}),
    head("/tagged", 304, send={"If-None-Match": '"v1"'}),
    # The origin knows only equal tags, and nginx leaves conditions to it where it caches nothing.
    get("/tagged", 200, send={"If-None-Match": 'W/"v1"'}),
    get("/tagged", 200, send={"If-None-Match": '"v0", "v1"'}),
    get("/tagged", 200, send={"If-Match": '"v0"'}, origin={"If-Match": '^"v0"$'}),
    get("/tagged", 200, send={"If-Unmodified-Since": "Mon, 13 Nov 2023 22:13:20 GMT"}),
    page("/ranged", body=2000, ranges=True, etag='"r1"'),
    get("/ranged", 206, send={"Range": "bytes=0-9"}, size=10, has={"Content-Range": "^bytes 0-9/2000$"}),
    get("/ranged", 206, send={"Range": "bytes=-5"}, size=5),
    get("/ranged", 206, send={"Range": "bytes=1990-"}, size=10),
    get("/ranged", 416, send={"Range": "bytes=5000-"}, has={"Content-Range": r"^bytes \*/2000$"}),
    get("/ranged", 200, send={"Range": "bytes=0-9", "If-Range": '"other"'}, size=2000),
    get("/ranged", 206, send={"Range": "bytes=0-9", "If-Range": '"r1"'}, size=10),
    page("/unranged", body=2000, etag='"r1"'),
    get("/unranged", 200, send={"Range": "bytes=0-9"}, size=2000),
]

GZIP = [
    page("/page", body=HTML, type="text/html; charset=utf-8", etag='"h1"'),
    get("/page", 200, send={"Accept-Encoding": "gzip"}, has={"Content-Encoding": "^gzip$", "ETag": '^W/"h1"$'}, lacks=("Content-Length", "Vary"), text="again, and again"),
    get("/page", 200, send={"Accept-Encoding": "gzip, deflate, br"}, has={"Content-Encoding": "^gzip$"}),
    get("/page", 200, send={"Accept-Encoding": "br"}, lacks=("Content-Encoding",), has={"ETag": '^"h1"$'}),
    get("/page", 200, send={"Accept-Encoding": "gzip;q=0"}, lacks=("Content-Encoding",)),
    get("/page", 200, send={"Accept-Encoding": "gzip;q=0.5, *;q=0"}, has={"Content-Encoding": "^gzip$"}),
    get("/page", 200, send={"Accept-Encoding": "*"}, lacks=("Content-Encoding",)),
    get("/page", 200, lacks=("Content-Encoding",)),
    get("/page", 200, send={"Accept-Encoding": "gzip", "Via": "1.1 somebody"}, lacks=("Content-Encoding",)),
    get("/page", 200, send={"Accept-Encoding": "gzip"}, version="1.0", lacks=("Content-Encoding",)),
    head("/page", 200, send={"Accept-Encoding": "gzip"}, has={"Content-Encoding": "^gzip$"}),
    # The tag that it has just given is none that the origin knows.
    get("/page", 200, send={"Accept-Encoding": "gzip", "If-None-Match": 'W/"h1"'}),
    page("/short", body="tiny", type="text/html"),
    get("/short", 200, send={"Accept-Encoding": "gzip"}, lacks=("Content-Encoding",)),
    page("/style", body="a{}" * 400, type="text/css"),
    get("/style", 200, send={"Accept-Encoding": "gzip"}, lacks=("Content-Encoding",)),
    page("/coded", body=HTML, type="text/html", fields=[("Content-Encoding", "br")]),
    get("/coded", 200, send={"Accept-Encoding": "gzip, br"}, has={"Content-Encoding": "^br$"}),
    page("/lost", 404, body=HTML, type="text/html"),
    get("/lost", 404, send={"Accept-Encoding": "gzip"}, has={"Content-Encoding": "^gzip$"}),
    page("/broken", 500, body=HTML, type="text/html"),
    # Only 200, 403 and 404 are compressed.
    get("/broken", 500, send={"Accept-Encoding": "gzip"}, lacks=("Content-Encoding",)),
    page("/noxform", body=HTML, type="text/html", cache="no-transform"),
    get("/noxform", 200, send={"Accept-Encoding": "gzip"}, has={"Content-Encoding": "^gzip$"}),
]

BODIES = [
    page("/large", body=300_000),
    get("/large", 200, size=300_000, has={"Content-Length": "^300000$"}),
    page("/pieces", body=50_000, chunked=True),
    get("/pieces", 200, size=50_000, has={"Transfer-Encoding": "^chunked$"}),
    # What is known to be cut short must not look whole.
    page("/cut", body=1000, cut=300),
    get("/cut", 200, error="cut short"),
    page("/silent", silent=True),
    get("/silent", 502, seen=1, has={"Content-Type": "^text/html$"}, text="<h1>502 Bad Gateway</h1>"),
    ask("POST", "/silent", 502, body=b"x"),
    head("/silent", 502),
    page("/garbled", garbled=True),
    # What is no status line is a body of HTTP/0.9 for nginx, and goes to the client as such.
    get("/garbled", 0, error="not a status line: 'this is no status line"),
    page("/slow", delay=0.5),
    get("/slow", 200),
]

CONNECTIONS = [
    get("/kept", 200, on="kept", has={"Connection": "^keep-alive$"}),
    get("/kept/2", 200, on="kept"),
    head("/kept/3", 200, on="kept"),
    ask("POST", "/kept/4", 200, body=b"body", on="kept"),
    page("/kept/none", 204),
    get("/kept/none", 204, on="kept"),
    page("/kept/pieces", body=5000, chunked=True),
    get("/kept/pieces", 200, on="kept"),
    get("/kept/last", 200, on="kept", send={"Connection": "close"}, has={"Connection": "^close$"}),
    get("/close", 200, send={"Connection": "close"}, closes=True, has={"Connection": "^close$"}),
    get("/stay", 200, closes=False, has={"Connection": "^keep-alive$"}),
    get("/old", 200, version="1.0", send={"Connection": None}, closes=True, has={"Connection": "^close$"}),
    get("/old", 200, version="1.0", send={"Connection": "keep-alive"}, closes=False, has={"Connection": "^keep-alive$"}),
    get("/old", 200, version="1.0", send={"Host": None, "Connection": None}, seen=1),
    get("/pieces", 200, version="1.0", size=50_000, lacks=("Transfer-Encoding",)),
    get("/missing/host", 400, send={"Host": None}, seen=0, closes=True),
    raw("GET /a HTTP/1.1\nHost: example.com\n\nGET /b HTTP/1.1\nHost: example.com\nConnection: close\n\n", [200, 200], True, "two in one go"),
    raw("GET /a HTTP/1.1\nHost: example.com\nHost: example.com\n\n", [400], True, "Host twice"),
    # How they are joined is compared at the origin.
    raw("GET /twice HTTP/1.1\nHost: example.com\nX-Forwarded-For: 10.0.0.1\nX-Forwarded-For: 10.0.0.2\nCookie: a=1\nCookie: b=2\nX-A: 1\nX-A: 2\n"
        "Accept: a/b\nAccept: c/d\nConnection: close\n\n", [200], None, "fields twice"),
    raw("GET /twice HTTP/1.1\nHost: example.com\nAuthorization: Basic eDp5\nAuthorization: Basic eDp6\nConnection: close\n\n", [400], None, "Authorization twice"),
    raw("GET /twice HTTP/1.1\nHost: example.com\nRange: bytes=0-1\nRange: bytes=2-3\nConnection: close\n\n", [200], None, "Range twice"),
    raw("GET /\n", [0], None, "HTTP/0.9 with an answer without a head"),
    raw("nonsense\n\n", [400], True, "no request"),
    raw("\n\nGET /a HTTP/1.1\nHost: example.com\nConnection: close\n\n", [200], None, "empty lines before it"),
    raw("GET  /a  HTTP/1.1\nHost: example.com\nConnection: close\n\n", [200], None, "two spaces"),
    raw("GET /a b HTTP/1.1\nHost: example.com\nConnection: close\n\n", [400], None, "a space in the target"),
    raw("GET /a HTTP/1.2\nHost: example.com\nConnection: close\n\n", [200], None, "HTTP/1.2"),
    raw("GET /a HTTP/2.0\nHost: example.com\n\n", [505], None, "HTTP/2.0 in words"),
    raw("GET /a HTTP/1\nHost: example.com\n\n", [400], None, "HTTP/1"),
    raw("GET a HTTP/1.1\nHost: example.com\n\n", [400], True, "a target without a slash"),
    raw("GET /a HTTP/1.1\nHost: example.com\nNocolon\nConnection: close\n\n", [200], None, "a field without a colon"),
    raw("GET /a HTTP/1.1\nHost: example.com\nNo colon\nConnection: close\n\n", [400], None, "a field with a space in its name"),
    raw("GET /a HTTP/1.1\nHost: example.com\nX-A : 1\nConnection: close\n\n", [400], None, "a space before the colon"),
    raw("GET /a HTTP/1.1\nHost: example.com\nX-A: 1\n  folded\nConnection: close\n\n", [400], None, "a folded field"),
    raw("POST /a HTTP/1.1\nHost: example.com\nContent-Length: 3\nTransfer-Encoding: chunked\n\n0\n\n", [400], None, "a length and chunks"),
    raw("POST /a HTTP/1.1\nHost: example.com\nContent-Length: 3\nContent-Length: 4\n\nabcd", [400], None, "two lengths"),
    raw("POST /a HTTP/1.1\nHost: example.com\nContent-Length: abc\n\n", [400], None, "no length"),
    raw("POST /a HTTP/1.1\nHost: example.com\nContent-Length: -1\n\n", [400], None, "a negative length"),
    raw("POST /a HTTP/1.1\nHost: example.com\nTransfer-Encoding: gzip\n\n", [501], None, "an unknown coding"),
    raw("POST /a HTTP/1.1\nHost: example.com\nTransfer-Encoding: chunked\nConnection: close\n\nzz\nabc\n0\n\n", [400], None, "a chunk without a length"),
    raw("POST /a HTTP/1.1\nHost: example.com\nTransfer-Encoding: chunked\nConnection: close\n\n3;ext=1\nabc\n0\nX-Trailer: 1\n\n", [200], None, "extensions and trailers"),
    raw("POST /a HTTP/1.0\nHost: example.com\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n", [400], None, "chunks in HTTP/1.0"),
    raw("CONNECT example.com:443 HTTP/1.1\nHost: example.com:443\n\n", [400], None, "CONNECT"),
]

FAILURES = [
    down(),
    get("/", 502, text="<h1>502 Bad Gateway</h1>", has={"Content-Type": "^text/html$"}),
    ask("POST", "/", 502, body=b"x"),
    head("/", 502, size=0),
    get("/", 502, send={"Accept-Encoding": "gzip"}),
    up(),
    get("/back", 200),
]

STEPS = STATUSES + FORMS + METHODS + FIELDS + VALIDATORS + GZIP + BODIES + CONNECTIONS + FAILURES
