#!/bin/sh
# When many clients ask for one URL at the same moment, how many requests reach the origin, does
# everybody get the answer, and how long does the last one wait?
#
# usage: stampede.sh [--expired | --stale] [LARDER [CLIENTS [SECONDS]]]
#   the URL is not stored; with --expired it is stored and no longer fresh; with --stale it may be
#   served stale while it is fetched behind
#   LARDER   the program; default: target/release/larder
#   CLIENTS  default: 1000
#   SECONDS  that the origin takes; default: 1
#
# Aim: 1 request at the origin, 1000 answers with status 200, the slowest little above 1 s; with
# --stale at once.
set -eu
state=cold
case ${1-} in --expired | --stale) state=${1#--}; shift ;; esac
here=$(cd "$(dirname "$0")" && pwd)
# Each client is two descriptors in this process if every request reaches the origin.
ulimit -n "$(ulimit -Hn)"
exec python3 - "$here" "${1:-$here/../target/release/larder}" "${2:-1000}" "${3:-1}" "$state" <<'PYTHON'
import asyncio
import sys
import time

sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
import support

BODY = b"x" * 1024


class Origin:
    def __init__(self, cache_control):
        self.cache_control, self.delay, self.requests = cache_control, 0, 0

    async def serve(self, reader, writer):
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                await asyncio.sleep(self.delay)
                writer.write(b"HTTP/1.1 200 OK\r\nCache-Control: %s\r\nContent-Length: %d\r\n\r\n%s"
                             % (self.cache_control, len(BODY), BODY))
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # cancelled: the end of the run, on a kept connection
        finally:
            writer.close()


async def ask(connection, port, start):
    """Status (or what went wrong) and seconds since all started."""
    reader, writer = connection
    try:
        writer.write(b"GET /cold HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % port)
        answer = await asyncio.wait_for(reader.read(-1), 60)
        head, _, body = answer.partition(b"\r\n\r\n")
        status = head[9:12].decode() or "closed"
        if status == "200" and body != BODY:
            status = "200 with a wrong body"
    except (OSError, asyncio.TimeoutError) as e:
        status = type(e).__name__
    finally:
        writer.close()
    return status, time.monotonic() - start


CACHE_CONTROL = {
    "cold": b"max-age=3600",
    "expired": b"max-age=1",
    "stale": b"max-age=1, stale-while-revalidate=600",
}


async def main(bench, binary, clients, delay, state):
    origin = Origin(CACHE_CONTROL[state])
    server = await asyncio.start_server(origin.serve, "127.0.0.1", 0, backlog=4096)
    origin_port = server.sockets[0].getsockname()[1]
    # Starting waits, but needs nothing of this loop.
    _, port, _ = bench.larder(binary, origin_port, "64m")
    if state != "cold":
        await ask(await asyncio.open_connection("127.0.0.1", port), port, 0)
        await asyncio.sleep(2.1)
    origin.delay, origin.requests = delay, 0
    # All connect first, so that the requests come at one moment.
    connections = []
    for _ in range(clients):
        connections.append(await asyncio.open_connection("127.0.0.1", port))
    start = time.monotonic()
    answers = await asyncio.gather(*(ask(c, port, start) for c in connections))
    good = sum(status == "200" for status, _ in answers)
    times = sorted(t for _, t in answers)
    print(f"clients: {clients} for one {state} URL, the origin takes {delay:g} s")
    print(f"requests at the origin: {origin.requests}")
    print(f"answers with status 200: {good}")
    for other in sorted({s for s, _ in answers if s != "200"}):
        print(f"  others: {other}: {sum(s == other for s, _ in answers)}")
    print(f"slowest answer: {times[-1]:.3f} s (fastest {times[0]:.3f} s)")
    await asyncio.sleep(delay + 0.1 if state == "stale" else 0)
    server.close()
    return good == clients and origin.requests == 1


binary, clients, delay = support.larder_binary(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
with support.Bench() as bench:
    sys.exit(0 if asyncio.run(main(bench, binary, clients, delay, sys.argv[5])) else 1)
PYTHON
