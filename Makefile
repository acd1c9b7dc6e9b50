# Weft's commands. `make help` lists them; each target does its own set-up.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

GO ?= go
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/weft
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LINT_VERSION := $(shell sed -n 's|.*golangci/golangci-lint/v2 \(v[0-9.]*\).*|\1|p' tools/go.mod)
VULNCHECK_VERSION := v1.9.0
LINT := $(CACHE)/tools/golangci-lint-$(LINT_VERSION)

# Packages whose goroutines share memory: they run under the race detector
# too. The others are pure functions or one goroutine, and a second build of
# every proto would double the time of the whole run.
RACE := ./internal/memo/... ./internal/fair ./internal/admission ./internal/source/... ./internal/agent/... ./internal/enroll/... ./internal/local/... ./pilot ./pilot/internal/xds/... ./pilot/internal/jwks ./ca/...
# Packages with golden files.
GOLDEN := ./pilot ./pilot/internal/compile ./internal/cli
# CI takes no result from a cache.
TEST := $(GO) test -timeout 30m $(if $(CI),-count=1)
FUZZ_TIME ?= 10s

# present keeps those of a list of package patterns whose folder exists.
present = $(foreach p,$(1),$(if $(wildcard $(p:/...=)),$(p)))
# step runs $(2) under the title $(1) and says how long it took.
step = @start=$$SECONDS; printf '\n== %s\n' '$(1)'; $(2); printf '== %s: %d s\n' '$(1)' $$((SECONDS - start))

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-13s %s\n", $$1, $$2}' Makefile

comma := ,
# CA_TAGS adds back ends to the CA, with commas between: stepcas, vaultcas, cloudcas (docs/guides/certificates.md). Of step-ca's
# server, which comes with its client, the databases are left out.
ca_tags = $(if $(CA_TAGS),-tags=$(CA_TAGS)$(comma)nomysql$(comma)nopgx$(comma)nobadger$(comma)nobbolt)

.PHONY: build
build: ## build the binaries of cmd/* and the sample's into bin/
	$(call step,build,CGO_ENABLED=0 $(GO) build $(ca_tags) -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ ./cmd/... ./samples/bookshop/cmd/... ./samples/grpc-proxyless/cmd/...)

.PHONY: demo
demo: build ## start the sample mesh and show the mesh's main job on real traffic
	@$(GO) run ./test/demo

.PHONY: images
images: build ## write container images to dist/images/*.tar, without Docker
	$(call step,images,$(GO) run ./install/images --tag $(VERSION))

.PHONY: sbom
sbom: build ## write what each image is made of to dist/sbom/*.cdx.json (CycloneDX)
	$(call step,sbom,GOFLAGS='$(GOFLAGS) $(ca_tags)' $(GO) run ./install/images --tag $(VERSION) --sbom dist/sbom)

NODES ?= 1
NAME ?= dev
# Kubernetes to run tests and one's own experiments on (test/cluster).
CLUSTER = $(GO) run ./test/cluster/ctl --name $(NAME)

.PHONY: cluster-build
cluster-build: ## build Kubernetes for the tests, once (some minutes; it stays in the user's cache)
	$(call step,cluster-build,$(CLUSTER) build)

