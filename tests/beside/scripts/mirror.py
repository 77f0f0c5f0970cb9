"""A mirror over time: slices, ranges of what is stored, lists that are validated, an archive that fails."""

from steps import Burst, ask, down, get, head, page, up, wait

CONF = "mirror.conf"
HOST = "mirror.example.com"
CACHE_FIELD = "x-cache-status"
INDEX = b"<p>local index</p>\n" * 60
FILES = {"local/index.html": INDEX, "local/a.txt": b"0123456789", "local/big.bin": bytes(range(256)) * 800}
ISO = 300_000       # five slices of 64k, the last one short
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
ARCHIVE = {"Host": "^archive.example.org$", "Accept-Encoding": "^-$", "Connection": "^-$"}

SLICES = [
    page("/debian/cd.iso", body=ISO, ranges=True, etag='"iso1"', modified=DATE, type="application/x-iso9660-image"),
    get("/debian/cd.iso", 206, "MISS", send={"Range": "bytes=70000-70009"}, size=10, seen=1, origin=ARCHIVE | {"Range": "^bytes=65536-131071$"}, has={"Content-Range": "^bytes 70000-70009/300000$"}),
    get("/debian/cd.iso", 206, "HIT", send={"Range": "bytes=65536-131071"}, size=65_536, seen=0),
    get("/debian/cd.iso", 206, "HIT", send={"Range": "bytes=131000-131100"}, size=101, seen=1),
    get("/debian/cd.iso", 200, "MISS", size=ISO, seen=3, has={"Content-Length": f"^{ISO}$", "ETag": '^"iso1"$', "Accept-Ranges": "^bytes$"}),
    get("/debian/cd.iso", 200, "HIT", size=ISO, seen=0),
    get("/debian/cd.iso", 206, "HIT", send={"Range": "bytes=-100"}, size=100, seen=0, has={"Content-Range": f"^bytes 299900-299999/{ISO}$"}),
    get("/debian/cd.iso", 206, "HIT", send={"Range": "bytes=299990-"}, size=10, seen=0),
    get("/debian/cd.iso", 206, "HIT", send={"Range": "bytes=0-400000"}, size=ISO, seen=0),
    # It is within the last slice, which is stored; the other is in one that is not there.
    get("/debian/cd.iso", 416, send={"Range": "bytes=300000-"}, seen=0),
    get("/debian/cd.iso", 416, send={"Range": "bytes=900000-900001"}, seen=1),
    # By slices one range at a time is taken, and of several none.
    get("/debian/cd.iso", 200, "HIT", send={"Range": "bytes=0-9,100000-100009"}, size=ISO),
    get("/debian/cd.iso", 206, "HIT", send={"Range": "bytes=0-9", "If-Range": '"iso1"'}, size=10),
    get("/debian/cd.iso", 200, "HIT", send={"Range": "bytes=0-9", "If-Range": '"iso0"'}, size=ISO),
    get("/debian/cd.iso", 206, "HIT", send={"Range": "bytes=0-9", "If-Range": DATE}, size=10),
    get("/debian/cd.iso", 304, "HIT", send={"If-None-Match": '"iso1"'}),
    get("/debian/cd.iso", 304, "HIT", send={"If-Modified-Since": DATE}),
    get("/debian/cd.iso", 412, "HIT", send={"If-Match": '"iso0"'}),
    get("/debian/cd.iso", 200, "HIT", send={"Range": "lines=0-9"}, size=ISO),
    # A 416 of its own has fields that add_header gave it twice: of the answer that it began, and of this one.
    get("/debian/cd.iso", 416, "HIT | HIT", send={"Range": "bytes=9-0"}),
    head("/debian/cd.iso", 200, "HIT", seen=0, has={"Content-Length": f"^{ISO}$"}),
    head("/debian/cd.iso", 206, "HIT", send={"Range": "bytes=0-9"}),
    get("/debian/cd.iso?x=1", 206, "MISS", send={"Range": "bytes=0-9"}, seen=1),
    page("/debian/small.img", body=1000, ranges=True, etag='"s1"'),
    get("/debian/small.img", 200, "MISS", size=1000, seen=1),
    get("/debian/small.img", 200, "HIT", size=1000, seen=0),
    page("/debian/exact.img", body=131_072, ranges=True, etag='"e1"'),
    get("/debian/exact.img", 200, "MISS", size=131_072, seen=2),
    # An origin that knows no ranges answers the first with everything.
    page("/debian/whole.iso", body=200_000, etag='"w1"'),
    get("/debian/whole.iso", 200, "MISS", size=200_000, seen=1),
    get("/debian/whole.iso", 200, "HIT", size=200_000, seen=0),
    page("/debian/gone.iso", 404, body="no such image\n"),
    get("/debian/gone.iso", 404, "MISS", seen=1),
    get("/debian/gone.iso", 404, "HIT", seen=0),
    page("/debian/changes.iso", body=200_000, ranges=True, etag='"c1"'),
    get("/debian/changes.iso", 206, "MISS", send={"Range": "bytes=0-9"}, size=10),
    page("/debian/changes.iso", body=200_000, ranges=True, etag='"c2"'),
    # Two versions are never mixed: the answer breaks off.
    get("/debian/changes.iso", 200, "HIT", error="cut short"),
    ask("POST", "/debian/cd.iso", 200, "-", body=b"x"),
]

