"""A client that sends what it is told, byte by byte, and says exactly what came back."""

import gzip
import hashlib
import http.client
import re
import socket
import ssl
import zlib
from dataclasses import dataclass, field


@dataclass
class Answer:
    """One response, or the error in its place."""

    version: str = ""
    status: int = 0
    reason: str = ""
    fields: list = field(default_factory=list)
    body: bytes = b""
    framing: str = "none"           # "length", "chunked", "close" (until the end of the connection), "none"
    interim: list = field(default_factory=list)
    error: str = ""
    closed: object = None           # whether the connection ended behind it; None: nobody looked

    def get(self, name):
        """All values of a field, in their order; "-" if there is none."""
        return " | ".join(value for n, value in self.fields if n.lower() == name) or "-"

    def decoded(self):
        """The body without its coding."""
        try:
            return gzip.decompress(self.body) if self.get("content-encoding") == "gzip" else self.body
        except (OSError, EOFError, zlib.error):
            return self.body

    def told(self):
        """The same for a file of results."""
        body = {"length": len(self.body), "sha256": hashlib.sha256(self.body).hexdigest()}
        return {"status": self.status, "reason": self.reason, "fields": self.fields, "body": body, "framing": self.framing,
                "interim": self.interim, "error": self.error}


class Connection:
    def __init__(self, port, tls=None, timeout=20):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket, server_hostname=tls)
        self.reader = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data)

    def read(self, method="GET", body=b""):
        """The next response, interim ones before it noted in it. `body` is what is sent when 100 comes."""
        answer = Answer()
        try:
            while True:
                self.read_head(answer)
                if answer.status >= 200 or answer.status == 101:
                    break
                answer.interim.append(answer.status)
                if answer.status == 100:
                    self.send(body)
            self.read_body(answer, method)
        except (OSError, ValueError, http.client.HTTPException) as error:
            answer.error = "reset" if isinstance(error, ConnectionError) else str(error) or type(error).__name__
        return answer

    def read_head(self, answer):
        line = self.reader.readline(65536).decode("latin-1")
        if not line:
            raise ValueError("closed without an answer")
        found = re.fullmatch(r"(HTTP/\d\.\d) (\d{3}) ?(.*)\r\n", line)
        if not found:
            raise ValueError(f"not a status line: {line[:40]!r}")
        answer.version, answer.status, answer.reason = found[1], int(found[2]), found[3]
        answer.fields = []
        while (text := self.reader.readline(65536)) not in (b"\r\n", b""):
            name, _, value = text.decode("latin-1").rstrip("\r\n").partition(":")
            answer.fields.append((name, value.strip()))

    def read_body(self, answer, method):
        if method == "HEAD" or answer.status in (101, 204, 304):
            return
        if "chunked" in answer.get("transfer-encoding"):
            answer.framing = "chunked"
            while (size := self.chunk_size()):
                piece = self.reader.read(size)
                answer.body += piece
                if len(piece) < size:
                    raise ValueError("cut short")
                self.reader.readline()
            while self.reader.readline().strip():
                pass
        elif answer.get("content-length") != "-":
            answer.framing, length = "length", int(answer.get("content-length"))
            answer.body = self.reader.read(length)
            if len(answer.body) < length:
                raise ValueError("cut short")
        else:
            answer.framing = "close"
            answer.body = self.reader.read()

    def chunk_size(self):
        line = self.reader.readline(1024)
        if not line:
            raise ValueError("cut short")
        return int(line.split(b";")[0], 16)

    def ends(self, within=1.0):
        """Whether the server ends the connection now."""
        self.socket.settimeout(within)
        try:
            return self.reader.read(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True

    def close(self):
        self.reader.close()
        self.socket.close()
