"""Bytes and connections through `weft proxy --mode userspace`, beside HAProxy or nginx where there is one, and without any relay.

Everything runs in one network namespace on loopback, in turns, so that a slow minute hits all alike. CPU time is the relay's own.
"""
import os, pathlib, shutil, signal, statistics, subprocess, sys, tempfile, time

weft, load = sys.argv[1:3]
ROUNDS = int(os.environ.get("ROUNDS", "5"))
STREAMS, MEBIBYTES = 4, int(os.environ.get("MEBIBYTES", "512"))
CLIENTS, SECONDS = 8, float(os.environ.get("SECONDS_EACH", "2"))
TICK = os.sysconf("SC_CLK_TCK")
END, NODE = "10.42.0.11", "192.168.50.1"

SERVICES = f"""
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: demo}}
spec: {{type: NodePort, clusterIP: 10.43.0.10, ports: [{{name: http, port: 80, nodePort: 30080}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, namespace: demo, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: http, port: 8080, protocol: TCP}}]
endpoints: [{{addresses: [{END}], conditions: {{ready: true}}}}]
"""
HAPROXY = f"""
global
  maxconn 4000
  nbthread 2
defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option splice-auto
frontend web
  bind {NODE}:30081
  default_backend web
backend web
  server one {END}:8080
"""
NGINX = f"""
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
worker_processes 2;
daemon off;
events {{ worker_connections 8192; }}
stream {{ server {{ listen {NODE}:30081 reuseport backlog=4096; proxy_pass {END}:8080; tcp_nodelay on; }} }}
"""


def run(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def peer(folder):
    """The relay beside ours: its name and how it is started; None when there is none."""
    if shutil.which("haproxy"):
        (folder / "haproxy.cfg").write_text(HAPROXY)
        return "haproxy", ["haproxy", "-f", str(folder / "haproxy.cfg"), "-db"]
    if shutil.which("nginx") and os.path.exists("/usr/lib/nginx/modules/ngx_stream_module.so"):
        (folder / "nginx.conf").write_text(f"pid {folder}/nginx.pid; error_log {folder}/nginx.log;" + NGINX)
        return "nginx", ["nginx", "-c", str(folder / "nginx.conf")]
    return None


def family(pid):
    """A process and what it started."""
    found = [pid]
    for each in found:
        for task in pathlib.Path(f"/proc/{each}/task").glob("*/children"):
            found += [int(word) for word in task.read_text().split()]
    return found


def cpu(pid):
    total = 0
    for each in family(pid):
        fields = pathlib.Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def memory(pid):
    total = 0
    for each in family(pid):
        for line in pathlib.Path(f"/proc/{each}/status").read_text().splitlines():
            if line.startswith("VmHWM"): total += int(line.split()[1])
    return total / 1024


def measure(host, port, pid):
    before = cpu(pid) if pid else 0
    seconds = float(run(load, "bulk", host, str(port), str(STREAMS), str(MEBIBYTES)))
    middle = cpu(pid) if pid else 0
    gigabytes = STREAMS * MEBIBYTES * 1048576 / 1e9
    count, elapsed = run(load, "connects", host, str(port), str(CLIENTS), str(SECONDS)).split()
    after = cpu(pid) if pid else 0
    count = int(count)
    return {
        "GB/s": gigabytes / seconds, "CPU s/GB": (middle - before) / gigabytes,
        "connects/s": count / float(elapsed), "CPU us/connect": (after - middle) / max(count, 1) * 1e6,
    }


def metric(name):
    import urllib.request
    text = urllib.request.urlopen("http://127.0.0.1:10249/metrics", timeout=5).read().decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="weft-userspace-"))
    (folder / "manifests").mkdir()
    (folder / "manifests" / "services.yaml").write_text(SERVICES)
    for words in (["link", "set", "lo", "up"], ["addr", "add", f"{END}/32", "dev", "lo"], ["addr", "add", f"{NODE}/32", "dev", "lo"]):
        run("ip", *words)
    # Closed connections must not use the ports of loopback up.
    run("sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1", "net.ipv4.ip_local_port_range=10000 29999")
    started = [subprocess.Popen([load, "serve", END, "8080"])]
    ways = {"direct": (END, 8080, None)}
    try:
        ours = subprocess.Popen(
            [weft, "proxy", "--mode", "userspace", "--manifests", str(folder / "manifests"), "--healthz", "none"],
            stdout=subprocess.DEVNULL, stderr=open(folder / "weft.log", "w"))
        started.append(ours)
        ways["weft"] = (NODE, 30080, ours.pid)
        beside = peer(folder)
        if beside:
            process = subprocess.Popen(beside[1], stdout=subprocess.DEVNULL, stderr=open(folder / "peer.log", "w"))
            started.append(process)
            ways[beside[0]] = (NODE, 30081, process.pid)
        for host, port, _ in ways.values():
            for _ in range(200):
                if subprocess.run([load, "bulk", host, str(port), "1", "1"], capture_output=True).returncode == 0: break
                time.sleep(0.05)
            else: sys.exit(f"{host}:{port} does not answer: " + "\n".join(log.read_text()[-2000:] for log in folder.glob("*.log")))
        rounds = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, way in ways.items(): rounds[name].append(measure(*way))
        middle = {name: {key: statistics.median(each[key] for each in list_) for key in list_[0]} for name, list_ in rounds.items()}
        print(f"{'':8}" + "".join(f"{key:>16}" for key in middle["direct"]) + f"{'peak MB':>10}")
        for name, values in middle.items():
            pid = ways[name][2]
            print(f"{name:8}" + "".join(f"{value:16.3f}" for value in values.values()) + (f"{memory(pid):10.1f}" if pid else f"{'-':>10}"))
        spliced, copied = metric("weft_proxy_userspace_spliced_bytes_total"), metric("weft_proxy_userspace_pieces_copied_total")
        isSpliced = spliced > ROUNDS * STREAMS * MEBIBYTES * 1048576 and copied == 0
        failures = 0
        def judge(claim, holds, figure):
            nonlocal failures
            failures += not holds
            print(f"{'pass' if holds else 'FAIL'} {claim}: {figure}")
        judge("every byte of TCP is spliced, none copied", isSpliced, f"{spliced / 1e9:.1f} GB, {copied:.0f} pieces copied")
        if beside:
            us, them = middle["weft"], middle[beside[0]]
            ratio = us["CPU s/GB"] / max(them["CPU s/GB"], 1e-9)
            judge(f"no more CPU a gigabyte than {beside[0]}", ratio <= 1.0, f"{ratio:.2f} of it")
            ratio = us["CPU us/connect"] / max(them["CPU us/connect"], 1e-9)
            judge(f"no more CPU a connection than {beside[0]}", ratio <= 1.0, f"{ratio:.2f} of it")
            ratio = us["connects/s"] / them["connects/s"]
            judge(f"as many connections a second as {beside[0]}", ratio >= 0.95, f"{ratio:.2f} of it")
        else:
            ratio = middle["weft"]["GB/s"] / middle["direct"]["GB/s"]
            judge("a quarter of the bytes a second without any relay", ratio >= 0.25, f"{ratio:.2f} of it")
        return 1 if failures and os.environ.get("STRICT") else 0
    finally:
        for process in started: process.send_signal(signal.SIGTERM)
        for process in started:
            try: process.wait(10)
            except subprocess.TimeoutExpired: process.kill()
        shutil.rmtree(folder, ignore_errors=True)


sys.exit(main())
