#!/usr/bin/env bash
# What a pod costs on a node: the agent beside the runtime's bare calls, 100 pods at once, the memory of an idle cluster. See README.md.
# run.sh [PODS [BURST]]
cd "$(dirname "$0")"
. ../server.sh
pods=${1:-40} burst=${2:-100}
node=bench$((RANDOM % 1000))
inside() { nsenter --net=/run/netns/weft-$node -- "$@"; }
up=
end_cluster() {
  if [ -n "$up" ]; then
    kill -TERM "$up" 2>/dev/null || true
    for _ in $(seq 300); do kill -0 "$up" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "$up" 2>/dev/null || true
    wait "$up" 2>/dev/null || true
    inside "$BIN" down --data-dir "$work/data" --run-dir "/run/weft-$node" >/dev/null 2>&1 || true
  fi
  up=
  "$root/netns-scripts/node.sh" down $node >/dev/null 2>&1 || true
  rm -rf "/run/weft-$node"
  clean_up
}
trap end_cluster EXIT
"$root/netns-scripts/node.sh" up $node
nsenter --net=/run/netns/weft-$node -- "$BIN" up --data-dir "$work/data" --run-dir "/run/weft-$node" --node-name $node \
  >"$work/up.log" 2>&1 &
up=$!
export KUBECONFIG=$work/data/admin.kubeconfig
kubectl() { inside "$root/.tools/bin/kubectl" --kubeconfig "$KUBECONFIG" "$@"; }
for _ in $(seq 300); do
  if kubectl get node $node 2>/dev/null | grep -q ' Ready '; then break; fi
  kill -0 "$up" 2>/dev/null || { cat "$work/up.log" >&2; exit 1; }
  sleep 0.2
done
# What runs of ours: `weft up` and its children, without containerd.
sleep 20
total=0
for process in $(pgrep -f -- "--data-dir $work/data|$work/data|/run/weft-$node" || true); do
  program=$(readlink "/proc/$process/exe" || true)
  case $program in
    "$(realpath "$BIN")") total=$((total + $(kilobytes "$process"))) ;;
    */containerd) echo "containerd beside it: $(calculate "$(kilobytes "$process") / 1024") MB" ;;
  esac
done
[ "$total" -gt 0 ] || { echo "no process of $BIN was found" >&2; exit 1; }
inside "$BIN" bench pods --kubeconfig "$KUBECONFIG" --run-dir "/run/weft-$node" --node-name $node \
  --pods "$pods" --burst "$burst" -o json >"$work/figures.json"
figure() { python3 -c "import json,sys; print(json.load(open('$work/figures.json'))['$1'])"; }
echo "agent: $(figure agentMeanMilliseconds) ms a pod from seeing it to running; the runtime's calls alone: $(figure bareMeanMilliseconds) ms"
echo "created to Running p50 $(figure runningP50Milliseconds) ms; Ready to EndpointSlice p50 $(figure sliceP50Milliseconds) ms"
verdict "agent on top of the runtime's calls" "$(figure overheadMilliseconds)" 20 ms
verdict "created to Running, p99" "$(figure runningP99Milliseconds)" 1500 ms
verdict "EndpointSlice after Ready, p99" "$(figure sliceP99Milliseconds)" 20 ms
verdict "$burst pods at once, all Running" "$(figure burstSeconds)" 20 s
verdict "idle cluster, server and node" "$(calculate "$total / 1024")" 120 MB
exit $failed
