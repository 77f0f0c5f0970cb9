#!/usr/bin/env python3
"""Hundreds of clients follow one long body while it comes from the origin, some of them slowly: is it fetched once,
do the fast ones keep up with the origin, and what does the server need in memory?

usage: followers.py [--larder FILE] [--fast N] [--slow N] [--size BYTES] [--rate BYTES] [--slow-rate BYTES]
                    [--folder DIR] [--gap MS] [--workers N]

Sizes as 1g, 200m, 64k. The slow ones are stopped when the fast ones are done; what they have got by then is verified as
far as it goes. Every body is verified by the number of its block once in 64 KiB.

Aim: one request at the origin, no errors, at most 300 MiB resident, and the fast ones finish with the origin, or as
fast as the machine copies: N clients of a body are N times its bytes over loopback, all of them on this machine's cores.
"""

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True
import support

UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def size(text):
    return int(text[:-1]) * UNITS[text[-1].lower()] if text[-1:].lower() in UNITS else int(text)


def arguments():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--larder", default=support.DEFAULT_LARDER)
    parser.add_argument("--fast", type=int, default=450)
    parser.add_argument("--slow", type=int, default=50)
    parser.add_argument("--size", type=size, default="1g")
    parser.add_argument("--rate", type=size, default="200m")
    parser.add_argument("--slow-rate", type=size, default="1m")
    parser.add_argument("--gap", type=float, default=0)
    parser.add_argument("--folder")
    parser.add_argument("--workers", type=int)
    return parser.parse_args()


def build(bench):
    cc = shutil.which("cc") or shutil.which("gcc") or support.fail("no C compiler: apt-get install gcc")
    program = str(bench.dir / "followers")
    source = str(support.HERE / "followers.c")
    subprocess.run([cc, "-O2", "-pthread", "-Wall", "-Wextra", "-o", program, source], check=True)
    return program


class Peak(threading.Thread):
    """Looks at the resident bytes of a process until it is stopped; the kernel keeps the greatest itself."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.samples, self.over = pid, [], threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.2):
            self.samples.append(support.rss(self.pid))

    def stop(self):
        self.over.set()
        self.join()
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return max(self.samples)


def main():
    args = arguments()
    with support.Bench() as bench:
        program = build(bench)
        origin = bench.start([program, "origin", str(args.size), str(args.rate)], "origin",
                             stdout=subprocess.PIPE, text=True)
        origin_port = int(origin.stdout.readline())
        folder = Path(args.folder) if args.folder else bench.dir / "zone"
        server, port, _ = bench.larder(support.larder_binary(args.larder), origin_port, "64m", workers=args.workers,
                                       zone=f'path = "{folder}"\nmax_size = "{2 * args.size // 1024}k"\n')
        before, cpu, peak = support.rss(server.pid), support.cpu_seconds(server.pid), Peak(server.pid)
        begun = time.monotonic()
        ran = subprocess.run([program, "clients", str(port), str(args.size), str(args.fast), str(args.slow),
                              str(args.slow_rate), str(args.gap)], capture_output=True, text=True, check=True)
        took = time.monotonic() - begun
        result = json.loads(ran.stdout)
        cpu, most = support.cpu_seconds(server.pid) - cpu, peak.stop()
        requests = int(support.get(origin_port, "/__count")[1])
        sent = origin.stdout.readline().split()
        mib = 1 << 20
        print(f"{args.fast} fast, {args.slow} slow at {args.slow_rate / mib:.1f} MiB/s, "
              f"{args.size / mib:.0f} MiB at {args.rate / mib:.0f} MiB/s")
        print(f"requests at the origin   {requests}")
        print(f"the origin took          {sent[2]} s{' (broken off)' if len(sent) > 3 else ''}, "
              f"alone {args.size / args.rate:.2f} s" if args.rate else f"the origin took          {sent[2]} s")
        print(f"the fast ones took       {result['median_s']:.2f} s in the middle, {result['last_s']:.2f} s the last")
        print(f"the slow ones have       {result['slow_least'] / mib:.0f} to {result['slow_most'] / mib:.0f} MiB, "
              f"{result['slow_behind']} of them less than half of what they would take")
        print(f"errors, wrong blocks     {result['errors']}, {result['wrong']}")
        print(f"resident                 {before / mib:.0f} MiB before, {most / mib:.0f} MiB at most")
        print(f"sent to clients          {result['bytes'] / mib / 1024:.1f} GiB, "
              f"{result['bytes'] / took / mib / 1024:.2f} GiB/s")
        print(f"CPU of the server        {cpu:.1f} s, {cpu / (result['bytes'] / mib / 1024):.2f} s a GiB")
        good = requests == 1 and not result["errors"] and not result["wrong"] and most < 300 * mib
        print("as it should be" if good else "NOT as it should be")
        return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
