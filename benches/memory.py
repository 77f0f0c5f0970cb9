#!/usr/bin/env python3
"""How much memory does an entry take, and does a full zone stay within its limit?

First distinct keys of 1024 bytes fill a zone that is large enough: resident memory before and after gives
bytes per entry (the aim: the body and 1024 more). Then many more distinct keys go through a zone of 64m in
another process, and resident memory is sampled every second: start, highest, end.

Needs wrk; Larder has as many workers as it takes by itself unless --workers says otherwise.
"""

import argparse
import json
import signal
import sys
import time

import support

BODY = 1024
AIM = BODY + 1024
STALL = 20  # seconds without a request at the origin


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--larder", default=support.DEFAULT_LARDER, metavar="PATH", help="default: %(default)s")
    parser.add_argument("--keys", type=int, default=200_000, metavar="N", help="to fill with; default: %(default)s")
    parser.add_argument("--more", type=int, default=5_000_000, metavar="M",
                        help="through the full zone, 0: leave it out; default: %(default)s")
    parser.add_argument("--workers", type=int, help="of Larder")
    parser.add_argument("--json", action="store_true", help="all numbers, with the samples")
    args = parser.parse_args()
    if args.keys < 1 or args.more < 0:
        parser.error("--keys is at least 1, --more at least 0")
    support.need("wrk")
    binary = support.larder_binary(args.larder)

    report = {}
    with support.Bench() as bench:
        origin = bench.origin()
        if origin.kind != "c":
            print("note: no C compiler, the origin is Python and sets the pace", file=sys.stderr)
        say(args, f"filling 1g with {args.keys:,} keys")
        report["fill"] = run(bench, binary, origin, "1g", args.keys, args.workers, "fill")
        print_fill(args, report["fill"])
        if args.more:
            say(args, f"sending {args.more:,} keys through 64m")
            report["churn"] = run(bench, binary, origin, "64m", args.more, args.workers, "churn")
            print_churn(args, report["churn"])
    if args.json:
        print(json.dumps(report, indent=2))
    short = [name for name, r in report.items() if r["origin_requests"] < r["keys"]]
    if short:
        support.fail(f"not all keys were fetched, the numbers mean nothing: {', '.join(short)}")


def run(bench, binary, origin, memory, keys, workers, name):
    """Sends requests for distinct keys through a new Larder and watches its resident memory."""
    larder, port, admin = bench.larder(binary, origin.port, memory, workers=workers, name=name)
    # What connections and threads take at first use is not of the entries.
    run_wrk(bench, port, 1, f"{name}-warm", origin, larder)
    time.sleep(1)
    start = support.rss(larder.pid)
    count = origin.count()
    began = time.monotonic()
    samples, result = run_wrk(bench, port, keys, f"{name}-", origin, larder)
    took = time.monotonic() - began
    requests = origin.count() - count
    time.sleep(1)
    end = support.rss(larder.pid)
    zone = zone_memory(admin)
    support.stop(larder)
    return {"keys": keys, "origin_requests": requests, "seconds": took, "errors": result["errors"],
            "rss_start": start, "rss_max": max([start, end, *samples]), "rss_end": end,
            "samples": samples, "zone": zone}


def run_wrk(bench, port, keys, prefix, origin, larder):
    """Has wrk ask for /PREFIX1 to /PREFIXkeys: samples of resident memory, one each second, and wrk's result.

    wrk knows only durations, so it is interrupted when the origin has seen them all; until then it repeats
    the last key.
    """
    script = bench.dir / f"{prefix}.lua"
    script.write_text(support.COUNT_LUA % (keys, prefix) + support.DONE_LUA)
    out = bench.dir / f"{prefix}.out"
    with open(out, "w") as output:
        wrk = bench.start([support.program("wrk"), "-t1", "-c64", "-d24h", "-s", str(script),
                           f"http://127.0.0.1:{port}"], f"wrk-{prefix}", stdout=output)
        goal, samples = origin.count() + keys, []
        seen, last_progress, next_sample = 0, time.monotonic(), time.monotonic()
        while True:
            now = time.monotonic()
            count = origin.count()
            if count > seen:
                seen, last_progress = count, now
            if now >= next_sample:
                samples.append(support.rss(larder.pid))
                next_sample += 1
            if count >= goal or now - last_progress > STALL:
                break
            if wrk.poll() is not None or larder.poll() is not None:
                support.fail(f"wrk or Larder ended:\n{out.read_text()}\n{bench.log(f'wrk-{prefix}')}")
            time.sleep(0.1)
        time.sleep(0.2)
        wrk.send_signal(signal.SIGINT)
        wrk.wait(10)
    return samples, support.wrk_result(out.read_text())


def zone_memory(admin):
    """What Larder itself says about the zone, if it does."""
    try:
        return json.loads(support.get(admin, "/v1/stats")[1])["zones"]["bench"]["memory"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def say(args, text):
    if not args.json:
        print(text, flush=True)


def mib(n):
    return f"{n / 2**20:,.1f} MiB"


def common(r):
    zone = r["zone"]
    said = f"{zone['entries']:,} entries, {mib(zone['bytes'])}" if zone else "nothing"
    return (f"  {r['origin_requests']:,} fetched in {r['seconds']:.1f} s, {r['errors']:,} errors; "
            f"Larder itself says: {said}")


def print_fill(args, r):
    grown = r["rss_end"] - r["rss_start"]
    entries = r["zone"]["entries"] if r["zone"] else r["keys"]
    r["bytes_per_key"] = grown / r["keys"]
    r["bytes_per_entry"] = grown / entries if entries else None
    say(args, common(r))
    say(args, f"  resident: {mib(r['rss_start'])} before, {mib(r['rss_end'])} after")
    each = r["bytes_per_key"]
    say(args, f"  {each:,.0f} bytes per entry, {each - BODY:,.0f} above the body; "
        f"aim: {AIM} ({BODY} body + 1024): {'within' if BODY <= each <= AIM else 'ABOVE' if each > AIM else 'not measured'}")
    if each < BODY:
        say(args, "  note: less than the body alone, so this is not the memory of the entries")
    if entries != r["keys"]:
        say(args, f"  note: {entries:,} entries are stored for {r['keys']:,} keys; by these: "
            + (f"{r['bytes_per_entry']:,.0f} bytes" if entries else "no entry"))


def print_churn(args, r):
    say(args, common(r))
    say(args, f"  resident: {mib(r['rss_start'])} at the start, {mib(r['rss_max'])} at most, "
        f"{mib(r['rss_end'])} at the end; the zone's limit: 64.0 MiB")
    half = r["samples"][len(r["samples"]) // 2:]
    if half:
        say(args, f"  second half of the run: {mib(half[0])} to {mib(half[-1])}, growth that goes on is a leak")


if __name__ == "__main__":
    main()
