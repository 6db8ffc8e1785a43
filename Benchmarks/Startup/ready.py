"""Starts a server and prints the seconds until /readyz said ok over TLS: ready.py PORT PID-FILE COMMAND…"""
import http.client
import ssl
import subprocess
import sys
import time

port, pid_file, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
context = ssl._create_unverified_context()
started = time.perf_counter()
process = subprocess.Popen(
    command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
with open(pid_file, "w") as file:
    file.write(str(process.pid))
while time.perf_counter() - started < 20:
    try:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=1, context=context)
        connection.request("GET", "/readyz")
        if connection.getresponse().read() == b"ok":
            print(f"{time.perf_counter() - started:.3f}")
            break
    except OSError:
        pass
    time.sleep(0.002)
else:
    print("20")
