#!/bin/sh
# Builds the Kubernetes control plane: kube/build.sh OUT
#
# The first build compiles some 2,600 packages and takes minutes: a line every
# ten seconds says how far it is. Later ones are incremental, and nothing at
# all is done while OUT was made from these sources by this compiler.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 OUT" >&2; exit 2; }
case $1 in /*) out=$1 ;; *) out=$PWD/$1 ;; esac
cd "$(dirname "$0")"

version=v1.36.3
packages=2590 # of a cold build, for the progress line only
: "${CGO_ENABLED:=0}" "${KUBE_BUILD_JOBS:=}"
export CGO_ENABLED

x=k8s.io/component-base/version
ldflags="-s -w -X $x.gitVersion=$version -X $x.gitMajor=1 -X $x.gitMinor=36 -X $x.gitTreeState=clean"

grep -q "k8s.io/kubernetes $version\$" go.mod || {
	echo "kube: go.mod and build.sh name different versions of Kubernetes" >&2
	exit 1
}

# What the binary is made from, and by what.
key=$({
	go version
	go env GOOS GOARCH GOFLAGS
	echo "$CGO_ENABLED"
	find . -type f \( -name '*.go' ! -name '*_test.go' -o -name go.mod -o -name go.sum -o -name build.sh \) |
		LC_ALL=C sort | while read -r f; do echo "$f"; cat "$f"; done
} | cksum)

mkdir -p "$(dirname "$out")"
stamp=$(dirname "$out")/.$(basename "$out").stamp
if [ -x "$out" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then
	exit 0
fi

# One build at a time for an output; a second waits for the first and then
# finds that nothing is left to do. A lock whose owner is gone is taken over.
lock=$stamp.lock
nameless=0
while ! mkdir "$lock" 2>/dev/null; do
	owner=$(cat "$lock/pid" 2>/dev/null || true)
	if [ -z "$owner" ]; then nameless=$((nameless + 1)); fi
	if [ $nameless -gt 5 ] || { [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; }; then
		rm -rf "$lock"
		nameless=0
		continue
	fi
	sleep 1
done
echo $$ >"$lock/pid"
log=$stamp.log
build=
finish() {
	if [ -n "$build" ]; then kill "$build" 2>/dev/null || true; fi
	rm -rf "$lock" "$out.new"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP
if [ -x "$out" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$key" ]; then
	exit 0
fi

start=$(date +%s)
echo "kube: building the Kubernetes control plane $version (a first build takes about ten minutes on two cores)"
: >"$log"
# shellcheck disable=SC2086 # no word at all where the number of jobs is not given
go build ${KUBE_BUILD_JOBS:+-p $KUBE_BUILD_JOBS} -trimpath -buildvcs=false -v -ldflags "$ldflags" -o "$out.new" . >"$log" 2>&1 &
build=$!
ticks=0
while kill -0 "$build" 2>/dev/null; do
	sleep 1
	ticks=$((ticks + 1))
	if [ $((ticks % 10)) -eq 0 ]; then
		done=$(grep -c '^[a-z0-9.]*[/.a-zA-Z0-9_~-]*$' "$log" || true)
		echo "kube: $(($(date +%s) - start)) s, $done of at most $packages packages compiled"
	fi
done
if ! wait "$build"; then
	build=
	echo "kube: the build failed:" >&2
	tail -n 40 "$log" >&2
	exit 1
fi
build=
mv -f "$out.new" "$out"
echo "$key" >"$stamp"
rm -f "$log"
echo "kube: $(basename "$out") is ready after $(($(date +%s) - start)) s"
