#!/usr/bin/env python3
"""CPU per proxied request: weft's ingress, nginx and HAProxy, in turn, on the loopback of a network namespace of its own.

Usage (root): run.py PATH_OF_IngressBenchmark [ROUNDS=3] [SECONDS=4] [MODE,MODE]
Modes: h1 (64 connections), h1-8 (8), tls (64, TLS 1.3), h2 (TLS, 8 connections with 8 streams each), handshake (a full one for
each request). Processor 0 runs the proxy with one worker, processor 1 the load generator (wrk, h2load) and the endpoint. The
namespace and every process started here are gone afterwards. Exit code 1 when the better peer needs less CPU time in a mode, or ours
more than 25 MiB.
"""
import os, re, statistics, subprocess, sys, tempfile, time

NAMESPACE = f"weft-bench-{os.getpid()}"
ENDPOINT, WEFT, NGINX, HAPROXY = 18080, 18081, 18082, 18083
SECURE = 100  # above the plain port
HERE = os.path.dirname(os.path.abspath(__file__))

NGINX_CONFIG = """
worker_processes 1; daemon off; pid {dir}/pid; error_log {dir}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; tcp_nodelay on;
  client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c; uwsgi_temp_path {dir}/d;
  scgi_temp_path {dir}/e;
  upstream endpoints {{ server 127.0.0.1:{endpoint}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    listen 127.0.0.1:{secure} ssl http2;
    ssl_certificate {dir}/chain.pem; ssl_certificate_key {dir}/key.pem; ssl_protocols TLSv1.2 TLSv1.3;
    location / {{
      proxy_pass http://endpoints; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Request-ID $request_id; proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Host $host;
      proxy_set_header X-Forwarded-Port $server_port; proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Scheme $scheme; proxy_set_header X-Scheme $scheme;
    }}
  }}
}}
"""

HAPROXY_CONFIG = """
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend clients
  bind 127.0.0.1:{port}
  bind 127.0.0.1:{secure} ssl crt {dir}/both.pem alpn h2,http/1.1
  http-request set-header X-Request-ID %[uuid]
  http-request set-header X-Real-IP %[src]
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Port %[dst_port]
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Scheme http
  http-request set-header X-Scheme http
  default_backend endpoints
backend endpoints
  server endpoint 127.0.0.1:{endpoint}
"""


def inside(*command, processor=None, **options):
    pin = ["taskset", "-c", str(processor)] if processor is not None else []
    return subprocess.Popen(["ip", "netns", "exec", NAMESPACE, *pin, *command], **options)


def family(pid):
    found = [pid]
    for task in os.listdir(f"/proc/{pid}/task"):
        for child in open(f"/proc/{pid}/task/{task}/children").read().split():
            found += family(int(child))
    return found


def processor_nanoseconds(pid):
    """Nanoseconds on a processor of a process, its threads and its children."""
    total = 0
    for member in family(pid):
        for task in os.listdir(f"/proc/{member}/task"):
            total += int(open(f"/proc/{member}/task/{task}/schedstat").read().split()[0])
    return total


