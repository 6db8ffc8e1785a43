#!/usr/bin/env bash
# Cluster DNS beside Knot and NSD: same names, same queries, one server after the other on processor 0, dnsperf on processor 1.
# run.sh [ROUNDS]. KNOTD and NSD name the other servers' programs, BENCHMARK and WEFT ours. Needs dnsperf, dig, taskset, python3. Every
# step has an end: a round takes about a minute. Ends with the medians and the bar of each; exit code 1 when one is missed.
set -euo pipefail
cd "$(dirname "$0")/../.."

rounds=${1:-3} seconds=${SECONDS_EACH:-5} count=10000
server=${BENCHMARK:-.build-rel/release/DNSBenchmark}
weft=${WEFT:-.build/release/weft}
knotd=${KNOTD:-$(command -v knotd || true)} nsd=${NSD:-$(command -v nsd || true)}
for program in "$server" dnsperf dig taskset python3; do
  command -v "$program" >/dev/null || { echo "$program is missing" >&2; exit 2; }
done
[ -n "$knotd" ] && [ -n "$nsd" ] || echo "without knotd and nsd (Debian: knot, nsd) their bars are not measured" >&2
[ -x "$weft" ] || echo "without $weft (WEFT=...) the memory of weft dns itself is not measured" >&2
work=$(mktemp -d)
pid= feed=
end() { # PROCESS: at once when it does not go by itself
  kill "$1" 2>/dev/null || return 0
  for _ in $(seq 50); do kill -0 "$1" 2>/dev/null || return 0; sleep 0.1; done
  kill -9 "$1" 2>/dev/null || true
}
stop() { [ -z "$pid" ] || { end "$pid"; wait "$pid" 2>/dev/null || true; pid=; }; }
trap 'stop; [ -z "$feed" ] || kill "$feed" 2>/dev/null; rm -rf "$work"' EXIT
perf() { # ARGUMENTS: dnsperf on processor 1, for at most half a minute more than it was told
  timeout -k 2 $((seconds + 30)) taskset -c 1 dnsperf -s 127.0.0.1 -T 1 "$@" 2>/dev/null
}

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
  answered=$(perf -p "$2" -d "$work/$3" -l "$seconds" -c 4 -q 200 | awk '/Queries completed/ {print $3}')
  after=$(ticks "$pid")
  note "$1" "$3" $((${answered:-0} * $(getconf CLK_TCK) / (after > before ? after - before : 1)))
}

latency() { # NAME PORT: microseconds of an answer at 5,000 queries a second, as the client sees it
  perf -p "$2" -d "$work/hit" -l 4 -c 1 -Q 5000 -v |
    awk '/^> NOERROR/ {printf "%d\n", $NF * 1000000}' | sort -n >"$work/times"
  note "$1" p50 "$(awk '{all[NR] = $1} END {print all[int(NR / 2) + 1] + 0}' "$work/times")"
  note "$1" p99 "$(awk '{all[NR] = $1} END {print all[int(NR * 0.99) + 1] + 0}' "$work/times")"
}

wait_for() { # PORT NAME: until there is an answer
  local tries=0
  until [ -n "$(timeout 3 dig @127.0.0.1 -p "$1" +short +time=1 +tries=1 "$2" 2>/dev/null | grep -v '^;')" ]; do
    tries=$((tries + 1)); [ $tries -lt 400 ] || { echo "no answer at port $1:" >&2; cat "$work/log" >&2; exit 1; }
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
  perf -p 5400 -d "$work/forward" -n 1 -c 4 -q 50 >/dev/null || true
  measure weft 5400 forward
  stop
}

from_start() { # WHAT COMMAND...: the first answer, what is resident and what was at most
  local what=$1 first resident peak
  shift
  read -r first resident peak < <(python3 Benchmarks/DNS/first.py 5400 "$@")
  note weft "first$what" "$first"
  note weft "resident$what" "$resident"
  note weft "peak$what" "$peak"
}

for ((i = 0; i < rounds; i++)); do
  round weft 5400 "$server" 5400 $count
  [ -z "$knotd" ] || round knot 5401 "$knotd" -c "$work/knot.conf"
  [ -z "$nsd" ] || round nsd 5402 "$nsd" -d -c "$work/nsd.conf"
  forwarded
  from_start "" "$server" 5400 $count
  note weft fresh "$(timeout 60 taskset -c 0 "$server" 5400 $count fresh | awk '/from a change/ {gsub(",", ""); print $(NF - 4)}')"
  [ -x "$weft" ] || continue
  if [ -z "$feed" ]; then
    python3 Benchmarks/DNS/feed.py "$work" $count 5470 >"$work/feed.log" 2>&1 &
    feed=$!
    for _ in $(seq 100); do ! grep -q ready "$work/feed.log" || break; sleep 0.1; done
  fi
  from_start -manifests "$weft" dns --manifests "$work/manifests" --listen 127.0.0.1:5400
  from_start -server "$weft" dns --kubeconfig "$work/kubeconfig" --listen 127.0.0.1:5400
done
echo
python3 Benchmarks/DNS/table.py <"$work/figures"
