"""The servers that are compared: how each is started for a row, what it cannot do, and which version it is.

Their configurations are templates in conf/; what a setup has is in `Setup`.
"""

import grp
import os
import pwd
import re
import resource
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import support

CONF = Path(__file__).resolve().parent / "conf"
NAMES = ["larder", "nginx", "varnish", "haproxy", "trafficserver"]
PROGRAMS = {"nginx": "nginx", "varnish": "varnishd", "haproxy": "haproxy", "trafficserver": "traffic_server"}

# What a server cannot do that a row needs. Rows say what they need in `Row.needs`.
CANNOT = {
    ("varnish", "tls"): "varnishd speaks no TLS; its HTTP/2 is without",
    ("haproxy", "disk"): "its cache is in memory only",
    ("haproxy", "range"): "its cache answers a range with the whole",
    ("haproxy", "304"): "its 304 has a Content-Length, and wrk waits for the body",
    ("haproxy", "revalidate"): "its cache validates nothing",
    ("varnish", "index"): "its file is mapped, so that bodies count as its memory",
    ("haproxy", "index"): "its cache is in memory only",
    ("haproxy", "growth"): "its memory is taken at the start, all of it",
    ("trafficserver", "growth"): "it keeps in memory only what was asked for again",
    ("trafficserver", "index"): "its index is allocated at the start, for the whole disk",
}
# What a server does in a row that is not quite what the others do.
NOTES = {
    ("nginx", "memory"): "its files, which the page cache holds",
    ("trafficserver", "memory"): "on its disk as well",
    ("varnish", "disk"): "in a mapped file (`-s file`)",
    ("varnish", "both"): "in a mapped file (`-s file`), no memory beside it",
    ("haproxy", "both"): "in memory only",
}


@dataclass(frozen=True)
class Setup:
    tiers: str = "memory"    # where responses rest: "memory", "disk", or "both" with little memory
    tls: bool = False
    log: bool = False        # the access log
    lock: bool = False       # one request at the origin for many clients; where it is not so anyway
    connections: int = 64
    sendfile: bool = True    # of Larder
    open_files: int = 10_000  # of nginx


class Server:
    """One that runs: where it listens, and the processes whose time and memory are its own."""

    def __init__(self, name, port, processes, tls):
        self.name, self.port, self.processes = name, port, processes
        self.pids = [process.pid for process in processes]
        self.scheme = "https" if tls else "http"

    def url(self, path):
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    def cpu_s(self):
        return sum(map(support.cpu_seconds, self.pids))

    def memory(self):
        return sum(map(support.pss, self.pids))

    def alive(self):
        return all(process.poll() is None for process in self.processes)

    def stop(self):
        for process in self.processes:
            support.stop(process)

    def settle(self, most_s=10):
        """Waits until it does nothing any more behind its answers, writing above all."""
        deadline, before = time.monotonic() + most_s, self.cpu_s()
        while time.monotonic() < deadline:
            time.sleep(0.2)
            now = self.cpu_s()
            if now - before <= 0.01:
                return
            before = now


def fill_in(template, flags, values):
    """The configuration of a template: lines behind `@word ` stay if the flag is set, `@!word ` if it is not."""
    lines = []
    for line in template.splitlines():
        found = re.match(r"(\s*)@(!?)(\w+) (.*)", line)
        if found:
            indent, no, flag, rest = found.groups()
            if flags[flag] == bool(no):
                continue
            line = indent + rest
        lines.append(re.sub(r"@\{(\w+)\}", lambda m: str(values[m[1]]), line))
    return "\n".join(lines) + "\n"


def start(bench, name, setup, origin_port, larder):
    """Starts a server on core 0, in a folder of its own in the temporary one."""
    folder = bench.dir / name
    folder.mkdir()
    if setup.tls:
        for file in ("server.crt", "server.key", "server.pem"):
            os.link(bench.dir / file, folder / file)
    port = support.free_port()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    flags = {"root": os.geteuid() == 0, "tls": setup.tls, "log": setup.log, "lock": setup.lock,
             "sendfile": setup.sendfile, "memory": setup.tiers == "memory", "disk": setup.tiers != "memory",
             "diskonly": setup.tiers == "disk", "both": setup.tiers == "both"}
    values = {"dir": folder, "port": port, "origin": origin_port, "files": files, "keys_zone": "128m",
              "user": pwd.getpwuid(os.geteuid()).pw_name, "group": grp.getgrgid(os.getegid()).gr_name,
              # Beside what it holds open for clients.
              "open_files": min(setup.open_files, files - setup.connections - 1000),
              "memory": {"memory": "2g", "disk": "0", "both": "64m"}[setup.tiers],
              "connections": min(16384, files - 1000)}

    def write(source, target=None):
        path = folder / (target or source)
        path.write_text(fill_in((CONF / source).read_text(), flags, values))
        return str(path)

    process = {"larder": start_larder, "nginx": start_nginx, "varnish": start_varnish, "haproxy": start_haproxy,
               "trafficserver": start_trafficserver}[name](bench, write, setup, values, larder)
    processes = [process]
    if name == "varnish" and setup.log:
        # Varnish logs to shared memory; this is who writes the file.
        args = pinned("varnishncsa", "-n", folder / "work", "-w", folder / "access.log")
        processes.append(bench.start(args, "varnishncsa"))
    return Server(name, port, processes, setup.tls)


