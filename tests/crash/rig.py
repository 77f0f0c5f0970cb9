"""What `kill` and `flip` share: an origin whose bodies can be told from their path, variant and
version alone, a client that believes nothing, and a Larder to start and stop."""

import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
LARDER = pathlib.Path(os.environ.get("LARDER", TARGET / "release" / "larder"))
HOST = "crash.test"
BLOCK = 64 * 1024
CLIENT_TIMEOUT_S = 60
START_S = 20


# Bodies


def number_of(*parts):
    """A number that depends on nothing but `parts`."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


class Content:
    """What the origin has under a path, for one variant in one version."""

    def __init__(self, path, variant, version, sizes):
        self.path, self.variant, self.version = path, variant, version
        low, high = sizes
        self.length = low + number_of("length", path, variant, version) % (high - low + 1)
        seed = f"{path}\0{variant}\0{version}".encode()
        self.etag = f'"{variant}-{version}-{hashlib.sha256(seed).hexdigest()[:12]}"'
        self.check = hashlib.sha256(seed + str(self.length).encode()).hexdigest()
        self._noise = None

    def block(self, number):
        """The bytes of one block of 64 KiB, the last one shorter. No two blocks are alike, and no
        part of one is like another part of it."""
        if self._noise is None:
            seed = f"{self.path}\0{self.variant}\0{self.version}".encode()
            self._noise = hashlib.shake_128(seed).digest(min(self.length, BLOCK))
        noise = self._noise
        turn = number * 7919 % len(noise)
        head = hashlib.sha256(f"{self.etag}\0{number}".encode()).digest()
        bytes_ = head + noise[turn:] + noise[:turn]
        return bytes_[: min(BLOCK, self.length - number * BLOCK)]

    def matches(self, offset, data):
        """Whether `data` is what stands from `offset` on."""
        done = 0
        while done < len(data):
            at = offset + done
            if at >= self.length:
                return False
            block, within = self.block(at // BLOCK), at % BLOCK
            take = min(len(block) - within, len(data) - done)
            if data[done : done + take] != block[within : within + take]:
                return False
            done += take
        return True


class Cached:
    """The latest few contents, so that their noise is not made anew for each request."""

    def __init__(self, sizes_of):
        self.sizes_of = sizes_of
        self.lock = threading.Lock()
        self.known = {}

    def get(self, path, variant, version):
        key = (path, variant, version)
        with self.lock:
            content = self.known.pop(key, None) or Content(*key, self.sizes_of(path))
            self.known[key] = content
            if len(self.known) > 2000:
                self.known.pop(next(iter(self.known)))
        return content


# The origin


class Origin:
    """Serves what `contents` has, in the version that `versions` says.

    `traits(path)` gives a dict: `vary`, `chunked`, `breaks` (share of answers that break off),
    `control` (a function that gives Cache-Control), `tags`.
    """

    def __init__(self, contents, traits, seed):
        self.contents, self.traits = contents, traits
        self.lock = threading.Lock()
        self.versions = {}
        self.answers = 0
        self.not_modified = 0
        self.random = random.Random(seed)
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def version(self, path):
        with self.lock:
            return self.versions.get(path, 1)

    def bump(self, path):
        """The version that the origin has from now on."""
        with self.lock:
            self.versions[path] = self.versions.get(path, 1) + 1
            return self.versions[path]

    def _accept(self):
        while True:
            connection, _ = self.listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, contextlib.suppress(OSError):
            waiting = b""
            while True:
                while b"\r\n\r\n" not in waiting:
                    more = connection.recv(65536)
                    if not more:
                        return
                    waiting += more
                head, waiting = waiting.split(b"\r\n\r\n", 1)
                lines = head.decode("latin-1").split("\r\n")
                method, target, _ = lines[0].split(" ")
                fields = {n.lower(): v.strip() for n, v in (line.split(":", 1) for line in lines[1:])}
                if not self._answer(connection, method, target, fields):
                    return

    def _answer(self, connection, method, path, fields):
        traits = self.traits(path)
        variant = fields.get("x-kind", "") if traits.get("vary") else ""
        with self.lock:
            self.answers += 1
            version = self.versions.get(path, 1)
            stamp, dice = self.answers, self.random.random()
            control = traits["control"](self.random)
        if method == "POST":
            connection.sendall(b"HTTP/1.1 204 No Content\r\nDate: " + date() + b"\r\n\r\n")
            return True
        content = self.contents.get(path, variant, version)
        head = [f"Date: {date().decode()}", f"ETag: {content.etag}", f"Cache-Control: {control}"]
        head += [f"X-Version: {version}", f"X-Variant: {variant}", f"X-Check: {content.check}"]
        # Another one in each answer, so that a 304 has something to say.
        head += [f"X-Stamp: {version}-{stamp}"]
        if traits.get("vary"):
            head.append("Vary: X-Kind")
        if traits.get("tags"):
            head.append("Cache-Tag: " + ", ".join(traits["tags"]))
        if content.etag in fields.get("if-none-match", ""):
            with self.lock:
                self.not_modified += 1
            send_head(connection, "304 Not Modified", head)
            return True
        first, last = 0, content.length - 1
        wanted = fields.get("range", "")
        if traits.get("ranges") and wanted.startswith("bytes="):
            if fields.get("if-range", content.etag) == content.etag:
                start, end = wanted[6:].split("-")
                first, last = int(start), min(int(end or last), last)
                if first > last:
                    send_head(connection, "416 Range Not Satisfiable",
                              [f"Content-Range: bytes */{content.length}", "Content-Length: 0"])
                    return True
                head.append(f"Content-Range: bytes {first}-{last}/{content.length}")
        status = "206 Partial Content" if head[-1].startswith("Content-Range") else "200 OK"
        whole = dice >= traits.get("breaks", 0)
        stop = last + 1 if whole else first + (last + 1 - first) * int(1000 * dice * 3 % 1000) // 1000
        chunked = traits.get("chunked", False)
        head.append("Transfer-Encoding: chunked" if chunked else f"Content-Length: {last + 1 - first}")
        send_head(connection, status, head)
        if method == "HEAD":
            return True
        self._send_body(connection, content, first, stop, chunked)
        if whole and chunked:
            connection.sendall(b"0\r\n\r\n")
        return whole

    @staticmethod
    def _send_body(connection, content, first, stop, chunked):
        while first < stop:
            block = content.block(first // BLOCK)[first % BLOCK :][: stop - first]
            first += len(block)
            connection.sendall(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)


def date():
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()).encode()


def send_head(connection, status, fields):
    lines = [f"HTTP/1.1 {status}", *fields, "", ""]
    connection.sendall("\r\n".join(lines).encode())


# The client


class Broken(Exception):
    """A response that did not come to its end, in a way that every client sees."""


class Wrong(Exception):
    """A response that looks whole and is not right."""


class Answer:
    """A response that ended cleanly and is right."""

    def __init__(self, status, fields, version, cache, bytes_):
        self.status, self.fields, self.version = status, fields, version
        self.cache, self.bytes = cache, bytes_


class Client:
    """One connection to Larder, opened anew when it breaks."""

    def __init__(self, port, contents, origin):
        self.port, self.contents, self.origin = port, contents, origin
        self.connection = None

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def ask(self, method, path, fields=None, floor=0):
        """Asks, and verifies all that comes.

        Raises `Wrong` for what is wrong, `Broken` where every client would see that it did not get
        all of it, and OSError where there was no answer.
        """
        fields = {"Host": HOST, **(fields or {})}
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=CLIENT_TIMEOUT_S)
            self.connection.request(method, path, headers=fields)
            response = self.connection.getresponse()
        except http.client.HTTPException as error:
            self.close()
            raise ConnectionError(f"no head: {error!r}") from error
        except OSError:
            self.close()
            raise
        try:
            return self._take(method, path, fields, floor, response)
        except BaseException:
            self.close()
            raise

    def _take(self, method, path, fields, floor, response):
        said = {name.lower(): value for name, value in response.getheaders()}
        if method not in ("GET", "HEAD") or response.status not in (200, 206, 304):
            body = drain(response)
            return Answer(response.status, said, None, said.get("x-cache", ""), body)
        content = self._content_of(method, path, fields, floor, said, response.status)
        if response.status == 304 or method == "HEAD":
            drain(response)
            return Answer(response.status, said, content.version, said.get("x-cache", ""), 0)
        first, length = 0, content.length
        if response.status == 206:
            first, length = place(said, content)
        taken = self._verify(content, first, length, response, said)
        return Answer(response.status, said, content.version, said.get("x-cache", ""), taken)

    def _content_of(self, method, path, fields, floor, said, status):
        """The content that the head is about; all that it says must be of this one."""
        what = f"{method} {path} {fields} -> {status} {said}"
        try:
            version = int(said["x-version"]) if status != 304 else int(said["etag"].split("-")[1])
        except (KeyError, IndexError, ValueError):
            raise Wrong(f"a head of no version: {what}") from None
        if version < floor:
            raise Wrong(f"stale after a purge: version {version}, purged up to {floor}: {what}")
        if version > self.origin.version(path):
            raise Wrong(f"a version that never was: {what}")
        variant = fields.get("X-Kind", "") if self.origin.traits(path).get("vary") else ""
        content = self.contents.get(path, variant, version)
        expected = {"etag": content.etag}
        if status != 304:
            expected |= {"x-variant": variant, "x-check": content.check}
            if said.get("x-stamp", "").split("-")[0] != str(version):
                raise Wrong(f"fields of another version: {what}")
            if status == 200 and "content-length" in said:
                expected["content-length"] = str(content.length)
        for name, value in expected.items():
            if said.get(name, "") != value:
                raise Wrong(f"{name} is not {value}: {what}")
        return content

    @staticmethod
    def _verify(content, first, length, response, said):
        if "content-length" not in said and not response.chunked:
            raise Wrong(f"the end of a body cannot be told: {content.path} {said}")
        taken = 0
        while True:
            try:
                data = response.read(256 * 1024)
            except (http.client.HTTPException, OSError) as error:
                raise Broken(f"{taken} of {length} bytes: {error!r}") from error
            if not data:
                break
            if taken + len(data) > length:
                raise Wrong(f"{content.path}: more than {length} bytes: {said}")
            if not content.matches(first + taken, data):
                raise Wrong(f"{content.path}: wrong bytes in {taken} to {taken + len(data)} of {length}: {said}")
            taken += len(data)
        if taken < length:
            # `read` does not tell a connection that was closed early from the end.
            if response.chunked or said.get("content-length") != str(length):
                raise Wrong(f"{content.path}: {taken} of {length} bytes look whole: {said}")
            raise Broken(f"{taken} of {length} bytes")
        return taken


def place(said, content):
    """First byte and length of a 206."""
    unit, _, rest = said.get("content-range", "").partition(" ")
    span, _, total = rest.partition("/")
    first, _, last = span.partition("-")
    if unit != "bytes" or total != str(content.length):
        raise Wrong(f"{content.path}: Content-Range is not of {content.length} bytes: {said}")
    first, last = int(first), int(last)
    if said.get("content-length", str(last + 1 - first)) != str(last + 1 - first):
        raise Wrong(f"{content.path}: the lengths of a part do not agree: {said}")
    return first, last + 1 - first


def drain(response):
    try:
        return response.read()
    except (http.client.HTTPException, OSError) as error:
        raise Broken(f"an answer without a body of ours: {error!r}") from error


# Larder


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Larder:
    """One Larder on one folder, started and stopped many times. What it logs goes to `log`."""

    def __init__(self, folder, origin_port, route_lines=()):
        self.folder = pathlib.Path(folder)
        self.zone = self.folder / "zone"
        self.log = self.folder / "log"
        self.port, self.admin = free_port(), free_port()
        self.origin_port, self.route_lines = origin_port, route_lines
        self.process = None
        self.began = 0.0

    def start(self, memory, use_temp_path=False, max_size="4g", open_files=1000):
        """Starts it; returns at once."""
        config = self.folder / "larder.toml"
        config.write_text(self._config(memory, use_temp_path, max_size, open_files))
        with open(self.log, "ab") as log:
            self.began = time.monotonic()
            self.process = subprocess.Popen(
                [LARDER, "serve", "-c", str(config)], stdout=log, stderr=log, env={**os.environ, "NO_COLOR": "1"})

    def _config(self, memory, use_temp_path, max_size, open_files):
        lines = [
            "[server]", "workers = 2", 'shutdown_timeout = "2s"',
            "[log]", 'level = "warn"',
            "[zone.crash]", f'path = "{self.zone}"', f'memory = "{memory}"', f'max_size = "{max_size}"',
            f"open_files = {open_files}",
            f"use_temp_path = {str(use_temp_path).lower()}", 'inactive = "1d"',
            "[admin]", f'listen = "127.0.0.1:{self.admin}"',
            "[[site]]", f'listen = "127.0.0.1:{self.port}"',
            "[site.defaults]", 'status_header = "X-Cache"',
        ]
        for path, more in [("/", ""), *self.route_lines]:
            lines += ["[[site.route]]", f'path = "{path}"', f'proxy = "http://127.0.0.1:{self.origin_port}"',
                      "[site.route.cache]", 'zone = "crash"', more]
        return "\n".join(lines) + "\n"

    def wait_until_ready(self):
        """Waits until it accepts connections."""
        while time.monotonic() - self.began < START_S:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            time.sleep(0.002)
        tail = self.log.read_bytes()[-2000:].decode(errors="replace")
        raise SystemExit(f"Larder did not start:\n{tail}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def terminate(self, within=30):
        """A clean stop."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(within)

    def terminate_and_kill(self, after):
        """A clean stop that is cut short, if it takes so long."""
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(after)
        self.kill()

    def stats(self):
        """The zone's part of the statistics."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=CLIENT_TIMEOUT_S)
        with contextlib.closing(connection):
            connection.request("GET", "/v1/stats")
            return json.loads(connection.getresponse().read())["zones"]["crash"]

    def temporary_files(self):
        """Files that were being written, with their paths."""
        return {path for path in self.zone.rglob("*.tmp") if path.name != ".larder.purges.tmp"}

    def quarantined(self):
        return sorted((self.zone / ".quarantine").glob("*"))


# A stored file, as src/store/disk/format.rs describes it


class StoredFile:
    """Where the parts of a file lie, and which bytes of it nobody reads."""

    def __init__(self, data):
        if len(data) < 56 or data[-56:-48] != b"LarderFt":
            raise ValueError("no footer")
        self.slot_bytes, self.body_bytes = struct.unpack("<IQ", data[-44:-32])
        self.body = 2 * self.slot_bytes, 2 * self.slot_bytes + self.body_bytes
        slots = [self._slot(data, start) for start in (0, self.slot_bytes)]
        self.slots = [slot for slot in slots if slot]
        self.newest = max(self.slots, key=lambda slot: slot["sequence"])
        key_bytes = struct.unpack_from("<I", data, self.newest["start"] + 72)[0]
        self.key = data[self.newest["start"] + 76 :][:key_bytes].decode("latin-1")
        self.is_response = self.newest["kind"] == 1
        place = data[self.newest["start"] + 48 :][:16]
        self.place = f"{int.from_bytes(place, 'little'):032x}"

    @staticmethod
    def _slot(data, start):
        if data[start : start + 8] != b"LarderHd":
            return None
        kind, head, sequence = struct.unpack_from("<BxIQ", data, start + 10)
        return {"start": start, "end": start + 72 + head, "sequence": sequence, "kind": kind}

    def place_of(self, at):
        """What the byte at this place is: `unused`, `older head`, `head`, `body` or `tail`."""
        if at >= self.body[1]:
            return "tail"
        if at >= self.body[0]:
            return "body"
        for slot in self.slots:
            if slot["start"] <= at < slot["end"]:
                return "head" if slot is self.newest else "older head"
        return "unused"


# What both scripts print


class Findings:
    """What is wrong, printed when it is found."""

    def __init__(self):
        self.lock = threading.Lock()
        self.count = 0

    def add(self, text):
        with self.lock:
            self.count += 1
            if self.count <= 50:
                print(f"\nFINDING {text}", flush=True)


@contextlib.contextmanager
def workplace(keep):
    """A folder that goes in the end, unless it is to be kept."""
    if keep:
        pathlib.Path(keep).mkdir(parents=True, exist_ok=True)
        yield pathlib.Path(keep)
        return
    with tempfile.TemporaryDirectory(prefix="larder-crash-") as folder:
        yield pathlib.Path(folder)


def begin(args):
    """Says what is run, so that it can be run again."""
    if not LARDER.is_file():
        sys.exit(f"no such file: {LARDER} (build it, or set LARDER)")
    args.seed = args.seed if args.seed is not None else int.from_bytes(os.urandom(4), "big")
    print(f"{pathlib.Path(sys.argv[0]).name}: {LARDER}, seed {args.seed}", flush=True)
    random.seed(args.seed)
