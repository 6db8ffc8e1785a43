#!/usr/bin/env bash
# What a request costs beside nginx and HAProxy, edits under load, and ten thousand routes. See README.md.
# run.sh [ROUNDS [SECONDS]]
set -uo pipefail
cd "$(dirname "$0")/../.."
export WEFT_ONLY=IngressBenchmark,IngressRoutesBenchmark
for product in IngressBenchmark IngressRoutesBenchmark; do
  swift build -c release --static-swift-stdlib --product "$product" >&2 || exit 2
done
unset WEFT_ONLY
failed=0
.build/release/IngressRoutesBenchmark || failed=1
Benchmarks/Ingress/edits.sh || failed=1
Benchmarks/Ingress/run.py .build/release/IngressBenchmark "${1:-3}" "${2:-3}" || failed=1
exit $failed
