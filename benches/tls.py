#!/usr/bin/env python3
"""TLS beside nginx on the same core: handshakes, and hits over connections that are kept.

Each server has one worker and core 0, wrk has core 1. `full` is a full TLS 1.3 handshake and one request of 1 KiB on
each connection, with session tickets off on both sides; `hit` is hits of 1 KiB over 64 kept connections, `hit16`
of 16 KiB, `hit1m` of 1 MiB over 16; `h2` is hits of 1 KiB over HTTP/2 with 16 streams on each of 4 connections (h2load),
`h2_16` of 16 KiB. Rounds alternate between the two,
and what counts is the median of the ratios within rounds.

Needs nginx, wrk, taskset, openssl, for `h2` h2load (nghttp2-client), and two cores that have nothing else to do.
"""

import argparse
import http.client
import json
import os
import re
import ssl
import statistics
import subprocess
import sys

import support

ROWS = ["full", "hit", "hit16", "hit1m", "h2", "h2_16"]

NGINX = """{user}
daemon off; master_process on; worker_processes 1; pid {dir}/tls.pid;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 300s; client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2;
  fastcgi_temp_path {dir}/t3; uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
  sendfile on; open_file_cache max=10000 inactive=1h; open_file_cache_valid 1h;
  proxy_cache_path {dir}/tls-cache levels=1:2 keys_zone=bench:16m inactive=1h;
  ssl_certificate {dir}/server.crt; ssl_certificate_key {dir}/server.key; ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_tickets off; ssl_session_cache off; http2_max_requests 1000000000;
  server {{
    listen 127.0.0.1:{port} ssl http2 backlog=4096;
    location / {{ proxy_pass http://127.0.0.1:{origin}; proxy_cache bench; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""

LARDER = """[server]
workers = 1
keepalive_requests = 1000000000
[zone.bench]
memory = "64m"
[[site]]
listen = "127.0.0.1:{port}"
{tls}[[site.route]]
path = "/"
proxy = "http://127.0.0.1:{origin}"
[site.route.cache]
zone = "bench"
[admin]
listen = "off"
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--larder", default=support.DEFAULT_LARDER, metavar="PATH", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--seconds", type=int, default=4, help="of each round; default: %(default)s")
    parser.add_argument("--key", choices=["rsa", "ecdsa"], default="ecdsa", help="of the certificate, 2048 bits or P-256; default: %(default)s")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    parser.add_argument("--json", action="store_true", help="all numbers instead of a table")
    args = parser.parse_args()
    support.need("nginx", "wrk", "taskset", "openssl", *(["h2load"] if {"h2", "h2_16"} & {*args.rows} else []))
    binary = support.larder_binary(args.larder)
    with support.Bench() as bench:
        origin = bench.origin(cpu=1)
        (bench.dir / "done.lua").write_text(support.DONE_LUA)
        support.make_certificate(bench, args.key)
        servers = {"larder": larder(bench, binary, origin.port), "nginx": nginx(bench, origin.port)}
        for name, (_, port) in servers.items():
            warm(name, port)
        results = {row: [] for row in args.rows}
        for row in args.rows:
            for number in range(args.rounds + 1):
                order = list(servers) if number % 2 else list(servers)[::-1]
                measured = {name: measure(bench, row, *servers[name], args.seconds if number else 1) for name in order}
                if number:  # the first is for warming up
                    results[row].append(measured)
    report(results, args)


def larder(bench, binary, origin):
    port = support.free_port()
    (bench.dir / "tls.toml").write_text(LARDER.format(port=port, origin=origin, tls=support.TLS))
    args = [support.program("taskset"), "-c", "0", binary, "serve", "-c", str(bench.dir / "tls.toml")]
    return bench.start_server(args, "larder", port).pid, port


def nginx(bench, origin):
    port = support.free_port()
    user = "user root root;" if os.geteuid() == 0 else ""
    (bench.dir / "tls.conf").write_text(NGINX.format(user=user, dir=bench.dir, port=port, origin=origin))
    args = [support.program("taskset"), "-c", "0", support.program("nginx"), "-p", str(bench.dir), "-e", str(bench.dir / "nginx-error.log"),
            "-c", str(bench.dir / "tls.conf")]
    return bench.start_server(args, "nginx", port).pid, port


