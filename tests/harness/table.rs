//! Tables of bad input: every row is tried whatever the ones before it came to, and all are counted. What
//! they came to is left in `target/reliability/bad-input.json`, by kind, for whoever writes a report.
//!
//! A row is a claim made with assertions, about one input. What holds for each of them is checked once, at
//! the table's end: no process panicked, each still answers, and none has grown.

use std::any::Any;
use std::fs::{self, File};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;

use futures::stream::{self, StreamExt as _};
use futures::{Future, FutureExt as _};
use serde_json::{Map, Value, json};

use crate::Conch;
use crate::process::repository;

/// Rows of [`Table::rows`] that are tried at the same time.
const AT_ONCE: usize = 32;
/// The most memory that a process has held at once, in KiB: some four times what an unoptimised one
/// holds that was never sent anything bad, and less than a handful of the largest inputs kept.
const MEMORY: u64 = 192 * 1024;

/// The rows of one kind of input.
#[derive(Debug)]
pub struct Table {
    kind: &'static str,
    rows: u64,
    failed: Vec<String>,
}

impl Table {
    /// An empty table. Its kind names it in the summary, so no two tables have the same.
    pub fn of(kind: &'static str) -> Self {
        Self {
            kind,
            rows: 0,
            failed: Vec::new(),
        }
    }

    /// Tries one row: it passes if the claim doesn't panic.
    pub async fn row(&mut self, name: &str, claim: impl Future<Output = ()>) {
        let outcome = AssertUnwindSafe(claim).catch_unwind().await;
        self.count(name, outcome);
    }

    /// Tries rows that don't disturb each other, several at a time.
    pub async fn rows<F: Future<Output = ()>>(
        &mut self,
        rows: impl IntoIterator<Item = (String, F)>,
    ) {
        let tried = rows
            .into_iter()
            .map(|(name, claim)| async { (name, AssertUnwindSafe(claim).catch_unwind().await) });
        let mut tried = stream::iter(tried).buffer_unordered(AT_ONCE);
        while let Some((name, outcome)) = tried.next().await {
            self.count(&name, outcome);
        }
    }

    fn count(&mut self, name: &str, outcome: Result<(), Box<dyn Any + Send>>) {
        self.rows += 1;
        if let Err(panic) = outcome {
            let why = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            self.failed
                .push(format!("{name:.80}: {}", why.unwrap_or("it panicked")));
        }
    }

    /// Leaves the counts in the summary.
    ///
    /// # Panics
    /// When a row failed, or one of the processes panicked, no longer answers or has grown.
    pub async fn end(mut self, processes: &[&Conch]) {
        let passed = self.rows - self.failed.len() as u64;
        self.leave(passed);
        for process in processes {
            let log = process.log();
            if let Some(line) = log.lines().find(|line| line.contains("panicked")) {
                self.failed.push(format!("a process panicked: {line}"));
            }
            if !process.answers().await {
                self.failed.push(format!(
                    "a process no longer answers: {}",
                    process.last_words()
                ));
            }
            let memory = process.peak_memory();
            if memory > MEMORY {
                self.failed
                    .push(format!("a process held {memory} KiB at once"));
            }
        }
        assert!(
            self.failed.is_empty(),
            "{}: {passed} of {} rows passed\n{}",
            self.kind,
            self.rows,
            self.failed.join("\n")
        );
    }

    /// Puts this kind's counts beside those of the others, which other processes may be writing.
    fn leave(&self, passed: u64) {
        let directory = repository().join("target/reliability");
        fs::create_dir_all(&directory).expect("target is ours");
        let lock = File::create(directory.join("bad-input.lock")).expect("target is ours");
        lock.lock().expect("nobody holds it for long");
        let path: PathBuf = directory.join("bad-input.json");
        let before = fs::read_to_string(&path).ok();
        let before: Option<Value> = before.and_then(|text| serde_json::from_str(&text).ok());
        let mut by_kind = before
            .and_then(|summary| summary["by_kind"].as_object().cloned())
            .unwrap_or_default();
        by_kind.insert(
            self.kind.to_owned(),
            json!({ "rows": self.rows, "passed": passed }),
        );
        let summary = json!({
            "rows": sum(&by_kind, "rows"),
            "passed": sum(&by_kind, "passed"),
            "by_kind": by_kind,
        });
        fs::write(&path, format!("{summary:#}\n")).expect("target is ours");
    }
}

fn sum(by_kind: &Map<String, Value>, what: &str) -> u64 {
    by_kind
        .values()
        .filter_map(|kind| kind[what].as_u64())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_row_that_fails_stops_no_other_and_fails_the_table() {
        let mut table = Table::of("the table itself");
        table.row("good", async {}).await;
        table
            .row("bad", async { panic!("it was {}", "wrong") })
            .await;
        let more = [("good", true), ("bad too", false)];
        let claim = |good: bool| async move { assert!(good) };
        table
            .rows(more.map(|(name, good)| (name.to_owned(), claim(good))))
            .await;
        assert_eq!(table.rows, 4);
        assert_eq!(table.failed.len(), 2, "{:?}", table.failed);
        assert_eq!(table.failed[0], "bad: it was wrong");
    }
}
