# Sourced by the run.sh of benchmarks of the API server: starts and stops `weft server` in a folder of its own.
# BIN is the program; FOLDER chooses the disk.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BIN=${WEFT_BIN_DIR:-$root/.build/release}/weft
work=$(mktemp -d "${FOLDER:-/var/tmp}/weft-bench-XXXXXX")
token=benchmark-token
port=$((20000 + RANDOM % 10000))
url=https://127.0.0.1:$port
server=
others=()

stop_server() {
  if [ -n "$server" ]; then kill -INT "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  server=
}
clean_up() {
  stop_server
  for pid in "${others[@]}"; do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap clean_up EXIT

# start_server [ARGS…]: returns when it is ready.
start_server() {
  mkdir -p "$work/data"
  echo "$token,bench,1,\"system:masters\"" >"$work/tokens"
  "$BIN" server --data-dir "$work/data" --listen "127.0.0.1:$port" --advertise 127.0.0.1 \
    --token-auth-file "$work/tokens" "$@" >"$work/server.log" 2>&1 &
  server=$!
  for _ in $(seq 400); do
    if [ "$(curl -sk "$url/readyz" 2>/dev/null)" = ok ]; then return; fi
    kill -0 "$server" 2>/dev/null || break
    sleep 0.05
  done
  cat "$work/server.log" >&2
  echo "the server did not start" >&2
  exit 1
}

# start_etcd: on $etcd_port, with a client port and a folder of its own; $etcd is its process.
start_etcd() {
  etcd_port=$((port + 10001))
  local peer=http://127.0.0.1:$((etcd_port + 1))
  "$root/.tools/bin/etcd" --data-dir "$work/etcd" --log-level error --quota-backend-bytes 8589934592 \
    --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer" \
    >"$work/etcd.log" 2>&1 &
  etcd=$!
  others+=("$etcd")
  for _ in $(seq 400); do
    if curl -s "http://127.0.0.1:$etcd_port/health" 2>/dev/null | grep -q true; then return; fi
    sleep 0.05
  done
  echo "etcd did not start" >&2
  exit 1
}

# nanoseconds PID: processor time that all threads of it have used.
nanoseconds() { cat /proc/"$1"/task/*/schedstat 2>/dev/null | awk '{sum += $1} END {printf "%.0f", sum}'; }
# kilobytes PID: its proportional set size.
kilobytes() { awk '/^Pss:/ {print $2}' "/proc/$1/smaps_rollup"; }
# calculate EXPRESSION: with two decimals.
calculate() { awk "BEGIN {printf \"%.2f\", $1}"; }

failed=0
# verdict NAME FIGURE MARK UNIT: pass when the figure is at most the mark.
verdict() { judge "$1" "$2" "<=" "$3" "at most" "$4"; }
# verdict_least NAME FIGURE MARK UNIT: pass when the figure is at least the mark.
verdict_least() { judge "$1" "$2" ">=" "$3" "at least" "$4"; }
judge() {
  local word=pass
  if ! awk "BEGIN {exit !($2 $3 $4)}"; then
    word=FAIL
    failed=1
  fi
  echo "$word  $1: $2 $6 ($5 $4)"
}
# need PROGRAM PACKAGE: says what to install when a program is missing.
need() {
  command -v "$1" >/dev/null || {
    echo "$1 is missing: apt-get install $2" >&2
    exit 1
  }
}
# median NUMBERS…
median() { printf '%s\n' "$@" | sort -g | awk '{all[NR] = $1} END {print all[int((NR + 1) / 2)]}'; }
