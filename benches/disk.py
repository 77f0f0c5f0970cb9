#!/usr/bin/env python3
"""What does a response cost that rests on disk, beside nginx: served from there, and stored there?

Bodies of 1 KiB to 10 MiB. *hit*: the memory tier is off, many URLs are stored in both, the page cache has
them, and clients ask for one after the other. *store*: each request is for a new URL, so the origin is asked and
the answer is stored. nginx has proxy_cache, open_file_cache and sendfile. Each server has one worker and core 0,
wrk and the origin have core 1. Rounds alternate between the two; what counts is the median of the ratios within
rounds, of the CPU time first, in which all threads and processes of a server are counted.

Needs nginx, wrk, taskset and two cores that have nothing else to do; with the defaults, about 9 GiB in the
folder for temporary files.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import support

# name, bytes of a body, number of URLs that are stored
SIZES = [("1k", 1024, 2000), ("16k", 16 * 1024, 2000), ("128k", 128 * 1024, 512), ("1m", 1024 * 1024, 128),
         ("10m", 10 * 1024 * 1024, 16)]
CONNECTIONS = 16
MAX_SIZE = "4g"
# Stored files are written behind the answer; what is left of that must not count for the other server.
SETTLE_S = 0.5

LUA = """
local c = -1
request = function()
  c = c + 1
  return wrk.format("GET", "/%d/%s" .. (c %% %d))
end
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--larder", default=support.DEFAULT_LARDER, metavar="PATH", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--seconds", type=int, default=2, help="of each round; default: %(default)s")
    parser.add_argument("--what", choices=["hit", "store"], action="append", help="default: both")
    parser.add_argument("--size", choices=[name for name, _, _ in SIZES], action="append", help="default: all")
    parser.add_argument("--only", choices=["larder", "nginx"], help="one server, no comparison")
    parser.add_argument("--sendfile", action="store_true", help="with `sendfile = true` in Larder as well")
    parser.add_argument("--json", action="store_true", help="all numbers instead of a table")
    args = parser.parse_args()
    if args.rounds < 1 or args.seconds < 1:
        parser.error("--rounds and --seconds are at least 1")
    names = [args.only] if args.only else ["larder", "nginx"]
    support.need("wrk", "taskset", *(n for n in names if n == "nginx"))
    if not {0, 1} <= os.sched_getaffinity(0):
        support.fail("this needs cores 0 and 1")
    binary = support.larder_binary(args.larder) if "larder" in names else None

    load, report = os.getloadavg()[0], {}
    with support.Bench() as bench:
        origin = bench.origin(cpu=1)
        servers = {}
        if "larder" in names:
            zone = f'path = "{bench.dir}/larder-cache"\nlevels = "1:2"\nmax_size = "{MAX_SIZE}"\n'
            process, port, _ = bench.larder(binary, origin.port, "0", workers=1, cpu=0, zone=zone,
                                            server="sendfile = true\n" if args.sendfile else "")
            servers["larder"] = (process.pid, port)
        if "nginx" in names:
            keys = f"64m max_size={MAX_SIZE} use_temp_path=off"
            process, port = bench.nginx(origin.port, cpu=0, keys=keys)
            servers["nginx"] = (process.pid, port)
        for what in args.what or ["hit", "store"]:
            for size, length, urls in SIZES:
                if args.size and size not in args.size:
                    continue
                before = origin.count()
                rounds = run(bench, servers, args, (what, length, urls))
                report[f"{what} {size}"] = summary(rounds, names)
                if not args.json:
                    print_case(what, size, report[f"{what} {size}"], names)
                asked = origin.count() - before
                if what == "hit" and asked > urls * len(names):
                    support.fail(f"not all were hits: the origin saw {asked} requests for {urls} URLs")
    if args.json:
        print(json.dumps({"load_before": load, "cases": report}, indent=2))
    elif load > 0.5:
        print(f"note: load was {load:.2f} before the start; on a busy machine this says little", file=sys.stderr)


def run(bench, servers, args, case):
    """The rounds of one case; before hits, all URLs are stored."""
    what, length, urls = case
    if what == "hit":
        for _, port in servers.values():
            for number in range(urls):
                status, body = support.get(port, f"/{length}/hit{number}")
                if status != 200 or len(body) != length:
                    support.fail(f"port {port} answers {status} with {len(body)} bytes")
        for server in servers.values():
            time.sleep(SETTLE_S)
            measure(bench, server, 1, (length, "hit", urls))
    rounds = []
    for number in range(args.rounds):
        row = {}
        for name in list(servers)[::1 if number % 2 == 0 else -1]:
            urls_of_round = (length, "hit", urls) if what == "hit" else (length, f"store{number}-", 1 << 40)
            row[name] = measure(bench, servers[name], args.seconds, urls_of_round)
        rounds.append(row)
    return rounds


def measure(bench, server, seconds, asked):
    """Requests/s and CPU of a server while wrk asks it for `asked`: length, what paths begin with, how many."""
    pid, port = server
    (bench.dir / "disk.lua").write_text(support.DONE_LUA + LUA % asked)
    cpu = support.cpu_seconds(pid)
    wrk = subprocess.run(
        [support.program("taskset"), "-c", "1", support.program("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s",
         "-s", str(bench.dir / "disk.lua"), f"http://127.0.0.1:{port}/"],
        capture_output=True, text=True)
    time.sleep(SETTLE_S)
    cpu = support.cpu_seconds(pid) - cpu
    result = support.wrk_result(wrk.stdout + wrk.stderr)
    if not result["requests"] or result["errors"]:
        support.fail(f"no requests were answered on port {port}, or some badly: {result}")
    return {"rps": result["requests"] / result["duration_us"] * 1e6, "cpu_us": cpu / result["requests"] * 1e6,
            "p50_us": result["p50_us"], "p99_us": result["p99_us"]}


def summary(rounds, names):
    report = {n: {k: statistics.median(r[n][k] for r in rounds) for k in rounds[0][n]} for n in names}
    if len(names) == 2:
        for key in ("cpu_us", "rps"):
            ratios = [r["larder"][key] / r["nginx"][key] for r in rounds]
            report[f"ratio_{key}"] = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
    return {**report, "rounds": rounds}


def print_case(what, size, report, names):
    for name in names:
        row = report[name]
        print(f"{what:<6}{size:>4}  {name:<7}{row['cpu_us']:>10.2f} us CPU/request{row['rps']:>10,.0f} requests/s"
              f"   p50 {row['p50_us']:>6.0f} us   p99 {row['p99_us']:>6.0f} us")
    for key, label in (("cpu_us", "CPU"), ("rps", "requests/s")):
        if f"ratio_{key}" in report:
            r = report[f"ratio_{key}"]
            print(f"            Larder/nginx, {label}: {r['median']:.3f} ({r['min']:.3f} to {r['max']:.3f})", flush=True)


if __name__ == "__main__":
    main()
