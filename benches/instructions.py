#!/usr/bin/env python3
"""How many instructions does Larder take for a hit in memory?

A release build serves one hot URL of 1024 bytes over one kept connection under valgrind's callgrind, once a few
times and once more often; the difference, by request, is what a hit costs. Instructions are the same on a busy
machine and on an idle one, so a change of one percent shows. They are those of the program: the kernel's share,
which is the larger one, is not in them, and neither is what a missed cache line costs.

Once as wrk asks, with a Host and nothing else, and once as a browser does, with a dozen fields. --functions says
where the instructions go (those that the compiler inlined count for their caller), --lines from which source lines.

--protocol says what is spoken: HTTP/1 in the clear, the same over TLS 1.3, or HTTP/2 over TLS with 16 streams at a
time. How requests of several streams fall together depends on when they come, so counts of the last one differ by a
percent from run to run.

Needs valgrind, for TLS openssl, for HTTP/2 h2load (nghttp2-client). Compare with the same compiler, C library and profile only.
"""

import argparse
import collections
import json
import re
import socket
import ssl
import subprocess

import support

HOST = "www.example.test"
PLAIN = f"GET /hot HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
OF_BROWSERS = {
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
BROWSER = PLAIN[:-2] + "".join(f"{name}: {value}\r\n" for name, value in OF_BROWSERS.items()) + "\r\n"
REQUESTS = {"plain": PLAIN, "browser": BROWSER}
FEW = 2_000
STREAMS = 16


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--larder", default=support.DEFAULT_LARDER, metavar="PATH", help="default: %(default)s")
    parser.add_argument("--hits", type=int, default=10_000, metavar="N", help="to count; default: %(default)s")
    parser.add_argument("--request", choices=[*REQUESTS, "both"], default="both", help="default: %(default)s")
    parser.add_argument("--protocol", choices=["h1", "tls", "h2"], default="h1", help="default: %(default)s")
    parser.add_argument("--size", type=int, default=1024, metavar="BYTES", help="of the body; default: %(default)s")
    parser.add_argument("--functions", type=int, default=0, metavar="N", help="also the N costliest functions")
    parser.add_argument("--lines", type=int, default=0, metavar="N", help="also the N costliest lines")
    parser.add_argument("--json", action="store_true", help="the numbers only")
    args = parser.parse_args()
    if args.hits < 1:
        parser.error("--hits is at least 1")
    support.need("valgrind", *(["openssl"] if args.protocol != "h1" else []), *(["h2load"] if args.protocol == "h2" else []))
    binary = support.larder_binary(args.larder)

    report = {}
    with support.Bench() as bench:
        origin = bench.origin()
        if args.protocol != "h1":
            support.make_certificate(bench, "ecdsa")
        for name in REQUESTS if args.request == "both" else [args.request]:
            few, many = (run(bench, binary, origin, (name, args.protocol, args.size), n) for n in (FEW, FEW + args.hits))
            report[name] = round((total(many) - total(few)) / args.hits)
            if not args.json:
                print(f"{name:8} {report[name]:>7,} instructions a hit", flush=True)
                table(difference(few, many, by_function), args.hits, args.functions)
                table(difference(few, many, by_line), args.hits, args.lines)
    if args.json:
        print(json.dumps(report))


def run(bench, binary, origin, what, requests):
    """Has a new Larder answer this often; the file that callgrind wrote of it."""
    name, protocol, size = what
    out = bench.dir / f"{name}-{requests}.callgrind"
    valgrind = [support.program("valgrind"), "--tool=callgrind", "--dump-line=yes", f"--callgrind-out-file={out}"]
    tls = "" if protocol == "h1" else support.TLS
    larder, port, _ = bench.larder(binary, origin.port, "64m", workers=1, name=f"{name}-{requests}", site=tls, under=valgrind)
    path = "/hot" if size == 1024 else f"/{size}/hot"
    if protocol == "h2":
        before = origin.count()
        ask_h2(port, path, name == "browser", requests)
        if origin.count() - before > STREAMS:
            support.fail("not all but the first are hits")
    else:
        ask(port, protocol == "tls", REQUESTS[name].replace("/hot", path, 1).encode(), size, requests)
    support.stop(larder, wait_s=60)
    if not out.exists():
        support.fail(f"callgrind wrote nothing:\n{bench.log(f'{name}-{requests}')}")
    return out


def ask(port, is_tls, request, size, times):
    """Sends a request so often over one connection, one after the other; all but the first must be hits."""
    with connect(port, is_tls) as connection:
        for n in range(times):
            connection.sendall(request)
            answer, head, length = [], b"", size
            while length > 0:
                part = connection.recv(65536)
                if not part:
                    support.fail(f"Larder closed the connection after {n} answers")
                answer.append(part)
                if not head:
                    head, end, _ = b"".join(answer).lower().partition(b"\r\n\r\n")
                    if not end:
                        head = b""
                        continue
                    length = len(head) + 4 + size - sum(map(len, answer))
                else:
                    length -= len(part)
            if not head.startswith(b"http/1.1 200 ") or (n > 0 and b"x-cache-status: hit" not in head):
                support.fail(f"answer {n} is no hit:\n{head.decode(errors='replace')}")


def connect(port, is_tls):
    connection = socket.create_connection(("127.0.0.1", port), 60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not is_tls:
        return connection
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connection)


def ask_h2(port, path, is_browser, times):
    """The same over HTTP/2, on as many streams at a time as a page with its images takes."""
    fields = [f"-H{name}: {value}" for name, value in OF_BROWSERS.items() if name != "Connection"] if is_browser else []
    run = subprocess.run(
        [support.program("h2load"), "-c1", "-t1", f"-m{STREAMS}", f"-n{times}", *fields, f"-H:authority: {HOST}", f"https://127.0.0.1:{port}{path}"],
        capture_output=True, text=True, timeout=600)
    found = re.search(r"(\d+) succeeded", run.stdout)
    if not found or int(found[1]) != times or f"status codes: {times} 2xx" not in run.stdout:
        support.fail(f"h2load said:\n{run.stdout}{run.stderr}")


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


def table(costs, hits, rows):
    for name, cost in costs.most_common(rows):
        print(f"  {cost / hits:>8,.1f}  {name}")


if __name__ == "__main__":
    main()
