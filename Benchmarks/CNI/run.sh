#!/usr/bin/env bash
# What attaching a pod costs beside the reference plugins of Debian (containernetworking-plugins), call by call in turn.
set -euo pipefail
cd "$(dirname "$0")"
plugin=${WEFT_BIN_DIR:-../../.build/release}/weft-cni
[ -x "$plugin" ] || { echo "$plugin is not built: swift build -c release --product weft-cni" >&2; exit 2; }
reference=/usr/lib/cni
if [ ! -x $reference/bridge ]; then
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends containernetworking-plugins >/dev/null 2>&1 || true
  [ -x $reference/bridge ] || reference=
fi
spawner=$(mktemp -d)
trap 'rm -rf "$spawner"' EXIT
cc -O2 -o "$spawner/spawn" spawn.c
# As it is installed: a linker writes a file page by page, and the kernel then keeps and maps it in pieces that small.
cat "$plugin" >"$spawner/weft-cni"
chmod +x "$spawner/weft-cni"
python3 bench.py "$spawner/weft-cni" "$reference" "$spawner/spawn"
