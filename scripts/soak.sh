#!/usr/bin/env bash
# scripts/soak.sh [SUITE|SCRIPT.sh...]: the long form of the fault tests, one suite after the other, and a verdict. Progress is on
# standard error in lines that begin with "soak:". WEFT_SOAK_SEED repeats a run, WEFT_SOAK_ONLY=A,B picks suites, WEFT_SOAK_CONNECTIONS
# has IngressReplacedTests make another number of connections.
set -uo pipefail
cd "$(dirname "$0")/.."
suites=(CrashTests DiskTests FlipTests RegisterTests ManyWatchersTests ThreeMembersTests KeepingTests ServerKillTests
  HostileBytesTests ProxyKillTests ChurnTests ManyFlowsTests HostileNameTests IncrementalTests FirstPacketTests
  MatrixTests PageAndStatusTests Crashes CNIFaults OracleTests NameChangesTests LeaderElectionTests LeaderKillTests
  ConvergenceTests DNSTests.ConnectionTests SnapshotTests UpstreamFaultTests DNSTests.damaged IngressTests.ServiceTests ReloadTests
  OverloadTests IdleTests HostileObjectTests CertificateCrowdTests DemoTests CustomResourceTests IngressMemoryTests
  IngressReplacedTests scripts/fuzz.sh scripts/podman.sh)
if [ -n "${WEFT_SOAK_ONLY:-}" ]; then IFS=, read -r -a suites <<<"$WEFT_SOAK_ONLY"; fi
if [ $# -gt 0 ]; then suites=("$@"); fi
# A browser is 300 MB: only who asks for its suite gets it.
case " ${suites[*]} " in
  *" PageAndStatusTests "*)
    if ! command -v chromium-headless-shell >/dev/null; then
      echo "installing chromium-headless-shell" >&2
      export DEBIAN_FRONTEND=noninteractive
      apt-get update -qq
      apt-get install -y -qq --no-install-recommends chromium-headless-shell >/dev/null
    fi ;;
esac
export WEFT_SOAK=1 WEFT_TEST_LIMIT=${WEFT_TEST_LIMIT:-7200}
folder=$(mktemp -d)
run=
# Whoever stops this stops the suite that runs.
trap '[ -z "$run" ] || pkill -TERM -P "$run"; rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
failed=()
for suite in "${suites[@]}"; do
  echo "soak: $suite begins at $(date +%H:%M:%S)" >&2
  start=$SECONDS
  log=$folder/${suite##*/}
  : >"$log"
  case $suite in
    *.sh) "$suite" >"$log" 2>&1 & ;;
    *) scripts/test.sh --skip-build --no-parallel --filter "$suite" >"$log" 2>&1 & ;;
  esac
  run=$!
  # What a suite finds is shown as it comes.
  tail -q -n +1 --pid=$run -f "$log" 2>/dev/null | grep -a --line-buffered '^soak:\|recorded an issue' >&2
  wait "$run"
  status=$?
  run=
  # A filter that matches nothing proves nothing.
  if grep -aq 'Test run with 0 tests' "$log"; then status=1; fi
  if [ $status -ne 0 ]; then
    failed+=("$suite")
    sed -n '/^What failed:/,$p; /^NO /p' "$log" >&2
  fi
  echo "soak: $suite $([ $status -eq 0 ] && echo holds || echo FAILED) after $((SECONDS - start)) s" >&2
done
echo
grep -ah '^soak:' "$folder"/* | sort
echo
if [ ${#failed[@]} -gt 0 ]; then
  echo "soak: FAILED: ${failed[*]} (seed ${WEFT_SOAK_SEED:-1})"
  exit 1
fi
echo "soak: all ${#suites[@]} suites hold (seed ${WEFT_SOAK_SEED:-1})"
