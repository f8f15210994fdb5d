//! One program of the system, from its start to its end. A crash takes everything of it that isn't in
//! the store; what it has sent may still arrive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

/// Who a program is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Role {
    /// Runs jobs, and answers for Triton.
    Worker(usize),
    /// The edge.
    Api(usize),
    /// Whoever watches, polls, submits, cancels or publishes from outside.
    Client(usize),
}

/// One life of a program.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) role: Role,
    /// For people: role, and which life.
    pub(crate) name: String,
    dead: AtomicBool,
    /// Cancelled when it is gone: what was connected to it notices.
    pub(crate) gone: CancellationToken,
}

impl Process {
    pub(crate) fn new(role: Role, life: u32) -> Arc<Self> {
        let name = match role {
            Role::Worker(n) => format!("worker-{}.{life}", n + 1),
            Role::Api(n) => format!("api-{}.{life}", n + 1),
            Role::Client(n) => format!("client-{}", n + 1),
        };
        Arc::new(Self {
            role,
            name,
            dead: AtomicBool::new(false),
            gone: CancellationToken::new(),
        })
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// From here on nothing that it does has an effect.
    pub(crate) fn die(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.gone.cancel();
    }
}
