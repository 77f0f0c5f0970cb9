"""What compare/, instructions.py, memory.py, followers.py and stampede.sh share; answers no question itself.

An origin that counts, processes that are always stopped, wrk with exact numbers, and what /proc says.
`python3 support.py origin` is the origin where there is no C compiler.
"""

import asyncio
import contextlib
import email.utils
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEFAULT_LARDER = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target")) / "release/larder"

DONE_LUA = """
done = function(s, l, r)
  local e = s.errors
  io.write(string.format(
    '\\nRESULT {"requests":%d,"bytes":%.0f,"duration_us":%d,"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d,' ..
    '"p50_us":%d,"p99_us":%d}\\n',
    s.requests, s.bytes, s.duration, e.connect, e.read, e.write, e.timeout, e.status,
    l:percentile(50), l:percentile(99)))
end
"""

# Distinct keys /PREFIX1 to /PREFIXn, then the last one again. wrk calls request() once before it starts, to
# see what it is given, so the first call must not use up a key.
COUNT_LUA = """
local c, last = -1, %d
request = function()
  if c < last then c = c + 1 end
  return wrk.format("GET", "/%s" .. c)
end
"""

PACKAGES = {"nginx": "nginx", "varnishd": "varnish", "haproxy": "haproxy", "traffic_server": "trafficserver",
            "wrk": "wrk", "h2load": "nghttp2-client", "openssl": "openssl", "cc": "gcc libc6-dev",
            "taskset": "util-linux", "valgrind": "valgrind", "strace": "strace"}


class Failed(SystemExit):
    """Ends a script with its message, unless somebody goes on without what failed."""


# With what make_certificate made; without tickets, so that every handshake is a full one.
TLS = 'tls = { certificate = "server.crt", key = "server.key", session_tickets = false }\n'
STATUS_HEADER = 'status_header = "X-Cache-Status"\n'


def fail(message):
    raise Failed(f"error: {message}")


def need(*programs):
    """Stops with what to install when one of these is missing."""
    missing = [p for p in programs if not has(p)]
    if missing:
        fail(f"{', '.join(missing)} not found: apt-get install {' '.join(PACKAGES[p] for p in missing)}")


def has(name):
    return shutil.which(name, path=search_path()) is not None


def search_path():
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def program(name):
    return shutil.which(name, path=search_path()) or name


def larder_binary(path):
    path = Path(path).resolve()
    if not os.access(path, os.X_OK):
        fail(f"{path} is no program: cargo build --release, or say which with --larder")
    return str(path)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(port, path):
    """One request on a connection of its own: status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def make_certificate(folder, kind):
    """server.crt and server.key in the folder, and both in server.pem, for an `ecdsa` key of P-256 or an `rsa` one."""
    new = ["rsa:2048"] if kind == "rsa" else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    done = subprocess.run(
        [program("openssl"), "req", "-x509", "-newkey", *new, "-nodes", "-days", "30", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", folder / "server.key",
         "-out", folder / "server.crt"], capture_output=True, text=True)
    if done.returncode:
        fail(done.stderr)
    (folder / "server.pem").write_text((folder / "server.crt").read_text() + (folder / "server.key").read_text())


class Bench:
    """A temporary folder and the processes started in it; both are gone when the `with` ends.

    `folder` is where the temporary one is made, by default where the system has such.
    """

    def __init__(self, folder=None):
        self.folder = folder

    def __enter__(self):
        # A TERM or HUP unwinds like an exit does, so that nothing is left running.
        for s in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(s, lambda n, _: sys.exit(128 + n))
        self.stack = contextlib.ExitStack()
        self.dir = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="larder-bench-", dir=self.folder)))
        return self

    def __exit__(self, *_):
        # A second Ctrl-C must not leave half of it running.
        handlers = {s: signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            self.stack.close()
        finally:
            for s, handler in handlers.items():
                signal.signal(s, handler)

    def start(self, args, name, **options):
        """Starts a process whose output goes to NAME.log in the temporary folder."""
        log = self.stack.enter_context(open(self.dir / f"{name}.log", "ab"))
        options.setdefault("stdout", log)
        process = subprocess.Popen(args, stderr=log, stdin=subprocess.DEVNULL, cwd=self.dir, **options)
        self.stack.callback(stop, process)
        return process

    def start_server(self, args, name, port):
        """Starts a process and waits until it listens on the port."""
        process = self.start(args, name)
        deadline = time.monotonic() + 15
        while True:
            if process.poll() is not None:
                fail(f"{name} stopped with status {process.returncode}:\n{self.log(name)}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return process
            except OSError:
                if time.monotonic() > deadline:
                    stop(process)
                    fail(f"{name} does not listen on port {port}:\n{self.log(name)}")
                time.sleep(0.05)

    def log(self, name):
        return (self.dir / f"{name}.log").read_text(errors="replace")[-4000:]

    def origin(self, cpu=None):
        """Starts the origin, the C one if it can be built."""
        built = self.compile(HERE / "origin.c")
        args = [built] if built else [sys.executable, str(HERE / "support.py"), "origin"]
        if cpu is not None:
            args = [program("taskset"), "-c", str(cpu), *args]
        process = self.start(args, "origin", stdout=subprocess.PIPE, text=True)
        line = process.stdout.readline().strip()
        if not line:
            fail(f"the origin did not start:\n{self.log('origin')}")
        return Origin(int(line), "c" if built else "python")

    def compile(self, source, *libraries):
        """Compiles a C program into the temporary folder: where it is, None without a compiler that can."""
        cc, program = shutil.which("cc") or shutil.which("gcc"), str(self.dir / source.stem)
        if not cc:
            return None
        built = subprocess.run([cc, "-O2", "-o", program, str(source), *libraries], capture_output=True, text=True)
        if built.returncode:
            print(f"note: {source.name} does not build:\n{built.stderr}", file=sys.stderr)
            return None
        return program

    def larder(self, binary, origin_port, memory, workers=None, cpu=None, name="larder", cache="",
               zone="", server="", site="", tells=STATUS_HEADER, under=()):
        """Starts Larder in front of the origin with one zone in memory: process, port, admin port.

        `cache` are more lines of the route's cache table, `zone` of the zone's, `server` of the server's (with
        `workers`), `site` of the site's; `tells` has the route tell in X-Cache-Status how an answer came about;
        `under` is what runs it: a profiler with its options.
        """
        port, admin = free_port(), free_port()
        config = self.dir / f"{name}.toml"
        config.write_text(
            # As many requests on a connection as nginx is given here.
            "[server]\nkeepalive_requests = 1000000000\n" + (f"workers = {workers}\n{server}" if workers else "")
            + f'[zone.bench]\nmemory = "{memory}"\n{zone}'
            + f'[[site]]\nlisten = "127.0.0.1:{port}"\n{site}'
            + f'[[site.route]]\npath = "/"\nproxy = "http://127.0.0.1:{origin_port}"\n'
            + tells
            + f'[site.route.cache]\nzone = "bench"\n{cache}'
            + f'[admin]\nlisten = "127.0.0.1:{admin}"\n')
        args = [*under, binary, "serve", "-c", str(config)]
        if cpu is not None:
            args = [program("taskset"), "-c", str(cpu), *args]
        return self.start_server(args, name, port), port, admin


class Origin:
    def __init__(self, port, kind):
        self.port, self.kind = port, kind

    def count(self):
        """How many requests it has answered."""
        return int(get(self.port, "/__count")[1])


def stop(process, wait_s=5):
    """TERM, and KILL for what does not heed it in time, with its children."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            for pid in process_tree(process.pid)[::-1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
    if process.stdout:
        process.stdout.close()


