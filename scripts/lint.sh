#!/usr/bin/env bash
# gofmt, go vet and staticcheck at zero. The Kubernetes packages themselves are
# never linted: kube/ gets gofmt and go vet of our own few files alone.
set -euo pipefail
cd "$(dirname "$0")/.."

unformatted=$(gofmt -l $(git ls-files '*.go'))
if [ -n "$unformatted" ]; then
  echo "lint: not gofmt'd (run 'make fmt'):" >&2
  echo "$unformatted" >&2
  exit 1
fi
go vet ./...
go run -modfile=tools/go.mod honnef.co/go/tools/cmd/staticcheck ./...
echo "lint: clean"