def warm(name, port):
    """Both answers are stored, and a handshake is a full one of TLS 1.3."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for _ in range(2):
        for path, length in ((PATHS["hit"], 1024), (PATHS["hit16"], 16384), (PATHS["hit1m"], 1 << 20)):
            connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200 or len(body) != length or connection.sock and connection.sock.version() != "TLSv1.3":
                support.fail(f"{name} answers {answer.status} with {len(body)} bytes")
            connection.close()


PATHS = {"full": "/1k", "hit": "/1k", "hit16": "/16384/a", "hit1m": "/1048576/a", "h2": "/1k", "h2_16": "/16384/a"}


def measure(bench, row, pid, port, seconds):
    cpu = support.cpu_seconds(pid)
    path = PATHS[row]
    if row.startswith("h2"):
        result = h2load(port, path, seconds)
    else:
        closing = ["-H", "Connection: close"] if row == "full" else []
        wrk = subprocess.run(
            [support.program("taskset"), "-c", "1", support.program("wrk"), "-t1", f"-c{16 if row == 'hit1m' else 64}", f"-d{seconds}s", *closing,
             "-s", str(bench.dir / "done.lua"), f"https://127.0.0.1:{port}{path}"],
            capture_output=True, text=True)
        result = support.wrk_result(wrk.stdout + wrk.stderr)
    cpu = support.cpu_seconds(pid) - cpu
    if not result["requests"]:
        support.fail(f"{row}: no requests were answered on port {port}: {result}")
    return {"rate": result["requests"] / result["duration_us"] * 1e6, "cpu_us": cpu / result["requests"] * 1e6, "errors": result["errors"]}


def h2load(port, path, seconds):
    run = subprocess.run(
        [support.program("taskset"), "-c", "1", support.program("h2load"), "-c4", "-m16", "-t1", f"-D{seconds}", f"https://127.0.0.1:{port}{path}"],
        capture_output=True, text=True)
    found = re.search(r"requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", run.stdout)
    if not found or "Application protocol: h2" not in run.stdout:
        support.fail(f"h2load said:\n{run.stdout}{run.stderr}")
    succeeded, *bad = map(int, found.groups())
    # Streams under way when time is up count as failed; more than those are errors.
    return {"requests": succeeded, "duration_us": seconds * 1e6, "errors": max(0, sum(bad) - 4 * 16)}


def report(results, args):
    rows = {}
    for row, rounds in results.items():
        ratios = {key: [r["larder"][key] / r["nginx"][key] for r in rounds if r["nginx"][key]] for key in ("rate", "cpu_us")}
        rows[row] = {"medians": {name: {key: statistics.median(r[name][key] for r in rounds) for key in ("rate", "cpu_us")} for name in ("larder", "nginx")},
                     "ratios": {key: {"median": statistics.median(values), "min": min(values), "max": max(values)} for key, values in ratios.items()},
                     "errors": sum(r[name]["errors"] for r in rounds for name in r)}
    if args.json:
        return print(json.dumps(rows, indent=2))
    print(f"{args.key} certificate; medians of {args.rounds} rounds of {args.seconds} s\n")
    print("| row | Larder/s | nginx/s | ratio | Larder CPU us | nginx CPU us | ratio | errors |\n| --- | --- | --- | --- | --- | --- | --- | --- |")
    for row, told in rows.items():
        one, other = told["medians"]["larder"], told["medians"]["nginx"]
        rate, cpu = told["ratios"]["rate"], told["ratios"]["cpu_us"]
        print(f"| {row} | {one['rate']:,.0f} | {other['rate']:,.0f} | {rate['median']:.2f} ({rate['min']:.2f} to {rate['max']:.2f}) "
              f"| {one['cpu_us']:.1f} | {other['cpu_us']:.1f} | {cpu['median']:.2f} ({cpu['min']:.2f} to {cpu['max']:.2f}) | {told['errors']} |")
    if any(told["errors"] for told in rows.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
