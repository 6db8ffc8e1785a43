#!/usr/bin/env bash
# The raw store beside a real etcd on the same disk, in turn, with the disk's own speed between them.
# run.sh [SECONDS [ROUNDS]]; FOLDER=… chooses the disk.
set -euo pipefail
cd "$(dirname "$0")/../.."
scripts/setup-tests.sh
WEFT_ONLY=StoreBenchmark swift build -c release --product StoreBenchmark >&2
folder=$(mktemp -d "${FOLDER:-/var/tmp}/weft-bench-XXXXXX")
port=$((20000 + RANDOM % 10000))
.tools/bin/etcd --data-dir "$folder/etcd" --log-level error --quota-backend-bytes 8589934592 \
  --listen-client-urls "http://127.0.0.1:$port" --advertise-client-urls "http://127.0.0.1:$port" \
  --listen-peer-urls "http://127.0.0.1:$((port + 1))" --initial-advertise-peer-urls "http://127.0.0.1:$((port + 1))" \
  --initial-cluster "default=http://127.0.0.1:$((port + 1))" 2>"$folder/etcd.log" &
etcd=$!
trap 'kill $etcd 2>/dev/null; wait $etcd 2>/dev/null || true; rm -rf "$folder"' EXIT
.build/release/StoreBenchmark "$folder" "http://127.0.0.1:$port" $etcd "${1:-2}" "${2:-3}"
