#!/usr/bin/env bash
# A pod made of a network namespace, attached by weft-cni: pod.sh add|del NODE NAME. Prints the pod's address. See README.md.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
bin=${WEFT_BIN_DIR:-$here/../.build/release}
state=/run/weft-lab
usage() { echo "usage: ${0##*/} add|del NODE NAME" >&2; exit 2; }

[ $# -eq 3 ] || usage
verb=$1 node=$2 name=$3
pod=weft-$node-$name
[ -e "$state/$node.index" ] || { echo "node $node is not up; run: $here/node.sh up $node" >&2; exit 2; }
[ -x "$bin/weft-cni" ] || { echo "weft-cni is not in $bin; run: make build" >&2; exit 2; }
index=$(cat "$state/$node.index")
config=$(cat <<JSON
{"cniVersion":"1.0.0","name":"lab","type":"weft-cni","bridge":"cni0","isGateway":true,"hairpinMode":true,
 "ipam":{"type":"host-local","dataDir":"$state/$node","ranges":[[{"subnet":"10.42.$index.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}}
JSON
)

call() { # VERB: runs the plugin in the node, as a container runtime would
  nsenter --net="/run/netns/weft-$node" -- env CNI_COMMAND="$1" CNI_CONTAINERID="$pod" CNI_NETNS="/run/netns/$pod" \
    CNI_IFNAME=eth0 CNI_PATH="$bin" CNI_ARGS="K8S_POD_NAMESPACE=lab;K8S_POD_NAME=$name" "$bin/weft-cni" <<<"$config"
}

case $verb in
  add)
    if [ ! -e "/run/netns/$pod" ]; then
      ip netns add "$pod"
      ip -n "$pod" link set lo up
      if ! answer=$(call ADD); then
        echo "$answer" >&2
        ip netns del "$pod"
        exit 1
      fi
    fi
    ip -n "$pod" -o -4 addr show dev eth0 | awk '{sub("/.*", "", $4); print $4}'
    ;;
  del)
    call DEL
    if [ -e "/run/netns/$pod" ]; then ip netns del "$pod"; fi
    ;;
  *) usage ;;
esac
