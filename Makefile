# Every target says what it does; `make` alone lists them.
.DEFAULT_GOAL := help
# Of each fuzz target.
SECONDS ?= 60
.PHONY: help run run-redis test sim chaos reliability-report bench compat fuzz lint docs

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build and start everything in one process, in memory (needs Rust only)
	@cargo build --quiet --bin conch
	@BUILTIN_PACE_MS=$${BUILTIN_PACE_MS:-800} exec "$${CARGO_TARGET_DIR:-target}/debug/conch" run

run-redis: ## the same as processes: a private Redis, one API, two workers
	@scripts/set-up redis
	@cargo build --quiet --bins -p conch
	@exec scripts/run-redis

test: ## every test, with real Redis servers and real foreign clients
	@scripts/set-up test
	cargo build --workspace --bins
	@cargo build --quiet --workspace --features conch/sabotage --bin conch-sabotaged
	@scripts/test

sim: ## the protocol on virtual time: 10,000 seeds, small systems, planted bugs; SEED=… tells one step by step
	cargo build --profile sim -p conch-sim
	"$${CARGO_TARGET_DIR:-target}/sim/conch-sim"

chaos: ## faults without end over real processes: SEED= replays, MINUTES=/ROUNDS= say how long, WHAT=scenarios|sabotage
	@scripts/set-up test
	@cargo build --quiet --workspace --bins
	@cargo build --quiet --workspace --features conch/sabotage --bin conch-sabotaged
	@"$${CARGO_TARGET_DIR:-target}/debug/conch-chaos" $${WHAT:-storm}

reliability-report: ## run the long forms of all that proves the promise, write docs/reliability.md
	@rm -rf target/reliability
	@$(MAKE) --no-print-directory sim
	@scripts/set-up test
	@cargo build --quiet --workspace --bins
	cargo test -p conch-tests --test e2e bad_input -- --test-threads=2
	@$(MAKE) --no-print-directory chaos WHAT=report

bench: ## measure, print the tables, write docs/benchmarks.md
	@scripts/set-up bench
	cargo build --release --workspace --bins
	"$${CARGO_TARGET_DIR:-target}/release/conch-bench" all --write docs/benchmarks.md

compat: ## try client libraries and proxies as they are, write docs/compatibility.md; ONLY= some of them
	@scripts/set-up compat
	@cargo build --quiet --bins -p conch
	@.tools/compat-python/bin/python tests/compat/run.py --only "$(ONLY)" --write docs/compatibility.md

fuzz: ## try the fuzz targets on made-up input, SECONDS= each (needs cargo-fuzz)
	@scripts/fuzz $(SECONDS) $(TARGETS)

lint: ## formatting, clippy, and what is depended on (with cargo-deny and cargo-machete)
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --workspace --features conch/sabotage --bin conch-sabotaged -- -D warnings
	@scripts/lint-dependencies

docs: ## build the reference of all crates into target/doc
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps
