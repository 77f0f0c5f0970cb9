"""The rows of the comparison, and what is aimed at: what is asked, of how much, over which connections."""

from dataclasses import dataclass, field

from servers import CANNOT, Setup

KIB, MIB = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Row:
    name: str
    title: str
    # hit, miss, pass, revalidate, zipf: what wrk or h2load ask for. handshake: hits, each on a connection of its own.
    # stampede: many clients, one URL. growth: memory.
    kind: str = "hit"
    size: int = KIB          # bytes of a body
    keys: int = 1            # URLs that are asked for, one after the other
    connections: int = 64
    status: int = 200        # of a good answer
    sent: int | None = None  # bytes of its body where they are not `size`
    headers: dict = field(default_factory=dict)
    streams: int = 0         # of HTTP/2 on each connection, 0: HTTP/1.1
    needs: tuple = ()        # what a server must be able to do beside what the setup says
    least_s: int = 1         # of a round
    setup: Setup = Setup()
    extra: bool = False      # only when it is asked for by its name

    @property
    def sent_bytes(self):
        return self.size if self.sent is None else self.sent

    def cannot(self, server):
        """Why a server is left out of the row, None: it is not."""
        needs = [*self.needs, *(["tls"] if self.setup.tls else []), *(["disk"] if self.setup.tiers == "disk" else [])]
        return next((CANNOT[server, need] for need in needs if (server, need) in CANNOT), None)


DISK, BOTH, TLS = Setup("disk"), Setup("both"), Setup(tls=True)
RANGE = {"Range": "bytes=500000-516383"}

ROWS = [
    Row("memory-1k", "hit in memory, 1 KiB"),
    Row("memory-16k", "hit in memory, 16 KiB", size=16 * KIB),
    Row("memory-128k", "hit in memory, 128 KiB", size=128 * KIB, connections=32),
    Row("memory-1m", "hit in memory, 1 MiB", size=MIB, connections=16),
    Row("disk-1k", "hit on disk, 1 KiB", keys=2000, setup=DISK),
    Row("disk-16k", "hit on disk, 16 KiB", size=16 * KIB, keys=2000, setup=DISK),
    Row("disk-128k", "hit on disk, 128 KiB", size=128 * KIB, keys=512, connections=32, setup=DISK, extra=True),
    Row("disk-1m", "hit on disk, 1 MiB", size=MIB, keys=128, connections=16, setup=DISK),
    Row("disk-10m", "hit on disk, 10 MiB", size=10 * MIB, keys=16, connections=16, setup=DISK),
    Row("disk-100m", "hit on disk, 100 MiB", size=100 * MIB, keys=2, connections=4, least_s=2, setup=DISK),
    Row("304", "the client has it: 304", status=304, sent=0, headers={"If-None-Match": f'"bench-{KIB}"'},
        needs=("304",)),
    Row("range", "16 KiB of a hit of 1 MiB", size=MIB, status=206, sent=16 * KIB, headers=RANGE, needs=("range",)),
    Row("miss", "miss, stored, 1 KiB", "miss", setup=BOTH),
    Row("miss-16k", "miss, stored, 16 KiB", "miss", size=16 * KIB, setup=BOTH, extra=True),
    Row("miss-1m", "miss, stored, 1 MiB", "miss", size=MIB, connections=16, setup=BOTH, extra=True),
    Row("pass", "not cacheable, 1 KiB", "pass"),
    Row("revalidate", "expired, the origin says 304", "revalidate", keys=30_000, setup=BOTH, needs=("revalidate",)),
    Row("zipf", "200,000 keys, Zipf 0.9, both tiers", "zipf", keys=200_000, needs=("disk",),
        setup=Setup("both", open_files=40_000)),
    Row("tls-1k", "TLS 1.3 hit, 1 KiB", setup=TLS),
    Row("tls-16k", "TLS 1.3 hit, 16 KiB", size=16 * KIB, setup=TLS),
    Row("tls-1m", "TLS 1.3 hit, 1 MiB", size=MIB, connections=16, setup=TLS),
    Row("tls-full", "full TLS 1.3 handshake and hit", "handshake", setup=TLS),
    Row("h2-1k", "HTTP/2 over TLS hit, 1 KiB", connections=4, streams=16, setup=TLS),
    Row("h2-16k", "HTTP/2 over TLS hit, 16 KiB", size=16 * KIB, connections=4, streams=16, setup=TLS),
    Row("conns-1", "hit, 1 connection", connections=1),
    Row("conns-64", "hit, 64 connections"),
    Row("conns-1000", "hit, 1,000 connections", connections=1000, setup=Setup(connections=1000)),
    Row("conns-10000", "hit, 10,000 connections", connections=10_000, least_s=3, setup=Setup(connections=10_000)),
    Row("log", "hit, access log on", setup=Setup(log=True)),
    Row("stampede", "1,000 clients, one cold URL, origin 1 s", "stampede", connections=1000,
        setup=Setup(connections=1000, lock=True)),
    Row("key-memory", "memory of a stored key of 1 KiB", "growth", keys=100_000, needs=("growth",)),
    Row("key-disk", "memory of a key on disk", "growth", keys=100_000, needs=("index",), setup=DISK),
]
# The client of a kind that neither wrk nor h2load can be, and what it is linked with.
PROGRAMS = {"stampede": ("stampede.c",), "handshake": ("handshakes.c", "-l:libssl.so.3", "-l:libcrypto.so.3")}
QUICK = ["memory-1k", "miss", "tls-1k"]

