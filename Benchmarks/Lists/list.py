"""Lists pods and says what each list cost the server's process; then lets OpenSSL send the same bytes."""
import glob
import http.client
import os
import socket
import ssl
import sys
import tempfile
import subprocess

port, token, pid, lists = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
context = ssl._create_unverified_context()


def used(pid):
    """Milliseconds of processor that all threads have used."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        with open(path) as file:
            total += int(file.read().split()[0])
    return total / 1e6


connection = http.client.HTTPSConnection("127.0.0.1", port, context=context)


def get():
    connection.request("GET", "/api/v1/pods", headers={"authorization": f"Bearer {token}"})
    return connection.getresponse().read()


body = get()
costs = []
for _ in range(lists):
    before = used(pid)
    size = len(get())
    costs.append(used(pid) - before)
costs.sort()

# The limit: a process that does nothing but encrypt the same bytes and send them.
folder = tempfile.mkdtemp()
subprocess.run(
    ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
     "-subj", "/CN=limit", "-keyout", f"{folder}/key", "-out", f"{folder}/certificate"],
    check=True, capture_output=True)
listener = socket.create_server(("127.0.0.1", 0))
child = os.fork()
if child == 0:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(f"{folder}/certificate", f"{folder}/key")
    plain, _ = listener.accept()
    with server.wrap_socket(plain, server_side=True) as channel:
        while channel.recv(1):
            channel.sendall(body)
    os._exit(0)
limits = []
with context.wrap_socket(socket.create_connection(listener.getsockname())) as channel:
    for _ in range(lists):
        before = used(child)
        channel.sendall(b"x")
        left = len(body)
        while left > 0:
            left -= len(channel.recv(1 << 18))
        limits.append(used(child) - before)
os.waitpid(child, 0)
for name in ("key", "certificate"):
    os.remove(f"{folder}/{name}")
os.rmdir(folder)
limits.sort()
middle = costs[len(costs) // 2]
print(f"{size / 1e6:.1f} MB a list; the server's processor: least {costs[0]:.1f}, median {middle:.1f} ms; "
      f"the same bytes from memory through OpenSSL: {limits[len(limits) // 2]:.1f} ms")
print(f"result {middle:.2f}")
