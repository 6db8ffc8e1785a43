"""first.py SERVER PORT COUNT: milliseconds from the start of the process to its first right answer."""
import os
import socket
import struct
import subprocess
import sys
import time

program, port, count = sys.argv[1], int(sys.argv[2]), sys.argv[3]
os.sched_setaffinity(0, {1})
name = b"".join(bytes([len(label)]) + label for label in b"svc-9.ns-9.svc.cluster.local".split(b".")) + b"\0"
query = struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + name + struct.pack(">2H", 1, 1)
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(("127.0.0.1", port))
client.settimeout(0.002)
start = time.monotonic()
server = subprocess.Popen(["taskset", "-c", "0", program, str(port), count], stdout=subprocess.DEVNULL)
try:
    while time.monotonic() < start + 30:
        try:
            client.send(query)
            reply = client.recv(2000)
        except OSError:
            time.sleep(0.001)
            continue
        if struct.unpack(">H", reply[6:8])[0] > 0:
            print(round((time.monotonic() - start) * 1000))
            break
    else:
        print(30000)
finally:
    server.kill()
    server.wait()
