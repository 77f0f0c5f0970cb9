#!/usr/bin/env python3
"""How long does it take to purge a prefix of many entries, and does anything of it come back?

usage: purge.py [--larder PROGRAM] [--keys 100000]

Fills a zone with a disk tier with KEYS entries under /purged/ and a tenth as many under /kept/, purges
`/purged/*` through the operator's listener, and looks at 2,000 of either: none of the purged may be a
hit, all of the kept must be. Then the same in a new process after `kill -9`. A hit is told by the
origin's counter in its body, not by the status word. Ends with 1 if anything stale is seen, or if the
purge took longer than 10 ms.
"""

import argparse
import asyncio
import http.client
import json
import random
import signal
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
import support

SAMPLE = 2000
AIM_S = 0.010
CONNECTIONS = 8


class Origin:
    """Answers every request with the number of requests so far."""

    def __init__(self):
        self.requests = 0

    async def serve(self, reader, writer):
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                body = b"%010d" % self.requests
                writer.write(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=36000\r\n"
                             b"Content-Length: 10\r\n\r\n" + body)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()


async def ask_all(port, paths):
    """The number in the body of the answer for each path."""
    paths, numbers = list(paths), {}
    todo = iter(paths)

    async def client():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for path in todo:
            writer.write(b"GET %s HTTP/1.1\r\nHost: example.com\r\n\r\n" % path.encode())
            await reader.readuntil(b"\r\n\r\n")
            numbers[path] = int(await reader.readexactly(10))
        writer.close()

    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return numbers


def post(admin, document):
    """Answer and seconds; the connection is there before the clock starts."""
    connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=60)
    connection.connect()
    begun = time.monotonic()
    connection.request("POST", "/v1/purge", json.dumps(document))
    answer = connection.getresponse().read()
    return json.loads(answer), time.monotonic() - begun


def zone(admin):
    connection = http.client.HTTPConnection("127.0.0.1", admin, timeout=60)
    connection.request("GET", "/v1/stats")
    return json.loads(connection.getresponse().read())["zones"]["bench"]


async def settled(admin):
    """Waits until no more files come."""
    entries = -1
    while entries != (entries := zone(admin)["disk"]["entries"]):
        await asyncio.sleep(1)
    return entries


async def look(port, origin, before, name):
    """Samples both prefixes: how many answers are older than `before` allows."""
    purged, kept = before
    stale = await ask_all(port, purged)
    hits = await ask_all(port, kept)
    came_back = sum(stale[path] == number for path, number in purged.items())
    still_there = sum(hits[path] == number for path, number in kept.items())
    print(f"{name}: of {len(purged)} purged {came_back} came back, of {len(kept)} kept {still_there} are hits")
    return came_back


async def main(bench, binary, keys):
    origin = Origin()
    server = await asyncio.start_server(origin.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    lines = f'path = "{bench.dir}/cache"\n'
    start = lambda name: bench.larder(binary, port, "256m", name=name, zone=lines)
    larder, to, admin = start("larder")
    begun = time.monotonic()
    purged = await ask_all(to, (f"/purged/{n}" for n in range(keys)))
    kept = await ask_all(to, (f"/kept/{n}" for n in range(keys // 10)))
    on_disk = await settled(admin)
    print(f"{len(purged) + len(kept):,} entries in {time.monotonic() - begun:.0f} s, {on_disk:,} of them on disk")
    answer, took = post(admin, {"prefix": "http://example.com/purged/"})
    print(f"purge of the prefix: {took * 1000:.1f} ms, {json.dumps(answer)}")
    # Half of the sample is asked for now, the other half for the first time after the restart.
    sample = random.sample(sorted(purged), 2 * SAMPLE)
    of_kept = {path: kept[path] for path in random.sample(sorted(kept), min(SAMPLE, len(kept)))}
    now, later = ({path: purged[path] for path in half} for half in (sample[:SAMPLE], sample[SAMPLE:]))
    came_back = await look(to, origin, (now, of_kept), "at once")
    larder.send_signal(signal.SIGKILL)
    larder.wait(10)
    _, to, admin = start("larder-again")
    came_back += await look(to, origin, (later, of_kept), "after kill -9")
    server.close()
    return came_back == 0 and took < AIM_S


parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
parser.add_argument("--larder", default=support.DEFAULT_LARDER)
parser.add_argument("--keys", type=int, default=100_000)
arguments = parser.parse_args()
with support.Bench() as bench:
    well = asyncio.run(main(bench, support.larder_binary(arguments.larder), arguments.keys))
    sys.exit(0 if well else 1)