PACKAGES = [
    page("/debian/pool/a_1.deb", body=50_000, etag='"a1"', modified=DATE, cache="no-cache", fields=[("Set-Cookie", "track=1"), ("Vary", "User-Agent")], type="application/vnd.debian.binary-package"),
    get("/debian/pool/a_1.deb", 200, "MISS", size=50_000, seen=1, origin=ARCHIVE, lacks=("Set-Cookie",), has={"Expires": "^Thu, 31 Dec 2037 23:55:55 GMT$", "Cache-Control": "^max-age=315360000$"}),
    get("/debian/pool/a_1.deb", 200, "HIT", size=50_000, seen=0, send={"User-Agent": "apt"}),
    get("/debian/pool/a_1.deb?from=x", 200, "HIT", seen=0),
    get("/debian//pool/./a_1.deb", 200, "HIT", seen=0),
    get("/debian/pool/a%5F1.deb", 200, "HIT", seen=0),
    # Forced: the origin has not said that it takes ranges.
    get("/debian/pool/a_1.deb", 206, "HIT", send={"Range": "bytes=100-199"}, size=100, seen=0),
    get("/debian/pool/a_1.deb", 206, "HIT", send={"Range": "bytes=-1"}, size=1),
    get("/debian/pool/a_1.deb", 206, "HIT", send={"Range": "bytes=0-0,-1"}, has={"Content-Type": "^multipart/byteranges"}),
    get("/debian/pool/a_1.deb", 206, "HIT", send={"Range": "bytes=0-9,5-14,10-19"}),
    get("/debian/pool/a_1.deb", 200, "HIT", send={"Range": "bytes=0-49999,0-49999,0-49999"}, size=50_000),
    get("/debian/pool/a_1.deb", 416, "HIT | HIT", send={"Range": "bytes=50000-"}, has={"Content-Range": r"^bytes \*/50000$"}),
    get("/debian/pool/a_1.deb", 416, send={"Range": "bytes=abc"}),
    get("/debian/pool/a_1.deb", 206, "HIT", send={"Range": "bytes=0-9", "If-Range": '"a1"'}, size=10),
    get("/debian/pool/a_1.deb", 200, "HIT", send={"Range": "bytes=0-9", "If-Range": 'W/"a1"'}, size=50_000),
    # Both have to hold.
    get("/debian/pool/a_1.deb", 200, "HIT", send={"If-None-Match": '"a1"', "If-Modified-Since": "Mon, 13 Nov 2023 22:13:20 GMT"}),
    get("/debian/pool/a_1.deb", 304, "HIT", send={"If-None-Match": '"a1"', "If-Modified-Since": DATE}),
    get("/debian/pool/a_1.deb", 412, "HIT", send={"If-Unmodified-Since": "Mon, 13 Nov 2023 22:13:20 GMT"}),
    get("/debian/pool/a_1.deb", 304, "HIT", send={"If-None-Match": '"a1"', "Range": "bytes=0-9"}),
    head("/debian/pool/a_1.deb", 200, "HIT", has={"Content-Length": "^50000$"}),
    head("/debian/pool/b_1.deb", 200, "MISS", seen=1),
    get("/debian/pool/b_1.deb", 200, "HIT", seen=0),
    # The first request for a range fetches and stores the whole.
    page("/debian/pool/c_1.deb", body=30_000, etag='"c"'),
    get("/debian/pool/c_1.deb", 206, "MISS", send={"Range": "bytes=5-9"}, size=5, seen=1, origin={"Range": "^-$"}),
    get("/debian/pool/c_1.deb", 200, "HIT", size=30_000, seen=0),
    page("/debian/pool/huge_1.deb", body=3_000_000, etag='"h"'),
    get("/debian/pool/huge_1.deb", 200, "MISS", size=3_000_000),
    get("/debian/pool/huge_1.deb", 200, "HIT", size=3_000_000, seen=0),
    get("/debian/pool/huge_1.deb", 206, "HIT", send={"Range": "bytes=1000000-1999999"}, size=1_000_000, seen=0),
    page("/debian/pool/pieces_1.deb", body=40_000, chunked=True),
    get("/debian/pool/pieces_1.deb", 200, "MISS", size=40_000),
    get("/debian/pool/pieces_1.deb", 200, "HIT", size=40_000, has={"Transfer-Encoding": "^chunked$"}),
    page("/debian/pool/cut_1.deb", body=40_000, cut=20_000),
    get("/debian/pool/cut_1.deb", 200, "MISS", error="cut short"),
    page("/debian/pool/cut_1.deb", body=40_000),
    get("/debian/pool/cut_1.deb", 200, "MISS", size=40_000, seen=1),
    page("/debian/pool/moved_1.deb", 302, fields=[("Location", "http://cdn.example.org/moved_1.deb")]),
    get("/debian/pool/moved_1.deb", 302, "MISS"),
    get("/debian/pool/moved_1.deb", 302, "HIT"),
    page("/debian/pool/none_1.deb", 404),
    get("/debian/pool/none_1.deb", 404, "MISS", seen=1),
    get("/debian/pool/none_1.deb", 404, "HIT", seen=0, lacks=("Expires",)),
    get("/pool/x-dbgsym_1.deb", 200, "MISS"),
    get("/ubuntu/a.rpm", 200, "MISS", at="/ubuntu/a.rpm"),
    get("/fedora/a.rpm", 200, "-"),
    page("/debian/pool/wait_1.deb", delay=0.5, body=20_000),
    Burst(8, "/debian/pool/wait_1.deb", {200: 8}, {"MISS": 1, "HIT": 7}, seen=1),
]

