#!/usr/bin/env python3
"""How soon is a server with many responses on disk itself again?

usage: restart.py [--larder PROGRAM] [--entries 1000000] [--folder FOLDER]

Fills a folder with ENTRIES stored responses (`cargo bench --bench fill`; skipped for a FOLDER that has some),
then starts a server on it three times: after `kill -9`, which leaves the folder to be looked through, after a
clean stop, which leaves the index as a file, and after that was used up by another `kill -9`. For each: time to
the first hit, until every file is known (`cold` is false), until all heads are read, the CPU time that took, and
resident memory for each entry. Ends with 1 if a first hit took longer than a second. Empty the page cache
before, if you may, to see a machine that was switched off.
"""

import argparse
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
import support

AIM_S = 1.0
PATIENCE_S = 1800


def ask(port, path, host="example.com"):
    """One request: its status word and its body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        return answer.getheader("X-Cache-Status"), answer.read()
    finally:
        connection.close()


def zone(admin):
    return json.loads(ask(admin, "/v1/stats", "localhost")[1])["zones"]["bench"]


def start(bench, binary, folder, name, entries):
    """A server on the folder: process, port and what was measured until all is known."""
    lines = f'path = "{folder}"\ninactive = "10d"\n'
    begun = time.monotonic()
    # Nothing listens at the origin: what is no hit is an error.
    larder, port, admin = bench.larder(binary, support.free_port(), "16m", name=name, zone=lines)
    number = random.randrange(entries) if entries else 0
    word, body = ask(port, f"/{number}")
    report = {"first hit": time.monotonic() - begun}
    if entries and (word != "HIT" or not body.startswith(b"response %d\n" % number)):
        support.fail(f"/{number} is no hit: {word} {body[:80]}")
    while True:
        now = zone(admin)
        if not now["cold"]:
            report.setdefault("all known", time.monotonic() - begun)
        if now["disk"]["scan"] == "done":
            break
        if time.monotonic() - begun > PATIENCE_S:
            support.fail(f"not done after {PATIENCE_S} s:\n{bench.log(name)}")
        time.sleep(0.02)
    report["heads read"] = time.monotonic() - begun
    report["cpu"] = support.cpu_seconds(larder.pid)
    report["resident"] = support.rss(larder.pid)
    report["entries"] = now["disk"]["entries"]
    return larder, report


def end(larder, kind):
    begun = time.monotonic()
    larder.send_signal(kind)
    larder.wait(120)
    return time.monotonic() - begun


def main(bench, binary, entries, folder):
    folder = folder or bench.dir / "cache"
    if not folder.exists():
        fill = ["cargo", "bench", "--quiet", "--bench", "fill", "--", str(folder), str(entries)]
        subprocess.run(fill, check=True, cwd=Path(__file__).resolve().parent.parent)
    larder, empty = start(bench, binary, bench.dir / "empty", "empty", 0)
    end(larder, signal.SIGKILL)
    well = True
    print(f"{'':24}{'entries':>10}{'first hit':>11}{'all known':>11}{'heads read':>12}{'CPU':>9}{'resident':>16}")
    for name, then in (("after kill -9", signal.SIGTERM), ("after a clean stop", signal.SIGKILL),
                       ("after kill -9 again", signal.SIGKILL)):
        larder, report = start(bench, binary, folder, name.replace(" ", "_"), entries)
        each = (report["resident"] - empty["resident"]) / max(1, report["entries"])
        print(f"{name:24}{report['entries']:>10,}{report['first hit']:>9.2f} s{report['all known']:>9.2f} s"
              f"{report['heads read']:>10.2f} s{report['cpu']:>7.2f} s{each:>10.0f} B each", flush=True)
        well = well and report["first hit"] <= AIM_S and report["entries"] == entries
        took = end(larder, then)
        if then == signal.SIGTERM:
            size = os.path.getsize(folder / ".larder.index") if (folder / ".larder.index").exists() else 0
            print(f"  a clean stop took {took:.2f} s and left {size:,} bytes of index")
            well = well and size > 0
    return well


parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
parser.add_argument("--larder", default=support.DEFAULT_LARDER)
parser.add_argument("--entries", type=int, default=1_000_000)
parser.add_argument("--folder", type=Path, help="to fill, or filled before with so many")
arguments = parser.parse_args()
with support.Bench() as bench:
    well = main(bench, support.larder_binary(arguments.larder), arguments.entries, arguments.folder)
    sys.exit(0 if well else 1)
