#!/usr/bin/env bash
# scripts/test.sh ARGS...: `swift test ARGS`, and when something failed, what failed once more at the end: the last
# lines are what people and CI pages show.
set -uo pipefail
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# A test that waits forever is a failure that should say where it waits, not a run without an end.
timeout -k 30 "${WEFT_TEST_LIMIT:-1800}" swift test "$@" 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
if [ "$status" -ne 0 ]; then
  echo
  echo "What failed:"
  grep -aE '^✘|recorded an issue|error:|Fatal error|^↳' "$log" | grep -av 'Test run with' | head -60
  grep -aE 'Test run with' "$log" | tail -1
  # A crash ends the run: where it was, and the test it was in.
  if grep -aqE 'Program crashed' "$log"; then
    grep -aE '^◇ (Test|Test case) .* started' "$log" | tail -1
    awk '/^Thread [0-9]+.* crashed:/ { shown = 40 } /^Thread [0-9]+.*:$/ && !/crashed/ { shown = 0 } /^Registers:/ { shown = 0 }
         shown-- > 0 && NF' "$log" | cut -c 1-200
  fi
  if [ "$status" -eq 124 ]; then
    echo "Not ended after ${WEFT_TEST_LIMIT:-1800} seconds:"
    comm -13 <(grep -aoP '^[✔✘] (Test|Suite) \K.*?(?= (with|passed|failed|recorded))' "$log" | sort -u) \
      <(grep -aoP '^◇ (Test|Suite) \K.*(?= started)' "$log" | sort -u)
  fi
fi
exit "$status"
