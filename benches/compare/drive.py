"""What is asked of a server in a row: is it what the row says (`prepare`), and what does it take (`measure`)?"""

import contextlib
import http.client
import json
import re
import signal
import ssl
import subprocess
import time

import support

CLIENT_CORE = "1"
STALL_S = 20
CLIENT_MOST_S = 90  # above any round
# Large answers that are under way when time is up count by the bytes that have come of them.
COUNTED_BYTES = 1 << 20

# Keys are 1 to `keys`. wrk calls request() once before it starts, to see what it is given; keys go round in a
# circle, so this loses none.
CIRCLE_LUA = """
local head, tail, at, keys = "GET %(prefix)s", " HTTP/1.1\\r\\nHost: %(host)s\\r\\n\\r\\n", %(start)d, %(keys)d
request = function()
  at = at %% keys + 1
  return head .. at .. tail
end
"""

# The key of rank r is asked for as often as 1 / r ^ 0.9; ranks are drawn ahead, in a round the same for every server.
ZIPF_LUA = """
local head, tail, keys = "GET %(prefix)s", " HTTP/1.1\\r\\nHost: %(host)s\\r\\n\\r\\n", %(keys)d
local sums, sum = {}, 0
for r = 1, keys do
  sum = sum + 1 / r ^ 0.9
  sums[r] = sum
end
math.randomseed(%(start)d)
local drawn, at, many = {}, 0, 500000
for i = 1, many do
  local x, low, high = math.random() * sum, 1, keys
  while low < high do
    local middle = math.floor((low + high) / 2)
    if sums[middle] < x then low = middle + 1 else high = middle end
  end
  -- Ranks are spread over the keys, so that none of it follows the order in which they were stored.
  drawn[i] = (low * 7919) %% keys + 1
end
request = function()
  at = at %% many + 1
  return head .. drawn[at] .. tail
end
"""


class Wrong(Exception):
    """What a server did that it must not do in the row."""


