#!/usr/bin/env bash
# Cluster DNS beside Knot and NSD: same names, same queries, one server after the other on processor 0, dnsperf on processor 1.
# run.sh [ROUNDS]. KNOTD and NSD name the other servers' programs. Needs dnsperf, dig, taskset, python3. Ends with the medians and
# the bar of each; exit code 1 when one is missed.
set -euo pipefail
cd "$(dirname "$0")/../.."

rounds=${1:-3} seconds=${SECONDS_EACH:-5} count=10000
server=${BENCHMARK:-.build-rel/release/DNSBenchmark}
knotd=${KNOTD:-$(command -v knotd || true)} nsd=${NSD:-$(command -v nsd || true)}
for program in "$server" dnsperf dig taskset python3; do
  command -v "$program" >/dev/null || { echo "$program is missing" >&2; exit 2; }
done
[ -n "$knotd" ] && [ -n "$nsd" ] || echo "without knotd and nsd (Debian: knot, nsd) their bars are not measured" >&2
work=$(mktemp -d)
pid=
stop() { [ -z "$pid" ] || { kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; pid=; }; }
trap 'stop; rm -rf "$work"' EXIT

python3 Benchmarks/DNS/names.py "$work" $count
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

# A figure for the table at the end: NAME WHAT VALUE.
note() { echo "$1 $2 $3" | tee -a "$work/figures"; }

ticks() { # of a process and its children
  local all=0 at
  for at in "$1" $(pgrep -P "$1" || true) $(pgrep -P "$1" | xargs -r -n1 pgrep -P || true); do
    # Behind the name, which may have blanks in it.
    all=$((all + $(sed 's/^.*) //' "/proc/$at/stat" 2>/dev/null | awk '{sum = $12 + $13} END {print sum + 0}')))
  done
  echo $all
}

measure() { # NAME PORT KIND: queries a second of the server's processor time, kernel included
  local before after answered
  before=$(ticks "$pid")
  answered=$(taskset -c 1 dnsperf -s 127.0.0.1 -p "$2" -d "$work/$3" -l "$seconds" -c 4 -T 1 -q 200 2>/dev/null |
    awk '/Queries completed/ {print $3}')
  after=$(ticks "$pid")
  note "$1" "$3" $((answered * $(getconf CLK_TCK) / (after - before)))
}

latency() { # NAME PORT: microseconds of an answer at 5,000 queries a second, as the client sees it
  taskset -c 1 dnsperf -s 127.0.0.1 -p "$2" -d "$work/hit" -l 4 -c 1 -T 1 -Q 5000 -v 2>/dev/null |
    awk '/^> NOERROR/ {printf "%d\n", $NF * 1000000}' | sort -n >"$work/times"
  note "$1" p50 "$(awk '{all[NR] = $1} END {print all[int(NR / 2) + 1]}' "$work/times")"
  note "$1" p99 "$(awk '{all[NR] = $1} END {print all[int(NR * 0.99) + 1]}' "$work/times")"
}

wait_for() { # PORT NAME: until there is an answer
  local tries=0
  until [ -n "$(dig @127.0.0.1 -p "$1" +short +time=1 +tries=1 "$2" 2>/dev/null | grep -v '^;')" ]; do
    tries=$((tries + 1)); [ $tries -lt 100 ] || { cat "$work/log" >&2; exit 1; }
    sleep 0.1
  done
}

begin() { # COMMAND...
  taskset -c 0 "$@" >"$work/log" 2>&1 &
  pid=$!
}

round() { # NAME PORT COMMAND...
  local name=$1 port=$2
  shift 2
  begin "$@"
  wait_for "$port" svc-9.ns-9.svc.cluster.local
  measure "$name" "$port" hit
  measure "$name" "$port" mix
  latency "$name" "$port"
  note "$name" resident "$(awk '/VmRSS/ {print int($2 / 1000)}' "/proc/$pid/status")"
  stop
}

forwarded() { # names of another server, after the first pass all from the cache
  begin "$server" 5400 $count forward
  wait_for 5400 svc-9.ns-9.svc.cluster.local
  dnsperf -s 127.0.0.1 -p 5400 -d "$work/forward" -n 1 -c 4 -T 1 -q 50 >/dev/null 2>&1
  measure weft 5400 forward
  stop
}

for ((i = 0; i < rounds; i++)); do
  round weft 5400 "$server" 5400 $count
  [ -z "$knotd" ] || round knot 5401 "$knotd" -c "$work/knot.conf"
  [ -z "$nsd" ] || round nsd 5402 "$nsd" -d -c "$work/nsd.conf"
  forwarded
  note weft first "$(python3 Benchmarks/DNS/first.py "$server" 5400 $count)"
  note weft fresh "$(taskset -c 0 "$server" 5400 $count fresh | awk '/from a change/ {gsub(",", ""); print $(NF - 4)}')"
done
echo
python3 Benchmarks/DNS/table.py <"$work/figures"
