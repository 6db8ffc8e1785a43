#!/usr/bin/env bash
# Ten faults that people meet, made on purpose in a cluster with the demo: fault.sh make|shows|mend FAULT NODE. See README.md.
set -euo pipefail

usage() { echo "usage: ${0##*/} make|shows|mend FAULT NODE; ${0##*/} list" >&2; exit 2; }
faults="wrong-selector missing-endpoint denied dns-typo mtu port-mismatch hairpin unready expired-certificate foreign-rule"
[ "${1:-}" = list ] && { printf '%s\n' $faults; exit 0; }
[ $# -eq 3 ] || usage
verb=$1 fault=$2 node=$3
case " $faults " in *" $fault "*) ;; *) usage ;; esac
[ -e "/run/netns/weft-$node" ] || { echo "node $node is not up: /run/netns/weft-$node" >&2; exit 2; }

# KUBECONFIG says which cluster; KUBECTL which program.
in_node() { nsenter --net="/run/netns/weft-$node" -- "$@"; }
k() { in_node "${KUBECTL:-kubectl}" -n demo "$@"; }
call() { # POD URL: whether the pod gets an answer
  k exec "$1" -- timeout 4 wget -q -O /dev/null "$2" >/dev/null 2>&1
}
fails() { ! "$@"; }
patch_port() { k patch service web --type=json -p "[{\"op\":\"replace\",\"path\":\"/spec/ports/0/targetPort\",\"value\":$1}]"; }
pod() { # NAME ARGS PROBE: a pod of the demo's image with its Service
  k apply -f - <<YAML
apiVersion: v1
kind: Pod
metadata: { name: $1, labels: { app: $1 } }
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: weft.local/demo:1
      args: $2
      ports: [{ name: http, containerPort: 8080 }]
      readinessProbe: { exec: { command: ["$3"] }, periodSeconds: 1 }
---
apiVersion: v1
kind: Service
metadata: { name: $1 }
spec: { selector: { app: $1 }, ports: [{ port: 80, targetPort: 8080 }] }
YAML
}
address() { k get pod "$1" -o jsonpath='{.status.podIP}'; }
link_of() { # POD: the node's end of its link
  local wanted name inside
  wanted=$(address "$1")
  while read -r name inside; do
    if ip -n "$inside" -o -4 addr 2>/dev/null | grep " $wanted/" >/dev/null; then echo "$name"; return; fi
  done < <(in_node ip -o link show type veth | sed -n 's/^[0-9]*: \([^@:]*\)@.* link-netns \([^ \\]*\).*/\1 \2/p')
  echo "pod $1 has no link on node $node" >&2
  return 1
}
pings() { k exec client -- ping -c1 -W2 -s "$1" "$(address stranger)" >/dev/null 2>&1; }

case $fault.$verb in
  wrong-selector.make) k patch service web -p '{"spec":{"selector":{"app":"wbe"}}}' ;;
  wrong-selector.shows) fails call client http://web ;;
  wrong-selector.mend) k patch service web -p '{"spec":{"selector":{"app":"web"}}}' ;;

  missing-endpoint.make) # a Service without a selector waits for somebody to write its endpoints
    k create service clusterip orphan --tcp=80 --dry-run=client -o json | sed '/"selector"/,/}/d' | k apply -f - ;;
  missing-endpoint.shows) fails call client http://orphan ;;
  missing-endpoint.mend) k delete service orphan ;;

  denied.make) k label pod client app=klient --overwrite ;;
  denied.shows) fails call client http://web ;;
  denied.mend) k label pod client app=client --overwrite ;;

  dns-typo.make) k run caller --image=weft.local/demo:1 --restart=Never --command -- \
    sh -c 'while :; do wget -O- http://wbe.demo.svc.cluster.local; sleep 1; done' ;;
  dns-typo.shows) k logs caller | grep "bad address" >/dev/null ;;
  dns-typo.mend) k delete pod caller --grace-period=0 --force ;;

  mtu.make) in_node ip link set dev "$(link_of stranger)" mtu 1280 ;;
  mtu.shows) pings 100 && fails pings 1350 ;;
  mtu.mend) in_node ip link set dev "$(link_of stranger)" mtu "$(in_node ip -o link show dev "$(link_of client)" | sed 's/.* mtu \([0-9]*\) .*/\1/')" ;;

  port-mismatch.make) patch_port 8081 ;;
  port-mismatch.shows) fails call client http://web ;;
  port-mismatch.mend) patch_port '"http"' ;;

  hairpin.make)
    pod alone '[serve, "8080"]' true
    k wait --for=condition=Ready pod/alone --timeout=60s
    in_node ip link set dev "$(link_of alone)" type bridge_slave hairpin off ;;
  hairpin.shows) call client http://alone && fails call alone http://alone ;;
  hairpin.mend) k delete pod,service alone ;;

  unready.make) pod late '[serve, "8080"]' false ;;
  unready.shows) fails call client http://late ;;
  unready.mend) k delete pod,service late ;;

  expired-certificate.make)
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$folder/key"
    # Only `openssl ca` takes dates of the past.
    (
      cd "$folder"
      touch index
      printf '[ca]\ndatabase=index\nnew_certs_dir=.\nserial=serial\ndefault_md=sha256\npolicy=any\ncopy_extensions=copy\n[any]\ncommonName=supplied\n' >ca.cnf
      echo 01 >serial
      openssl req -new -key key -subj /CN=web.localhost -addext subjectAltName=DNS:web.localhost -out request 2>/dev/null
      openssl ca -batch -selfsign -name ca -config ca.cnf -keyfile key -in request -notext -out certificate \
        -startdate 20200101000000Z -enddate 20200201000000Z 2>/dev/null
    )
    k create secret tls web-tls --cert="$folder/certificate" --key="$folder/key"
    k patch ingress web -p '{"spec":{"tls":[{"hosts":["web.localhost"],"secretName":"web-tls"}]}}' ;;
  expired-certificate.shows)
    door=$(k get nodes -o jsonpath='{.items[0].status.addresses[?(@.type=="InternalIP")].address}')
    echo | in_node timeout 5 openssl s_client -connect "${door%% *}:443" -servername web.localhost 2>/dev/null |
      openssl x509 -noout -enddate | grep "=Feb  1 00:00:00 2020" >/dev/null ;;
  expired-certificate.mend)
    k patch ingress web --type=json -p '[{"op":"remove","path":"/spec/tls"}]'
    k delete secret web-tls ;;

  foreign-rule.make)
    in_node nft 'table ip firewall { chain guard { type filter hook forward priority 10; tcp dport 8080 drop comment "no web here"; }; }' ;;
  foreign-rule.shows) fails call client http://web ;;
  foreign-rule.mend) in_node nft delete table ip firewall ;;
  *) usage ;;
esac
