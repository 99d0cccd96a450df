#!/usr/bin/env bash
# Plays the main job end to end. KEEP=1 leaves the cloud running.
set -euo pipefail
cd "$(dirname "$0")/.."
args=(-bin bin)
[ -n "${KEEP:-}" ] && args+=(-keep)
exec go run ./test/demo "${args[@]}"
