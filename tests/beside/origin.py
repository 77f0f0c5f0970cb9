"""What stands behind a server: origins that answer as a script says, and remember what they were asked.

Each server has origins of its own, so that nothing it asks is counted for the other. They run in this process: a script
changes a page, stops an origin and reads what it saw without a request that would be seen as well.
"""

import functools
import hashlib
import random
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from http.client import responses


@dataclass
class Page:
    """What an origin answers for a path; `page` of steps.py says what each word means."""

    status: int = 200
    reason: str = ""
    body: object = None
    type: str = "text/plain"
    fields: list = field(default_factory=list)
    etag: str = ""
    modified: str = ""
    ranges: bool = False
    chunked: bool = False
    delay: float = 0
    cut: int = None
    silent: bool = False
    garbled: bool = False
    upgrade: bool = False


@dataclass
class Seen:
    """One request as it arrived."""

    origin: str
    method: str
    target: str
    version: str
    fields: list
    body: bytes

    def hash(self):
        return f"{len(self.body)} bytes, {hashlib.sha256(self.body).hexdigest()[:12]}"


class Origins:
    """All origins of one server, by name: `origin`, `origin_b`, ...; with TLS those whose names begin with `secure`."""

    def __init__(self, names, certificate):
        self.pages, self.seen, self.lock = {}, [], threading.Lock()
        self.certificate = certificate
        self.running = {name: Origin(self, name, free_port()) for name in names}

    def ports(self):
        return {name: origin.port for name, origin in self.running.items()}

    def take(self):
        """What was seen since this was asked last."""
        with self.lock:
            seen, self.seen = self.seen, []
        return seen

    def page(self, name, target):
        path = target.partition("?")[0]
        for key in ((name, target), (name, path), ("", target), ("", path)):
            if key in self.pages:
                return self.pages[key]
        return Page()

    def close(self):
        for origin in self.running.values():
            origin.down()


