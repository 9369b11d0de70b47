# rebootd's development targets. On a new machine with Go, git, make and gcc:
#   make demo    three nodes reboot one after the other, before your eyes
#   make play    five nodes, kubectl rebootd, and things to try
#   make check   what a change must pass, in four minutes
#   make test    all tests
SHELL := /bin/bash
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
# client-go brings its own HTTP/2: net/http's would be half a megabyte that nobody calls.
TAGS := nethttpomithttp2
export CGO_ENABLED ?= 0

.PHONY: build
build: cli ## bin/rebootd and bin/kubectl-rebootd, static and stripped
	go build -trimpath -tags $(TAGS) -ldflags "$(LDFLAGS)" -o bin/ ./cmd/rebootd

.PHONY: cli
cli: ## bin/kubectl-rebootd alone, on macOS, too
	go build -trimpath -tags $(TAGS) -ldflags "$(LDFLAGS)" -o bin/ ./cmd/kubectl-rebootd

# Where `make plugin` installs. It builds nothing: root need not have Go.
PREFIX ?= /usr/local

.PHONY: plugin
plugin: ## installs what `make cli` has built in PREFIX/bin (/usr/local/bin), as kubectl rebootd and rebootctl, with completion
	@[ -x bin/kubectl-rebootd ] || { echo "there is no bin/kubectl-rebootd: run make cli first"; exit 1; }
	install -d '$(DESTDIR)$(PREFIX)/bin'
	install -m 755 bin/kubectl-rebootd systemd/kubectl_complete-rebootd '$(DESTDIR)$(PREFIX)/bin'
	ln -sf kubectl-rebootd '$(DESTDIR)$(PREFIX)/bin/rebootctl'

.PHONY: cross
cross: ## builds kubectl-rebootd for the platforms that people sit at
	for p in darwin/arm64 windows/amd64; do echo $$p; GOOS=$${p%/*} GOARCH=$${p#*/} go build -tags $(TAGS) -o /dev/null ./cmd/kubectl-rebootd || exit 1; done

.PHONY: demo
demo: ## builds what it needs, then reboots three simulated nodes in turn
	cd test && go run ./cmd/demo

.PHONY: cluster
cluster: ## a real control plane with three simulated machines and their daemons, until Ctrl-C; prints how to reach them
	cd test && go run ./cmd/cluster

.PHONY: play
play: ## the same with five machines and a workload, and a shell to try things in
	cd test && go build -o ../bin/cluster ./cmd/cluster
	@bin/cluster -nodes 5 -play

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
size: build ## what the binaries weigh
	@stat -c '%n %s bytes' bin/rebootd bin/kubectl-rebootd
	@for b in bin/rebootd bin/kubectl-rebootd; do [ "$$(stat -c %s $$b)" -le 20000000 ] || { echo "$$b is larger than 20 MB"; exit 1; }; done

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
packages: build ## bin/rebootd_*.deb and bin/rebootd-*.rpm, and the same of kubectl-rebootd
	rm -f bin/rebootd_*.deb bin/rebootd-*.rpm bin/kubectl-rebootd_*.deb bin/kubectl-rebootd-*.rpm
	ln -sf kubectl-rebootd bin/rebootctl
	for s in bash zsh fish; do bin/rebootctl completion $$s > bin/rebootctl.$$s || exit 1; done
	for p in deb rpm; do for f in systemd/nfpm.yaml systemd/kubectl-rebootd.yaml; do \
		VERSION=$(PACKAGE_VERSION) GOARCH=$$(go env GOARCH) $(NFPM) package -f $$f -p $$p -t bin/ || exit 1; done; done

.PHONY: help
help:
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14
