#!/usr/bin/env bash
# Durable creates of a 1 KiB ConfigMap by 64 clients, in turn with etcd's puts and the disk's own syncs. See README.md.
# run.sh [SECONDS [ROUNDS]]
cd "$(dirname "$0")"
. ../server.sh
need wrk wrk
need h2load nghttp2-client
"$root/scripts/setup-tests.sh" >&2
seconds=${1:-5} rounds=${2:-3} clients=64
python3 - "$work/put" <<'PY'
import sys
key, value = b"/registry/configmaps/bench/bench", b"x" * 1024
body = b"\x0a" + bytes([len(key)]) + key + b"\x12\x80\x08" + value
open(sys.argv[1], "wb").write(b"\0" + len(body).to_bytes(4, "big") + body)
PY
start_server
start_etcd
# create TIME [REST]: creates a second, p50, p99 and the latest in milliseconds, errors.
create() {
  wrk -t 2 -c $clients -d "$1" -s create.lua "$url/api/v1/namespaces/default/configmaps" -- "$token" ${2-} | grep ^result
}
create 2s >/dev/null
rates=() tails=() puts=() rested_rates=() rested_tails=()
for round in $(seq "$rounds"); do
  syncs=$(python3 - "$work/syncs" <<'PY'
import os, sys, time
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
start, count = time.time(), 0
while time.time() - start < 1:
    os.write(file, b"x" * 1024)
    os.fdatasync(file)
    count += 1
print(count)
PY
  )
  before=$(nanoseconds "$server")
  read -r _ rate p50 p99 latest errors < <(create "${seconds}s")
  cpu=$(calculate "($(nanoseconds "$server") - $before) / 1000 / ($rate * $seconds)")
  put=$(h2load -c $clients -m 1 -t 1 -D "$seconds" -d "$work/put" -H 'content-type: application/grpc' -H 'te: trailers' \
    "http://127.0.0.1:$etcd_port/etcdserverpb.KV/Put" | awk '/^finished in/ {print $4}')
  echo "round $round: $rate creates/s, p50 $p50 ms, p99 $p99 ms, latest $latest ms, $errors errors, $cpu us of processor a create;" \
    "etcd $put puts/s without API and TLS; the disk alone $syncs syncs/s"
  # Above the promised rate and below what the machine can do: each client rests ten milliseconds, more or less, after an answer.
  before=$(nanoseconds "$server")
  read -r _ rested_rate rested_p50 rested_p99 rested_latest rested_errors < <(create "${seconds}s" 20)
  cpu=$(calculate "($(nanoseconds "$server") - $before) / 1000 / ($rested_rate * $seconds)")
  echo "round $round: with rests of up to 20 ms: $rested_rate creates/s, p50 $rested_p50 ms, p99 $rested_p99 ms," \
    "latest $rested_latest ms, $rested_errors errors, $cpu us of processor a create"
  [ "$errors" = 0 ] && [ "$rested_errors" = 0 ] || failed=1
  rested_rates+=("$rested_rate") rested_tails+=("$rested_p99")
  rates+=("$rate") tails+=("$p99") puts+=("$put")
done
verdict_least "durable creates at $clients clients that never rest" "$(median "${rates[@]}")" 5000 /s
verdict "p99 of these" "$(median "${tails[@]}")" 10 ms
echo "on average they need $(calculate "1000 * $clients / $(median "${rates[@]}")") ms"
verdict_least "durable creates at $clients clients that rest" "$(median "${rested_rates[@]}")" 5000 /s
verdict "p99 of these" "$(median "${rested_tails[@]}")" 10 ms
echo "against etcd's puts: $(calculate "$(median "${rates[@]}") / $(median "${puts[@]}")")"
exit $failed
