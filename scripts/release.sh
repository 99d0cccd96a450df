#!/usr/bin/env bash
# Builds the plugin as static binaries for every platform, with checksums, into
# build/release. The argument is the version that they are stamped with.
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:-dev}
out=build/release
rm -rf "$out"
mkdir -p "$out"
stamp="-X main.gitTag=$version -X main.buildTime=$(date -u -d "@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}" +%Y-%m-%dT%H:%M:%SZ)"
for target in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64; do
  os=${target%/*} arch=${target#*/} suffix=
  [ "$os" = windows ] && suffix=.exe
  file="kubelogin-$os-$arch$suffix"
  CGO_ENABLED=0 GOOS=$os GOARCH=$arch go build -trimpath -ldflags "-s -w $stamp" -o "$out/$file" ./cmd/kubelogin
  echo "built $file ($(du -h "$out/$file" | cut -f1))"
done
(cd "$out" && sha256sum kubelogin-* >SHA256SUMS)
echo "checksums: $out/SHA256SUMS"