LISTS = [
    page("/debian/dists/stable/InRelease", body="Suite: stable\n", etag='"r1"', modified=DATE),
    get("/debian/dists/stable/InRelease", 200, "MISS", seen=1, has={"Cache-Control": "^max-age=60$"}),
    get("/debian/dists/stable/InRelease", 200, "HIT", seen=0),
    page("/debian/dists/stable/Packages.xz", body=5000, modified=DATE, cache="max-age=1"),
    get("/debian/dists/stable/Packages.xz", 200, "MISS", has={"Cache-Control": "^max-age=60$"}),
    page("/debian/dists/stable/Release", body="one\n", etag='"1"'),
    get("/debian/dists/stable/Release", 200, "MISS"),
    page("/debian/dists/broken/Release", body="fine\n"),
    get("/debian/dists/broken/Release", 200, "MISS"),
    page("/debian/dists/slow/Release", body="old\n"),
    get("/debian/dists/slow/Release", 200, "MISS"),
    page("/repodata/repomd.xml", 403, body="forbidden\n"),
    get("/repodata/repomd.xml", 403, "MISS", seen=1),
    get("/repodata/repomd.xml", 403, "HIT", seen=0),
    page("/none/Sources.gz", cache="no-store"),
    get("/none/Sources.gz", 200, "MISS"),
    get("/none/Sources.gz", 200, "MISS"),
    get("/debian/dists/gone/InRelease", 200, "MISS"),
]

