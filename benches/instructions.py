#!/usr/bin/env python3
"""What does a request cost: how many instructions, and which system calls?

A release build answers over one kept connection, under valgrind's callgrind and then under strace, once a few
requests and once more; the difference, by request, is what one costs. Instructions are the same on a busy machine
and on an idle one, so a change of one percent shows. They are those of the program: the kernel's share, which is the
larger one, is not in them, and neither is what a missed cache line costs. System calls say where the kernel's share
comes from.

Each row of CASES is one kind of request; where it says nothing else, bodies have 1024 bytes and rest in memory. Those
of `h2` fall together by chance, so its counts differ by some percent.

The figures are compared with those of instructions.json, which --write stores: what moved by more than 2 % is told,
and what got dearer by more than --tolerance makes the exit status 1. Figures of another compiler or C library are
shown beside these, but judge nothing. Compare builds of the release profile as it is in Cargo.toml only.

--functions says where the instructions go (those that the compiler inlined count for their caller), --lines from
which source lines. Needs valgrind and strace, for TLS openssl, for HTTP/2 h2load (nghttp2-client).
"""

import argparse
import collections
import dataclasses
import json
import platform
import re
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import support

HOST = "www.example.test"
BROWSER = {
    "Connection": "keep-alive",
    "sec-ch-ua": '"Chromium";v="140", "Not=A?Brand";v="24"',
    "sec-ch-ua-mobile": "?0",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Sec-Fetch-Site": "same-origin",
    "Sec-Fetch-Mode": "navigate",
    "Referer": "https://www.example.test/",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Accept-Language": "en-GB,en;q=0.9",
    "Cookie": "session=0123456789abcdef0123456789abcdef",
}


@dataclasses.dataclass
class Case:
    """A kind of request. `{n}` is its number; in a field `{etag}` is that of what is stored."""
    what: str
    status: int = 200
    cache: str = "HIT"
    method: str = "GET"
    path: str = "/etag/hot"
    fields: dict = dataclasses.field(default_factory=dict)
    # Nothing is held in memory, so that each hit is read from its file.
    disk: bool = False
    # HTTP/1 in the clear ("h1") or over TLS 1.3 ("tls"), HTTP/2 over TLS ("h2").
    protocol: str = "h1"
    # What `larder import` writes for all routes.
    imported: bool = False

    def request(self, n, etag):
        lines = [f"{self.method} {self.path.format(n=n)} HTTP/1.1", f"Host: {HOST}"]
        lines += [f"{name}: {value.replace('{etag}', etag)}" for name, value in self.fields.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


CASES = {
    "plain": Case("a hit, asked for with a Host and nothing else, as by wrk"),
    "browser": Case("a hit, asked for with a dozen fields", fields=BROWSER),
    "304": Case("a hit that the client has", 304, fields={"If-None-Match": "{etag}"}),
    "range": Case("a range of a hit", 206, fields={"Range": "bytes=100-299"}),
    "head": Case("a hit without its body", method="HEAD"),
    "disk": Case("a hit on disk", disk=True),
    "disk16": Case("a hit of 16 KiB on disk", path="/etag/16384/hot", disk=True),
    "tls": Case("a hit over TLS 1.3", protocol="tls"),
    "h2": Case("a hit over HTTP/2, of 16 streams at a time", protocol="h2"),
    "imported": Case("a hit on a route as imports write them: names spelled, `Server` and `Date` our own, a field added",
                     imported=True),
    "store": Case("a miss, fetched and stored", cache="MISS", path="/cold/{n}"),
    "pass": Case("fetched by a route without a cache", cache="", path="/pass"),
}
PASS_ROUTE = '[[site.route]]\npath = "= /pass"\nproxy = "http://127.0.0.1:{origin}"\n'
IMPORTED = """[defaults]
header_case = "preserve"
cache_status = false
via = false
server_header = "nginx"
date = "now"
absolute_redirect = true
accel_redirect = true
[defaults.cache]
semantics = "nginx"
purge = "off"
"""
# nginx has no other way to tell it.
IMPORTED_TELLS = 'add_header = { X-Cache-Status = "$upstream_cache_status" }\n'
COMMITTED = Path(__file__).with_name("instructions.json")
FEW = 1_000
STREAMS = 16
# What is told, in percent.
MOVED = 2


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="\n".join(f"{name:8} {case.what}" for name, case in CASES.items()))
    parser.add_argument("--larder", default=support.DEFAULT_LARDER, metavar="PATH", help="default: %(default)s")
    parser.add_argument("--requests", type=int, default=4_000, metavar="N", help="to count; default: %(default)s")
    parser.add_argument("--cases", default=",".join(CASES), metavar="NAMES", help="default: all")
    parser.add_argument("--functions", type=int, default=0, metavar="N", help="also the N costliest functions")
    parser.add_argument("--lines", type=int, default=0, metavar="N", help="also the N costliest lines")
    parser.add_argument("--tolerance", type=float, default=5, metavar="PERCENT", help="default: %(default)s")
    parser.add_argument("--no-calls", action="store_true", help="instructions only")
    parser.add_argument("--json", action="store_true", help="the numbers only")
    parser.add_argument("--write", action="store_true", help=f"store the figures in {COMMITTED.name}")
    args = parser.parse_args()
    cases = args.cases.split(",")
    unknown = [name for name in cases if name not in CASES]
    if args.requests < 1 or unknown:
        parser.error(f"no such case: {', '.join(unknown)}" if unknown else "--requests is at least 1")
    if args.write and (args.no_calls or len(cases) < len(CASES)):
        parser.error("--write stores all figures")
    spoken = {CASES[name].protocol for name in cases}
    support.need("valgrind", *([] if args.no_calls else ["strace"]), *(["openssl"] if spoken - {"h1"} else []),
                 *(["h2load"] if "h2" in spoken else []))
    binary = support.larder_binary(args.larder)

    report = {"compiler": compiler(binary), "c_library": " ".join(platform.libc_ver()), "cases": {}}
    with support.Bench() as bench:
        origin = bench.origin()
        if spoken - {"h1"}:
            support.make_certificate(bench.dir, "ecdsa")
        for name in cases:
            report["cases"][name] = measure(bench, binary, origin, name, args)
    if args.json:
        print(json.dumps(report))
    if args.write:
        COMMITTED.write_text(json.dumps(report, indent=1) + "\n")
    elif not args.json:
        sys.exit(judged(report, args.tolerance))


