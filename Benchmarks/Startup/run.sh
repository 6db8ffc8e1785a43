#!/usr/bin/env bash
# How soon `weft server` answers with 10,000 objects in its store, and what it holds in memory when idle, beside etcd. See README.md.
# run.sh [OBJECTS [STARTS]]
cd "$(dirname "$0")"
. ../server.sh
"$root/scripts/setup-tests.sh" >&2
objects=${1:-10000} starts=${2:-5}
start_server
sleep 10
idle=$(kilobytes "$server")
python3 ../objects.py "$port" "$token" configmaps "$objects"
stop_server
times=()
for _ in $(seq "$starts"); do
  took=$(python3 ready.py "$port" "$work/pid" "$BIN" server --data-dir "$work/data" --listen "127.0.0.1:$port" \
    --advertise 127.0.0.1 --token-auth-file "$work/tokens")
  server=$(cat "$work/pid")
  times+=("$took")
  echo "ready after $took s"
  full=$(kilobytes "$server")
  kill -INT "$server"
  while kill -0 "$server" 2>/dev/null; do sleep 0.05; done
  server=
done
start_etcd
sleep 2
echo "memory with $objects objects, just ready: $(calculate "$full / 1024") MB; etcd, idle and empty: $(calculate "$(kilobytes "$etcd") / 1024") MB"
verdict "ready with $objects objects" "$(median "${times[@]}")" 0.3 s
verdict "memory when idle" "$(calculate "$idle / 1024")" 60 MB
exit $failed
