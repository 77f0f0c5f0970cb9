"""The servers that stand side by side: each with its configuration filled in, its own origins and its own folder."""

import base64
import hashlib
import os
import re
import subprocess
from pathlib import Path

import support
from client import Connection
from origin import Origins, free_port

CONF = Path(__file__).resolve().parent / "conf"
STOCK = Path("/etc/nginx")
# Where files of a folder are older than that, everything about them is the same for both.
FILES_TIME = 1_700_000_000


class Server:
    """One that runs: `kind` is "nginx" or "larder"; texts that name its ports can be made neutral."""

    def __init__(self, bench, kind, script, binary, folder):
        self.kind, self.folder, self.host, self.cache_field = kind, folder, script.HOST, script.CACHE_FIELD
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        texts = templates(script)
        names = set(re.findall(r"@\{(\w+)\}", "".join(texts.values())))
        self.origins = Origins(sorted(n for n in names if n.startswith(("origin", "secure"))), bench.dir)
        self.ports = self.origins.ports() | {n: free_port() for n in names if n.startswith("listen")}
        self.tls = {n for n in self.ports if n.startswith("listen_tls")}
        self.kept = {}
        values = self.ports | {"dir": folder, "certificate": bench.dir}
        filled = {name: re.sub(r"@\{(\w+)\}", lambda m: str(values[m[1]]), text).encode() for name, text in texts.items()}
        write(folder, filled | script.FILES)
        self.report = ""
        {"nginx": self.start_nginx, "larder": self.start_larder}[kind](bench, folder / "nginx.conf", binary)

    def start_nginx(self, bench, conf, _binary):
        # Its folders for bodies are those of the package otherwise, where only root may write. The imported file has none of this.
        own = self.folder / "run.conf"
        folders = "".join(f"    {name}_temp_path {self.folder}/{name}_temp;\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        own.write_text(re.sub(r"(?m)^http \{\n", lambda m: m[0] + folders, conf.read_text(), count=1))
        args = [support.program("nginx"), "-p", self.folder, "-e", self.folder / "error.log", "-c", own, "-g", "daemon off;"]
        self.process = bench.start_server(list(map(str, args)), f"nginx-{self.folder.parent.name}", self.first_port())

    def start_larder(self, bench, conf, binary):
        toml = self.folder / "larder.toml"
        done = subprocess.run([binary, "import", conf, "-o", toml], capture_output=True, text=True, cwd=self.folder)
        self.report = done.stdout + done.stderr
        if done.returncode:
            support.fail(f"larder import ended with {done.returncode}:\n{self.report}")
        self.process = bench.start_server([binary, "serve", "-c", str(toml)], f"larder-{self.folder.parent.name}", self.first_port())

    def first_port(self):
        return next(self.ports[n] for n in sorted(self.ports) if n.startswith("listen"))

    def connection(self, name, port):
        """A new connection, or the one of that name."""
        if name in self.kept:
            return self.kept[name]
        connection = Connection(self.ports[port], tls=self.host if port in self.tls else None)
        if name:
            self.kept[name] = connection
        return connection

    def neutral(self, text):
        """A text without what is this server's alone: its ports and its folder."""
        if isinstance(text, bytes):
            # What does not name a port keeps its bytes.
            return self.neutral(text.decode("latin-1")).encode("latin-1") if len(text) < 20_000 else text
        for name, port in self.ports.items():
            text = text.replace(f":{port}", f":{{{name}}}")
        return text.replace(str(self.folder), "{dir}")

    def neutralize(self, told):
        for answer in told.answers:
            answer.fields = [(n, self.neutral(v)) for n, v in answer.fields]
            answer.body = answer.body if answer.get("content-encoding") != "-" else self.neutral(answer.body)
        for seen in told.seen:
            seen.fields = [(n, self.neutral(v)) for n, v in seen.fields]
        return told

    def stop(self):
        for connection in self.kept.values():
            connection.close()
        support.stop(self.process)
        self.origins.close()


def templates(script):
    """The configuration, by the names of its files."""
    return stock() if script.CONF == "stock" else {"nginx.conf": (CONF / script.CONF).read_text()}


def stock():
    """The package's nginx.conf and its default site, on a port of ours and in front of an origin instead of a folder."""
    site = (STOCK / "sites-available/default").read_text()
    site = site.replace("listen 80 default_server", "listen 127.0.0.1:@{listen} default_server")
    site = site.replace("listen [::]:80 default_server", "listen [::1]:@{listen} default_server")
    proxy = "proxy_pass http://127.0.0.1:@{origin};\n\t\tinclude @{dir}/etc/proxy_params;"
    site = re.sub(r"(?m)^(\t\t)try_files \$uri \$uri/ =404;", lambda m: m[1] + proxy, site, count=1)
    conf = (STOCK / "nginx.conf").read_text()
    for theirs, ours in (("/etc/nginx/", "@{dir}/etc/"), ("/var/log/nginx/", "@{dir}/"), ("/run/nginx.pid", "@{dir}/nginx.pid")):
        conf = conf.replace(theirs, ours)
    return {"nginx.conf": conf, "etc/sites-enabled/default": site} | {
        f"etc/{name}": (STOCK / name).read_text() for name in ("mime.types", "proxy_params")}


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (FILES_TIME, FILES_TIME))


def htpasswd(name, password):
    """A line of a file of passwords, in the one form that needs neither a salt nor the C library."""
    return f"{name}:{{SHA}}{base64.b64encode(hashlib.sha1(password.encode()).digest()).decode()}\n".encode()
