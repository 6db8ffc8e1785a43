#!/usr/bin/env bash
# The API while 5,000 nodes beat: half of it from hollow nodes in one process. See README.md.
# run.sh [NODES [PODS]]
cd "$(dirname "$0")"
. ../server.sh
"$BIN" bench cluster --nodes "${1:-5000}" --pods "${2:-5000}" --hold 45 --data-dir "$work/data" >"$work/figures" || {
  cat "$work/figures" >&2
  exit 1
}
cat "$work/figures"
verdict "API get while nodes beat, p99" "$(awk '/^API get/ { for (i = 1; i < NF; i++) if ($i == "p99") print $(i + 1) }' "$work/figures")" 100 ms
exit $failed
