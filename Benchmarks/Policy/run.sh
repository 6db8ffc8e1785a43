#!/usr/bin/env bash
# Policies among many pods: loaded, then one pod, one label, one policy at a time, in a network namespace of its own. See README.md.
# run.sh [PODS [POLICIES]]
set -euo pipefail
cd "$(dirname "$0")/../.."
WEFT_ONLY=PolicyBenchmark swift build -c release --static-swift-stdlib --product PolicyBenchmark >&2
program=$PWD/.build/release/PolicyBenchmark
pods=${1:-10000} policies=${2:-1000}
failures=0
figures=$(unshare -n "$program" "$pods" "$policies")
few=$(unshare -n "$program" $((pods / 10)) "$policies" 50)
# Two pods with a router between, whose rules change in turns.
label=weft-pb-$$
cleanup() { for name in client server node; do ip netns del "$label-$name" 2>/dev/null || true; done; }
trap cleanup EXIT
for name in client server node; do ip netns add "$label-$name"; done
link() { # NAMESPACE SUBNET
  ip -n "$label-node" link add "to-$1" type veth peer name eth0 netns "$label-$1"
  ip -n "$label-node" addr add "$2.1/24" dev "to-$1"
  ip -n "$label-node" link set "to-$1" up
  ip -n "$label-$1" addr add "$2.2/24" dev eth0
  ip -n "$label-$1" link set eth0 up
  ip -n "$label-$1" route add default via "$2.1"
}
link client 10.200.1
link server 10.200.2
ip netns exec "$label-node" sysctl -qw net.ipv4.ip_forward=1
connects=$(ip netns exec "$label-node" "$program" connect "/run/netns/$label-client" "/run/netns/$label-server" "$pods" "$policies")
value() { awk -v key="$2" '$1 == key { print $2 }' <<<"$1"; }
check() { # NAME FIGURE BAR
  if awk -v a="$2" -v b="$3" 'BEGIN { exit !(a != "" && a + 0 <= b + 0) }'; then
    echo "pass: $1 $2 (bar $3)"
  else
    echo "FAIL: $1 $2 (bar $3)"
    failures=$((failures + 1))
  fi
}
echo "$pods pods, $policies policies: plan $(value "$figures" plan_ms) ms, $(value "$figures" operations) operations, $(value "$figures" bytes) bytes"
check "compiled and committed, ms" "$(value "$figures" load_ms)" 2000
check "peak memory, MB" "$(value "$figures" memory_mb)" 150
check "one pod, event to commit, p99 ms" "$(value "$figures" pod_p99_ms)" 5
check "a label that moves $((pods / 100)) pods, p99 ms" "$(value "$figures" label_p99_ms)" 20
check "one policy, event to commit, p99 ms" "$(value "$figures" policy_p99_ms)" 20
check "one decision of the evaluator, ms" "$(value "$figures" decide_ms)" 5
check "explained, p99 ms" "$(value "$figures" explain_p99_ms)" 5
echo "connect p50, microseconds: $(value "$connects" connect_policies_p50_us) through $policies policies, $(value "$connects" connect_none_p50_us) through none"
check "connect through $policies policies, more than through none, p50 us" "$(value "$connects" connect_more_p50_us)" 2
check "operations left after all changes" "$(value "$figures" left)" 0
echo "operations of one pod, the most: $(value "$figures" pod_operations_most); the first pod here of a policy brings the policy's sets with it"
check "operations of one pod, p50, as among a tenth of the pods" "$(value "$figures" pod_operations)" "$(value "$few" pod_operations)"
exit $((failures > 0))
