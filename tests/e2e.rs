//! The promise over real processes: no client polls, and none misses how its job ended.
//!
//! Every test starts what it needs, on ports of its own, and ends it. Intervals are short (see
//! `harness/conch.rs`); limits are generous, and only a failing test waits them out.

#[path = "e2e/auth/mod.rs"]
mod auth;
#[path = "e2e/authority.rs"]
mod authority;
#[path = "e2e/bad_input/mod.rs"]
mod bad_input;
#[path = "e2e/ends.rs"]
mod ends;
#[path = "e2e/generator.rs"]
mod generator;
#[path = "e2e/limits.rs"]
mod limits;
#[path = "e2e/log_secrets.rs"]
mod log_secrets;
#[path = "e2e/lost_attempts.rs"]
mod lost_attempts;
#[path = "e2e/many_jobs.rs"]
mod many_jobs;
#[path = "e2e/memory.rs"]
mod memory;
#[path = "e2e/nats.rs"]
mod nats;
#[path = "e2e/panics.rs"]
mod panics;
#[path = "e2e/processes.rs"]
mod processes;
#[path = "e2e/programs.rs"]
mod programs;
#[path = "e2e/redis_kinds.rs"]
mod redis_kinds;
#[path = "e2e/rights.rs"]
mod rights;
#[path = "e2e/settings.rs"]
mod settings;
#[path = "e2e/signals.rs"]
mod signals;
#[path = "e2e/standard_error.rs"]
mod standard_error;
#[path = "e2e/stream.rs"]
mod stream;
#[path = "e2e/tls.rs"]
mod tls;
#[path = "e2e/tokens.rs"]
mod tokens;
