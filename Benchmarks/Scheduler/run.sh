#!/usr/bin/env bash
# At least 2,000 pods a second on 1,000 nodes; see README.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
WEFT_ONLY=SchedulerBenchmark swift build -c release --static-swift-stdlib --product SchedulerBenchmark >&2
.build/release/SchedulerBenchmark "$@"
