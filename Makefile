# Two commands do everything: `make demo` (the main job) and `make test`. The rest is for those who change Hafen.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

.PHONY: help demo test bench lint tools packages openapi fmt

help: ## Show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

packages: ## Install the Debian packages that tests and the demo need
	@scripts/packages

demo: packages ## Build, start the platform, apply examples/hello, check it
	@scripts/demo

test: packages ## Run every test
	cargo test --workspace --locked

bench: packages ## Measure; prints a table, writes bench/results/*.json
	@scripts/packages-bench "$${CARGO_TARGET_DIR:-target}/bench"
	cargo build --release --locked -p hafen -p hafen-bench
	@target="$${CARGO_TARGET_DIR:-target}"; "$$target/release/hafen-bench" --hafen "$$target/release/hafen" --scratch "$$target/bench" $(PARTS)

lint: tools ## Format, lints, licences, advisories, unused dependencies, house rules
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	scripts/audit
	cargo machete
	scripts/house

tools: ## Install the tools that lint needs
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	@command -v cargo-machete >/dev/null || cargo install --locked cargo-machete

openapi: ## Write the committed OpenAPI document, JSON Schema and command reference anew
	HAFEN_UPDATE=1 cargo test --workspace --locked committed
