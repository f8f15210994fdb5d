//! Failures to come, by operation, and how often each operation was called.
//!
//! Never in here: a failure that no test asked for.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use conch_ports::{Error, ErrorKind, Result};

/// When a planned failure strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Nothing was done.
    Before,
    /// Everything was done; only the answer is lost.
    After,
}

/// What is to go wrong with calls of ports; clones share it. Operations are named `port.method`, as in
/// [`Error::operation`]: `job_log.append`, `job_queue.claim`, `catalogue.put_template`.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    steps: Arc<Mutex<Steps>>,
}

#[derive(Debug, Default)]
struct Steps {
    failures: HashMap<&'static str, VecDeque<(When, ErrorKind)>>,
    /// Calls that panic, before any that fail.
    panics: HashMap<&'static str, usize>,
    calls: HashMap<&'static str, u64>,
}

impl Plan {
    /// Makes the next `calls` calls of an operation fail, after failures that are planned already.
    pub fn fail_next(&self, operation: &'static str, calls: usize, kind: ErrorKind, when: When) {
        let mut steps = self.lock();
        let planned = steps.failures.entry(operation).or_default();
        planned.extend(std::iter::repeat_n((when, kind), calls));
    }

    /// Makes the next `calls` calls of an operation panic, as a defect does. Nothing was done then.
    pub fn panic_next(&self, operation: &'static str, calls: usize) {
        *self.lock().panics.entry(operation).or_default() += calls;
    }

    /// Forgets every planned failure and panic.
    pub fn fail_no_more(&self) {
        let mut steps = self.lock();
        steps.failures.clear();
        steps.panics.clear();
    }

    /// How often the operation was called, failures included.
    pub fn calls(&self, operation: &str) -> u64 {
        self.lock().calls.get(operation).copied().unwrap_or(0)
    }

    /// Counts a call, and carries it out unless it is to fail before.
    pub(crate) async fn around<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let failure = self.take(operation);
        if let Some((When::Before, kind)) = failure {
            return Err(told(operation, kind));
        }
        let answer = call.await;
        match failure {
            Some((_, kind)) => Err(told(operation, kind)),
            None => answer,
        }
    }

    fn take(&self, operation: &'static str) -> Option<(When, ErrorKind)> {
        let mut steps = self.lock();
        *steps.calls.entry(operation).or_default() += 1;
        if let Some(panics) = steps.panics.get_mut(operation).filter(|calls| **calls > 0) {
            *panics -= 1;
            drop(steps);
            panic!("{operation} was told to panic");
        }
        steps.failures.get_mut(operation)?.pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, Steps> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn told(operation: &'static str, kind: ErrorKind) -> Error {
    Error::new(kind, operation, "this call was told to fail")
}
