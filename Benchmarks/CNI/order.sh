#!/usr/bin/env bash
# Writes Sources/weft-cni/functions.txt anew: the functions that VERSION, ADD and DEL run through, in the order they are first
# entered. Needs valgrind, which does not know how processes are made that go on after the plugin: no host ports here, and no link when
# DEL comes. To be repeated when the code of the plugin or the compiler has changed much; a name that is gone does no harm.
# WEFT_BIN_DIR says where weft-cni is.
set -euo pipefail
cd "$(dirname "$0")/../.."
plugin=$(realpath "${WEFT_BIN_DIR:-.build/release}/weft-cni")
work=$(mktemp -d)
node=weft-order-$$
finish() {
  ip netns del $node 2>/dev/null || true
  ip netns del $node-pod 2>/dev/null || true
  rm -rf "$work"
}
trap finish EXIT
ip netns add $node
ip netns add $node-pod
# valgrind does not read every form of Swift's debug information.
strip --strip-debug -o "$work/bridge" "$plugin"
cat >"$work/bridge.json" <<CONF
{"cniVersion": "1.0.0", "name": "order", "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
 "ipam": {"type": "host-local", "dataDir": "$work/leases", "ranges": [[{"subnet": "10.99.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}}
CONF
call() { # VERB CONTAINER PROGRAM [OBSERVER...]
  local program=$3
  env CNI_COMMAND="$1" CNI_CONTAINERID="$2" CNI_NETNS=/run/netns/$node-pod CNI_IFNAME=eth0 CNI_PATH=/opt/cni/bin \
    nsenter --net=/run/netns/$node -- "${@:4}" "$work/$program" <"$work/$program.json"
}
observe() { call "$1" "$2" "$3" valgrind -q --tool=callgrind --demangle=no --callgrind-out-file="$work/$1-$3.out"; }
call ADD first bridge >/dev/null
call DEL first bridge
observe VERSION second bridge >/dev/null
observe ADD second bridge >/dev/null
ip -n $node link del "$(ip -n $node -o link | grep -oE 'vp[0-9a-f]{13}')"
observe DEL second bridge
for part in VERSION-bridge ADD-bridge DEL-bridge; do
  grep -ohE 'c?fn=\([0-9]+\) .*' "$work/$part.out" | sed -E "s/c?fn=\([0-9]+\) //; s/'2$//"
done | grep -vE '^0x|below main' | awk '!seen[$0]++' >Sources/weft-cni/functions.txt
wc -l Sources/weft-cni/functions.txt
