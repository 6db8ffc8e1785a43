#!/usr/bin/env bash
# Benchmarks/Ingress/edits.sh [EDITS] [REQUESTS_A_SECOND] [WEBSOCKETS]: route edits through the API under load, by the program as it is.
# The promise: 1,000 edits under 2,000 requests a second and 200 WebSockets fail no request, close no socket, and leave p99 within 2 ms
# of quiet. WEFT_BIN_DIR names another program than .build/release/weft.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../server.sh"
cc -O2 -o "$work/paced" "$here/paced.c"
start_server
ingress=$((port + 1)) metrics=$((port + 2)) endpoint=$((port + 3))
cat >"$work/kubeconfig" <<YAML
apiVersion: v1
kind: Config
current-context: bench
clusters: [{name: bench, cluster: {server: "$url", insecure-skip-tls-verify: true}}]
users: [{name: bench, user: {token: $token}}]
contexts: [{name: bench, context: {cluster: bench, user: bench}}]
YAML
python3 "$here/echo.py" "$endpoint" &
others+=($!)
"$BIN" ingress --kubeconfig "$work/kubeconfig" --http "127.0.0.1:$ingress" --https none --metrics "127.0.0.1:$metrics" \
  --update-status false >"$work/ingress.log" 2>&1 &
others+=($!)
python3 "$here/edits.py" "$url" "$token" "$ingress" "$metrics" "$endpoint" "$work/paced" "$@"
