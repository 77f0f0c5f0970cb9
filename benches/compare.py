#!/usr/bin/env python3
"""How fast does Larder answer a hit, beside nginx on the same core?

One object of 1 KiB, in the cache of both. Each server has one worker and core 0, wrk has core 1 (so has the
origin, which is idle). Rounds alternate between the two, so that what changes on the machine meets both;
what counts is the median of the ratios within rounds. nginx has proxy_cache, a cache on disk and
open_file_cache, Larder the memory tier.

Needs nginx, wrk, taskset and two cores that have nothing else to do.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

import support

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--larder", default=support.DEFAULT_LARDER, metavar="PATH", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--seconds", type=int, default=4, help="of each round; default: %(default)s")
    parser.add_argument("--only", choices=["larder", "nginx"], help="one server, no comparison")
    parser.add_argument("--json", action="store_true", help="all numbers instead of a table")
    args = parser.parse_args()
    if args.rounds < 1 or args.seconds < 1:
        parser.error("--rounds and --seconds are at least 1")
    names = [args.only] if args.only else ["larder", "nginx"]
    support.need("wrk", "taskset", *(n for n in names if n == "nginx"))
    if not {0, 1} <= os.sched_getaffinity(0):
        support.fail("this needs cores 0 and 1")
    binary = support.larder_binary(args.larder) if "larder" in names else None

    load = os.getloadavg()[0]
    with support.Bench() as bench:
        origin = bench.origin(cpu=1)
        (bench.dir / "done.lua").write_text(support.DONE_LUA)
        servers = {}
        for name in names:
            if name == "larder":
                process, port, _ = bench.larder(binary, origin.port, "256m", workers=1, cpu=0)
            else:
                process, port = bench.nginx(origin.port, cpu=0)
            check_hit(name, port, origin)
            servers[name] = (process.pid, port)
        for pid, port in servers.values():
            measure(bench, pid, port, 2)
        before = origin.count()
        rounds = []
        for number in range(args.rounds):
            order = names if number % 2 == 0 else names[::-1]
            rounds.append({n: measure(bench, *servers[n], args.seconds) for n in order})
            if not args.json:
                print_round(number + 1, rounds[-1], names)
        origin_requests = origin.count() - before

    report = summary(rounds, names)
    report["load_before"] = load
    report["origin_requests_in_rounds"] = origin_requests
    if args.json:
        print(json.dumps({**report, "rounds": rounds}, indent=2))
    else:
        print_summary(report, names)
    if origin_requests:
        support.fail(f"not all were hits: the origin saw {origin_requests} requests during the rounds")


def check_hit(name, port, origin):
    """The first request reaches the origin, the second does not."""
    counts = [origin.count()]
    for _ in range(2):
        status, body = support.get(port, "/1k")
        if status != 200 or len(body) != 1024:
            support.fail(f"{name} answers {status} with {len(body)} bytes")
        counts.append(origin.count())
    if [b - a for a, b in zip(counts, counts[1:])] != [1, 0]:
        support.fail(f"{name}: the second answer is no hit; requests at the origin: {counts}")


def measure(bench, pid, port, seconds):
    cpu = support.cpu_seconds(pid)
    wrk = subprocess.run(
        [support.program("taskset"), "-c", "1", support.program("wrk"), "-t1", "-c64", f"-d{seconds}s",
         "-s", str(bench.dir / "done.lua"), f"http://127.0.0.1:{port}/1k"],
        capture_output=True, text=True)
    cpu = support.cpu_seconds(pid) - cpu
    result = support.wrk_result(wrk.stdout + wrk.stderr)
    if not result["requests"]:
        support.fail(f"no requests were answered on port {port}: {result}")
    return {
        "rps": result["requests"] / result["duration_us"] * 1e6,
        "cpu_us": cpu / result["requests"] * 1e6,
        "cpu_share": cpu / result["duration_us"] * 1e6,
        "errors": result["errors"],
        "p50_us": result["p50_us"],
        "p99_us": result["p99_us"],
    }


def summary(rounds, names):
    report = {"medians": {}, "ratios": {}}
    for name in names:
        keys = rounds[0][name]
        report["medians"][name] = {k: statistics.median(r[name][k] for r in rounds) for k in keys}
        report["medians"][name]["errors"] = sum(r[name]["errors"] for r in rounds)
    if len(names) == 2:
        for key in ("rps", "cpu_us"):
            ratios = [r["larder"][key] / r["nginx"][key] for r in rounds if r["nginx"][key]]
            report["ratios"][key] = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
    return report


HEAD = f"{'round':>6}  {'server':<7}{'requests/s':>12}{'CPU us/req':>12}{'core':>7}{'p50 us':>8}{'p99 us':>8}{'errors':>8}"


def line(label, name, row):
    return (f"{label:>6}  {name:<7}{row['rps']:>12,.0f}{row['cpu_us']:>12.2f}{row['cpu_share']:>7.0%}"
            f"{row['p50_us']:>8.0f}{row['p99_us']:>8.0f}{row['errors']:>8.0f}")


def print_round(number, row, names):
    if number == 1:
        print(HEAD)
    for name in names:
        print(line(str(number), name, row[name]), flush=True)


def print_summary(report, names):
    print("-" * len(HEAD))
    for name in names:
        print(line("median", name, report["medians"][name]))
    print("(errors: the sum)")
    for key, label in (("rps", "requests/s"), ("cpu_us", "CPU per request")):
        if key in report["ratios"]:
            r = report["ratios"][key]
            print(f"Larder/nginx, {label}: {r['median']:.3f} (median of rounds; {r['min']:.3f} to {r['max']:.3f})")
    if report["load_before"] > 0.5:
        print(f"note: load was {report['load_before']:.2f} before the start; on a busy machine this says little",
              file=sys.stderr)
    for name in names:
        if report["medians"][name]["cpu_share"] < 0.95:
            print(f"note: {name} did not use its whole core; its requests/s are wrk's limit, compare CPU per request",
                  file=sys.stderr)


if __name__ == "__main__":
    main()