# Row, what of Larder's, "ratio" to nginx or the "value" itself, at most or at least.
AIMS = [
    ("memory-1k", "rate", "ratio", ">=", 1.6),
    ("memory-1k", "cpu_us", "ratio", "<=", 0.62),
    ("memory-16k", "rate", "ratio", ">=", 1.2),
    ("memory-16k", "cpu_us", "ratio", "<=", 0.80),
    ("memory-128k", "rate", "ratio", ">=", 1.0),
    ("memory-128k", "cpu_us", "ratio", "<=", 0.80),
    ("memory-1m", "rate", "ratio", ">=", 1.0),
    ("memory-1m", "cpu_us", "ratio", "<=", 0.50),
    ("disk-1k", "rate", "ratio", ">=", 1.2),
    ("disk-1k", "cpu_us", "ratio", "<=", 0.85),
    ("disk-16k", "rate", "ratio", ">=", 1.2),
    ("disk-16k", "cpu_us", "ratio", "<=", 0.85),
    ("disk-10m", "rate", "ratio", ">=", 1.0),
    ("disk-10m", "cpu_us", "ratio", "<=", 0.80),
    ("disk-100m", "rate", "ratio", ">=", 1.0),
    ("disk-100m", "cpu_us", "ratio", "<=", 0.80),
    ("miss", "rate", "ratio", ">=", 1.2),
    ("miss", "cpu_us", "ratio", "<=", 0.80),
    ("pass", "rate", "ratio", ">=", 1.0),
    ("pass", "cpu_us", "ratio", "<=", 1.0),
    ("tls-1k", "rate", "ratio", ">=", 1.25),
    ("tls-1k", "cpu_us", "ratio", "<=", 0.70),
    ("tls-16k", "rate", "ratio", ">=", 1.4),
    ("tls-16k", "cpu_us", "ratio", "<=", 0.55),
    ("tls-1m", "rate", "ratio", ">=", 1.4),
    ("tls-1m", "cpu_us", "ratio", "<=", 0.55),
    ("h2-1k", "rate", "ratio", ">=", 1.45),
    ("h2-1k", "cpu_us", "ratio", "<=", 0.68),
    ("h2-16k", "rate", "ratio", ">=", 1.45),
    ("h2-16k", "cpu_us", "ratio", "<=", 0.68),
    ("tls-full", "rate", "ratio", ">=", 1.0),
    ("tls-full", "cpu_us", "ratio", "<=", 1.0),
    ("conns-10000", "rate", "ratio", ">=", 1.3),
    ("conns-10000", "cpu_us", "ratio", "<=", 0.75),
    ("conns-10000", "errors", "value", "<=", 0),
    ("stampede", "last_s", "value", "<=", 1.05),
    ("conns-64", "p99_us", "ratio", "<=", 1.0),
    ("key-disk", "bytes_per_key", "value", "<=", 64),
]
