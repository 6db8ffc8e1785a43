"""Objects for benchmarks, created over one connection: objects.py PORT TOKEN configmaps|pods COUNT"""
import http.client
import json
import ssl
import sys

port, token, kind, count = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
connection = http.client.HTTPSConnection("127.0.0.1", port, context=ssl._create_unverified_context())


def pod(number):
    probe = {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 10}
    container = {
        "name": "web", "image": "registry.example/shop/web:1.42.7",
        "args": ["--listen=:8080", "--config=/etc/web/web.yaml"],
        "ports": [{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9102}],
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "LOG_LEVEL", "value": "info"}],
        "resources": {"limits": {"cpu": "500m", "memory": "256Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/web"}],
        "livenessProbe": probe, "readinessProbe": probe,
    }
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": f"web-7d4b9c8f6d-{number:05}", "labels": {"app": "web", "tier": "frontend"},
                     "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "9102"}},
        "spec": {"nodeName": "node-a", "containers": [container],
                 "volumes": [{"name": "config", "configMap": {"name": "web-config"}}]},
    }


def config_map(number):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"bench-{number:06}"},
            "data": {"value": "x" * 900}}


def post(path, body):
    connection.request("POST", path, json.dumps(body), headers)
    response = connection.getresponse()
    text = response.read()
    if response.status != 201:
        sys.exit(f"{path}: {response.status} {text[:300]!r}")


if kind == "pods":
    post("/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a"}})
for number in range(count):
    post(f"/api/v1/namespaces/default/{kind}", pod(number) if kind == "pods" else config_map(number))
