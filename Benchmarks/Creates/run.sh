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
create() { wrk -t 2 -c $clients -d "$1" -s create.lua "$url/api/v1/namespaces/default/configmaps" -- "$token" | grep ^result; }
create 2s >/dev/null
printf '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"paced-"},"data":{"value":"%s"}}' \
  "$(printf 'x%.0s' $(seq 900))" >"$work/map"
# paced SECONDS: creates a second, p50 and p99 in milliseconds, answers other than 201.
paced() {
  rm -f "$work/paced"
  h2load -c $clients -m 1 -t 1 -D "$1" --rps 80 --log-file "$work/paced" -d "$work/map" -H "authorization: Bearer $token" \
    -H 'content-type: application/json' "$url/api/v1/namespaces/default/configmaps" >/dev/null
  sort -n -k 3 "$work/paced" | awk -v seconds="$1" '
    {took[NR] = $3; if ($2 != 201) wrong++}
    END {printf "%.0f %.2f %.2f %d\n", NR / seconds, took[int(NR * 0.5) + 1] / 1000, took[int(NR * 0.99) + 1] / 1000, wrong}'
}
rates=() tails=() puts=() paced_rates=() paced_tails=()
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
  # The promised rate and no more: 64 clients, each with its own share of 5,000 a second.
  read -r paced_rate paced_p50 paced_p99 paced_wrong < <(paced "$seconds")
  echo "round $round: at 80 a second each: $paced_rate creates/s, p50 $paced_p50 ms, p99 $paced_p99 ms, $paced_wrong not created"
  [ "$errors" = 0 ] && [ "$paced_wrong" = 0 ] || failed=1
  paced_rates+=("$paced_rate") paced_tails+=("$paced_p99")
  rates+=("$rate") tails+=("$p99") puts+=("$put")
done
verdict_least "durable creates at $clients clients" "$(median "${rates[@]}")" 5000 /s
verdict "p99 of a create at $clients clients that never rest" "$(median "${tails[@]}")" 10 ms
verdict_least "durable creates at $clients clients at 80 a second each" "$(median "${paced_rates[@]}")" 5000 /s
verdict "p99 of these" "$(median "${paced_tails[@]}")" 10 ms
echo "against etcd's puts: $(calculate "$(median "${rates[@]}") / $(median "${puts[@]}")")"
exit $failed