class Origin:
    def __init__(self, all_, name, port):
        self.all, self.name, self.port = all_, name, port
        self.listeners, self.connections = [], set()
        self.context = None
        if name.startswith("secure"):
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(all_.certificate / "server.crt", all_.certificate / "server.key")
        self.up()

    def up(self):
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((address, self.port))
            except OSError:
                listener.close()
                if family == socket.AF_INET:
                    raise
                continue
            listener.listen(256)
            self.listeners.append(listener)
            threading.Thread(target=self.accept, args=(listener,), daemon=True).start()

    def down(self):
        """Refuses connections from now on, and ends those there are."""
        for each in [*self.listeners, *self.connections]:
            # A thread that waits in accept or recv is woken by this, not by close.
            quietly(each.shutdown, socket.SHUT_RDWR)
            quietly(each.close)
        self.listeners = []

    def accept(self, listener):
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        connection.settimeout(30)
        try:
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
            self.connections.add(connection)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection.makefile("rb") as reader:
                while self.exchange(connection, reader):
                    pass
        except (OSError, ValueError):
            pass
        finally:
            self.connections.discard(connection)
            quietly(connection.close)

    def exchange(self, connection, reader):
        """One request and its answer; whether the connection goes on."""
        line = reader.readline(65536).decode("latin-1").split()
        if len(line) != 3:
            return False
        fields = []
        while (text := reader.readline(65536).strip()):
            name, _, value = text.decode("latin-1").partition(":")
            fields.append((name, value.strip()))
        given = {name.lower(): value for name, value in fields}
        seen = Seen(self.name, *line, fields, b"")
        page = self.all.page(self.name, seen.target)
        if given.get("expect", "").lower() == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        seen.body = read_body(reader, given)
        with self.all.lock:
            self.all.seen.append(seen)
        return self.answer(connection, reader, page, seen, given)

    def answer(self, connection, reader, page, seen, given):
        time.sleep(page.delay)
        if page.silent:
            return False
        if page.garbled:
            connection.sendall(b"this is no status line\r\n\r\n")
            return False
        if page.upgrade and "upgrade" in given:
            connection.sendall(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: {given['upgrade']}\r\nConnection: upgrade\r\n\r\n".encode())
            while (data := reader.read1(65536)):
                connection.sendall(data)
            return False
        status, fields, body = represent(page, self.name, seen, given)
        modern = seen.version == "HTTP/1.1"
        chunked = page.chunked and modern
        bodiless = status in (204, 304)
        if chunked:
            fields.append(("Transfer-Encoding", "chunked"))
        elif not bodiless and not page.chunked:
            fields.append(("Content-Length", str(len(body))))
        stays = modern and given.get("connection", "").lower() != "close" and page.cut is None
        if not stays:
            fields.append(("Connection", "close"))
        reason = page.reason or responses.get(status, "Unknown")
        head = f"HTTP/1.1 {status} {reason}\r\n" + "".join(f"{n}: {v}\r\n" for n, v in fields) + "\r\n"
        if seen.method == "HEAD" or bodiless:
            body = b""
        elif chunked:
            body = in_chunks(body)
        connection.sendall(head.encode("latin-1") + (body if page.cut is None else body[:page.cut]))
        return stays


def represent(page, name, seen, given):
    """Status, fields and body of a page for a request: conditions and ranges are the origin's too."""
    body = content(page.body, seen.target)
    fields = [("Date", formatdate(usegmt=True)), ("Server", "origin"), ("X-Origin", name)]
    if page.type and page.status != 204:
        fields.append(("Content-Type", page.type))
    fields += [(n, v) for n, v in (("ETag", page.etag), ("Last-Modified", page.modified)) if v] + page.fields
    status = page.status
    if status == 200 and (page.etag and given.get("if-none-match") == page.etag or
                          page.modified and "if-none-match" not in given and given.get("if-modified-since") == page.modified):
        return 304, [f for f in fields if f[0] != "Content-Type"], b""
    if page.ranges:
        fields.append(("Accept-Ranges", "bytes"))
        asked = given.get("range", "")
        if asked.startswith("bytes=") and status == 200 and given.get("if-range", page.etag) == page.etag:
            first, _, last = asked[6:].partition("-")
            whole = len(body)
            begin = int(first) if first else max(0, whole - int(last))
            end = min(int(last) + 1, whole) if first and last else whole
            if begin >= whole:
                return 416, fields + [("Content-Range", f"bytes */{whole}")], b""
            return 206, fields + [("Content-Range", f"bytes {begin}-{end - 1}/{whole}")], body[begin:end]
    return status, fields, body


def content(body, target):
    """A text, or so many bytes in which each place looks different; by default the target."""
    if body is None:
        return f"{target}\n".encode("latin-1")
    return pattern(body) if isinstance(body, int) else body.encode() if isinstance(body, str) else body


@functools.lru_cache
def pattern(size):
    return b"".join(b"%07d\n" % n for n in range(size // 8 + 1))[:size]


def in_chunks(body):
    pieces = [body[n:n + 4096] for n in range(0, len(body), 4096)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def read_body(reader, given):
    if "chunked" in given.get("transfer-encoding", "").lower():
        body = b""
        while (size := int(reader.readline().split(b";")[0], 16)):
            body += reader.read(size)
            reader.readline()
        while reader.readline().strip():
            pass
        return body
    return reader.read(int(given.get("content-length", 0)))


def free_port():
    """A port that nobody has and that was not given away before. All have five digits, so that texts that name one are of
    one length, and lie below those that the kernel gives to clients, so that who stops for a while finds his again."""
    with PORTS_LOCK:
        for port in PORTS:
            with socket.socket() as s:
                try:
                    s.bind(("127.0.0.1", port))
                    return port
                except OSError:
                    continue
    raise OSError("no port is free")


PORTS_LOCK = threading.Lock()
PORTS = iter(random.sample(range(10_000, 32_000), 22_000))


def quietly(function, *args):
    try:
        function(*args)
    except OSError:
        pass
