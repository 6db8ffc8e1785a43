#!/usr/bin/env bash
# A fault in the demo of `weft up --demo`: fault.sh NAME [undo]. Run in the node's network, with KUBECONFIG. See ../docs/debugging.md.
set -euo pipefail

usage() { echo "usage: ${0##*/} selector|endpoint|policy|dns|mtu|port|unready|certificate|foreign [undo]" >&2; exit 2; }
[ $# -ge 1 ] && [ $# -le 2 ] || usage
fault=$1 undo=${2:-}
case $undo in '' | undo) ;; *) usage ;; esac
k() { "${KUBECTL:-kubectl}" -n demo "$@"; }
patch() { k patch "$1" "$2" --type "${4:-merge}" -p "$3"; }
either() { if [ -z "$undo" ]; then echo "$1"; else echo "$2"; fi; }

case $fault in
  selector) patch service web "{\"spec\":{\"selector\":{\"app\":\"$(either wbe web)\"}}}" ;;
  endpoint) k scale deployment web --replicas "$(either 0 2)" ;;
  policy) k label pod client --overwrite "app=$(either customer client)" ;;
  # A name as somebody mistypes it: nothing is changed.
  dns) either web.dmeo web.demo ;;
  mtu) ip link set cni0 mtu "$(either 9000 1500)" ;;
  port) patch service web "[{\"op\":\"replace\",\"path\":\"/spec/ports/0/targetPort\",\"value\":$(either 8081 '"http"')}]" json ;;
  unready)
    if [ -n "$undo" ]; then k delete service,pod late --ignore-not-found --wait=false; else k apply -f - <<'YAML'
apiVersion: v1
kind: Service
metadata: { name: late }
spec:
  selector: { app: late }
  ports: [{ port: 80, targetPort: 8080 }]
---
apiVersion: v1
kind: Pod
metadata: { name: late, labels: { app: late } }
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: web
      image: weft.local/demo:1
      args: ["serve", "8080"]
      readinessProbe: { tcpSocket: { port: 9999 }, periodSeconds: 1 }
YAML
    fi
    ;;
  certificate)
    if [ -n "$undo" ]; then k delete secret,ingress old --ignore-not-found; else
      folder=$(mktemp -d)
      trap 'rm -rf "$folder"' EXIT
      openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3 -subj /CN=old.localhost \
        -addext subjectAltName=DNS:old.localhost -keyout "$folder/key" -out "$folder/certificate" 2>/dev/null
      k create secret tls old --cert "$folder/certificate" --key "$folder/key"
      k create ingress old --class weft --rule 'old.localhost/*=web:80,tls=old'
    fi
    ;;
  foreign)
    if [ -n "$undo" ]; then nft delete table ip stranger; else
      nft add table ip stranger
      nft 'add chain ip stranger forward { type filter hook forward priority 0; }'
      nft add rule ip stranger forward ip saddr 10.42.0.0/16 tcp dport 8080 drop
    fi
    ;;
  *) usage ;;
esac