SIMPLE = [
    page("/pypi/simple/a/", body="<p>a</p>\n", type="text/html", cache="max-age=2", etag='"s1"', fields=[("Vary", "Accept, Accept-Encoding")]),
    get("/simple/a/", 200, "MISS", send={"Accept": "text/html"}, at="/pypi/simple/a/", seen=1),
    get("/simple/a/", 200, "MISS", send={"Accept": "text/html"}, seen=1),
    get("/simple/a/", 200, "HIT", send={"Accept": "text/html"}, seen=0),
    get("/simple/a/", 200, "MISS", send={"Accept": "application/vnd.pypi.simple.v1+json"}, seen=1),
    get("/simple/a/", 200, send={"Accept": "text/html, */*"}, seen=1),
    get("/simple/b%20c/?x=1", 200, "MISS", at="/pypi/simple/b%20c/?x=1"),
    page("/pypi/simple/old", 301, fields=[("Location", "/pypi/simple/old/")]),
    get("/simple/old", 301, "MISS", has={"Location": "^http://mirror.example.com:{listen}/simple/old/$"}),
    page("/pypi/simple/public/", cache="public, max-age=2", modified=DATE),
    get("/simple/public/", 200, "MISS"), get("/simple/public/", 200, "MISS"), get("/simple/public/", 200, "HIT"),
    page("/pypi/simple/nothing/"),
    get("/simple/nothing/", 200, "MISS"), get("/simple/nothing/", 200, "MISS"), get("/simple/nothing/", 200, "MISS", seen=1),
    page("/pypi/simple/accel/", fields=[("X-Accel-Expires", "10"), ("Cache-Control", "no-store")]),
    get("/simple/accel/", 200, "MISS"), get("/simple/accel/", 200, "MISS"), get("/simple/accel/", 200, "HIT", lacks=("X-Accel-Expires",), has={"Cache-Control": "no-store"}),
    # Until 1.23 the first of the two counted; since then their order does not matter.
    page("/pypi/simple/order/", cache="no-store", fields=[("X-Accel-Expires", "10")]),
    get("/simple/order/", 200, "MISS"), get("/simple/order/", 200, "MISS"), get("/simple/order/", 200, "MISS"),
    page("/pypi/simple/garbage/", cache="max-age=ten"),
    get("/simple/garbage/", 200, "MISS"), get("/simple/garbage/", 200, "MISS"), get("/simple/garbage/", 200, "MISS"),
    page("/pypi/simple/past/", fields=[("Expires", "0")]),
    get("/simple/past/", 200, "MISS"), get("/simple/past/", 200, "MISS"), get("/simple/past/", 200, "MISS"),
    page("/pypi/simple/future/", fields=[("Expires", "Fri, 31 Dec 2100 00:00:00 GMT")]),
    get("/simple/future/", 200, "MISS"), get("/simple/future/", 200, "MISS"), get("/simple/future/", 200, "HIT"),
    page("/pypi/simple/aged/", cache="max-age=5", fields=[("Age", "100")]),
    get("/simple/aged/", 200, "MISS"), get("/simple/aged/", 200, "MISS"), get("/simple/aged/", 200, "HIT", has={"Age": "^100$"}),
    page("/pypi/simple/tired/", cache="max-age=2"),
    get("/simple/tired/", 200, "MISS"), get("/simple/tired/", 200, "MISS"), get("/simple/tired/", 200, "HIT"),
]

IMAGES = [
    page("/images/disk.raw", body=200_000, ranges=True, etag='"d1"'),
    # From 100000 on ranges are the origin's business.
    get("/images/disk.raw", 206, "MISS", send={"Range": "bytes=150000-150009"}, size=10, seen=1, origin={"Range": "^bytes=150000-150009$"}),
    get("/images/disk.raw", 206, "MISS", send={"Range": "bytes=-10"}, size=10, seen=1, origin={"Range": "^bytes=-10$"}),
    get("/images/disk.raw", 206, "MISS", send={"Range": "bytes=10-19"}, size=10, seen=1, origin={"Range": "^-$"}),
    get("/images/disk.raw", 206, "HIT", send={"Range": "bytes=150000-150009"}, size=10, seen=0),
    get("/images/disk.raw", 200, "HIT", size=200_000, seen=0),
    # The method is in the key, and HEAD goes on as HEAD.
    head("/images/disk.raw", 200, "MISS", seen=1, has={"Content-Length": "^200000$"}),
    head("/images/disk.raw", 200, "HIT", seen=0, has={"Content-Length": "^200000$"}),
    page("/images/plain.raw", body=1000, etag='"p1"'),
    get("/images/plain.raw", 200, "MISS", send={"Range": "bytes=0-9"}, size=1000),
    get("/images/plain.raw", 200, "HIT", send={"Range": "bytes=0-9"}, size=1000),
]

HASHES = [
    get("/by-hash/a", 200, "MISS"),
    get("/by-hash/a", 200, "HIT"),
    get("/by-hash/a", 200, "BYPASS", send={"Cookie": "nocache=1"}, seen=1),
    get("/by-hash/a", 200, "HIT", send={"Cookie": "nocache=0"}),
    get("/by-hash/a?nocache=", 200, "MISS"),
    get("/by-hash/a?nocache=0&comment=0", 200, "BYPASS"),
    page("/by-hash/none", 404),
    get("/by-hash/none", 404, "MISS", seen=1),
    get("/by-hash/none", 404, "MISS", seen=1),
    page("/by-hash/there", 307, fields=[("Location", "/by-hash/a")]),
    get("/by-hash/there", 307, "MISS"),
    get("/by-hash/there", 307, "HIT"),
    ask("DELETE", "/by-hash/a", 200, "-", seen=1),
    get("/by-hash/a", 200, "HIT", seen=0),
]