.PHONY: cluster-up
cluster-up: ## bring up a Kubernetes with NODES=1..3 nodes (NAME=dev, METALLB=1; its first build takes some minutes)
	@$(CLUSTER) up --nodes $(NODES) $(if $(METALLB),--metallb) $(wildcard dist/images/*.tar)

.PHONY: cluster-down
cluster-down: ## end it and remove all of it
	@$(CLUSTER) down

.PHONY: cluster-shell
cluster-shell: ## a shell with kubectl and the KUBECONFIG of it
	@$(CLUSTER) shell

.PHONY: test
test: build cluster-build vet web-test test-unit test-race ## pass every test

.PHONY: test-unit
test-unit: ## run all tests, without the race detector
	$(call step,test,$(TEST) ./...)

JAEGER := $(CACHE)/tools/jaeger-$(shell sed -n 's|.*github.com/jaegertracing/jaeger \(v[0-9.]*\).*|\1|p' test/peers/jaeger/go.mod)

.PHONY: peers
peers: build ## pass the tests with real servers of others: step-ca, Jaeger (built from their modules; needs some GB and minutes)
	$(call step,step-ca,$(TEST) -count=1 -tags stepcas -run StepCA ./ca ./ca/internal/issue)
	$(call step,build of jaeger,$(GO) -C test/peers/jaeger build -trimpath -ldflags '-s -w' -o $(JAEGER)/jaeger github.com/jaegertracing/jaeger/cmd/jaeger)
	$(call step,jaeger,PATH=$(JAEGER):$$PATH $(TEST) -count=1 -tags peers -run TraceGuide ./test/local)

.PHONY: test-race
test-race: ## run the tests of the concurrent packages under the race detector
	$(call step,test-race,$(TEST) -race $(call present,$(RACE)))

.PHONY: update
update: ## rewrite the golden files: read the diff before you commit it
	$(call step,update,$(GO) test -timeout 30m $(call present,$(GOLDEN)) -args -update && $(GO) test -run MetricsAreListed ./pilot/internal/translate ./ca ./injector ./internal/agent -args -update)

.PHONY: vet
vet: ## go vet
	$(call step,vet,$(GO) vet ./...)

.PHONY: lint
lint: fmt-check $(LINT) ## golangci-lint, pinned in tools/go.mod (its first build takes some minutes)
	$(call step,lint,$(LINT) run ./...)

$(LINT): tools/go.mod
	$(call step,build golangci-lint $(LINT_VERSION),cd tools && $(GO) build -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint && touch $@)

.PHONY: vulncheck
vulncheck: ## look up known vulnerabilities of the code that is called (asks vuln.go.dev)
	$(call step,vulncheck,$(GO) run golang.org/x/vuln/cmd/govulncheck@$(VULNCHECK_VERSION) ./cmd/... ./samples/...)

.PHONY: fmt-check
fmt-check: ## fail when a Go file is not as gofmt writes it
	@out=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); [ -z "$$out" ] || { printf 'not formatted:\n%s\n' "$$out"; exit 1; }

.PHONY: gen-check
gen-check: web-check ## fail when generated code or a lock file is not what its source makes
	$(call step,gen-check,before=$$(git status --porcelain; git diff | sha256sum); $(GO) generate ./... && $(GO) mod tidy && $(GO) mod verify; \
		after=$$(git status --porcelain; git diff | sha256sum); [ "$$before" = "$$after" ] || { git status --short; echo 'generated files differ: commit what go generate and go mod tidy made'; exit 1; })

# What the page is made of, by its lock file; no package runs a script of its own.
WEB := web/node_modules/.package-lock.json
$(WEB): web/package.json web/package-lock.json
	$(call step,npm ci,cd web && npm ci --no-audit --no-fund --ignore-scripts --fetch-retries 5 && node -e 'import("vite")' && touch ../$@)

.PHONY: web
web: $(WEB) ## build the dashboard's page into web/dist, which is committed (needs node 20)
	$(call step,web,cd web && npm run build)

.PHONY: web-check
web-check: $(WEB) ## fail when web/dist is not what its sources make
	$(call step,web-check,made=$$(mktemp -d); (cd web && npm run build -- --logLevel warn --emptyOutDir --outDir "$$made") && \
		diff -r web/dist "$$made" >/dev/null || { echo 'web/dist differs from its sources: commit what make web made'; rm -rf "$$made"; exit 1; }; rm -rf "$$made")

.PHONY: web-test
web-test: $(if $(or $(CI),$(shell command -v npm)),$(WEB)) ## test the page's functions; test/dashboard tests it in a browser
	$(if $(or $(CI),$(shell command -v npm)),$(call step,web-test,cd web && npm test),@echo 'web-test is left out: there is no npm')

.PHONY: fuzz-short
fuzz-short: ## run every fuzz test for FUZZ_TIME (10s)
	$(call step,fuzz,$(GO) list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}}{{end}}' ./... | while read -r dir; do \
		for f in $$(grep -ohE '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | sed 's/func //'); do \
			echo "-- $$dir $$f"; (cd $$dir && $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZ_TIME) .); done; done)

.PHONY: bench
bench: build ## run the Go benchmarks, the convergence of the pilot binary and the cost of a sidecar
	$(call step,bench,$(GO) test -run '^$$' -bench . -benchmem -timeout 60m ./...)
	$(call step,convergence 500,$(GO) run ./test/load -pilot bin/pilot -services 500 -endpoints 4 -proxies 100)
	$(call step,convergence 2000,$(GO) run ./test/load -pilot bin/pilot -services 2000 -endpoints 4 -proxies 50)
	$(call step,sidecar,$(GO) run ./test/load/sidecar -weft bin/weft -bookshop samples/bookshop)

.PHONY: bench-balance
bench-balance: ## measure load balancers side by side on real Envoys, HTTP and gRPC (about an hour)
	$(call step,balance,$(GO) run ./test/balance)
	$(call step,balance gRPC,$(GO) run ./test/balance -grpc -rates 200)

.PHONY: clean
clean: ## remove what the build made (Envoy and the linter stay in the user's cache)
	rm -rf bin dist
