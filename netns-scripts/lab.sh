#!/usr/bin/env bash
# Two nodes and an outside host on one switch: lab.sh up|down. See README.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

case ${1:-} in
  up)
    "$here/node.sh" up a 11
    "$here/node.sh" up b 12
    "$here/node.sh" up outside 100
    # Each node knows where the other's pods are.
    ip -n weft-a route replace 10.42.12.0/24 via 172.30.0.12
    ip -n weft-b route replace 10.42.11.0/24 via 172.30.0.11
    ;;
  down) for name in a b outside; do "$here/node.sh" down "$name"; done ;;
  *) echo "usage: ${0##*/} up|down" >&2; exit 2 ;;
esac
