"""Route edits under load: edits.py API_URL TOKEN INGRESS_PORT METRICS_PORT ENDPOINT_PORT PACED_PROGRAM [EDITS] [PER_SECOND] [SOCKETS]

The endpoint's Service and an Ingress are made, WebSockets opened, and the load measured twice: quiet, and while the Ingress is
edited through the API one time after the other. Prints a line for each promise; exit code 1 when one is missed."""
import http.client, json, os, socket, ssl, subprocess, sys, threading, time
from urllib.parse import urlsplit

api, token, port, metrics, endpoint, paced = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6]), sys.argv[6]
edits, rate, sockets = (int(word) for word in (sys.argv[7:] + ["1000", "2000", "200"][len(sys.argv) - 7:]))
PAUSE = 0.02
HOST = "edits.test"


class API:
    def __init__(self):
        parts = urlsplit(api)
        self.connection = http.client.HTTPSConnection(
            parts.hostname, parts.port, context=ssl._create_unverified_context(), timeout=30)

    def ask(self, method, path, body, kind="application/json"):
        self.connection.request(method, path, json.dumps(body), {
            "Authorization": f"Bearer {token}", "Content-Type": kind})
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            sys.exit(f"{method} {path}: {answer.status} {text[:300]}")


def path(name):
    return {"path": name, "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}


def spec(edit):
    """The path of the load, and twenty of which one comes and one goes with each edit."""
    paths = [path("/load"), path("/ws")] + [path(f"/edit/{edit + index}") for index in range(20)]
    return {"ingressClassName": "weft", "rules": [{"host": HOST, "http": {"paths": paths}}]}


def make(server):
    named = lambda name, **more: {"metadata": {"name": name, "namespace": "default", **more}}
    server.ask("POST", "/apis/networking.k8s.io/v1/ingressclasses", {
        "metadata": {"name": "weft"}, "spec": {"controller": "weft.dev/ingress"}})
    server.ask("POST", "/api/v1/namespaces/default/services", {
        **named("web"), "spec": {"ports": [{"port": 80, "targetPort": endpoint}]}})
    server.ask("POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", {
        **named("web-1", labels={"kubernetes.io/service-name": "web"}), "addressType": "IPv4",
        "ports": [{"port": endpoint, "protocol": "TCP"}], "endpoints": [{"addresses": [address()]}]})
    server.ask("POST", "/apis/networking.k8s.io/v1/namespaces/default/ingresses", {**named("web"), "spec": spec(0)})


def address():
    """This machine's, for endpoints on loopback are refused."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]


def get(name):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
        one.sendall(f"GET {name} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        return int(one.recv(4096)[9:12] or b"0")


def load(seconds):
    words = subprocess.run(
        [paced, str(port), HOST, "/load", str(rate), str(seconds), "64"], capture_output=True, text=True,
        check=True).stdout.split()
    return dict(zip(("requests", "failed", "p50", "p99", "longest"), map(int, words)))


def open_socket():
    one = socket.create_connection(("127.0.0.1", port), timeout=20)
    one.sendall(f"GET /ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        more = one.recv(1)
        if not more: sys.exit("a WebSocket was refused")
        head += more
    if b" 101 " not in head: sys.exit(f"a WebSocket was refused: {head[:100]}")
    return one


def broken(opened):
    """How many of them do not say back what they are told."""
    count = 0
    for one in opened:
        try:
            one.sendall(b"ping")
            got = b""
            while len(got) < 4:
                more = one.recv(4 - len(got))
                if not more: break
                got += more
            count += got != b"ping"
        except OSError:
            count += 1
    return count


def counter(name):
    with socket.create_connection(("127.0.0.1", metrics), timeout=20) as one:
        one.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        text = b""
        while more := one.recv(65536): text += more
    return sum(float(line.split()[-1]) for line in text.decode().splitlines() if line.startswith(name))


def verdict(promise, good, figures):
    print(f"{promise}: {figures} {'pass' if good else 'FAIL'}")
    return good


server = API()
make(server)
deadline = time.monotonic() + 30
while get("/load") != 200:
    if time.monotonic() > deadline: sys.exit("the route is not served")
    time.sleep(0.1)
opened = [open_socket() for _ in range(sockets)]
seconds = max(2, round(edits * PAUSE))
load(2)
quiet = load(seconds)
swaps = counter("weft_ingress_route_swaps_total")
busy = {}
worker = threading.Thread(target=lambda: busy.update(load(seconds)))
worker.start()
start, lost = time.monotonic(), 0
for edit in range(1, edits + 1):
    server.ask("PATCH", "/apis/networking.k8s.io/v1/namespaces/default/ingresses/web", {"spec": spec(edit)},
               "application/merge-patch+json")
    if edit % 100 == 0: lost = max(lost, broken(opened))
    time.sleep(max(0, start + edit * PAUSE - time.monotonic()))
editing = time.monotonic() - start
worker.join()
lost = max(lost, broken(opened))
swaps = counter("weft_ingress_route_swaps_total") - swaps
# From an edit that the API has taken to the first request that goes by it.
delays = []
for edit in range(edits + 1, edits + 51):
    server.ask("PATCH", "/apis/networking.k8s.io/v1/namespaces/default/ingresses/web", {"spec": spec(edit)},
               "application/merge-patch+json")
    begin = time.monotonic()
    while get(f"/edit/{edit + 19}") != 200: pass
    delays.append((time.monotonic() - begin) * 1000)
delays.sort()

print(f"{edits} edits in {editing:.1f} s, {swaps:.0f} tables put in force; {rate} requests a second, {sockets} WebSockets")
results = [
    verdict("no failed request", quiet["failed"] == busy["failed"] == 0,
            f"{quiet['failed']} of {quiet['requests']} quiet, {busy['failed']} of {busy['requests']} under edits"),
    verdict("no closed socket", lost == 0, f"{lost} of {sockets}"),
    verdict("p99 within 2 ms of quiet", busy["p99"] <= quiet["p99"] + 2000,
            f"{busy['p99']} us, quiet {quiet['p99']} us (p50 {busy['p50']}, {quiet['p50']}; longest {busy['longest']}, {quiet['longest']})"),
    verdict("an edit reaches requests within 10 ms", delays[len(delays) // 2] <= 10,
            f"p50 {delays[len(delays) // 2]:.1f} ms, longest {delays[-1]:.1f} ms from the API's answer"),
]
sys.exit(0 if all(results) else 1)
