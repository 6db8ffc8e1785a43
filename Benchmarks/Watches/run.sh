#!/usr/bin/env bash
# Ten thousand watches of `weft server`, then of etcd: memory when idle, and how late events are at all of them. See README.md.
# run.sh [WATCHES [CONNECTIONS [EVENTS-A-SECOND [SECONDS]]]]
cd "$(dirname "$0")"
. ../server.sh
(cd "$root" && WEFT_ONLY=WatchBenchmark swift build -c release --static-swift-stdlib --product WatchBenchmark >&2)
"$root/scripts/setup-tests.sh" >&2
watches=${1:-10000} connections=${2:-20} rate=${3:-100} seconds=${4:-10}
client=$root/.build/release/WatchBenchmark
start_server
"$client" weft 127.0.0.1 "$port" "$server" "$token" "$watches" "$connections" "$rate" "$seconds" | tee "$work/weft.txt"
stop_server
start_etcd
"$client" etcd 127.0.0.1 "$etcd_port" "$etcd" - "$watches" "$connections" "$rate" "$seconds" | tee "$work/etcd.txt"
read -r _ _ each late whole < <(grep '^result' "$work/weft.txt")
read -r _ _ each_etcd late_etcd whole_etcd < <(grep '^result' "$work/etcd.txt")
[ "$whole" = whole ] || late=99999
echo "etcd beside it: $each_etcd kB a watch, p99 $late_etcd ms ($whole_etcd)"
verdict "memory of an idle watch" "$each" 8 kB
verdict "p99 of $rate events/s at $watches watches" "$late" 100 ms
exit $failed