def wrk_result(output):
    """The numbers that DONE_LUA prints, with the errors added up."""
    for line in output.splitlines():
        if line.startswith("RESULT "):
            result = json.loads(line[7:])
            kinds = ("connect", "read", "write", "timeout", "status")
            result["errors"] = sum(result[k] for k in kinds)
            return result
    fail(f"wrk printed no result:\n{output}")


def process_tree(pid):
    """The process and all its descendants."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = stat_fields(entry)
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry))
    tree, todo = [], [pid]
    while todo:
        pid = todo.pop()
        tree.append(pid)
        todo += children.get(pid, [])
    return tree


def stat_fields(pid):
    """/proc/PID/stat from the state on (the name before it may hold anything); None when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def cpu_seconds(pid):
    """User and system time that the process tree has used, with children that have ended; in steps of a clock tick."""
    ticks = 0
    for p in process_tree(pid):
        fields = stat_fields(p)
        if fields:
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def foreign_cpu_seconds():
    """User and system time of the whole machine that neither this process nor one it started has used."""
    user, nice, system = map(int, Path("/proc/stat").read_text().split()[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK") - cpu_seconds(os.getpid())


def rss(pid):
    """Resident bytes of the one process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    fail(f"process {pid} has ended")


def pss(pid):
    """Resident bytes of the process tree, memory that processes share counted once."""
    total = 0
    for p in process_tree(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for line in Path(f"/proc/{p}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


class PythonOrigin(asyncio.Protocol):
    """As origin.c, slower, and of its words only `/N/`."""

    count = 0
    body = b"x" * 1024

    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""

    def data_received(self, data):
        *requests, self.buffer = (self.buffer + data).split(b"\r\n\r\n")
        for request in requests:
            if request.startswith(b"GET /__count "):
                body, control = str(PythonOrigin.count).encode(), "no-store"
            else:
                PythonOrigin.count += 1
                first, _, rest = request[5:].partition(b"/")
                body = b"x" * int(first) if rest and first.isdigit() else self.body
                control = "max-age=3600"
            head = (f"HTTP/1.1 200 OK\r\nDate: {email.utils.formatdate(usegmt=True)}\r\n"
                    f"Content-Type: text/plain\r\nETag: \"bench\"\r\nCache-Control: {control}\r\nContent-Length: {len(body)}\r\n\r\n")
            self.transport.write(head.encode() + body)


async def python_origin():
    server = await asyncio.get_running_loop().create_server(PythonOrigin, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1:] != ["origin"]:
        sys.exit(__doc__)
    asyncio.run(python_origin())
