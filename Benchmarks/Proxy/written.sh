#!/usr/bin/env bash
# From a write to the API to rules in the kernel: `weft server`, `weft proxy` and ProxyWriteBenchmark in a network namespace of their own.
# written.sh [SERVICES [CHANGES]]; prints the figures and a verdict against 10 ms at the 99th percentile.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ "${IN_NAMESPACE:-}" != yes ]; then
  cd "$here/../.."
  [ -x .build/release/weft ] || swift build -c release --static-swift-stdlib --product weft >&2
  WEFT_ONLY=ProxyWriteBenchmark swift build -c release --static-swift-stdlib --product ProxyWriteBenchmark >&2
  IN_NAMESPACE=yes exec unshare -n "$here/written.sh" "$@"
fi
source "$here/../server.sh"
ip link set lo up
services=${1:-1000}
changes=${2:-1000}
start_server
"$BIN" proxy --kubeconfig "$work/data/admin.kubeconfig" --node-name n1 --no-policy >"$work/proxy.log" 2>&1 &
others+=("$!")
figures=$("$root/.build/release/ProxyWriteBenchmark" "$work/data/admin.kubeconfig" "$services" "$changes") || {
  tail -5 "$work/proxy.log" "$work/server.log" >&2
  exit 1
}
value() { awk -v key="$1" '$1 == key { print $2 }' <<<"$figures"; }
echo "one endpoint of $services Services: answered p50 $(value answered_p50_ms) ms, p99 $(value answered_p99_ms); in the kernel" \
  "p50 $(value in_force_p50_ms), p99 $(value in_force_p99_ms)"
verdict "API write to kernel, p99" "$(value in_force_p99_ms)" 10 ms
exit $failed
