# What a contributor does, in one word each. `make help` lists them.

CARGO ?= cargo
# `make run PROFILE=release` runs the optimised build, which takes longer to make.
PROFILE ?= dev
BIN = target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/hookswitch
EXAMPLE ?= examples/quickstart

.DEFAULT_GOAL := help
.PHONY: help run cluster build test needs servers clients prober bench generate check fmt clippy doc deny generated

help: ## List what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## Start the quickstart: Hookswitch, and a stand-in CRM to deliver to; Ctrl-C stops both
	@$(BIN) mock crm & crm=$$!; \
	trap 'kill $$crm 2>/dev/null; wait $$crm 2>/dev/null' EXIT; \
	trap : INT TERM; \
	$(BIN) run -f $(EXAMPLE) --log-format text

cluster: servers ## Start a Kubernetes control plane with Hookswitch installed, to try with kubectl; Ctrl-C ends it
	$(CARGO) build --locked --workspace --bins --example cluster
	@target/debug/examples/cluster

build: ## Build the programs
	$(CARGO) build --locked --profile $(PROFILE) --workspace --bins

test: needs servers ## Run every test, against real servers where they are needed
	$(CARGO) test --locked --workspace

servers: ## Build the servers that tests need, once: it takes up to an hour (docs/testing.md)
	@tests/servers/build

needs: ## Get what the tests need besides Rust and the servers
	@.ci/needs

clients: ## Drive the stand-ins with client libraries of the real APIs; needs Python 3
	@.ci/needs clients
	$(CARGO) build --locked --workspace --bins --test architecture # the features of `make test`: nothing is built twice
	@tests/clients/run

prober: needs servers ## Break things under load, into docs/reliability.md: all, or SCENARIOS="killed edits"
	$(CARGO) build --locked --profile $(PROFILE) --workspace $(if $(filter dev,$(PROFILE)),--bins) --example prober
	@$(dir $(BIN))examples/prober $(SCENARIOS) $(ARGUMENTS)

bench: ## Measure beside the machine's own limits, into docs/benchmarks.md: all, or SECTIONS="accept scale"
	$(CARGO) bench --locked --workspace --bench system -- $(SECTIONS)

generate: ## Write the generated files anew: crds/*.yaml, and the chart's copies of them
	$(CARGO) run --locked --quiet -p hookswitch-crds --bin crdgen
	cp crds/*.yaml charts/hookswitch/files/crds/

check: fmt clippy doc deny generated ## Everything that CI asks for, but for the tests

fmt: ## Is the code formatted?
	$(CARGO) fmt --all --check

clippy: ## Does the linter agree?
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

doc: ## Is the documentation whole?
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

deny: ## Licences, sources and known vulnerabilities of dependencies
	@.ci/deny

generated: generate ## Are the generated files current?
	@git diff --exit-code --stat -- 'crds/*.yaml' charts/hookswitch/files/crds || \
	  { echo "crds/*.yaml or the chart's copies differ from the types: commit what 'make generate' wrote"; exit 1; }
