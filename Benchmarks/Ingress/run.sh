#!/usr/bin/env bash
# What a request costs beside nginx and HAProxy, edits under load, and ten thousand routes. See README.md.
# run.sh [ROUNDS [SECONDS]]
set -uo pipefail
cd "$(dirname "$0")/../.."
WEFT_ONLY=IngressBenchmark swift build -c release --static-swift-stdlib --product IngressBenchmark >&2 || exit 2
failed=0
.build/release/IngressBenchmark routes || failed=1
Benchmarks/Ingress/edits.sh || failed=1
Benchmarks/Ingress/run.py .build/release/IngressBenchmark "${1:-3}" "${2:-3}" || failed=1
exit $failed
