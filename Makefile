# Every target says what it does; `make` alone lists them.
.DEFAULT_GOAL := help
# The programs, as they are released, and what is let loose on them. Not the whole workspace: what other
# packages switch on for their tests would be built into the programs.
PROGRAMS := --bins -p conch -p conch-tests -p conch-sabotage
# Running time of each fuzz target.
SECONDS ?= 60
.PHONY: help run run-redis test sim chaos reliability-report bench bench-guard compat fuzz lint docs

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build and start everything in one process, in memory (needs Rust only)
	@cargo build --quiet -p conch --bin conch
	@BUILTIN_PACE_MS=$${BUILTIN_PACE_MS:-800} exec "$${CARGO_TARGET_DIR:-target}/debug/conch" run

run-redis: ## the same as several processes: a private Redis, one API, two workers
	@scripts/set-up redis
	@cargo build --quiet --bins -p conch
	@exec scripts/run-redis

test: ## all tests, with real Redis servers and real third-party clients
	@scripts/set-up test
	cargo build $(PROGRAMS)
	@scripts/test

sim: ## simulate the protocol on virtual time: 10,000 seeds, small systems, planted bugs; SEED=… prints one run step by step
	cargo build --profile sim -p conch-sim
	"$${CARGO_TARGET_DIR:-target}/sim/conch-sim"

chaos: ## inject faults into real processes: SEED= replays a schedule, MINUTES= or ROUNDS= limits it, WHAT=scenarios|sabotage
	@scripts/set-up test
	@cargo build --quiet $(PROGRAMS)
	@"$${CARGO_TARGET_DIR:-target}/debug/conch-chaos" $${WHAT:-storm}

reliability-report: ## run simulation, bad input and chaos at length, write docs/reliability.md
	@rm -rf target/reliability
	@$(MAKE) --no-print-directory sim
	@scripts/set-up test
	@cargo build --quiet $(PROGRAMS)
	cargo test -p conch-tests --test e2e bad_input -- --test-threads=2
	@$(MAKE) --no-print-directory chaos WHAT=report

bench: ## measure every shape beside its peers, write docs/benchmarks.md; most of an hour
	@scripts/set-up bench
	cargo build --release --bins -p conch -p conch-bench
	"$${CARGO_TARGET_DIR:-target}/release/conch-bench" all --write docs/benchmarks.md

bench-guard: ## count the instructions of an event and of a job, fail beyond ±2 % of the baseline; UPDATE=1 writes it
	@scripts/set-up guard
	@cargo build --quiet --profile guard -p conch-guard
	@"$${CARGO_TARGET_DIR:-target}/guard/conch-guard" check $(if $(UPDATE),--update)

compat: ## test unmodified client libraries and proxies, write docs/compatibility.md; ONLY= selects rows
	@scripts/set-up compat
	@cargo build --quiet --bins -p conch
	@.tools/compat-python/bin/python tests/compat/run.py --only "$(ONLY)" --write docs/compatibility.md

fuzz: ## run the fuzz targets, SECONDS= each (needs cargo-fuzz)
	@scripts/fuzz $(SECONDS) $(TARGETS)

lint: ## check formatting, clippy, and dependencies (with cargo-deny and cargo-machete)
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@scripts/lint-dependencies

docs: ## build the API reference of all crates in target/doc
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps
