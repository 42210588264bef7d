# Two commands do everything: `make demo` (the main job) and `make test`. The rest is for those who change Hafen.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

.PHONY: help demo test bench console screenshots lint tools packages openapi fmt

help: ## Show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

packages: ## Install the Debian packages that tests and the demo need
	@scripts/packages

# All that the console is made of, its client from the API's document; what npm and Vite make of it aside.
CONSOLE := $(shell find web -path web/node_modules -prune -o -path web/dist -prune -o -type f ! -name '*.rs' ! -name Cargo.toml -print) docs/reference/openapi.json

console: packages web/dist/index.html ## Build the console that the binary embeds (Node.js 20 or newer)

web/dist/index.html: $(CONSOLE)
	cd web && npm ci --no-audit --no-fund && npm run build
	@touch $@

demo: packages console ## Build, start the platform, apply examples/hello, check it
	@scripts/demo

test: packages console ## Run every test
	cd web && npm test
	cargo test --workspace --locked --no-fail-fast

bench: packages console ## Measure; prints a table, writes bench/results/*.json
	@scripts/packages-bench "$${CARGO_TARGET_DIR:-target}/bench"
	cargo build --release --locked -p hafen -p hafen-bench
	@target="$${CARGO_TARGET_DIR:-target}"; "$$target/release/hafen-bench" --hafen "$$target/release/hafen" --scratch "$$target/bench" $(PARTS)

lint: tools ## Format, lints, licences, advisories, unused dependencies, house rules
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	scripts/audit
	cargo machete
	scripts/house

tools: ## Install the tools that lint needs (unoptimised: they are built in a third of the time, and look at little)
	@command -v cargo-deny >/dev/null || cargo install --locked --debug cargo-deny
	@command -v cargo-machete >/dev/null || cargo install --locked --debug cargo-machete

screenshots: console ## Pictures of every screen of the console, German and English, under target/screenshots
	cd web && npm run screenshots

openapi: ## Write the committed OpenAPI document, JSON Schema and command reference anew
	HAFEN_UPDATE=1 cargo test --workspace --locked committed
