# Settee: two commands do everything, `make demo` and `make test`.
# Both install what is missing and are quick the second time.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

RUNS ?= 3
SETTEE_NODE := node_modules/.package-lock.json
BENCH_NODE := bench/node_modules/.package-lock.json
NPM_CI := npm ci --ignore-scripts --no-audit --no-fund --loglevel=error

.PHONY: help demo test test-native test-browser test-e2e test-packaging \
        lint fmt pkg pkg-compare bench bench-sealed bench-growth setup rust chromium check-node clean

help: ## list these commands
	@echo 'Settee. The commands:'
	@grep -hE '^[a-z0-9-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | awk -F ':.*## ' '{ printf "  make %-16s %s\n", $$1, $$2 }'

demo: build ## the gallery with a server to sync with, on this machine
	@exec node tools/demo.mjs

test: build chromium ## every test: native, browser, end-to-end, packaging
	@exec node tools/test.mjs

test-native: check-node ## the native tests alone
	@exec node tools/test.mjs native

test-browser: rust chromium $(SETTEE_NODE) ## the in-browser Rust tests alone
	@exec node tools/test.mjs browser

test-e2e: build chromium ## the end-to-end tests alone
	@exec node tools/test.mjs e2e

test-packaging: build chromium ## the packaging tests alone
	@exec node tools/test.mjs packaging

lint: rust $(SETTEE_NODE) ## formatting, clippy (native and wasm), JavaScript and types
	@tools/lint.sh

fmt: ## format the Rust sources
	@cargo fmt --all

pkg: rust $(SETTEE_NODE) ## build the npm package in pkg/, report its size, check its budget
	@node tools/build-pkg.mjs --check

pkg-compare: rust $(SETTEE_NODE) ## the package's size at each wasm-opt level
	@node tools/build-pkg.mjs --compare

bench: build chromium $(BENCH_NODE) ## compare with other stores; RUNS= CONTENDERS= TASKS= SCALE=
	@exec node bench/run.js --runs '$(RUNS)' $(if $(CONTENDERS),--contenders '$(CONTENDERS)') $(if $(TASKS),--tasks '$(TASKS)') $(if $(SCALE),--scale '$(SCALE)')

bench-sealed: build chromium $(BENCH_NODE) ## sealed channels against clear ones, comdb and crypto-pouch; RUNS= TASKS= SCALE=
	@exec node bench/run.js --sealed --runs '$(RUNS)' $(if $(CONTENDERS),--contenders '$(CONTENDERS)') $(if $(TASKS),--tasks '$(TASKS)') $(if $(SCALE),--scale '$(SCALE)')

bench-growth: build chromium $(BENCH_NODE) ## settee at 1,000, 10,000 and 100,000 documents; SIZES=
	@exec node bench/growth.js $(if $(SIZES),--sizes '$(SIZES)')

setup: rust $(SETTEE_NODE) chromium ## install everything the other commands need

clean: ## remove what was built and installed here
	@rm -rf target node_modules bench/node_modules bench/results pkg/generated pkg/settee.wasm pkg/LICENSE pkg/*.tgz

.PHONY: build
build: rust $(SETTEE_NODE)
	@node tools/build-pkg.mjs --brief

rust: check-node
	@tools/setup-rust.sh

chromium:
	@tools/need.sh chromium:chromium:CHROMIUM chromedriver:chromium-driver:CHROMEDRIVER

check-node:
	@command -v node >/dev/null || { echo 'error: node is missing; Settee needs Node.js 20 or newer' >&2; exit 1; }
	@node -e 'if (parseInt(process.versions.node) < 20) { console.error(`error: this is Node.js $${process.versions.node}; Settee needs 20 or newer`); process.exit(1); }'

$(SETTEE_NODE): package-lock.json package.json | check-node
	@echo '==> Installing npm packages (from package-lock.json)'
	@$(NPM_CI)
	@touch $@

$(BENCH_NODE): bench/package-lock.json bench/package.json | check-node
	@echo '==> Installing the benchmark contenders (from bench/package-lock.json)'
	@$(NPM_CI) --prefix bench
	@touch $@
