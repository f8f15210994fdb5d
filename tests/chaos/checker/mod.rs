//! Judges a recorded history by the invariants I1–I11, by name.
//!
//! It reads JSON lines and nothing else: what every watcher, every lookup, every submission and the store
//! itself saw. It has its own reading of an event, its own fold, its own idea of what may follow what. It
//! calls no code of the system, and it never waits: the same file is judged the same way at any time.
//!
//! | name | where |
//! | --- | --- |
//! | I1, I2, I7 | `book`: the log as everybody together saw it |
//! | I3, I4, I5, I8, I10, P | `stream`: one watcher after the other; `many`: those of many jobs on one stream |
//! | I6 | `ends`: what an end says of its log; `answers`: what caches and lookups say of it |
//! | I11 | `answers`: submissions, requests to cancel; external events (I3) |
//! | I9 | `bounds`: memory, descriptors, what is left in the store and for how long |
//!
//! P is this harness's own: while all is calm, an event is with every watcher within `prompt_ms` of its
//! announcement. Without it whatever a broken fan-out loses would be made up for by the position check,
//! and a system that polls would pass.

mod answers;
mod book;
mod bounds;
mod ends;
mod event;
mod figures;
mod history;
mod many;
mod stream;

pub use figures::Figures;

use serde_json::Value;

use book::Book;
use history::History;

/// Something that must never be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant's name.
    pub law: &'static str,
    /// What broke it.
    pub what: String,
}

/// The verdict on one history.
#[derive(Debug, Clone, Default)]
pub struct Judgement {
    /// What broke which invariant; empty is what is wanted.
    pub violations: Vec<Violation>,
    /// What was counted.
    pub figures: Figures,
}

impl Judgement {
    /// Notes a violation.
    fn broken(&mut self, law: &'static str, what: impl Into<String>) {
        let what = what.into();
        self.violations.push(Violation { law, what });
    }

    /// The names of the invariants that were broken, each once.
    pub fn laws(&self) -> Vec<&'static str> {
        let mut laws: Vec<_> = self.violations.iter().map(|v| v.law).collect();
        laws.sort_unstable();
        laws.dedup();
        laws
    }

    /// The first violations, a line each.
    pub fn told(&self) -> String {
        let mut lines: Vec<String> = self
            .violations
            .iter()
            .take(20)
            .map(|v| format!("{}: {}", v.law, v.what))
            .collect();
        if self.violations.len() > lines.len() {
            lines.push(format!("… {} in all", self.violations.len()));
        }
        lines.join("\n")
    }
}

/// Judges records in the order in which they were written.
pub fn judge(records: &[Value]) -> Judgement {
    let history = History::read(records);
    let mut judgement = Judgement::default();
    let mut book = Book::write(&history, &mut judgement);
    book.judge(&history, &mut judgement);
    stream::judge(&history, &book, &mut judgement);
    many::judge(&history, &book, &mut judgement);
    ends::judge(&book, &mut judgement);
    answers::judge(&history, &book, &mut judgement);
    bounds::judge(&history, &mut judgement);
    figures::count(&history, &book, &mut judgement);
    judgement
}

/// Whether somebody is still to be told of an end whose stream doesn't end by itself. Judges nothing.
pub fn is_due(records: &[Value]) -> bool {
    let history = History::read(records);
    let book = Book::write(&history, &mut Judgement::default());
    many::is_due(&history, &book)
}

#[cfg(test)]
mod tests;
