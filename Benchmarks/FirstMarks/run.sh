#!/usr/bin/env bash
# Start-up time, idle memory and connect latency of `weft up`, in a network namespace made here. See README.md.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
bin=${WEFT_BIN_DIR:-$root/.build/release}
kubectl="$root/.tools/bin/kubectl"
tag=$$
node=weft-bench-$tag
data=/var/tmp/$node
run=/run/$node
pid=

in_node() { nsenter --net="/run/netns/$node" -- "$@"; }
stop() {
  if [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; then kill -INT "$pid"; wait "$pid" 2>/dev/null || true; fi
  pid=
}
cleanup() {
  stop
  in_node "$bin/weft" down --data-dir "$data" --run-dir "$run" 2>/dev/null || true
  ip netns del "$node" 2>/dev/null || true
  ip netns del "$node-out" 2>/dev/null || true
  rm -rf "$data" "$data.log" "$run"
}
trap cleanup EXIT

ip netns add "$node"
ip netns add "$node-out"
ip -n "$node" link set lo up
ip -n "$node" link add ext0 type veth peer name eth0 netns "$node-out"
ip -n "$node" addr add 172.31.98.1/24 dev ext0
ip -n "$node" link set ext0 up
ip -n "$node-out" addr add 172.31.98.2/24 dev eth0
ip -n "$node-out" link set eth0 up
ip -n "$node" route add default via 172.31.98.2

start() { # ARGS...: starts weft up; `ready` is the seconds until /readyz answered over TLS
  started=$(date +%s.%N)
  # No function and no subshell in between: the signal at the end must reach weft itself.
  nsenter --net="/run/netns/$node" -- "$bin/weft" up --data-dir "$data" --run-dir "$run" "$@" >"$data.log" 2>&1 &
  pid=$!
  ready=$(in_node python3 - "$started" <<'PY'
import ssl, sys, time, http.client
started = float(sys.argv[1])
context = ssl._create_unverified_context()
while time.time() - started < 20:
    try:
        connection = http.client.HTTPSConnection("127.0.0.1", 6443, timeout=1, context=context)
        connection.request("GET", "/readyz")
        if connection.getresponse().read() == b"ok":
            print(f"{time.time() - started:.3f}")
            break
    except OSError:
        pass
    time.sleep(0.005)
else:
    print("never")
PY
  )
}

pss() { # PIDS...: proportional set size in MB
  local total=0 kb
  for one in "$@"; do
    kb=$(awk '/^Pss:/ {print $2}' "/proc/$one/smaps_rollup" 2>/dev/null || echo 0)
    total=$((total + ${kb:-0}))
  done
  awk -v kb="$total" 'BEGIN {printf "%.1f", kb / 1024}'
}

start
echo "api ready, first start:       $ready s"
sleep 5
weft=$(pgrep -f "$bin/weft .*$data|$bin/weft ingress" || true)
containerd=$(pgrep -f "containerd .*$run" || true)
echo "idle memory, weft:            $(pss $weft) MB"
echo "idle memory, with containerd: $(pss $weft $containerd) MB (mark: 150)"
stop
start --demo
echo "api ready, restart:           $ready s (mark: 0.5)"
export KUBECONFIG=$data/admin.kubeconfig
k() { in_node "$kubectl" --cache-dir "$data/cache" "$@"; }
for _ in $(seq 200); do
  [ "$(k get pods -n demo --no-headers 2>/dev/null | grep -c ' 1/1 ')" = 4 ] && break
  sleep 0.05
done
echo "demo ready:                   $(awk -v a="$started" -v b="$(date +%s.%N)" 'BEGIN {printf "%.2f", b - a}') s from start (kubectl included)"

vip=$(k get service web -n demo -o 'jsonpath={.spec.clusterIP}')
pods=$(k get pods -n demo -l app=web -o 'jsonpath={.items[*].status.podIP}')
client=$(k get pod client -n demo -o 'jsonpath={.status.podIP}')
for netns in /run/netns/cni-*; do
  if nsenter --net="$netns" -- ip -o -4 addr 2>/dev/null | grep -q " $client/"; then break; fi
done
nsenter --net="$netns" -- python3 - "$vip" $pods <<'PY'
import random, socket, sys, time
vip, pods = sys.argv[1], sys.argv[2:]
def connect(address, port):
    start = time.perf_counter_ns()
    with socket.create_connection((address, port), timeout=2):
        return time.perf_counter_ns() - start
direct, service = [], []
for _ in range(2000):
    direct.append(connect(random.choice(pods), 8080))
    service.append(connect(vip, 80))
def at(values, share): return sorted(values)[int(len(values) * share)] / 1000
print(f"connect, pod directly:        p50 {at(direct, .5):.1f} us  p99 {at(direct, .99):.1f} us")
print(f"connect, through ClusterIP:   p50 {at(service, .5):.1f} us  p99 {at(service, .99):.1f} us  ratio {at(service, .5) / at(direct, .5):.2f}")
PY