def measure(bench, binary, origin, name, args):
    few, many = (callgrind(bench, binary, origin, name, n) for n in (FEW, FEW + args.requests))
    figures = {"instructions": round((total(many) - total(few)) / args.requests)}
    if not args.json:
        print(f"{name:8} {figures['instructions']:>7,} instructions a request", flush=True)
        table(difference(few, many, by_function), args.requests, args.functions)
        table(difference(few, many, by_line), args.requests, args.lines)
    if not args.no_calls:
        few, many = (strace(bench, binary, origin, name, n) for n in (FEW, FEW + args.requests))
        each = {call: round((many[call] - few[call]) / args.requests, 2) for call in many}
        # What comes by the clock and not by requests is less than this.
        figures["system_calls"] = {call: each[call] for call in sorted(each) if each[call] >= 0.05}
        if not args.json:
            calls = figures["system_calls"]
            print(f"{'':8} {sum(calls.values()):>7.2f} system calls: "
                  + ", ".join(f"{call} {count:.2f}" for call, count in calls.items()), flush=True)
    return figures


def judged(report, tolerance):
    """Says what moved from the committed figures; the exit status."""
    if not COMMITTED.exists():
        print(f"nothing to compare with: --write stores the figures in {COMMITTED.name}")
        return 0
    committed = json.loads(COMMITTED.read_text())
    dearer, moved = [], False
    for name, figures in report["cases"].items():
        for what, before, now in rows(committed["cases"].get(name, {}), figures):
            percent = (now / before - 1) * 100 if before else float("inf")
            if abs(percent) > MOVED:
                moved = True
                print(f"{name:8} {what}: {before:,} -> {now:,} ({percent:+.1f} %)")
            if percent > tolerance:
                dearer.append(f"{name} ({what})")
    if not moved:
        print(f"nothing moved by more than {MOVED} %")
    others = [f"{what} {committed[what]}" for what in ("compiler", "c_library") if committed[what] != report[what]]
    if others:
        print(f"the committed figures are of {' and '.join(others)}, these of {report['compiler']} and "
              f"{report['c_library']}: not judged")
        return 0
    if dearer:
        print(f"dearer by more than {tolerance:g} %: {', '.join(dearer)}")
    return 1 if dearer else 0


def rows(before, now):
    """What both have: a name, and the figure of each."""
    if "instructions" in before:
        yield "instructions", before["instructions"], now["instructions"]
    if "system_calls" in before and "system_calls" in now:
        yield ("system calls", *(round(sum(figures["system_calls"].values()), 2) for figures in (before, now)))


def compiler(binary):
    """What built it, as the linker was told."""
    found = re.search(rb"rustc version ([^\0]+)", Path(binary).read_bytes())
    return f"rustc {found[1].decode()}" if found else "unknown"


def callgrind(bench, binary, origin, name, requests):
    """Has a new Larder answer so many; the file that callgrind wrote of it."""
    out = bench.dir / f"{name}-{requests}.callgrind"
    run(bench, binary, origin, name, requests,
        [support.program("valgrind"), "--tool=callgrind", "--dump-line=yes", f"--callgrind-out-file={out}"])
    return written(bench, out, f"{name}-{requests}")


def strace(bench, binary, origin, name, requests):
    """Has a new Larder answer so many; how often it called the kernel for what."""
    out = bench.dir / f"{name}-{requests}.strace"
    # -D: what is started here and ended by a signal is Larder, not strace.
    run(bench, binary, origin, name, requests, [support.program("strace"), "-D", "-f", "-c", "-o", str(out)])
    calls = collections.Counter()
    for line in written(bench, out, f"{name}-{requests}").read_text().splitlines():
        words = line.split()
        # Share, seconds, each, calls, errors where there were some, name.
        if len(words) in (5, 6) and words[3].isdigit() and words[-1] != "total":
            calls[words[-1]] += int(words[3])
    return calls


