#!/usr/bin/env bash
# A pod's packets to a file, at a steady rate: none lost, at what cost. See README.md.
# run.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/../.."
WEFT_ONLY=CaptureBenchmark swift build -c release --static-swift-stdlib --product CaptureBenchmark >&2
program=$PWD/.build/release/CaptureBenchmark
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
ip netns exec "$label-node" nft 'add table ip quiet; add chain ip quiet in { type filter hook input priority 0; }; add rule ip quiet in udp dport 9 drop'
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
  figures=$(ip netns exec "$label-node" "$program" capture pod "$label-pod" "$rate" "$seconds" "$bytes" "$folder/all.pcapng")
  echo "$rate packets a second of $bytes bytes for $seconds s: $(value "$figures" rate) a second written"
  check "missing in the file" $(($(value "$figures" sent) - $(value "$figures" written))) 0
  check "percent of a core" "$(value "$figures" core_percent)" "$bar"
done
exit $((failures > 0))
