#!/usr/bin/env python3
"""services.py KUBECONFIG COUNT: makes so many Services with two endpoints each, by several connections at once."""
import base64
import http.client
import json
import re
import ssl
import sys
import tempfile
import threading

config = open(sys.argv[1]).read()
count = int(sys.argv[2])
server = re.search(r"server: *\"?https://([^\s\"]+)", config).group(1)


def part(name):
    file = tempfile.NamedTemporaryFile(delete=False)
    file.write(base64.b64decode(re.search(name + r": *\"?([A-Za-z0-9+/=]+)", config).group(1)))
    file.close()
    return file.name


context = ssl.create_default_context(cafile=part("certificate-authority-data"))
context.load_cert_chain(part("client-certificate-data"), part("client-key-data"))
failures = []


def make(first, step):
    connection = http.client.HTTPSConnection(server, context=context)

    def post(path, body):
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status not in (201, 409):
            failures.append(text)

    for n in range(first, count, step):
        space, name = f"many-{n % 20}", f"service-{n}"
        post(f"/api/v1/namespaces/{space}/services", {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}})
        post(f"/apis/discovery.k8s.io/v1/namespaces/{space}/endpointslices", {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}}, "ports": [{"port": 8080}],
            "endpoints": [{"addresses": [f"10.99.{n // 250}.{n % 250 + 1}"]}, {"addresses": [f"10.98.{n // 250}.{n % 250 + 1}"]}]})


connection = http.client.HTTPSConnection(server, context=context)
for space in range(20):
    connection.request("POST", "/api/v1/namespaces", json.dumps(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"many-{space}"}}), {"content-type": "application/json"})
    connection.getresponse().read()
threads = [threading.Thread(target=make, args=(n, 8)) for n in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if failures:
    sys.exit(f"{len(failures)} failed: {failures[0][:300]}")
