#!/usr/bin/env bash
# Queries per second of server CPU time: this server beside Knot and NSD, same names, same queries, one after the other.
# run.sh [ROUNDS]. KNOTD and NSD name other servers' programs; those that are not there are left out. Needs dnsperf, taskset.
set -euo pipefail
cd "$(dirname "$0")/../.."

rounds=${1:-3} seconds=${SECONDS_EACH:-5} count=10000
server=${BENCHMARK:-.build-rel/release/DNSBenchmark}
knotd=${KNOTD:-$(command -v knotd || true)} nsd=${NSD:-$(command -v nsd || true)}
work=$(mktemp -d)
pid=
stop() { [ -z "$pid" ] || { kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; pid=; }; }
trap 'stop; rm -rf "$work"' EXIT

python3 - "$work" $count <<'PY'
import random, sys
folder, count = sys.argv[1], int(sys.argv[2])
random.seed(1)
with open(f"{folder}/zone", "w") as zone:
    zone.write("$ORIGIN cluster.local.\n$TTL 30\n@ SOA ns.dns hostmaster 1 7200 1800 86400 5\n@ NS ns.dns\nns.dns A 10.43.0.10\n")
    for n in range(count):
        zone.write(f"svc-{n}.ns-{n % 10}.svc A 10.43.{n // 250 % 250}.{n % 250 + 1}\n")
names = [f"svc-{n}.ns-{n % 10}" for n in random.sample(range(count), count)]
with open(f"{folder}/forward", "w") as forward:
    for name in names[:5000]:
        forward.write(f"{name}.svc.other.test A\n")
with open(f"{folder}/hit", "w") as hit, open(f"{folder}/mix", "w") as mix:
    for name in names:
        hit.write(f"{name}.svc.cluster.local A\n")
        # What a resolver with a search path asks before an outside name, and one name that is there.
        for tail in ("ns-3.svc.cluster.local", "svc.cluster.local", "cluster.local"):
            mix.write(f"www.example-{random.randrange(1000)}.com.{tail} A\n")
        mix.write(f"{name}.svc.cluster.local A\n")
PY
mkdir "$work/knot"
cat >"$work/knot.conf" <<CONF
server:
    listen: 127.0.0.1@5401
    rundir: $work/knot
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: $work/knot
zone:
  - domain: cluster.local
    file: $work/zone
    zonefile-sync: -1
    journal-content: none
CONF
cat >"$work/nsd.conf" <<CONF
server:
    ip-address: 127.0.0.1@5402
    server-count: 1
    username: ""
    chroot: ""
    zonesdir: "$work"
    database: ""
    pidfile: "$work/nsd.pid"
    xfrdfile: "$work/xfrd"
    zonelistfile: "$work/zonelist"
remote-control:
    control-enable: no
zone:
    name: cluster.local
    zonefile: zone
CONF

ticks() { # of a process and its children
  local all=0 at
  for at in "$1" $(pgrep -P "$1" || true) $(pgrep -P "$1" | xargs -r -n1 pgrep -P || true); do
    all=$((all + $(awk '{print $14 + $15}' "/proc/$at/stat" 2>/dev/null || echo 0)))
  done
  echo $all
}

measure() { # NAME PORT KIND
  local before after answered
  before=$(ticks "$pid")
  answered=$(taskset -c 1 dnsperf -s 127.0.0.1 -p "$2" -d "$work/$3" -l "$seconds" -c 4 -T 1 -q 200 2>/dev/null |
    awk '/Queries completed/ {print $3}')
  after=$(ticks "$pid")
  awk -v n="$1" -v k="$3" -v a="$answered" -v t=$((after - before)) -v h="$(getconf CLK_TCK)" \
    'BEGIN {printf "%-6s %-8s %9d queries a CPU second (%d in %.2f s)\n", n, k, a * h / t, a, t / h}'
}

round() { # NAME PORT COMMAND...
  local name=$1 port=$2 tries=0
  shift 2
  taskset -c 0 "$@" >"$work/$name.log" 2>&1 &
  pid=$!
  until [ -n "$(dig @127.0.0.1 -p "$port" +short +time=1 +tries=1 svc-9.ns-9.svc.cluster.local 2>/dev/null | grep -v '^;')" ]; do
    tries=$((tries + 1)); [ $tries -lt 100 ] || { cat "$work/$name.log"; exit 1; }
    sleep 0.1
  done
  measure "$name" "$port" hit
  measure "$name" "$port" mix
  awk -v n="$name" '/VmRSS/ {printf "%-6s %d MB resident\n", n, $2 / 1000}' "/proc/$pid/status"
  stop
}

forwarded() { # names of another server, after the first pass all from the cache
  taskset -c 0 "$server" 5400 $count forward >"$work/forward.log" 2>&1 &
  pid=$!
  sleep 3
  dnsperf -s 127.0.0.1 -p 5400 -d "$work/forward" -n 1 -c 4 -T 1 -q 50 >/dev/null 2>&1
  measure weft 5400 forward
  stop
}

for ((i = 0; i < rounds; i++)); do
  round weft 5400 "$server" 5400 $count
  forwarded
  [ -z "$knotd" ] || round knot 5401 "$knotd" -c "$work/knot.conf"
  [ -z "$nsd" ] || round nsd 5402 "$nsd" -d -c "$work/nsd.conf"
done
