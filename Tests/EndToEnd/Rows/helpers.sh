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
