#!/usr/bin/env bash
# scripts/fuzz.sh [RUNS [WHAT...]]: readers of foreign bytes under libFuzzer, in a release build, each until it has taken RUNS inputs or one
# of them stops it: wire, zone, corefile (cluster DNS), http (what the ingress reads first), client, endpoint, endpoint2 (a whole ingress
# whose client, or whose endpoint over HTTP/1.1 or HTTP/2, says anything). Without RUNS each has some that suit it. Inputs that reach new
# branches are kept under .build-fuzz/inputs and tried first the next time; what stops a reader lies beside them, as WHAT-crash-….
# FUZZ_SEED repeats a run.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- wire zone corefile http client endpoint endpoint2
for what in "$@"; do
  case $what in
    wire) program=DNSFuzz bytes_max=512 suits=5000000 ;;
    zone | corefile) program=DNSFuzz bytes_max=4096 suits=500000 ;;
    http) program=IngressFuzz bytes_max=1024 suits=5000000 ;;
    client) program=IngressFuzz bytes_max=1024 suits=500000 ;;
    endpoint | endpoint2) program=IngressFuzz bytes_max=1024 suits=20000 ;;
    *)
      echo "fuzz.sh: no reader \"$what\"" >&2
      exit 2
      ;;
  esac
  # A folder a program: the package is another with each.
  WEFT_FUZZ=1 WEFT_ONLY=$program swift build -c release --scratch-path .build-fuzz/$program --product $program
  inputs=.build-fuzz/inputs/$what
  mkdir -p "$inputs"
  python3 Tests/Fuzz/seeds.py "$what" "$inputs"
  echo "fuzz: $what, ${runs:-$suits} inputs" >&2
  SWIFT_BACKTRACE=enable=no FUZZ=$what .build-fuzz/$program/release/$program -runs="${runs:-$suits}" -max_len=$bytes_max \
    -seed="${FUZZ_SEED:-1}" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix=".build-fuzz/$what-" "$inputs"
  echo "soak: fuzz: $what: ${runs:-$suits} inputs, none stops it"
done
