#!/usr/bin/env python3
"""What clients get and what the origin sees while the origin is slow, answers 503, or is stopped.

usage: stale.py [--larder PROGRAM]

One URL under each of several rules; a client that asks ten times a second, one request after the
other, in each of five phases of two seconds: well (stored), slow (1 s an answer), 503, stopped, well
again. Prints for each rule and phase the statuses that the client saw, its slowest answer, and the
requests that reached the origin. Ends with 1 if a phase in which a stale answer is allowed shows the
client an error.
"""

import argparse
import asyncio
import collections
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
import support

PHASES = ["well", "slow", "503", "stopped", "well again"]
PHASE_S = 2.0
PAUSE_S = 0.1
# name, Cache-Control of the origin, lines of the cache table, phases that must show no error
RULES = [
    ("no rule", "max-age=1", "", ["well", "slow"]),
    ("stale-if-error", "max-age=1, stale-if-error=600", "", PHASES),
    ("stale-while-revalidate", "max-age=1, stale-while-revalidate=600", "", PHASES),
    ("use_stale", "max-age=1", 'use_stale = ["error", "timeout", "http_503"]\n', PHASES),
    ("use_stale updating, background_update", "max-age=1",
     'use_stale = ["updating", "error", "timeout", "http_503"]\nbackground_update = true\n', PHASES),
    ("use_stale, hold_down = 0", "max-age=1",
     'use_stale = ["error", "timeout", "http_503"]\nhold_down = 0\n', PHASES),
    ("use_stale, must-revalidate", "max-age=1, must-revalidate",
     'use_stale = ["error", "timeout", "http_503"]\n', ["well", "slow"]),
]


class Origin:
    def __init__(self, cache_control):
        self.cache_control, self.phase, self.requests = cache_control, "well", 0
        self.server, self.port, self.open = None, 0, set()

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]

    def stop(self):
        self.server.close()
        for writer in list(self.open):
            writer.close()

    async def serve(self, reader, writer):
        self.open.add(writer)
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                if self.phase == "slow":
                    await asyncio.sleep(1)
                status = "503 Busy" if self.phase == "503" else "200 OK"
                field = "" if self.phase == "503" else f"Cache-Control: {self.cache_control}\r\n"
                writer.write(f"HTTP/1.1 {status}\r\n{field}Content-Length: 2\r\n\r\nok".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # cancelled: the end of the run, on a kept connection
        finally:
            self.open.discard(writer)
            writer.close()


async def ask(port):
    """Status and cache status, and seconds."""
    begun = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /a HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n")
    head = (await reader.read(-1)).decode("latin-1").partition("\r\n\r\n")[0].split("\r\n")
    writer.close()
    fields = dict(line.lower().split(": ", 1) for line in head[1:])
    word = fields.get("x-cache-status", "-").upper()
    return f"{head[0][9:12]} {word}", time.monotonic() - begun


async def watch(bench, binary, number, rule):
    name, cache_control, lines, calm = rule
    origin = Origin(cache_control)
    await origin.start()
    _, port, _ = bench.larder(binary, origin.port, "16m", name=f"larder-{number}", cache=lines)
    print(f"\n{name}  (origin: {cache_control})")
    well = True
    for phase in PHASES:
        if phase == "stopped":
            origin.stop()
        elif phase == "well again":
            await origin.start()
        origin.phase, origin.requests = phase, 0
        seen, slowest, end = collections.Counter(), 0.0, time.monotonic() + PHASE_S
        while time.monotonic() < end:
            status, seconds = await ask(port)
            seen[status] += 1
            slowest = max(slowest, seconds)
            await asyncio.sleep(PAUSE_S)
        statuses = ", ".join(f"{count} x {status}" for status, count in seen.most_common())
        print(f"  {phase:<11} origin {origin.requests:>3}   slowest {slowest:5.2f} s   {statuses}")
        if phase in calm and any(not status.startswith("200") for status in seen):
            well = False
            print("              ^ not expected")
    origin.stop()
    return well


async def main(bench, binary):
    well = [await watch(bench, binary, number, rule) for number, rule in enumerate(RULES)]
    return all(well)


parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
parser.add_argument("--larder", default=support.DEFAULT_LARDER)
binary = support.larder_binary(parser.parse_args().larder)
with support.Bench() as bench:
    sys.exit(0 if asyncio.run(main(bench, binary)) else 1)
