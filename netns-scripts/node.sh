#!/usr/bin/env bash
# A node made of a network namespace: node.sh up NAME [INDEX] | down NAME | exec NAME COMMAND...   See README.md.
set -euo pipefail

lab=weft-lab
state=/run/weft-lab
usage() { echo "usage: ${0##*/} up NAME [INDEX] | down NAME | exec NAME COMMAND..." >&2; exit 2; }
exists() { [ -e "/run/netns/$1" ]; }

switch_up() {
  if ! exists $lab; then ip netns add $lab; fi
  if ! ip -n $lab link show dev switch >/dev/null 2>&1; then
    ip -n $lab link add switch type bridge
    ip -n $lab link set switch up
    # The switch is only a wire: its frames must not meet the rules of this namespace.
    nsenter --net=/run/netns/$lab sysctl -qw net.bridge.bridge-nf-call-iptables=0 || true
  fi
}

up() {
  local name=$1 node=weft-$1 index=${2:-}
  mkdir -p $state
  if [ -z "$index" ]; then
    if [ -e "$state/$name.index" ]; then index=$(cat "$state/$name.index"); else
      index=21; while grep -qsx "$index" $state/*.index; do index=$((index + 1)); done
    fi
  fi
  case $index in *[!0-9]*) usage ;; esac
  [ "$index" -ge 2 ] && [ "$index" -le 250 ] || { echo "index $index is not within 2-250" >&2; exit 2; }
  echo "$index" >"$state/$name.index"
  switch_up
  if exists "$node"; then return; fi
  trap 'down "$name"' ERR
  ip netns add "$node"
  ip -n "$node" link set lo up
  ip -n "$node" link add ext0 type veth peer name "port-$name" netns $lab
  ip -n $lab link set "port-$name" master switch up
  ip -n "$node" addr add "172.30.0.$index/24" dev ext0
  ip -n "$node" link set ext0 up
  ip -n "$node" route add default via 172.30.0.1
  nsenter --net="/run/netns/$node" sysctl -qw net.ipv4.ip_forward=1
  nsenter --net="/run/netns/$node" sysctl -qw net.bridge.bridge-nf-call-iptables=1
  trap - ERR
}

down() {
  local name=$1 node=weft-$1 pod
  for pod in /run/netns/"$node"-*; do
    [ -e "$pod" ] && ip netns del "${pod##*/}"
  done
  exists "$node" && ip netns del "$node"
  rm -rf "${state:?}/$name.index" "${state:?}/$name"
  # The last one takes the switch with it.
  if exists $lab && ! ls $state/*.index >/dev/null 2>&1; then
    ip netns del $lab
    rm -rf $state
  fi
  return 0
}

[ $# -ge 2 ] || usage
case $2 in *[!a-z0-9]* | "" | ?????????*) echo "a node's name is one to eight of a-z and 0-9: $2" >&2; exit 2 ;; esac
case $1 in
  up) up "$2" "${3:-}" ;;
  down) down "$2" ;;
  exec) node=weft-$2; shift 2; [ $# -ge 1 ] || usage; exec nsenter --net="/run/netns/$node" -- "$@" ;;
  *) usage ;;
esac
