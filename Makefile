# Every target says what it does; `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help run run-redis test chaos reliability-report bench lint docs

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

chaos: ## faults without end over real processes: SEED= replays, MINUTES=/ROUNDS= say how long, WHAT=scenarios|sabotage
	@scripts/set-up test
	@cargo build --quiet --workspace --bins
	@cargo build --quiet --workspace --features conch/sabotage --bin conch-sabotaged
	@"$${CARGO_TARGET_DIR:-target}/debug/conch-chaos" $${WHAT:-storm}

reliability-report: ## run the long forms of all that proves the promise, write docs/reliability.md
	@$(MAKE) --no-print-directory chaos WHAT=report

bench: ## measure, print the tables, write docs/benchmarks.md
	@scripts/set-up bench
	cargo build --release --workspace --bins
	"$${CARGO_TARGET_DIR:-target}/release/conch-bench" all --write docs/benchmarks.md

lint: ## formatting, clippy, and licences and bans where cargo-deny is installed
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy --workspace --features conch/sabotage --bin conch-sabotaged -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then cargo deny --all-features check; \
	else echo 'cargo-deny is not installed: `cargo install --locked cargo-deny` to check deny.toml'; fi

docs: ## build the reference of all crates into target/doc
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps
