"""first.py PORT COMMAND...: from the start of a server to its first right answer for svc-9.ns-9.svc.cluster.local, in milliseconds,
and what it holds in memory a second later and held at most, in MB. 30,000 and zeros when none comes within half a minute. It is asked
once a millisecond: a client that asks again as soon as SERVFAIL comes takes a third of the processor that reads the cluster."""
import os
import socket
import struct
import subprocess
import sys
import time

port, command = int(sys.argv[1]), sys.argv[2:]
os.sched_setaffinity(0, {1})
name = b"".join(bytes([len(label)]) + label for label in b"svc-9.ns-9.svc.cluster.local".split(b".")) + b"\0"
query = struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + name + struct.pack(">2H", 1, 1)
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(("127.0.0.1", port))
client.settimeout(0.002)
start = time.monotonic()
server = subprocess.Popen(["taskset", "-c", "0"] + command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
milliseconds, resident, peak = 30000, 0, 0
try:
    while time.monotonic() < start + 30 and server.poll() is None:
        try:
            client.send(query)
            reply = client.recv(2000)
        except OSError:
            time.sleep(0.001)
            continue
        if struct.unpack(">H", reply[6:8])[0] > 0:
            milliseconds = round((time.monotonic() - start) * 1000)
            break
        time.sleep(0.001)
    if milliseconds < 30000:
        time.sleep(1)
        for line in open(f"/proc/{server.pid}/status"):
            if line.startswith("VmRSS"):
                resident = int(line.split()[1]) / 1000
            if line.startswith("VmHWM"):
                peak = int(line.split()[1]) / 1000
    print(milliseconds, round(resident, 1), round(peak, 1))
finally:
    server.kill()
    server.wait()