def written(bench, path, name):
    """The file, when it is there: who traces may end a moment later than who is traced."""
    deadline = time.monotonic() + 15
    while not path.exists() or not path.stat().st_size:
        if time.monotonic() > deadline:
            support.fail(f"{path.name} was not written:\n{bench.log(name)}")
        time.sleep(0.05)
    return path


def run(bench, binary, origin, name, requests, under):
    case, memory, zone, tells = CASES[name], "64m", "", support.STATUS_HEADER
    if case.disk:
        memory, zone = "0", f'path = "{bench.dir}/{name}-{requests}-cache"\n'
    if case.imported:
        zone += IMPORTED
        tells = IMPORTED_TELLS
    larder, port, _ = bench.larder(binary, origin.port, memory, workers=1, name=f"{name}-{requests}", zone=zone,
                                   site="" if case.protocol == "h1" else support.TLS, tells=tells,
                                   under=under, cache=PASS_ROUTE.format(origin=origin.port))
    if case.protocol == "h2":
        ask_h2(port, case, origin, requests)
    else:
        ask(port, case, requests)
    support.stop(larder, wait_s=60)


def ask(port, case, times):
    """Sends requests of a kind over one connection, one after the other; all must be answered as it says."""
    with connect(port, case.protocol == "tls") as connection:
        stored = Case("what is stored", path=case.path if case.disk else Case.path)
        _, head = exchange(connection, stored.request(0, ""), "GET")
        etag = head["etag"]
        for n in range(times):
            status, head = exchange(connection, case.request(n, etag), case.method)
            if (status, head.get("x-cache-status", "")) != (case.status, case.cache):
                support.fail(f"answer {n} is not {case.status} {case.cache}: {status} {head}")


def ask_h2(port, case, origin, times):
    """The same over HTTP/2, on as many streams at a time as a page with its images takes."""
    before = origin.count()
    done = subprocess.run(
        [support.program("h2load"), "-c1", "-t1", f"-m{STREAMS}", f"-n{times}", f"-H:authority: {HOST}",
         f"https://127.0.0.1:{port}{case.path}"], capture_output=True, text=True, timeout=600)
    if f"status codes: {times} 2xx" not in done.stdout:
        support.fail(f"h2load said:\n{done.stdout}{done.stderr}")
    if origin.count() - before > STREAMS:
        support.fail("not all but the first are hits")


def connect(port, is_tls):
    connection = socket.create_connection(("127.0.0.1", port), 60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not is_tls:
        return connection
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connection)


def exchange(connection, request, method):
    """Sends a request and reads the whole answer: its status, and its fields by names in lower case."""
    connection.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += received(connection)
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    status = int(first.split()[1])
    fields = dict(line.lower().split(": ", 1) for line in lines)
    fields = {name: value.upper() if name == "x-cache-status" else value for name, value in fields.items()}
    left = 0 if method == "HEAD" or status == 304 else int(fields["content-length"]) - len(body)
    while left > 0:
        left -= len(received(connection))
    return status, fields


def received(connection):
    part = connection.recv(65536)
    if not part:
        support.fail("Larder closed the connection")
    return part


def total(path):
    for line in path.read_text().splitlines():
        if line.startswith("totals:"):
            return int(line.split()[1])
    support.fail(f"{path.name} has no totals")


def difference(few, many, key):
    """What the second costs more than the first, by what `key` says of where an instruction stands."""
    costs = collections.Counter()
    for path, sign in ((few, -1), (many, 1)):
        for where, cost in costs_of(path):
            costs[key(where)] += sign * cost
    return costs


def by_function(where):
    return where[0]


def by_line(where):
    file = where[1]
    for folder in ("/registry/src/", "/library/"):
        file = file.partition(folder)[2].partition("/")[2] or file
    return f"{file}:{where[2]}"


def costs_of(path):
    """Function, source file and line of each cost in a callgrind file; not what is called from there."""
    names, function, file, line_number, is_call = {}, "", "", 0, False
    for line in path.read_text().splitlines():
        if line[:3] in ("fn=", "fl=", "fi=", "fe=") or line[:4] in ("cfn=", "cfi=", "cfl="):
            kind, _, name = line.partition("=")
            number, _, text = name.partition(" ")
            space = kind[-2:] == "fn"
            if text:
                names[space, number] = text
            if kind == "fn":
                function = names[space, number]
            elif kind[0] == "f":
                file = names[space, number]
        elif line.startswith("calls="):
            is_call = True
        elif line and (line[0].isdigit() or line[0] in "+-*"):
            position, cost = line.split()[:2]
            if position[0] in "+-":
                line_number += int(position)
            elif position != "*":
                line_number = int(position)
            if not is_call:
                yield (function, file, line_number), int(cost)
            is_call = False


def table(costs, requests, rows):
    for name, cost in costs.most_common(rows):
        print(f"  {cost / requests:>8,.1f}  {name}")


if __name__ == "__main__":
    main()
