#!/usr/bin/env bash
# Runs every benchmark folder's run.sh in turn. Each names the promise it guards and prints its figures.
set -euo pipefail
cd "$(dirname "$0")"
for script in */run.sh; do
  echo "== ${script%/run.sh}"
  "$script"
done
