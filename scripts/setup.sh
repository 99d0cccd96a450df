#!/usr/bin/env bash
# Installs what the tests drive: the real az, a real Chromium, certutil, and the
# original plugin Azure/kubelogin, which is built into build/tools. On a machine
# that has them it does nothing and needs no rights.
set -euo pipefail
cd "$(dirname "$0")/.."

original=v0.2.19
if [[ "$(build/tools/kubelogin --version 2>/dev/null)" != *"git hash: $original"* ]]; then
  echo "setup: building Azure/kubelogin $original, for the tests"
  GOBIN="$PWD/build/tools" GOFLAGS= go install "github.com/Azure/kubelogin@$original"
fi

missing=()
command -v az >/dev/null || missing+=(azure-cli)
command -v chromium >/dev/null || missing+=(chromium)
command -v certutil >/dev/null || missing+=(libnss3-tools)
command -v node >/dev/null || missing+=(nodejs npm)
command -v openssl >/dev/null || missing+=(openssl)
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ]; then
  echo "setup: ${missing[*]} are needed by the tests; run 'sudo scripts/setup.sh' once" >&2
  exit 1
fi
echo "setup: installing ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
