#!/usr/bin/env bash
# scripts/test.sh ARGS...: `swift test ARGS`, and when something failed, what failed once more at the end: the last
# lines are what people and CI pages show.
set -uo pipefail
log=$(mktemp)
trap 'rm -f "$log"' EXIT
swift test "$@" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
if [ "$status" -ne 0 ]; then
  echo
  echo "What failed:"
  grep -aE '^✘|recorded an issue|error:|Fatal error|^↳' "$log" | grep -av 'Test run with' | head -60
  grep -aE 'Test run with' "$log" | tail -1
fi
exit "$status"
