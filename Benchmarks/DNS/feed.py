"""feed.py FOLDER COUNT PORT: COUNT Services with three endpoints each, as a cluster publishes them with all their fields: one list in
FOLDER/manifests/all.json, FOLDER/kubeconfig, and lists and watches of them on 127.0.0.1:PORT until it is killed."""
import http.server
import json
import os
import sys
import urllib.parse

folder, count, port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def meta(name, namespace, number, **more):
    return {
        "name": name, "namespace": namespace, "uid": f"0b9d2c1e-0000-4000-8000-{number:012d}",
        "creationTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": str(number + 1), **more,
    }


services, slices = [], []
for n in range(count):
    name, namespace, block = f"svc-{n}", f"ns-{n % 10}", f"{n // 250 % 250}.{n % 250 + 1}"
    services.append({
        "apiVersion": "v1", "kind": "Service", "metadata": meta(name, namespace, n, labels={"app": name}),
        "spec": {
            "clusterIP": f"10.43.{block}", "clusterIPs": [f"10.43.{block}"], "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
            "sessionAffinity": "None", "type": "ClusterIP",
        }, "status": {"loadBalancer": {}},
    })
    slices.append({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": meta(
            f"{name}-x7k2p", namespace, count + n, generateName=f"{name}-",
            labels={
                "kubernetes.io/service-name": name,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            }, annotations={"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z"}),
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{
            "addresses": [f"10.{100 + k}.{block}"], "nodeName": f"node-{n % 100}.example",
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": {
                "kind": "Pod", "name": f"{name}-7d9f8c6b5d-{k}abcd", "namespace": namespace,
                "uid": f"2b9d2c1e-0000-4000-800{k}-{n:012d}",
            },
        } for k in range(3)],
    })
namespaces = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"ns-{n}", "resourceVersion": str(n + 1)}}
    for n in range(10)
]
os.makedirs(f"{folder}/manifests", exist_ok=True)
with open(f"{folder}/manifests/all.json", "w") as file:
    json.dump({"apiVersion": "v1", "items": namespaces + services + slices, "kind": "List"}, file)
with open(f"{folder}/kubeconfig", "w") as file:
    json.dump({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {"token": "none"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }, file)

last = {"resourceVersion": str(2 * count + 20), "annotations": {"k8s.io/initial-events-end": "true"}}
streams = {}
for kind, objects in (("namespaces", namespaces), ("services", services), ("endpointslices", slices)):
    lines = [json.dumps({"type": "ADDED", "object": item}) for item in objects]
    lines.append(json.dumps({"type": "BOOKMARK", "object": {"metadata": last}}))
    streams[kind] = ("\n".join(lines) + "\n").encode()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        stream = streams.get(url.path.split("/")[-1])
        if stream is None or "watch=true" not in url.query:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        if "sendInitialEvents=true" in url.query:
            self.wfile.write(stream)
        self.rfile.read(1)  # Until the other side goes.


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


print("ready", flush=True)
Server(("127.0.0.1", port), Handler).serve_forever()
