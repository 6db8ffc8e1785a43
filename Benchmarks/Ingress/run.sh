#!/usr/bin/env bash
# What of the ingress `make bench` measures: edits under load by the program, and the table of 10,000 routes where IngressBenchmark is
# built. CPU a request beside nginx and HAProxy: run.py, for it needs their programs and wrk.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
status=0
"$here/edits.sh" "$@" || status=1
routes=${WEFT_BIN_DIR:-$here/../../.build/release}/IngressBenchmark
if [ -x "$routes" ]; then "$routes" routes || status=1; fi
exit $status
