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
check "operations left after all changes" "$(value "$figures" left)" 0
echo "operations of one pod, the most: $(value "$figures" pod_operations_most); the first pod here of a policy brings the policy's sets with it"
check "operations of one pod, p50, as among a tenth of the pods" "$(value "$figures" pod_operations)" "$(value "$few" pod_operations)"
exit $((failures > 0))
