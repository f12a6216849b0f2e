# What a person types. `make help` lists it; CI types the same (.ci/run).
GO ?= go
export CGO_ENABLED = 0
KILLS ?= 20
FUZZTIME ?= 30s
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

.PHONY: help demo build check test race fuzz interop desktop bench crash siege compare package cross reproducible deploy-test cover fmt
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: build ## run a mail server on loopback, send a message through it, show how to read it
	@bin/posthouse demo

build: ## build bin/posthouse
	@$(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/posthouse ./cmd/posthouse

check: ## formatting, vet, staticcheck
	@bad=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$bad" || { echo "not formatted: $$bad"; exit 1; }
	@$(GO) vet ./...
	@$(GO) vet -tags interop ./cmd/posthouse/internal/interop
	@$(GO) vet -tags desktop ./cmd/posthouse/internal/desktop
	@$(GO) tool -modfile=internal/tools/go.mod staticcheck ./...

test: ## every test that needs nothing but Go
	@$(GO) test ./...

race: ## the same under the race detector (needs a C compiler)
	@CGO_ENABLED=1 $(GO) test -race -short ./...

fuzz: ## each fuzz target for FUZZTIME (30s)
	@for pkg in $$($(GO) list ./...); do for f in $$($(GO) test -list '^Fuzz' $$pkg | grep ^Fuzz); do \
		echo "$$pkg $$f"; $(GO) test $$pkg -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 2s || exit 1; done; done

interop: build ## other people's programs against the binary (Debian's packages; .ci/run installs them)
	@$(GO) test -count=1 -tags interop -timeout 15m ./cmd/posthouse/internal/interop

desktop: build ## Debian's Thunderbird, and chromium on every page (thunderbird xvfb chromium iproute2 nodejs npm); PICTURES=yes draws docs/pictures anew
	@cd cmd/posthouse/internal/desktop && npm ci --silent
	@PICTURES=$(PICTURES) $(GO) test -count=1 -tags desktop -timeout 10m ./cmd/posthouse/internal/desktop

bench: build ## the store's figures, the required ones beside them
	@$(GO) run ./internal/bench/figures

crash: build ## kill -9 the server under a mixed load KILLS times (20, SEED chooses) and look for everything it acknowledged
	@$(GO) run ./internal/bench/crash -kills $(KILLS) $(if $(SEED),-seed $(SEED))

siege: build ## hostile clients of eleven kinds, with an honest one beside them
	@$(GO) run ./internal/bench/siege

compare: build ## beside Debian's Postfix and Dovecot, as ratios (root; postfix dovecot-imapd dovecot-pop3d dovecot-lmtpd rspamd)
	@$(GO) run ./internal/bench/compare

package: ## the Debian package of this machine's kind (ARCH=arm64: of another), in bin/
	@deploy/package bin $(ARCH)

cross: ## the binary for linux, freebsd and darwin, with checksums, in bin/cross
	@deploy/cross bin/cross

reproducible: ## build the package of HEAD twice in different folders, with empty caches, and compare every octet (ALL=yes: all systems too)
	@deploy/reproducible

deploy-test: ## package, container and setup in a fresh Debian: install, use, upgrade, remove, purge; two commands to a message read (root; SETUP=paste, SETUP=update: one way to the DNS records)
	@deploy/test
	@deploy/test-setup $(SETUP)

cover: ## coverage of the unit tests, by function
	@$(GO) test -coverprofile=bin/cover.out ./... >/dev/null && $(GO) tool cover -func=bin/cover.out | tail -1

fmt: ## format the code
	@gofmt -w $$(git ls-files '*.go')
