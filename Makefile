# rebootd's development targets. On a new machine with Go, git, make and gcc:
#   make demo    three nodes reboot one after the other, before your eyes
#   make check   what a change must pass, in four minutes
#   make test    all tests
SHELL := /bin/bash
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
# client-go brings its own HTTP/2: net/http's would be half a megabyte that nobody calls.
TAGS := nethttpomithttp2
export CGO_ENABLED ?= 0

.PHONY: build
build: ## bin/rebootd, static and stripped
	go build -trimpath -tags $(TAGS) -ldflags "$(LDFLAGS)" -o bin/rebootd ./cmd/rebootd

.PHONY: demo
demo: ## builds what it needs, then reboots three simulated nodes in turn
	cd test && go run ./cmd/demo

.PHONY: cluster
cluster: ## a real control plane with three simulated machines and their daemons, until Ctrl-C; prints how to reach them
	cd test && go run ./cmd/cluster

.PHONY: check
check: format ## what a change must pass, in four minutes: vet, and all tests that need no control plane, with the race detector
	go vet ./...
	cd test && go vet ./...
	test/check.sh

.PHONY: test
test: deps ## all tests, on a real control plane and, as root, on machines with a real systemd
	test/run.sh

.PHONY: fuzz
fuzz: ## every fuzz target, a minute each
	test/fuzz.sh

.PHONY: deps
deps:
	test/deps.sh

.PHONY: lint
lint: format ## vet, staticcheck, gofumpt, tidy go.mod files, what packages may import
	go vet ./...
	go test -run '^Test(Rooms|RoomsAreGuarded|FilesAreShort)$$' ./cmd/rebootd
	go test -tags $(TAGS) -run '^TestHTTP2$$' ./daemon/kube
	go tool staticcheck ./...
	cd test && go vet ./... && go tool -modfile=../go.mod staticcheck ./...
	go mod tidy -diff
	cd test && go mod tidy -diff

.PHONY: format
format:
	@out=$$(go tool gofumpt -l .); [ -z "$$out" ] || { echo "not gofumpt'ed:"; echo "$$out"; exit 1; }

.PHONY: govulncheck
govulncheck: ## known vulnerabilities; needs vuln.go.dev
	go tool govulncheck ./...

.PHONY: soak
soak: ## everything at once for ten minutes, judged by the audit log; SOAK='-for 1h -seed 7'
	cd test && go run ./cmd/soak $(SOAK)

.PHONY: size
size: build ## what the binary weighs
	@stat -c '%n %s bytes' bin/rebootd
	@[ "$$(stat -c %s bin/rebootd)" -le 20000000 ] || { echo "bin/rebootd is larger than 20 MB"; exit 1; }

.PHONY: bench
bench: ## what the daemon costs, measured
	cd test && go run ./cmd/bench

# The image's name, for `make image` and `make manifests`: one from which your nodes can pull it.
IMAGE ?= localhost/rebootd:dev
OVERLAY ?= base

.PHONY: image
image: ## the container image IMAGE, by docker or whatever DOCKER names
	$${DOCKER:-docker} build --build-arg VERSION=$(VERSION) -t $(IMAGE) .

.PHONY: manifests
manifests: ## prints deploy/OVERLAY (base) with IMAGE, for kubectl apply -f -
	@set -o pipefail; kubectl kustomize deploy/$(OVERLAY) | sed 's|localhost/rebootd:dev|$(IMAGE)|'

.PHONY: kubeconfig
kubeconfig: ## prints a kubeconfig for the systemd unit on NODE, for /etc/rebootd/kubeconfig
	@deploy/kubeconfig '$(NODE)'

# Packages want a version that they can compare.
PACKAGE_VERSION := $(if $(filter v%,$(VERSION)),$(VERSION:v%=%),0.0.0~$(VERSION))
NFPM := go run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.0

.PHONY: packages
packages: build ## bin/rebootd_*.deb and bin/rebootd-*.rpm
	rm -f bin/rebootd_*.deb bin/rebootd-*.rpm
	for p in deb rpm; do VERSION=$(PACKAGE_VERSION) GOARCH=$$(go env GOARCH) $(NFPM) package -f systemd/nfpm.yaml -p $$p -t bin/ || exit 1; done

.PHONY: help
help:
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14
