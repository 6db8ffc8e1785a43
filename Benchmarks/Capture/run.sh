#!/usr/bin/env bash
# A pod's packets to a file, and the node's memory of flows, at steady rates: none lost unseen, at what cost. See README.md.
# run.sh [SECONDS]      CAPTURE_PROGRAM=PATH takes a program that is built already
set -euo pipefail
cd "$(dirname "$0")/../.."
program=${CAPTURE_PROGRAM:-$PWD/.build/release/CaptureBenchmark}
if [ -z "${CAPTURE_PROGRAM:-}" ]; then
  WEFT_ONLY=CaptureBenchmark swift build -c release --static-swift-stdlib --product CaptureBenchmark >&2
fi
seconds=${1:-10}
failures=0
label=weft-cb-$$
folder=$(mktemp -d)
cleanup() {
  for name in pod node; do ip netns del "$label-$name" 2>/dev/null || true; done
  rm -rf "$folder"
}
trap cleanup EXIT
for name in pod node; do ip netns add "$label-$name"; done
ip -n "$label-node" link add pod type veth peer name eth0 netns "$label-pod"
ip -n "$label-node" addr add 10.200.9.1/24 dev pod
ip -n "$label-node" link set pod up
ip -n "$label-pod" addr add 10.200.9.2/24 dev eth0
ip -n "$label-pod" link set eth0 up
# Answers that nobody listens would cost the sender and the kernel what is not measured here.
ip netns exec "$label-node" nft 'add table ip quiet; add chain ip quiet in { type filter hook input priority 0; }; add rule ip quiet in udp dport 9 drop; add counter ip quiet begun; add rule ip quiet in ct state new counter name begun; add chain ip quiet out { type filter hook output priority 0; }; add rule ip quiet out icmp type destination-unreachable drop'
# A connection is forgotten after three seconds: the table holds them, and their ends are told as well.
ip netns exec "$label-node" sysctl -qw net.netfilter.nf_conntrack_udp_timeout=3
# The capturing process has one core, who sends another.
cores=$(nproc)
if [ "$cores" -gt 1 ]; then
  on=(taskset -c 0)
  export SENDER_CORE=1
else
  on=()
fi
value() { awk -v key="$2" '$1 == key { print $2 }' <<<"$1"; }
check() { # NAME FIGURE BAR
  if awk -v a="$2" -v b="$3" 'BEGIN { exit !(a != "" && a + 0 <= b + 0) }'; then
    echo "pass: $1 $2 (bar $3)"
  else
    echo "FAIL: $1 $2 (bar $3)"
    failures=$((failures + 1))
  fi
}
for load in "10000 1000 15" "100000 200 100" "100000 1000 100"; do
  read -r rate bytes bar <<<"$load"
  figures=$(ip netns exec "$label-node" "${on[@]}" "$program" capture pod "$label-pod" "$rate" "$seconds" "$bytes" "$folder/all.pcapng")
  echo "$rate packets a second of $bytes bytes for $seconds s: $(value "$figures" rate) a second sent"
  check "missing of the asked rate, percent" "$(awk -v a="$(value "$figures" rate)" -v b="$rate" 'BEGIN { print int(100 * (1 - a / b)) }')" 5
  check "missing in the file" $(($(value "$figures" sent) - $(value "$figures" written))) 0
  check "percent of a core" "$(value "$figures" core_percent)" "$bar"
done
ip netns exec "$label-node" nft reset counter ip quiet begun >/dev/null
figures=$(ip netns exec "$label-node" "${on[@]}" "$program" flows pod "$label-pod" 20000 "$seconds")
echo "20000 connections a second for $seconds s: $(value "$figures" begun) seen, $(value "$figures" lost) events lost and counted, $(value "$figures" core_percent) % of a core, $(value "$figures" memory) MB"
check "missing of the asked rate, percent" "$(awk -v a="$(value "$figures" rate)" 'BEGIN { print int(100 * (1 - a / 20000)) }')" 5
# What the sender's own link dropped was no connection: the kernel counts those that came.
arrived=$(ip netns exec "$label-node" nft list counter ip quiet begun | awk '$1 == "packets" { print $2 }')
check "missing of the connections, percent" "$((100 - 100 * arrived / $(value "$figures" sent)))" 5
check "connections neither seen nor counted" $((arrived - $(value "$figures" begun) - $(value "$figures" lost) - $(value "$figures" overwritten))) 0
check "MB more at the end than halfway" "$(value "$figures" growth)" 16
exit $((failures > 0))
