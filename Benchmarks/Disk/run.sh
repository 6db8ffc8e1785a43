#!/usr/bin/env bash
# What a simulated day of heartbeats and events leaves on the disk, beside what lives. See README.md. run.sh [HOURS]
set -euo pipefail
cd "$(dirname "$0")/../.."
WEFT_ONLY=DiskBenchmark swift build -c release --static-swift-stdlib --product DiskBenchmark >&2
folder=$(mktemp -d "${FOLDER:-/var/tmp}/weft-bench-XXXXXX")
trap 'rm -rf "$folder"' EXIT
.build/release/DiskBenchmark "$folder" "${1:-24}"
