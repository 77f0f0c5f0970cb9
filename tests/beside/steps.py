"""The words that scripts are written in: what is asked, in which order, and what nginx answers.

A script is a list STEPS. A step is done by every server at the same moment, and what they say is compared. What a script
expects of nginx proves the script: it is asked again at each run.
"""

import re
import time
from collections import Counter
from dataclasses import dataclass, field

from client import Connection
from origin import Page

SHORT = 2           # seconds that short-lived responses of the scripts are fresh
PAST_SHORT = 3.2    # nginx counts whole seconds: then they are not


@dataclass
class Told:
    """What one server did in one step."""

    answers: list = field(default_factory=list)
    seen: list = field(default_factory=list)


@dataclass
class Ask:
    """One request on a connection of its own, or on one that has a name (`on`)."""

    method: str
    target: str
    status: int = 0             # 0: none, `error` says what is there in its place
    cache: str = None           # what the field for cache statuses says; "-": it is not there
    send: dict = field(default_factory=dict)    # fields beside Host; None for Host: without it
    body: bytes = None
    host: str = None
    version: str = "1.1"
    port: str = "listen"
    on: str = None
    chunked: bool = False       # how the body is sent
    patient: bool = False       # waits for 100 before it sends the body
    settle: float = 0           # what happens behind the answer has so long to reach the origin
    seen: int = None            # requests at the origin
    has: dict = field(default_factory=dict)     # fields of the answer, as regular expressions
    lacks: tuple = ()           # fields it does not have
    text: str = None            # the body, as a regular expression
    size: int = None            # its length
    origin: dict = field(default_factory=dict)  # fields of the last request at the origin, as regular expressions
    at: str = None              # its target
    closes: bool = None         # whether the server ends the connection
    error: str = ""

    requests = 1

    def __str__(self):
        more = "".join(f" {name}: {value}" for name, value in self.send.items() if value is not None and len(value) < 40)
        host = f" ({self.host})" if self.host is not None else ""
        target = self.target if len(self.target) < 60 else f"{self.target[:50]}...{len(self.target)}"
        version = f" HTTP/{self.version}" if self.version != "1.1" else ""
        return f"{self.method} {target}{version}{host}{more}"

    def head(self, host):
        fields = {"Host": host if self.host is None else self.host} | self.send
        if self.chunked:
            fields["Transfer-Encoding"] = "chunked"
        elif self.body is not None:
            fields["Content-Length"] = str(len(self.body))
        if self.on is None and self.closes is None:
            fields.setdefault("Connection", "close")
        lines = [f"{self.method} {self.target} HTTP/{self.version}", *(f"{n}: {v}" for n, v in fields.items() if v is not None)]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"

    def run(self, server):
        connection = server.connection(self.on, self.port)
        head, body = self.head(server.host), self.body or b""
        if self.chunked:
            body = b"".join(b"%x\r\n%s\r\n" % (len(body[n:n + 4096]), body[n:n + 4096]) for n in range(0, len(body), 4096)) + b"0\r\n\r\n"
        try:
            connection.send(head if self.patient else head + body)
        except ConnectionError:
            pass  # It may answer before it has read all.
        answer = connection.read(self.method, body if self.patient else b"")
        if self.closes is not None and not answer.error:
            answer.closed = connection.ends()
        if self.on is None:
            connection.close()
        time.sleep(self.settle)
        return Told([answer], server.origins.take())

    def check(self, told, server):
        """What is not as the script says, for nginx."""
        answer = told.answers[0]
        wrong = Wrong()
        wrong.unless_equal("status", answer.status, self.status)
        if not (self.error and answer.error.startswith(self.error)):
            wrong.unless_equal("error", answer.error, self.error)
        if self.cache is not None:
            wrong.unless_equal("cache status", answer.get(server.cache_field), self.cache)
        for name, pattern in self.has.items():
            wrong.unless_matches(name, answer.get(name.lower()), pattern)
        for name in self.lacks:
            wrong.unless_equal(name, answer.get(name.lower()), "-")
        if self.text is not None:
            wrong.unless_matches("body", answer.decoded().decode("latin-1"), self.text)
        if self.size is not None:
            wrong.unless_equal("length of the body", len(answer.decoded()), self.size)
        if self.seen is not None:
            wrong.unless_equal("requests at the origin", len(told.seen), self.seen)
        if self.closes is not None:
            wrong.unless_equal("end of the connection", answer.closed, self.closes)
        last = told.seen[-1] if told.seen else None
        if self.at is not None:
            wrong.unless_equal("target at the origin", last and last.target, self.at)
        for name, pattern in self.origin.items():
            values = " | ".join(v for n, v in last.fields if n.lower() == name.lower()) if last else ""
            wrong.unless_matches(f"{name} at the origin", server.neutral(values) or "-", pattern)
        return wrong.said


