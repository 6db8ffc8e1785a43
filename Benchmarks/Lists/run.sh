#!/usr/bin/env bash
# What a list of 5,000 pods costs the server, beside the same bytes sent from memory by OpenSSL. See README.md. run.sh [PODS [LISTS]]
cd "$(dirname "$0")"
. ../server.sh
pods=${1:-5000} lists=${2:-20}
start_server
# The default ServiceAccount comes from a controller.
for _ in $(seq 100); do
  curl -skf -H "authorization: Bearer $token" "$url/api/v1/namespaces/default/serviceaccounts/default" >/dev/null && break
  sleep 0.1
done
python3 ../objects.py "$port" "$token" pods "$pods"
sleep 3
python3 list.py "$port" "$token" "$server" "$lists" | tee "$work/list.txt"
verdict "processor of a list of $pods pods" "$(awk '/^result/ {print $2}' "$work/list.txt")" 25 ms
exit $failed
