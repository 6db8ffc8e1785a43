#!/usr/bin/env bash
# A pod of 3 kB parsed, printed and decoded, in turns with Foundation's JSON. See README.md. run.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")/../.."
WEFT_ONLY=ObjectsBenchmark swift build -c release --static-swift-stdlib --product ObjectsBenchmark >&2
.build/release/ObjectsBenchmark "${1:-15}"