@dataclass
class Raw:
    """Bytes as they are, and the statuses of what comes back."""

    data: bytes
    statuses: list
    closes: bool = None
    port: str = "listen"
    title: str = ""

    @property
    def requests(self):
        return max(1, len(self.statuses))

    def __str__(self):
        return self.title or repr(self.data[:50])

    def run(self, server):
        connection = server.connection(None, self.port)
        try:
            connection.send(self.data)
        except ConnectionError:
            pass
        answers = [connection.read("HEAD" if self.data.startswith(b"HEAD") else "GET") for _ in self.statuses or [0]]
        if self.closes is not None and answers[-1].status:
            answers[-1].closed = connection.ends()
        connection.close()
        return Told(answers, server.origins.take())

    def check(self, told, _server):
        wrong = Wrong()
        wrong.unless_equal("statuses", [answer.status for answer in told.answers], self.statuses or [0])
        if self.closes is not None:
            wrong.unless_equal("end of the connection", told.answers[-1].closed, self.closes)
        return wrong.said


@dataclass
class Burst:
    """So many at a time. How many got which answer counts, and not who."""

    count: int
    target: str
    statuses: dict
    caches: dict = None
    send: dict = field(default_factory=dict)
    host: str = None
    seen: int = None
    settle: float = 0

    @property
    def requests(self):
        return self.count

    def __str__(self):
        return f"{self.count} at a time: GET {self.target}"

    def run(self, server):
        head = Ask("GET", self.target, send=self.send, host=self.host).head(server.host)
        connections = [server.connection(None, "listen") for _ in range(self.count)]
        for connection in connections:
            connection.send(head)
        answers = [connection.read() for connection in connections]
        for connection in connections:
            connection.close()
        time.sleep(self.settle)
        return Told(answers, server.origins.take())

    def check(self, told, server):
        wrong = Wrong()
        wrong.unless_equal("statuses", dict(Counter(a.status for a in told.answers)), self.statuses)
        if self.caches is not None:
            wrong.unless_equal("cache statuses", dict(Counter(a.get(server.cache_field) for a in told.answers)), self.caches)
        if self.seen is not None:
            wrong.unless_equal("requests at the origin", len(told.seen), self.seen)
        return wrong.said


@dataclass
class Tunnel:
    """A request that switches protocols, and a text that comes back through what is then there."""

    target: str
    text: bytes = b"hello"
    port: str = "listen"
    requests = 1

    def __str__(self):
        return f"GET {self.target} Upgrade: websocket"

    def run(self, server):
        connection = server.connection(None, self.port)
        fields = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        connection.send(Ask("GET", self.target, send=fields).head(server.host))
        answer = connection.read()
        if answer.status == 101:
            connection.send(self.text)
            answer.body = connection.reader.read(len(self.text))
        connection.close()
        return Told([answer], server.origins.take())

    def check(self, told, _server):
        wrong = Wrong()
        wrong.unless_equal("status", told.answers[0].status, 101)
        wrong.unless_equal("what came back", told.answers[0].body, self.text)
        return wrong.said


@dataclass
class Do:
    """Something that is no request."""

    title: str
    act: object
    requests = 0

    def __str__(self):
        return self.title

    def run(self, server):
        self.act(server)
        return Told()

    def check(self, _told, _server):
        return []


class Wrong:
    """Collects what is not as it should be."""

    def __init__(self):
        self.said = []

    def unless_equal(self, what, found, wanted):
        if found != wanted:
            self.said.append(f"{what}: {found!r} and not {wanted!r}")

    def unless_matches(self, what, found, pattern):
        if not re.search(pattern, found):
            self.said.append(f"{what}: {found[:100]!r} does not match {pattern!r}")


def ask(method, target, status, cache=None, **more):
    return Ask(method, target, status, cache, **more)


def get(target, status, cache=None, **more):
    return Ask("GET", target, status, cache, **more)


def head(target, status, cache=None, **more):
    return Ask("HEAD", target, status, cache, **more)


def page(path, status=200, cache=None, fields=(), origin="", **more):
    """What origins answer for a path or a target from now on, for all methods. `cache`: Cache-Control. `body`: a text, or a
    number of bytes. `etag`, `modified`: validators, which the origin answers conditions by. `ranges`: it answers them too.
    `cut`: ends the connection behind so many bytes of the body. `silent`: without an answer. `garbled`: with something else."""
    fields = ([("Cache-Control", cache)] if cache else []) + list(fields)
    told = Page(status=status, fields=fields, **more)
    return Do(f"{path} is now {status}", lambda server: server.origins.pages.__setitem__((origin, path), told))


def down(name="origin"):
    return Do(f"{name} stops", lambda server: server.origins.running[name].down())


def up(name="origin"):
    return Do(f"{name} starts", lambda server: server.origins.running[name].up())


def wait(seconds=PAST_SHORT):
    return Do(f"{seconds} s pass", lambda _server: time.sleep(seconds))
