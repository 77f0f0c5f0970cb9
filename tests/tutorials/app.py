"""A web application to put a proxy in front of: tells what it was asked, and by whom."""

import http.server
import json
import socket
import ssl
import sys
import time


class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "app"
    name = "app"

    def do_GET(self):
        if self.path.startswith("/missing"):
            return self.answer(404, "text/plain", b"no such page\n")
        if self.path.startswith("/redirect"):
            host, port = self.server.server_address[:2]
            return self.answer(302, "text/plain", b"", [("Location", f"http://{host}:{port}/there")])
        if self.path.startswith("/events"):
            return self.events()
        if self.path.startswith("/page"):
            return self.answer(200, "text/html", b"<p>a page that compresses well</p>\n" * 200)
        seen = {"app": self.name, "method": self.command, "path": self.path, "fields": dict(self.headers)}
        self.answer(200, "application/json", json.dumps(seen).encode(), [("X-Powered-By", "python")])

    do_POST = do_GET

    def events(self):
        """Server-Sent Events, one in half a second."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for number in range(3):
            self.wfile.write(f"data: {number} {time.time():.3f}\n\n".encode())
            self.wfile.flush()
            time.sleep(0.5)
        self.close_connection = True

    def answer(self, status, kind, body, fields=()):
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in fields:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    """app.py HOST PORT NAME [CERTIFICATE KEY]"""
    host, port, App.name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    http.server.ThreadingHTTPServer.request_queue_size = 512
    server = http.server.ThreadingHTTPServer((host, port), App)
    server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if len(sys.argv) > 4:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[4], sys.argv[5])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