def pinned(program, *args):
    return [support.program("taskset"), "-c", "0", support.program(program), *map(str, args)]


def start_larder(bench, write, _setup, values, larder):
    return bench.start_server(pinned(larder, "serve", "-c", write("larder.toml")), "larder", values["port"])


def start_nginx(bench, write, _setup, values, _larder):
    folder = values["dir"]
    args = pinned("nginx", "-p", folder, "-e", folder / "error.log", "-c", write("nginx.conf"))
    return bench.start_server(args, "nginx", values["port"])


def start_varnish(bench, write, setup, values, _larder):
    folder = values["dir"]
    storage = "malloc,2g" if setup.tiers == "memory" else f"file,{folder}/storage,4g"
    # A worker of Varnish is a thread for each request under way, so there are enough for all connections from the
    # start; one pool of them is what fits one core. Connections are kept as long as wrk wants them. `-j none`: its
    # jails want users and folders of the system.
    args = pinned("varnishd", "-F", "-j", "none", "-n", folder / "work", "-a", f"127.0.0.1:{values['port']}",
                  "-f", write("varnish.vcl"), "-s", storage, "-p", "thread_pools=1",
                  "-p", f"thread_pool_max={setup.connections + 1000}",
                  "-p", f"thread_pool_min={setup.connections + 100}", "-p", "timeout_idle=300", "-p", "listen_depth=4096")
    return bench.start_server(args, "varnish", values["port"])


def start_haproxy(bench, write, _setup, values, _larder):
    args = pinned("haproxy", "-db", "-f", write("haproxy.cfg"))
    return bench.start_server(args, "haproxy", values["port"])


def start_trafficserver(bench, write, setup, values, _larder):
    folder = values["dir"]
    layout = {key: folder for key in ("prefix", "exec_prefix", "sysconfdir", "datadir", "localstatedir", "runtimedir",
                                      "logdir", "cachedir", "mandir", "infodir", "includedir")}
    layout |= {"bindir": "/usr/bin", "sbindir": "/usr/sbin", "libdir": "/usr/lib/trafficserver",
               "libexecdir": "/usr/lib/trafficserver/modules"}
    (folder / "runroot.yaml").write_text("".join(f"{key}: {value}\n" for key, value in layout.items()))
    write("records.config")
    (folder / "storage.config").write_text(f"{folder} 4G\n")
    (folder / "remap.config").write_text(f"map / http://127.0.0.1:{values['origin']}/\n")
    (folder / "plugin.config").write_text("")
    (folder / "ip_allow.yaml").write_text(
        "ip_allow:\n  - {apply: in, ip_addrs: 127.0.0.1, action: allow, methods: ALL}\n")
    (folder / "logging.yaml").write_text(
        "logging:\n  formats:\n    - name: common\n      format: '%<chi> - %<caun> [%<cqtn>] \"%<cqtx>\" %<pssc> %<pscl>'\n"
        "  logs:\n    - {filename: access, format: common, mode: ascii}\n")
    (folder / "ssl_multicert.config").write_text(
        "dest_ip=* ssl_cert_name=server.crt ssl_key_name=server.key\n" if setup.tls else "")
    args = pinned("traffic_server", f"--run-root={folder}/runroot.yaml")
    return bench.start_server(args, "trafficserver", values["port"])


def version(name, larder):
    """What the server says of itself, on one line."""
    args = {"larder": [larder, "--version"], "nginx": [support.program("nginx"), "-v"],
            "varnish": [support.program("varnishd"), "-V"], "haproxy": [support.program("haproxy"), "-v"],
            "trafficserver": [support.program("traffic_server"), "-V"]}[name]
    told = subprocess.run(args, capture_output=True, text=True)
    return (told.stderr + told.stdout).strip().partition("\n")[0]
