# Entrance. `make help` lists the targets; only Go and apt are needed.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  = -s -w -X github.com/entrance-id/entrance/internal/version.version=$(VERSION)
BIN     := bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help build kube demo up test test-% bench lint fmt setup release clean

help: ## list the targets
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

build: $(BIN)/entrance $(BIN)/kubelogin kube ## build everything into bin/

# The go command decides what is stale; it needs no list of sources from us.
.PHONY: $(BIN)/entrance $(BIN)/kubelogin
$(BIN)/entrance $(BIN)/kubelogin:
	@mkdir -p $(BIN)
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/$(@F)

kube: ## build the Kubernetes control plane (about ten minutes the first time)
	@kube/build.sh $(BIN)/entrance-kube
	@ln -sf entrance-kube $(BIN)/kubectl

demo: build ## the main job, end to end, as a transcript (KEEP=1 leaves it running)
	@scripts/demo.sh

up: build ## start a cloud on this machine and keep it until Ctrl-C
	@$(BIN)/entrance up

setup: ## install what the tests use (az, chromium, node); needs root
	@scripts/setup.sh

test: ## everything, in named groups with a time budget each
	@scripts/test.sh

test-%: ## one group of the tests: build, lint, unit, clients, kube, demo, e2e, az, access, policy, control, workload
	@scripts/test.sh $*

bench: build ## measure everything, or one group: make bench GROUP=kubelogin
	@$(GO) run ./test/bench -bin $(BIN) $(if $(GROUP),-group $(GROUP))

lint: ## gofmt, go vet, staticcheck
	@scripts/lint.sh

fmt: ## format the code
	@gofmt -w $$(git ls-files '*.go')

release: ## static kubelogin binaries for every platform, with checksums, into build/release
	@scripts/release.sh '$(VERSION)'

clean: ## remove what was built (the Go build cache stays)
	@rm -rf $(BIN) build