def resident_kib(pid):
    return sum(int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{m}/status").read())[1]) for m in family(pid))


def busy_ticks(processor):
    for line in open("/proc/stat"):
        if line.startswith(f"cpu{processor} "):
            values = [int(v) for v in line.split()[1:9]]
            return sum(values) - values[3] - values[4]


def wrk(url, connections, seconds, *more):
    out = inside("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", *more, url,
                 processor=1, stdout=subprocess.PIPE, text=True).communicate(timeout=seconds + 20)[0]
    if re.search(r"Socket errors: connect [1-9]|Non-2xx", out):
        raise SystemExit(f"errors under load:\n{out}")
    latency = {k: re.search(rf"\s{k}%\s+(\S+)", out)[1] for k in ("50", "99")}
    return int(re.search(r"(\d+) requests in", out)[1]), float(re.search(r"Requests/sec:\s+(\S+)", out)[1]), latency


def h2load(url, seconds):
    out = inside("timeout", "-s", "INT", str(seconds + 10), "h2load", "-t1", "-c8", "-m8", "-D", str(seconds), url,
                 processor=1, stdout=subprocess.PIPE, text=True).communicate(timeout=seconds + 20)[0]
    counts = re.search(r"(\d+) succeeded, (\d+) failed", out)
    if not counts or counts[2] != "0":
        raise SystemExit(f"errors under load:\n{out}")
    mean = re.search(r"time for request:\s+\S+\s+\S+\s+(\S+)", out)[1]
    return int(counts[1]), float(re.search(r"([\d.]+) req/s", out)[1]), {"50": mean, "99": "-"}


MODES = {
    "h1": lambda port, seconds: wrk(f"http://127.0.0.1:{port}/", 64, seconds),
    "h1-8": lambda port, seconds: wrk(f"http://127.0.0.1:{port}/", 8, seconds),
    "tls": lambda port, seconds: wrk(f"https://127.0.0.1:{port + SECURE}/", 64, seconds),
    "h2": lambda port, seconds: h2load(f"https://127.0.0.1:{port + SECURE}/", seconds),
    "handshake": lambda port, seconds: wrk(
        f"https://127.0.0.1:{port + SECURE}/", 64, seconds, "-H", "Connection: close"),
}


def measure(name, port, pid, mode, seconds):
    before, ticks, start = processor_nanoseconds(pid), busy_ticks(0), time.time()
    count, rate, latency = MODES[mode](port, seconds)
    used = processor_nanoseconds(pid) - before
    foreign = (busy_ticks(0) - ticks) / os.sysconf("SC_CLK_TCK") - used / 1e9
    row = dict(name=name, mode=mode, microseconds=used / 1e3 / count, rate=rate, latency=latency,
               foreign=max(0, foreign) / (time.time() - start), rss=resident_kib(pid))
    print(f"{mode:9} {name:8} {row['microseconds']:7.2f} us/request  {rate:8.0f} req/s  p50 {latency['50']} "
          f"p99 {latency['99']}  foreign load {row['foreign']:.0%}  rss {row['rss']} KiB", flush=True)
    return row


def main():
    binary, rounds, seconds = sys.argv[1], int((sys.argv[2:] or [3])[0]), int((sys.argv[3:] or [4])[0])
    modes = sys.argv[4].split(",") if len(sys.argv) > 4 else list(MODES)
    rows, started = [], []
    with tempfile.TemporaryDirectory() as work:
        subprocess.run(["cc", "-O2", "-o", f"{work}/backend", f"{HERE}/backend.c"], check=True)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                        "30", "-subj", "/CN=localhost", "-keyout", f"{work}/key.pem", "-out", f"{work}/chain.pem"],
                       check=True, stderr=subprocess.DEVNULL)
        open(f"{work}/both.pem", "w").write(open(f"{work}/chain.pem").read() + open(f"{work}/key.pem").read())
        for name, text, port in (("nginx.conf", NGINX_CONFIG, NGINX), ("haproxy.cfg", HAPROXY_CONFIG, HAPROXY)):
            open(f"{work}/{name}", "w").write(text.format(dir=work, endpoint=ENDPOINT, port=port, secure=port + SECURE))
        os.chmod(work, 0o755)
        subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
        try:
            subprocess.run(["ip", "-n", NAMESPACE, "link", "set", "lo", "up"], check=True)
            started.append(inside(f"{work}/backend", str(ENDPOINT), processor=1))
            proxies = {
                "weft": (WEFT, inside(binary, f"127.0.0.1:{WEFT}", f"127.0.0.1:{ENDPOINT}", "1",
                                      f"127.0.0.1:{WEFT + SECURE}", f"{work}/chain.pem", f"{work}/key.pem", processor=0)),
                "nginx": (NGINX, inside("nginx", "-c", f"{work}/nginx.conf", processor=0)),
                "haproxy": (HAPROXY, inside("haproxy", "-db", "-f", f"{work}/haproxy.cfg", processor=0)),
            }
            started += [process for _, process in proxies.values()]
            for port, _ in proxies.values():
                for _ in range(50):
                    if inside("curl", "-sfo", "/dev/null", f"http://127.0.0.1:{port}/").wait() == 0:
                        break
                    time.sleep(0.1)
            for _ in range(rounds):
                for mode in modes:
                    for name, (port, process) in proxies.items():
                        rows.append(measure(name, port, process.pid, mode, seconds))
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait()
            subprocess.run(["ip", "netns", "del", NAMESPACE])
    print("\n| mode | proxy | CPU us/request, median (best) | req/s, median | RSS MiB | foreign load |\n|---|---|--:|--:|--:|--:|")
    for mode in modes:
        for name in proxies:
            mine = [r for r in rows if r["name"] == name and r["mode"] == mode]
            cpu = [r["microseconds"] for r in mine]
            print(f"| {mode} | {name} | {statistics.median(cpu):.2f} ({min(cpu):.2f}) | "
                  f"{statistics.median(r['rate'] for r in mine):,.0f} | {max(r['rss'] for r in mine) / 1024:.1f} | "
                  f"{statistics.median(r['foreign'] for r in mine):.0%} |")
    print()
    held = [judge(rows, mode) for mode in modes]
    held.append(verdict("memory under load, MiB", max(r["rss"] for r in rows if r["name"] == "weft") / 1024, 25))
    sys.exit(0 if all(held) else 1)


def verdict(name, figure, bar):
    print(f"{'pass' if figure <= bar else 'FAIL'}  {name}: {figure:.2f} (at most {bar:.2f})")
    return figure <= bar


def judge(rows, mode):
    """Beside the better of the two peers: the CPU time of a request."""
    middle = {name: statistics.median(r["microseconds"] for r in rows if r["name"] == name and r["mode"] == mode)
              for name in ("weft", "nginx", "haproxy")}
    return verdict(f"{mode}, CPU us a request", middle["weft"], min(middle["nginx"], middle["haproxy"]))


main()
