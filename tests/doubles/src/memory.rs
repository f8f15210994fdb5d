//! The store in memory, every port of it under one [`Plan`], and what else can happen to it.
//!
//! Never in here: a failure that no test asked for.

use std::ops::Deref;
use std::sync::Arc;

use conch_memory::Memory;
use conch_ports::{Catalogue, ErrorKind, EventBus, JobLog, JobQueue, ResultCache, TicketStore};

use crate::{Plan, When};

/// A store in memory whose ports may fail as planned; clones share both. The store itself, past the plan, is
/// what it derefs to: for what the test does, not the code under test.
#[derive(Debug, Clone)]
pub struct FaultyMemory {
    memory: Memory,
    plan: Plan,
}

impl FaultyMemory {
    /// That store, with nothing planned.
    pub fn new(settings: conch_memory::Settings) -> Self {
        Self {
            memory: settings.build(),
            plan: Plan::default(),
        }
    }

    /// The logs.
    pub fn log(&self) -> Arc<dyn JobLog> {
        self.plan.over(self.memory.log())
    }

    /// What is announced of the logs.
    pub fn bus(&self) -> Arc<dyn EventBus> {
        self.plan.over(self.memory.bus())
    }

    /// The cached results.
    pub fn cache(&self) -> Arc<dyn ResultCache> {
        self.plan.over(self.memory.cache())
    }

    /// The queue.
    pub fn queue(&self) -> Arc<dyn JobQueue> {
        self.plan.over(self.memory.queue())
    }

    /// The records.
    pub fn catalogue(&self) -> Arc<dyn Catalogue> {
        self.plan.over(self.memory.catalogue())
    }

    /// The tickets.
    pub fn tickets(&self) -> Arc<dyn TicketStore> {
        self.plan.over(self.memory.tickets())
    }

    /// What makes it misbehave.
    pub fn faults(&self) -> Faults {
        Faults {
            plan: self.plan.clone(),
            store: self.memory.faults(),
        }
    }
}

impl Deref for FaultyMemory {
    type Target = Memory;

    fn deref(&self) -> &Memory {
        &self.memory
    }
}

/// Makes one [`FaultyMemory`] misbehave: calls by its [`Plan`], and what is in the store by that store's own
/// faults, which it derefs to.
#[derive(Debug, Clone)]
pub struct Faults {
    plan: Plan,
    store: conch_memory::Faults,
}

impl Faults {
    /// As [`Plan::fail_next`].
    pub fn fail_next(&self, operation: &'static str, calls: usize, kind: ErrorKind, when: When) {
        self.plan.fail_next(operation, calls, kind, when);
    }

    /// As [`Plan::panic_next`].
    pub fn panic_next(&self, operation: &'static str, calls: usize) {
        self.plan.panic_next(operation, calls);
    }

    /// As [`Plan::fail_no_more`].
    pub fn fail_no_more(&self) {
        self.plan.fail_no_more();
    }

    /// As [`Plan::calls`].
    pub fn calls(&self, operation: &str) -> u64 {
        self.plan.calls(operation)
    }
}

impl Deref for Faults {
    type Target = conch_memory::Faults;

    fn deref(&self) -> &conch_memory::Faults {
        &self.store
    }
}
