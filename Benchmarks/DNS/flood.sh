#!/usr/bin/env bash
# A million made-up names a minute (T-D6) beside a thousand honest queries a second: how long these take, how many are lost, and how
# much the server grows. flood.sh [SECONDS]. Exit code 1 when a bar is missed. Needs dnsperf, taskset, python3.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-60} server=${BENCHMARK:-.build-rel/release/DNSBenchmark}
work=$(mktemp -d)
pid=
flood=
trap '[ -z "$flood" ] || kill "$flood" 2>/dev/null; [ -z "$pid" ] || kill "$pid" 2>/dev/null; rm -rf "$work"' EXIT
python3 Benchmarks/DNS/names.py "$work" 10000
awk -v n=$((seconds * 17000)) 'BEGIN {srand(1); for (i = 0; i < n; i++) printf "r%d%d.svc.other.test A\n", i, rand() * 1000000}' >"$work/flood"
taskset -c 0 "$server" 5400 10000 forward >"$work/log" 2>&1 &
pid=$!
for _ in $(seq 400); do
  [ -z "$(timeout 3 dig @127.0.0.1 -p 5400 +short +time=1 +tries=1 svc-9.ns-9.svc.cluster.local | grep -v '^;')" ] || break
  sleep 0.1
done
resident() { awk '/VmRSS/ {print int($2 / 1000)}' "/proc/$pid/status"; }
before=$(resident)
honest() { # SECONDS: a thousand queries a second for names of the cluster
  timeout -k 2 $(($1 + 30)) taskset -c 1 dnsperf -s 127.0.0.1 -p 5400 -d "$work/hit" -l "$1" -c 1 -T 1 -Q 1000 -v >"$work/honest" 2>&1
}
p99() {
  awk '/^> NOERROR/ {printf "%d\n", $NF * 1000000}' "$work/honest" | sort -n | awk '{all[NR] = $1} END {print all[int(NR * 0.99) + 1] + 0}'
}
# What the machine itself adds: more than a few hundred, and the figure under the flood says nothing of the server.
honest 5
alone=$(p99)
timeout -k 2 $((seconds + 30)) taskset -c 1 dnsperf -s 127.0.0.1 -p 5400 -d "$work/flood" -n 1 -l "$seconds" -c 4 -T 1 -Q 16700 -q 500 >"$work/flood.out" 2>&1 &
flood=$!
honest $((seconds - 2))
wait "$flood" || true
flood=
made_up=$(awk '/Queries completed/ {print $3}' "$work/flood.out")
lost=$(awk '/Queries lost/ {print $3}' "$work/honest")
flooded=$(p99)
grown=$(($(resident) - before))
status=0
row() { # TEXT VALUE BAR HOLDS
  [ "$4" = 1 ] && echo "holds  $1: $2 (bar $3)" || { echo "FAILED $1: $2 (bar $3)"; status=1; }
}
echo "$made_up made-up names in $seconds s; without them 99 of 100 honest queries took $alone us"
row "us, 99 of 100 honest queries" "$flooded" 2000 $((flooded > 0 && flooded <= 2000))
row "honest queries lost" "${lost:-all}" 0 $((${lost:-1} == 0))
row "MB grown" "$grown" 64 $((grown <= 64))
exit $status
