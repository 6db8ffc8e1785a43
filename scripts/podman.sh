#!/usr/bin/env bash
# podman starts containers with weft-cni under the reference plugins' names: with the network list that podman's package brings,
# unchanged (bridge, portmap, firewall, tuning), and with one of ours. Nothing is installed on the machine: Debian's packages are
# unpacked into .tools/podman, the image is made from busybox, everything runs in a network namespace of its own.
# Says what it saw; exits 1 when something is missing or stays behind. WEFT_BIN_DIR says where weft-cni is.
set -euo pipefail
cd "$(dirname "$0")/.."

plugin=$(realpath "${WEFT_BIN_DIR:-.build/release}/weft-cni")
tools=$PWD/.tools/podman
if [ ! -x "$tools/usr/bin/podman" ]; then
  echo "installing podman into .tools/podman" >&2
  scratch=$(mktemp -d)
  chmod 755 "$scratch"
  (cd "$scratch" && apt-get update -qq &&
    apt-get download -qq podman conmon libgpgme11 libassuan0 libgpg-error0 libsubid4 libdevmapper1.02.1 \
      golang-github-containers-common 2>/dev/null
    for package in *.deb; do dpkg -x "$package" unpacked; done)
  rm -rf "$tools"
  mkdir -p .tools
  mv "$scratch/unpacked" "$tools"
  rm -rf "$scratch"
fi

work=$(mktemp -d /var/tmp/weft-podman-XXXXXX)
node=weft-podman-$$
export LD_LIBRARY_PATH=$tools/usr/lib/x86_64-linux-gnu CONTAINERS_CONF=$work/containers.conf HOME=$work
export CONTAINERS_REGISTRIES_CONF=/dev/null CONTAINERS_STORAGE_CONF=$work/storage.conf
podman_leases=/var/lib/weft/cni/podman
[ ! -e $podman_leases ] || { echo "$podman_leases is there already: this machine runs containers with weft-cni" >&2; exit 2; }
failures=0

in_node() { nsenter --net="/run/netns/$node" -- "$@"; }
podman() { in_node "$tools/usr/bin/podman" "$@"; }
leftovers() {
  ip -n $node -o link 2>&1 | grep -v 'Peer netns' | grep -oE '(vp|ifb|veth)[^:@]*' || true
  find "$work/leases" $podman_leases -path '*/leases/*:*' -type f 2>/dev/null || true
  in_node nft list ruleset | grep -E 'dnat to|CNI-DN' || true
}
nothing_stays() {
  local left
  left=$(leftovers)
  echo "$left"
  [ -z "$left" ]
}
hello='printf "GET / HTTP/1.0\r\n\r\n" | nc -w 5 $0 $1 | grep "hello from a container"'
finish() {
  podman rm -f -a -t 0 >/dev/null 2>&1 || true
  ip netns del $node 2>/dev/null || true
  umount -l "$work"/root/overlay 2>/dev/null || true
  rm -rf "$work" $podman_leases
}
trap finish EXIT
expect() { # WHAT COMMAND...
  local what=$1 output
  shift
  if output=$("$@" 2>&1); then echo "yes  $what"; else
    echo "NO   $what: $output"
    failures=$((failures + 1))
  fi
}

ip netns add $node
ip -n $node link set lo up
mkdir -p "$work"/{bin,net.d,image/bin,image/tmp,image/etc,image/www,leases}
for name in bridge host-local portmap firewall tuning loopback weft-cni; do ln -s "$plugin" "$work/bin/$name"; done
cp "$(command -v busybox)" "$work/image/bin/busybox"
for name in sh sleep ip ping httpd nc grep; do ln -s busybox "$work/image/bin/$name"; done
echo "hello from a container" >"$work/image/www/index.html"

cat >"$work/storage.conf" <<CONF
[storage]
driver = "vfs"
graphroot = "$work/root"
runroot = "$work/run"
CONF
cat >"$work/containers.conf" <<CONF
[containers]
seccomp_profile = "$tools/usr/share/containers/seccomp.json"
log_driver = "k8s-file"
# podman would raise them, which not every machine lets even root do.
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
init = false
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
conmon_path = ["$tools/usr/bin/conmon"]
static_dir = "$work/static"
tmp_dir = "$work/tmp"
volume_path = "$work/volumes"
[network]
network_backend = "cni"
cni_plugin_dirs = ["$work/bin"]
network_config_dir = "$work/net.d"
CONF
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$work/policy.json"

# podman's own list, as the package has it. It names no place for leases, so they are in the plugin's own.
cp "$tools/etc/cni/net.d/87-podman-bridge.conflist" "$work/net.d/"
cat >"$work/net.d/10-weft.conflist" <<CONF
{"cniVersion": "1.0.0", "name": "weft", "plugins": [
  {"type": "weft-cni", "bridge": "cni0", "capabilities": {"portMappings": true, "ips": true, "mac": true},
   "ipam": {"type": "host-local", "dataDir": "$work/leases", "ranges": [[{"subnet": "10.97.0.0/24"}]]}}]}
CONF

echo "podman $("$tools/usr/bin/podman" --version | grep -oE '[0-9.]+'), network backend $(podman info -f '{{.Host.NetworkBackend}}')"
tar -C "$work/image" -c . | podman import --signature-policy "$work/policy.json" - weft/busybox >/dev/null

round() { # NETWORK BRIDGE PREFIX PORT
  local network=$1 bridge=$2 prefix=$3 port=$4 name address
  for name in one two; do
    local ports=()
    [ $name = two ] || ports=(-p "$port:80")
    podman run -d --name "$network-$name" --network "$network" "${ports[@]}" --pull never weft/busybox \
      /bin/httpd -f -p 80 -h /www >/dev/null
  done
  address=$(podman inspect -f "{{(index .NetworkSettings.Networks \"$network\").IPAddress}}" "$network-one")
  expect "$network: an address of the list's range: $address" test "${address#"$prefix"}" != "$address"
  expect "$network: the bridge $bridge is there" ip -n $node link show dev "$bridge"
  expect "$network: one container reaches the other" \
    podman exec "$network-two" /bin/sh -c "$hello" "$address" 80
  expect "$network: a container reaches the gateway" podman exec "$network-two" /bin/ping -c1 -W2 "${prefix}0.1"
  expect "$network: the published port leads to the container" \
    in_node busybox sh -c "$hello" "${prefix}0.1" "$port"
  expect "$network: a restarted container is attached again" podman restart -t 0 "$network-one"
  expect "$network: ... and answers" podman exec "$network-one" /bin/ping -c1 -W2 "${prefix}0.1"
  podman rm -f -t 0 "$network-one" "$network-two" >/dev/null
  expect "$network: nothing stays" nothing_stays
}
round podman cni-podman0 10.88. 8080
round weft cni0 10.97. 8081
[ $failures -eq 0 ] && echo "soak: podman: everything holds" || { echo "soak: podman: $failures failed"; exit 1; }