LOCAL = [
    get("/", 302, has={"Location": "^http://mirror.example.com:{listen}/debian/$"}),
    get("/", 302, version="1.0", send={"Host": None}, has={"Location": "^http://[^/]*:{listen}/debian/$|^http://127"}),
    get("/local/a.txt", 200, "-", text="^0123456789$", has={"X-Local": "^yes$"}, lacks=("X-Cache-Status",)),
    get("/local/a.txt", 206, send={"Range": "bytes=0-1,4-5"}, has={"Content-Type": "^multipart/byteranges"}),
    # More ranges than max_ranges: the whole.
    get("/local/a.txt", 200, send={"Range": "bytes=0-1,4-5,8-9"}, size=10),
    get("/local/", 200, size=len(INDEX)),
    get("/local/big.bin", 200, size=204_800),
    get("/local/big.bin", 206, send={"Range": "bytes=100000-"}, size=104_800),
    get("/local/a.txt", 304, send={"If-Modified-Since": DATE}),
    get("/local/a.sig", 404),
    ask("PUT", "/upload/new.deb", 200, body=b"d" * 3_000_000, seen=1),
    ask("PUT", "/upload/new.deb", 200, body=b"d" * 300_000, chunked=True, seen=1),
    get("/debian/", 200, "-", seen=1),
    page("/old", 503),
    get("/old", 503, seen=1),
]

LATER = [
    wait(),
    page("/debian/dists/stable/InRelease", body="Suite: stable, newer\n", etag='"r2"'),
    get("/debian/dists/stable/InRelease", 200, "STALE", text="^Suite: stable$", settle=0.3, seen=1, origin={"If-None-Match": '^"r1"$', "If-Modified-Since": f"^{DATE}$"}),
    get("/debian/dists/stable/InRelease", 200, "HIT", text="newer", seen=0),
    get("/debian/dists/stable/Packages.xz", 200, "STALE", settle=0.3, seen=1),
    get("/debian/dists/stable/Packages.xz", 200, "HIT", size=5000, seen=0),
    get("/debian/dists/stable/Release", 200, "STALE", settle=0.3, seen=1, origin={"If-None-Match": '^"1"$'}),
    get("/debian/dists/stable/Release", 200, "HIT", text="^one$", seen=0),
    page("/debian/dists/broken/Release", 500),
    get("/debian/dists/broken/Release", 200, "STALE", text="^fine$", settle=0.3, seen=1),
    page("/debian/dists/slow/Release", body="new\n", delay=0.4),
    Burst(5, "/debian/dists/slow/Release", {200: 5}, {"STALE": 1, "UPDATING": 4}, settle=0.8, seen=1),
    get("/debian/dists/slow/Release", 200, "HIT", text="^new$", seen=0),
    get("/simple/public/", 200, "REVALIDATED", seen=1, origin={"If-Modified-Since": f"^{DATE}$"}),
    page("/pypi/simple/tired/", 429),
    get("/simple/tired/", 200, "STALE", seen=1),
    get("/debian/cd.iso", 206, "HIT", send={"Range": "bytes=0-9"}, seen=0),
    get("/debian/pool/a_1.deb", 200, "HIT", seen=0),
    # http_404 of use_stale is for stale 404s as well.
    get("/debian/pool/none_1.deb", 404, "STALE", seen=1),
    get("/debian/gone.iso", 404, "EXPIRED", seen=1),
    down(),
    get("/debian/dists/stable/Release", 200, text="^one$", settle=0.2),
    get("/debian/dists/gone/InRelease", 200, "STALE", settle=0.2),
    get("/simple/public/", 200),
    get("/simple/tired/", 200, "STALE"),
    get("/debian/pool/a_1.deb", 200, "HIT"),
    get("/debian/pool/never_1.deb", 502, "MISS"),
    get("/debian/cd.iso", 200, "HIT", size=ISO),
    get("/debian/never.iso", 502),
    get("/debian/", 502),
    up(),
    get("/debian/", 200),
    get("/debian/pool/never_1.deb", 200, "MISS"),
]

STEPS = SLICES + PACKAGES + LISTS + SIMPLE + IMAGES + HASHES + LOCAL + LATER
