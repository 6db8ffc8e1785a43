#!/usr/bin/env bash
# Runs every benchmark folder's run.sh in turn, all of them whatever each says. Each names the promise it guards and prints its
# figures; at the end, those that do not hold. run.sh [FOLDER...] runs some.
set -uo pipefail
cd "$(dirname "$0")"
failed=()
[ $# -gt 0 ] || set -- */
for folder in "$@"; do
  folder=${folder%/}
  [ -x "$folder/run.sh" ] || continue
  echo "== $folder"
  "$folder/run.sh" || failed+=("$folder")
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "not held: ${failed[*]}"
  exit 1
fi
