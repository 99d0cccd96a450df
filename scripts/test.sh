#!/usr/bin/env bash
# Runs the tests in named groups, each with a time budget in seconds, and says
# how long each took. With arguments: only the groups named.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/bin:$PATH"
export ENTRANCE_BIN="$PWD/bin"

# name:budget, in the order in which they run: the cheap ones that fail most
# come first. The budgets hold on two cores with nothing cached.
groups=(setup:600 build:1800 lint:600 unit:900 clients:480 kube:1500 demo:300 e2e:540 az:600 access:360 policy:240 control:420 workload:300)

run_setup()   { scripts/setup.sh; }
run_build()   { make --no-print-directory build; }
run_lint()    { scripts/lint.sh; }
run_unit()    { go test ./internal/... ./cmd/... ./entrancetest/...; }
run_clients() { go test -count=1 ./test/clients/...; }
# With the flags of the build, so that what it compiled is used again.
run_kube()    { (cd kube && export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -trimpath" && go vet ./... && go test ./...); }
run_demo()    { scripts/demo.sh; }
run_e2e()     { go test -count=1 ./test/e2e/...; }
run_az()      { go test -count=1 -timeout 10m ./test/az/...; }
run_access()  { go test -count=1 -timeout 6m ./test/access/...; }
run_policy()  { go test -count=1 -timeout 4m ./test/policy/...; }
# The first run installs what node/package-lock.json names.
run_control() { go test -count=1 -timeout 7m ./test/control/...; }
run_workload() { go test -count=1 -timeout 5m ./test/workload/...; }
export -f run_setup run_build run_lint run_unit run_clients run_kube run_demo run_e2e run_az run_access run_policy run_control run_workload

wanted=("$@")
passed=0 failed=()
for entry in "${groups[@]}"; do
  name=${entry%%:*} budget=${entry##*:}
  if [ ${#wanted[@]} -gt 0 ] && [[ " ${wanted[*]} " != *" $name "* ]]; then
    continue
  fi
  echo "== $name (budget ${budget}s)"
  start=$SECONDS
  if timeout --kill-after=20 "$budget" bash -euo pipefail -c "run_$name"; then
    echo "== $name: ok, $((SECONDS - start))s"
    passed=$((passed + 1))
  else
    code=$?
    [ $code -eq 124 ] && echo "== $name: over its budget of ${budget}s" >&2
    echo "== $name: FAILED, $((SECONDS - start))s" >&2
    failed+=("$name")
    case $name in setup | build) break ;; esac # nothing after these can work
  fi
done
echo
[ ${#failed[@]} -gt 0 ] && echo "failed: ${failed[*]}" >&2
echo "$passed passed, ${#failed[@]} failed"
[ ${#failed[@]} -eq 0 ]
