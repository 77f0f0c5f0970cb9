#!/usr/bin/env python3
"""How many instructions does Larder take for a hit, in memory or on disk?

A release build serves one hot URL over one kept connection under valgrind's callgrind, once a few
times and once more often; the difference, by request, is what a hit costs. Instructions are the same on a busy
machine and on an idle one, so a change of one percent shows. They are those of the program: the kernel's share,
which is the larger one, is not in them, and neither is what a missed cache line costs.

With --tier disk the zone has no memory, so each hit is read from its file.

Once as wrk asks, with a Host and nothing else, and once as a browser does, with a dozen fields. --functions says
where the instructions go (those that the compiler inlined count for their caller), --lines from which source lines.

Needs valgrind. Compare with the same compiler, C library and profile only.
"""

import argparse
import collections
import json
import socket

import support

HOST = "www.example.test"
PLAIN = f"GET /hot HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
BROWSER = PLAIN[:-2] + "".join(f"{name}: {value}\r\n" for name, value in {
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
}.items()) + "\r\n"
REQUESTS = {"plain": PLAIN, "browser": BROWSER}
FEW = 2_000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--larder", default=support.DEFAULT_LARDER, metavar="PATH", help="default: %(default)s")
    parser.add_argument("--hits", type=int, default=10_000, metavar="N", help="to count; default: %(default)s")
    parser.add_argument("--request", choices=[*REQUESTS, "both"], default="both", help="default: %(default)s")
    parser.add_argument("--tier", choices=["memory", "disk"], default="memory", help="default: %(default)s")
    parser.add_argument("--size", type=int, default=1024, metavar="BYTES", help="of the body; default: %(default)s")
    parser.add_argument("--functions", type=int, default=0, metavar="N", help="also the N costliest functions")
    parser.add_argument("--lines", type=int, default=0, metavar="N", help="also the N costliest lines")
    parser.add_argument("--json", action="store_true", help="the numbers only")
    args = parser.parse_args()
    if args.hits < 1:
        parser.error("--hits is at least 1")
    support.need("valgrind")
    binary = support.larder_binary(args.larder)

    report = {}
    with support.Bench() as bench:
        origin = bench.origin()
        for name in REQUESTS if args.request == "both" else [args.request]:
            few, many = (run(bench, binary, origin, args, name, n) for n in (FEW, FEW + args.hits))
            report[name] = round((total(many) - total(few)) / args.hits)
            if not args.json:
                print(f"{name:8} {report[name]:>7,} instructions a hit", flush=True)
                table(difference(few, many, by_function), args.hits, args.functions)
                table(difference(few, many, by_line), args.hits, args.lines)
    if args.json:
        print(json.dumps(report))


def run(bench, binary, origin, args, name, requests):
    """Has a new Larder answer this often; the file that callgrind wrote of it."""
    out = bench.dir / f"{name}-{requests}.callgrind"
    valgrind = [support.program("valgrind"), "--tool=callgrind", "--dump-line=yes", f"--callgrind-out-file={out}"]
    memory, zone = "64m", ""
    if args.tier == "disk":
        memory, zone = "0", f'path = "{bench.dir}/{name}-{requests}-cache"\n'
    larder, port, _ = bench.larder(binary, origin.port, memory, workers=1, name=f"{name}-{requests}", zone=zone,
                                   under=valgrind)
    ask(port, REQUESTS[name].replace("/hot", f"/{args.size}/hot").encode(), requests, args.size)
    support.stop(larder, wait_s=60)
    if not out.exists():
        support.fail(f"callgrind wrote nothing:\n{bench.log(f'{name}-{requests}')}")
    return out


def ask(port, request, times, length):
    """Sends a request so often over one connection, one after the other; all but the first must be hits."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for n in range(times):
            connection.sendall(request)
            answer = b""
            while len(answer) < length or len(answer.partition(b"\r\n\r\n")[2]) < length:
                part = connection.recv(65536)
                if not part:
                    support.fail(f"Larder closed the connection after {n} answers")
                answer += part
            head = answer.partition(b"\r\n\r\n")[0].lower()
            if not head.startswith(b"http/1.1 200 ") or (n > 0 and b"x-cache-status: hit" not in head):
                support.fail(f"answer {n} is no hit:\n{head.decode(errors='replace')}")


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
