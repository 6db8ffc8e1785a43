# What the commands of rows.script may use besides kubectl.

# run NAME COMMAND...: a command in a pod.
run() { local pod=$1; shift; kubectl exec "$pod" -- "$@"; }

# ask PATH TOKEN: of the node's own port.
ask() {
  local address; address=$(kubectl get node -o jsonpath='{.items[0].status.addresses[?(@.type=="InternalIP")].address}')
  curl -sk --max-time 20 -H "Authorization: Bearer $2" "https://${address%% *}:10250/$1"
}

# roots: the cluster's own authority. bundle NAME: a ClusterTrustBundle of it.
roots() { kubectl get configmap kube-root-ca.crt -n default -o jsonpath='{.data.ca\.crt}'; }
bundle() {
  printf 'apiVersion: certificates.k8s.io/v1\nkind: ClusterTrustBundle\nmetadata: {name: %s}\nspec:\n  trustBundle: |\n' "$1"
  roots | sed 's/^/    /'
}

# token ID SECRET END: a bootstrap token; END may be empty.
token() {
  printf 'apiVersion: v1\nkind: Secret\ntype: bootstrap.kubernetes.io/token\n'
  printf 'metadata: {name: bootstrap-token-%s, namespace: kube-system}\n' "$1"
  printf 'stringData: {token-id: "%s", token-secret: "%s", usage-bootstrap-signing: "true", expiration: "%s"}\n' "$1" "$2" "$3"
}

# discover ID SECRET: as `kubeadm join --discovery-token` goes about it, with no credential and no trust but the token's.
discover() {
  local server; server=$(kubectl config view -o jsonpath='{.clusters[0].cluster.server}')
  curl -sk --max-time 20 "$server/api/v1/namespaces/kube-public/configmaps/cluster-info" >info.json
  roots >roots.pem
  python3 - "$1" "$2" <<'END'
import base64, hashlib, hmac, json, sys
def url(data): return base64.urlsafe_b64encode(data).rstrip(b"=")
data = json.load(open("info.json"))["data"]
head = url(json.dumps({"alg": "HS256", "kid": sys.argv[1]}, separators=(",", ":")).encode())
code = hmac.new(sys.argv[2].encode(), head + b"." + url(data["kubeconfig"].encode()), hashlib.sha256)
if data["jws-kubeconfig-" + sys.argv[1]] != (head + b".." + url(code.digest())).decode():
    sys.exit("signed by somebody else")
authority = base64.b64encode(open("roots.pem", "rb").read()).decode()
print("signed by the token, with " + ("the cluster's" if authority in data["kubeconfig"] else "another") + " authority")
END
}
