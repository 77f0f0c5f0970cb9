"""What differs between two servers' doings in a step, and which differences have a reason. Starts nothing."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

RULES = Path(__file__).resolve().parent / "expected.json"


@dataclass(frozen=True)
class Difference:
    what: str       # "status", "field via", "origin: field host", ...
    nginx: str
    larder: str


@dataclass
class Rule:
    """Which differences are known, and why they are there.

    `what` matches all of `Difference.what`; `nginx`, `larder` and `where` are looked for in the values and in
    "CONFIGURATION: STEP". `kind` is "purpose", or "reference" where the nginx at hand is older than the one that counts.
    """

    what: str
    kind: str
    reason: str
    nginx: str = ""
    larder: str = ""
    where: str = ""

    def fits(self, difference, where):
        return bool(re.fullmatch(self.what, difference.what) and re.search(self.nginx, difference.nginx)
                    and re.search(self.larder, difference.larder) and re.search(self.where, where))


def rules():
    return [Rule(**rule) for rule in json.loads(RULES.read_text())]


def steps(nginx, larder, step, cache_field):
    """All differences of a step; both are `Told`, with texts that name ports made neutral."""
    if hasattr(step, "count"):
        found = bursts(nginx.answers, larder.answers, cache_field)
    else:
        found = [d for pair in zip(nginx.answers, larder.answers) for d in answers(*pair)]
    if any(d.what in ("status", "error") for d in found):
        return found  # And so the origins need not have seen the same.
    return found + origins(nginx.seen, larder.seen, ordered=not hasattr(step, "count"))


def answers(a, b):
    """Differences of two responses. What follows from another difference is none of its own: with another status all is."""
    for what, x, y in (("error", a.error or "-", b.error or "-"), ("status", a.status, b.status)):
        if x != y:
            return [Difference(what, str(x), str(y))]
    found = [Difference(what, str(x), str(y)) for what, x, y in (
        ("version", a.version, b.version), ("reason", a.reason, b.reason), ("interim", a.interim, b.interim), ("framing", a.framing, b.framing),
        ("end of the connection", a.closed, b.closed)) if x != y]
    found += fields(a.fields, b.fields)
    if body(a) != body(b):
        found.append(Difference("body", shown(a.decoded()), shown(b.decoded())))
    return [mark(difference, a) for difference in found if not follows(difference, found)]


def follows(difference, found):
    """Whether it is but another side of one that is told."""
    whats = {each.what for each in found}
    return (difference.what == "field content-length" and whats & {"framing", "body"} or
            difference.what == "field transfer-encoding" and "framing" in whats)


def mark(difference, nginx):
    """Names what is of a page that nginx made itself, or of several ranges: texts that each server has its own of."""
    about = difference.what in ("body", "field content-length", "field content-type", "framing")
    bare = not nginx.body and nginx.status >= 300 and nginx.get("content-type") == "text/html" and nginx.get("x-origin") == "-"
    if about and (b"<center>nginx" in nginx.decoded() or bare):
        return Difference(f"own page: {difference.what}", difference.nginx, difference.larder)
    if about and nginx.get("content-type").startswith("multipart/byteranges"):
        return Difference(f"{difference.what} of several ranges", difference.nginx, difference.larder)
    return difference


def fields(a, b):
    a, b = by_name(a), by_name(b)
    for name in sorted(a.keys() | b.keys()):
        x, y = a.get(name, []), b.get(name, [])
        mine, theirs = [v for _, v in x], [v for _, v in y]
        if not same(name, mine, theirs):
            yield Difference(f"field {name}", " | ".join(mine) if x else "-", " | ".join(theirs) if y else "-")
        elif {n for n, _ in x} != {n for n, _ in y}:
            yield Difference(f"spelling of {name}", x[0][0], y[0][0])


def by_name(fields_):
    found = {}
    for name, value in fields_:
        found.setdefault(name.lower(), []).append((name, value))
    return found


def same(name, a, b):
    """Whether values are equal; moments that were named a second apart are."""
    if a == b:
        return True
    if name in ("date", "expires") and len(a) == len(b) == 1:
        x, y = moment(a[0]), moment(b[0])
        return bool(x and y) and (name == "date" or abs((x - y).total_seconds()) <= 2)
    if name == "server":
        # The import tells no version, as nginx with `server_tokens off`; that is said beside the table.
        return [re.sub("^nginx/.*", "nginx", value) for value in a] == b
    return random(a) == random(b)


def moment(text):
    try:
        return parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None


def random(values):
    """Boundaries of parts and names of requests are drawn."""
    return [re.sub(r"boundary=\S+", "boundary=B", re.sub("^[0-9a-f]{32}$", "ID", value)) for value in values]


def body(answer):
    found = re.search(r"boundary=(\S+)", answer.get("content-type"))
    return answer.decoded().replace(found[1].encode(), b"B") if found else answer.decoded()


def shown(data):
    text = data.decode("latin-1")
    return f"{len(data)} bytes: {text[:60]!r}"


def bursts(a, b, cache_field):
    """How many got which answer, and one answer of each status that both gave."""
    found = []
    for what, value in (("statuses", lambda x: x.status or x.error), ("cache statuses", lambda x: x.get(cache_field))):
        counts = [", ".join(f"{n} x {k}" for k, n in sorted(Counter(map(value, each)).items(), key=str)) for each in (a, b)]
        if counts[0] != counts[1]:
            found.append(Difference(what, *counts))
    for status in sorted({x.status for x in a} & {x.status for x in b}):
        ours, theirs = ([x for x in each if x.status == status] for each in (a, b))
        # Who of them came first, and who was the one that fetched, is chance: the two that are most alike are compared.
        pairs = (answers(x, y) for x in ours for y in theirs)
        alike = ([d for d in pair if d.what not in (f"field {cache_field}", "field cache-status")] for pair in pairs)
        found += min(alike, key=len)
    return found


def origins(a, b, ordered):
    """What the origins of both saw."""
    if len(a) != len(b):
        return [Difference("origin: requests", *(f"{len(each)}: {', '.join(f'{s.method} {s.target}'[:40] for s in each[:4])}" for each in (a, b)))]
    if not ordered:
        a, b = (sorted(each, key=lambda s: (s.origin, s.method, s.target)) for each in (a, b))
    found = []
    for x, y in zip(a, b):
        found += [Difference(f"origin: {what}", str(p), str(q)) for what, p, q in (
            ("name", x.origin, y.origin), ("method", x.method, y.method), ("target", x.target, y.target),
            ("version", x.version, y.version), ("body", x.hash(), y.hash())) if p != q]
        found += [Difference(f"origin: {d.what}", d.nginx, d.larder) for d in fields(x.fields, y.fields)]
    return found


@dataclass
class Tally:
    """One configuration's requests by what became of them, and the differences with their places."""

    requests: int = 0
    identical: int = 0
    purpose: int = 0
    differing: int = 0

    def count(self, requests, kinds):
        self.requests += requests
        if None in kinds:
            self.differing += requests
        elif "purpose" in kinds:
            self.purpose += requests
        else:
            self.identical += requests


def classify(differences, where, known):
    """Each difference with the rule that explains it; None: nobody does."""
    return [(d, next((rule for rule in known if rule.fits(d, where)), None)) for d in differences]
