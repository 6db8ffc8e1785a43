#!/usr/bin/env bash
# The service proxy beside rules of kube-proxy's structure through nft, in turn, each in a network namespace of its own. See
# README.md. run.sh [small|all]; `all` has the peer load 10,000 x 10 too, which takes minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
# As `make` links what users run.
WEFT_ONLY=ProxyBenchmark swift build -c release --static-swift-stdlib --product ProxyBenchmark >&2
program=$PWD/.build/release/ProxyBenchmark
failures=0

# SIDE N M: in a fresh namespace, then connects when N is said to be connected to.
measure() {
  unshare -n sh -ec '
    ip link set lo up
    ip address add 10.99.0.1/32 dev lo
    ip route add local 10.128.0.0/9 dev lo
    ip route add 172.16.0.0/12 dev lo src 10.99.0.1
    "$0" "$1" "$2" "$3"
    if [ "${4:-}" = connect ]; then "$0" connect "$2" 5000; fi
  ' "$program" "$@"
}
value() { awk -v key="$2" '$1 == key { print $2 }' <<<"$1" | sort -g | head -1; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { if (b > 0) printf "%.1f", a / b; else print "-" }'; }
# NAME FIGURE BAR: the figure must not be above the bar.
check() {
  if awk -v a="$2" -v b="$3" 'BEGIN { exit !(a != "" && a + 0 <= b + 0) }'; then
    echo "pass: $1 $2 (bar $3)"
  else
    echo "FAIL: $1 $2 (bar $3)"
    failures=$((failures + 1))
  fi
}

small=$(measure ours 100 2)
# N M, then bars: milliseconds of CPU to plan and commit, and MB.
while read -r services endpoints bar memory with; do
  echo "-- $services Services x $endpoints endpoints"
  one=$(measure ours "$services" "$endpoints" connect)
  peer=
  if [ "$with" = peer ] || [ "${1:-}" = all ]; then peer=$(measure peer "$services" "$endpoints" connect); fi
  two=$(measure ours "$services" "$endpoints" connect)
  own=$one$'\n'$two
  echo "ours: load $(value "$own" load_ms) ms, CPU $(value "$own" load_cpu_ms) (plan $(value "$own" plan_cpu_ms))," \
    "$(value "$own" operations) operations, $(value "$own" bytes) bytes, peak $(value "$own" memory_mb) MB" \
    "($(value "$own" memory_view_mb) before)"
  echo "ours: one endpoint p50 $(value "$own" change_p50_ms) ms, p99 $(value "$own" change_p99_ms), restart" \
    "$(value "$own" restart_ms) ms, connect p50 $(value "$own" connect_p50_us) us, direct $(value "$own" connect_direct_p50_us)"
  if [ "$services" = 1000 ] || [ "${1:-}" = all ]; then
    again=$(measure peer-restart "$services" "$endpoints")
    echo "peer: restart with nothing changed $(value "$again" restart_ms) ms, CPU $(value "$again" restart_cpu_ms)"
  fi
  if [ -n "$peer" ]; then
    echo "peer: load $(value "$peer" load_ms) ms, CPU $(value "$peer" load_cpu_ms), peak $(value "$peer" load_memory_mb) MB," \
      "one endpoint $(value "$peer" change_ms) ms, connect p50 $(value "$peer" connect_p50_us) us"
    echo "ratio: load CPU $(ratio "$(value "$peer" load_cpu_ms)" "$(value "$own" load_cpu_ms)"), one endpoint CPU" \
      "$(ratio "$(value "$peer" change_cpu_ms)" "$(value "$own" change_cpu_ms)"), memory" \
      "$(ratio "$(value "$peer" load_memory_mb)" "$(value "$own" memory_mb)")"
    check "connect p50 us" "$(value "$own" connect_p50_us)" "$(value "$peer" connect_p50_us)"
  fi
  check "plan and commit, CPU ms" "$(value "$own" load_cpu_ms)" "$bar"
  check "one endpoint p50 ms" "$(value "$own" change_p50_ms)" 1
  check "peak memory MB" "$(value "$own" memory_mb)" "$memory"
  check "bytes at a restart with nothing changed" "$(value "$own" restart_bytes)" 0
  if [ "$services $endpoints" = "10000 2" ]; then
    check "restart with nothing changed, CPU ms" "$(value "$own" restart_cpu_ms)" 100
  fi
  if [ "$endpoints" = 2 ]; then
    for kind in 0 1 2 3 4; do
      for what in operations bytes; do
        check "change $kind, $what, as among 100 Services" "$(value "$one" "change${kind}_$what")" \
          "$(value "$small" "change${kind}_$what")"
      done
    done
  fi
done <<'TABLE'
1000 2 20 20 peer
10000 2 130 60 peer
10000 10 500 130 -
TABLE
echo "-- from a write to the API to the kernel"
Benchmarks/Proxy/written.sh || failures=$((failures + 1))
exit $((failures > 0))
