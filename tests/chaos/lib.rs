//! The chaos harness: real processes, faults, watchers as browsers are, and a record of what everybody
//! saw, judged by an independent checker.
//!
//! ```text
//!   storm, scenarios ─► run: cluster (processes, proxies) + people (watchers, submitters, …)
//!                             │                    │
//!                             └── faults ──────────┴─► history (JSON lines) ─► checker ─► verdict
//! ```
//!
//! Never links the system's own crates, and the checker never asks a running system anything.

mod audience;
mod channel;
pub mod checker;
mod cluster;
mod dice;
mod faults;
mod history;
mod people;
mod publishers;
pub mod report;
pub mod rounds;
mod run;
pub mod sabotage;
pub mod scenarios;
mod schedule;
mod store;
pub mod storm;
mod watch;

pub use checker::{Figures, Judgement, Violation};
pub use cluster::{Cluster, Node, Shape};
pub use dice::Dice;
pub use faults::Kind;
pub use history::{History, read_file};
pub use run::{Run, Verdict};
