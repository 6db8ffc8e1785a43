#!/usr/bin/env bash
# What relaying costs: bytes and connections through `weft proxy --mode userspace`, beside HAProxy (or nginx) and no relay at all.
set -euo pipefail
cd "$(dirname "$0")"
weft=${WEFT_BIN_DIR:-../../.build/release}/weft
[ -x "$weft" ] || { echo "$weft is not built: make build" >&2; exit 2; }
if ! command -v haproxy >/dev/null; then
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends haproxy >/dev/null 2>&1 || true
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cc -O2 -pthread -o "$folder/load" load.c
unshare -n -- python3 bench.py "$(realpath "$weft")" "$folder/load"