class Driver:
    """Asks servers for what one row is about. `program` is the row's own client, if it has one."""

    def __init__(self, bench, row, origin, seconds, program=None):
        self.bench, self.row, self.origin, self.program = bench, row, origin, program
        self.seconds = max(seconds, row.least_s)
        self.started = {}  # by server: how many keys were asked for so far
        (bench.dir / "done.lua").write_text(support.DONE_LUA)

    # What the row asks for.

    def prefix(self, server, number=0):
        """The path of a key is this and the key; misses need other keys in each round."""
        words = {"revalidate": "etag/age=1/", "pass": "no-store/", "stampede": "delay=1000/"}.get(
            self.row.kind, "etag/" if self.row.headers else "")
        return f"/{words}{self.row.size}/{self.row.name}-{server.name}-{number}-"

    def stats(self):
        return json.loads(support.get(self.origin.port, "/__stats")[1])

    def ask(self, server, path, headers=None):
        """One request on a connection of its own: status, body, and what TLS agreed on."""
        if server.scheme == "https":
            connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=30, context=trusting())
        else:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers or {})
            tls = connection.sock.version() if server.scheme == "https" else None
            answer = connection.getresponse()
            return answer.status, answer.read(), tls

    def want(self, server, path, status, length, headers=None):
        got, body, tls = self.ask(server, path, headers)
        if (got, len(body)) != (status, length):
            raise Wrong(f"answers {got} with {len(body)} bytes to {path}, not {status} with {length}")
        if tls not in (None, "TLSv1.3"):
            raise Wrong(f"speaks {tls}")

    # Is it what the row says?

    def prepare(self, server):
        """Stores what the row needs, and looks whether the server answers as the row says."""
        row = self.row
        # A server may listen before its cache is open.
        self.wait_for_hit(server, f"/{row.size}/ready-{server.name}")
        if row.kind in ("hit", "zipf", "handshake"):
            self.store(server)
            path = self.prefix(server) + "1"
            self.check_requests(server, 0, lambda: self.want(server, path, row.status, row.sent_bytes, row.headers))
        elif row.kind in ("miss", "stampede"):
            path = self.prefix(server, "check").replace("delay=1000/", "") + "1"
            self.check_requests(server, 1, lambda: self.want(server, path, 200, row.size))
            self.wait_for_hit(server, path)
        elif row.kind == "pass":
            path = self.prefix(server) + "1"
            for _ in range(2):
                self.check_requests(server, 1, lambda: self.want(server, path, 200, row.size))
        elif row.kind == "revalidate":
            self.fill(server, row.keys, self.prefix(server))
            time.sleep(2.5)
            before = self.stats()["not_modified"]
            self.check_requests(server, 1, lambda: self.want(server, self.prefix(server) + "1", 200, row.size))
            if self.stats()["not_modified"] != before + 1:
                raise Wrong("fetches what is expired instead of validating it")
        if row.streams:
            self.check_http2(server)
        server.settle()

    def store(self, server):
        """Every key of the row is a hit afterwards."""
        row, prefix = self.row, self.prefix(server)
        if row.keys > 5000:
            self.fill(server, row.keys, prefix)
        else:
            for key in range(1, row.keys + 1):
                self.want(server, f"{prefix}{key}", 200, row.size)
        server.settle()
        for key in {1, (row.keys + 1) // 2, row.keys}:
            self.wait_for_hit(server, f"{prefix}{key}")

    def wait_for_hit(self, server, path):
        """An answer may be stored a little later than it is sent."""
        for _ in range(50):
            before = self.stats()["requests"]
            self.want(server, path, 200, self.row.size)
            if self.stats()["requests"] == before:
                return
            time.sleep(0.1)
        raise Wrong(f"does not cache {path}")

    def check_requests(self, server, expected, action):
        before = self.stats()["requests"]
        action()
        seen = self.stats()["requests"] - before
        if seen != expected:
            raise Wrong(f"sent {seen} requests to the origin instead of {expected}")

    def check_http2(self, server):
        told = self.h2load(server, ["-n", "1", "-c", "1"])
        if "Application protocol: h2\n" not in told or " 1 succeeded" not in told or "TLSv1.3" not in told:
            raise Wrong(f"does not answer over HTTP/2 and TLS 1.3: {told[-500:]}")
        traffic = re.search(r"headers.*?, .*?\((\d+)\) data", told.partition("traffic:")[2])
        if not traffic or int(traffic[1]) != self.row.size:
            raise Wrong(f"sends another body over HTTP/2: {told[-500:]}")

    # What does it take?

    def measure(self, server, number):
        """One round, 0 for the one that warms up: what was measured."""
        if self.row.kind == "stampede":
            return self.measure_stampede(server, number)
        if self.row.kind == "growth":
            return self.measure_growth(server)
        before, cpu, foreign, begun = self.stats(), server.cpu_s(), support.foreign_cpu_seconds(), time.monotonic()
        run = self.run_h2load if self.row.streams else self.run_wrk
        if self.row.kind == "handshake":
            run = self.run_handshakes
        result = run(server, number, self.seconds)
        took = time.monotonic() - begun
        busy, foreign = (server.cpu_s() - cpu) / took, max(0, support.foreign_cpu_seconds() - foreign) / took
        server.settle()
        cpu, after = server.cpu_s() - cpu, self.stats()
        if not server.alive():
            raise Wrong("ended")
        requests = result["requests"]
        if not requests:
            raise Wrong(f"answered nothing: {result}")
        self.check_origin(requests, {key: after[key] - before[key] for key in after})
        return {"rate": requests / result["seconds"], "cpu_us": cpu / requests * 1e6, "p50_us": result["p50_us"],
                "p99_us": result["p99_us"], "resident": server.memory(), "core": busy, "foreign": foreign,
                "errors": result["errors"]}

    def check_origin(self, requests, seen):
        """Hits are hits, and what is none is not."""
        kind, under_way = self.row.kind, 2 * self.row.connections
        if kind in ("hit", "zipf", "handshake") and seen["requests"] > requests / 1000:
            raise Wrong(f"{seen['requests']} of {requests:.0f} requests were no hits")
        if kind in ("miss", "pass", "revalidate") and abs(seen["requests"] - requests) > requests / 50 + under_way:
            raise Wrong(f"{seen['requests']} requests reached the origin for {requests:.0f}")
        if kind == "revalidate" and seen["not_modified"] < 0.98 * seen["requests"]:
            raise Wrong(f"validated {seen['not_modified']} times in {seen['requests']} requests")

    def run_wrk(self, server, number, seconds):
        row, args, script = self.row, [], "done.lua"
        if row.keys > 1 or row.kind == "miss":
            keys = 1 << 40 if row.kind == "miss" else row.keys
            start = self.started.get(server.name, 0)
            lua = (ZIPF_LUA if row.kind == "zipf" else CIRCLE_LUA) % {
                "prefix": self.prefix(server, number if row.kind == "miss" else 0), "keys": keys,
                "host": f"127.0.0.1:{server.port}", "start": number if row.kind == "zipf" else start}
            script = f"{row.name}.lua"
            (self.bench.dir / script).write_text(support.DONE_LUA + lua)
        for name, value in row.headers.items():
            args += ["-H", f"{name}: {value}"]
        told = client("wrk", "-t1", f"-c{row.connections}", f"-d{seconds}s", "--timeout", "10s", *args,
                      "-s", self.bench.dir / script, server.url(self.prefix(server) + "1"))
        result = support.wrk_result(told)
        if row.kind == "revalidate":
            self.started[server.name] = (start + result["requests"] + row.connections) % row.keys
        if row.sent_bytes >= COUNTED_BYTES and result["requests"]:
            result["requests"] = result["bytes"] / row.sent_bytes
        return {**result, "seconds": result["duration_us"] / 1e6}

    def h2load(self, server, args):
        return client("h2load", "-t1", *args, server.url(self.prefix(server) + "1"))

    def run_h2load(self, server, _number, seconds):
        row, log = self.row, self.bench.dir / "h2load.log"
        log.unlink(missing_ok=True)
        told = self.h2load(server, [f"-c{row.connections}", f"-m{row.streams}", f"-D{seconds}", f"--log-file={log}"])
        found = re.search(r"requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored, "
                          r"(\d+) timeout", told)
        if not found:
            raise Wrong(f"h2load said: {told[-500:]}")
        good, *bad = map(int, found.groups())
        times = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines() if line.count("\t") >= 2)
        # Streams under way when time is up count as failed; more than those are errors.
        return {"requests": good, "seconds": seconds, "errors": max(0, sum(bad) - row.connections * row.streams),
                "p50_us": percentile(times, 50), "p99_us": percentile(times, 99)}

    def run_handshakes(self, server, _number, seconds):
        told = json.loads(client(self.program, server.port, self.row.connections, seconds, self.prefix(server) + "1",
                                 self.row.size))
        if told["resumed"] or told["old"]:
            raise Wrong(f"its handshakes are not all full ones of TLS 1.3: {told}")
        return told

    def measure_stampede(self, server, number):
        row, cpu, before = self.row, server.cpu_s(), self.stats()["requests"]
        told = json.loads(client(self.program, server.port, row.connections, self.prefix(server, number) + "1", row.size))
        server.settle()
        return {"first_s": told["first_s"], "last_s": told["last_s"], "origin": self.stats()["requests"] - before,
                "cpu_us": (server.cpu_s() - cpu) / row.connections * 1e6, "resident": server.memory(),
                "errors": told["clients"] - told["good"]}

    def measure_growth(self, server):
        """How much more memory is resident for each key that is stored."""
        # What connections and buffers take at first use is not of the keys.
        self.fill(server, 4000, self.prefix(server, "warm"))
        server.settle()
        time.sleep(1)
        before = server.memory()
        self.fill(server, self.row.keys, self.prefix(server))
        server.settle()
        time.sleep(1)
        after = server.memory()
        self.wait_for_hit(server, self.prefix(server) + "7")
        return {"bytes_per_key": (after - before) / self.row.keys, "resident": after, "errors": 0}

    def fill(self, server, keys, prefix):
        """Has wrk ask for PREFIX1 to PREFIXkeys.

        wrk knows only durations, so it is interrupted when the origin has seen them all; until then it repeats
        the last key.
        """
        script, out = self.bench.dir / "fill.lua", self.bench.dir / "fill.out"
        script.write_text(support.COUNT_LUA % (keys, prefix[1:]) + support.DONE_LUA)
        goal, seen, progress = self.origin.count() + keys, 0, time.monotonic()
        with open(out, "w") as output:
            wrk = self.bench.start([support.program("taskset"), "-c", CLIENT_CORE, support.program("wrk"), "-t1",
                                    "-c64", "-d24h", "-s", str(script), server.url("/")], "wrk", stdout=output)
            while (count := self.origin.count()) < goal:
                now = time.monotonic()
                if count > seen:
                    seen, progress = count, now
                if now - progress > STALL_S or wrk.poll() is not None:
                    support.stop(wrk)
                    raise Wrong(f"fetched {keys - goal + count} of {keys} keys, and no more")
                time.sleep(0.05)
            time.sleep(0.2)
            wrk.send_signal(signal.SIGINT)
            wrk.wait(10)
        result = support.wrk_result(out.read_text())
        if result["errors"]:
            raise Wrong(f"answered badly while it was filled: {result}")


def client(name, *args):
    """Runs a client on its core; what it prints."""
    try:
        run = subprocess.run([support.program("taskset"), "-c", CLIENT_CORE, support.program(name), *map(str, args)],
                             capture_output=True, text=True, timeout=CLIENT_MOST_S)
    except subprocess.TimeoutExpired:
        raise Wrong(f"{name} did not end") from None
    if run.returncode:
        raise Wrong(f"{name} ended with {run.returncode}: {(run.stdout + run.stderr)[-500:]}")
    return run.stdout + run.stderr


def trusting():
    """TLS that takes any certificate: this one is its own."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def percentile(values, percent):
    return values[min(len(values) - 1, len(values) * percent // 100)] if values else None
