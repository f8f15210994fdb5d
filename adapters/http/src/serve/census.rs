//! Every task of a server: how many there are, the wait for the last one, the means to cut them.
//!
//! A task holds a [`Seat`]; when that is dropped the task counts as gone, so it must be the last
//! thing that the task drops.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::Settings;

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Accepts connections.
    Accept,
    /// Has a connection that hyper speaks on.
    Connection,
    /// Has a connection that was taken over.
    Stream,
}

/// The tasks of one server.
pub(super) struct Census {
    pub(super) settings: Settings,
    connections: AtomicUsize,
    streams: AtomicUsize,
    connections_gauge: metrics::Gauge,
    streams_gauge: metrics::Gauge,
    tasks: Mutex<Tasks>,
    next_id: AtomicU64,
    emptied: Notify,
}

#[derive(Default)]
struct Tasks {
    /// A task is in here from before it is spawned, and without a handle until that is known.
    handles: HashMap<u64, Option<AbortHandle>>,
    /// A task that is running while it is cut may still spawn its successor: that is cut as well.
    cut: bool,
}

impl Census {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            connections: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            connections_gauge: metrics::gauge!("conch_connections"),
            streams_gauge: metrics::gauge!("conch_streams"),
            tasks: Mutex::default(),
            next_id: AtomicU64::new(0),
            emptied: Notify::new(),
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(super) fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Spawns the task that `build` makes around its seat.
    pub(super) fn spawn<F>(
        self: &Arc<Self>,
        role: Role,
        runtime: &Handle,
        build: impl FnOnce(Seat) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let seat = Seat::new(self, role);
        let id = seat.id;
        // Not under the lock: a runtime that is going down drops the task, and with it the seat,
        // before `spawn` returns.
        let task = runtime.spawn(build(seat)).abort_handle();
        let mut tasks = self.tasks();
        if tasks.cut {
            // A task that is dropped by this takes the lock.
            drop(tasks);
            task.abort();
        } else if let Some(slot) = tasks.handles.get_mut(&id) {
            *slot = Some(task);
        }
    }

    /// Ends when no task is left.
    pub(super) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.tasks().handles.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// Cuts all tasks at their next await, and those that are spawned from now on. Answers how many
    /// there were.
    pub(super) fn abort(&self) -> usize {
        let mut tasks = self.tasks();
        tasks.cut = true;
        let handles: Vec<_> = tasks.handles.values().flatten().cloned().collect();
        // Not under the lock: a task that is dropped by this takes it.
        drop(tasks);
        for handle in &handles {
            handle.abort();
        }
        handles.len()
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, role: Role) {
        if role != Role::Accept {
            self.connections.fetch_add(1, Ordering::Relaxed);
            self.connections_gauge.increment(1.0);
        }
        if role == Role::Stream {
            self.streams.fetch_add(1, Ordering::Relaxed);
            self.streams_gauge.increment(1.0);
        }
    }

    fn discount(&self, role: Role) {
        if role != Role::Accept {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            self.connections_gauge.decrement(1.0);
        }
        if role == Role::Stream {
            self.streams.fetch_sub(1, Ordering::Relaxed);
            self.streams_gauge.decrement(1.0);
        }
    }
}

impl fmt::Debug for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Census")
            .field("connections", &self.connections())
            .field("streams", &self.streams())
            .finish_non_exhaustive()
    }
}

/// One task's place in the census.
#[derive(Debug)]
pub(super) struct Seat {
    census: Arc<Census>,
    id: u64,
    role: Role,
}

impl Seat {
    fn new(census: &Arc<Census>, role: Role) -> Self {
        let id = census.next_id.fetch_add(1, Ordering::Relaxed);
        census.tasks().handles.insert(id, None);
        census.count(role);
        Self {
            census: Arc::clone(census),
            id,
            role,
        }
    }

    /// Lets the task that `spawn` starts count in this one's place.
    pub(super) fn leave_to(mut self, spawn: impl FnOnce()) {
        self.census.discount(self.role);
        self.role = Role::Accept;
        // This seat is still in the list: it is not empty in between.
        spawn();
    }

    /// The server's tasks.
    pub(super) fn census(&self) -> &Arc<Census> {
        &self.census
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.census.discount(self.role);
        let mut tasks = self.census.tasks();
        tasks.handles.remove(&self.id);
        if tasks.handles.is_empty() {
            self.census.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_successor_of_a_task_that_was_cut_is_cut_too() {
        let census = Arc::new(Census::new(Settings::default()));
        let forever = |seat: Seat| async move {
            std::future::pending::<()>().await;
            drop(seat);
        };
        let first = Seat::new(&census, Role::Connection);
        // As when the last of a drain's time passes while a connection becomes a stream.
        assert_eq!(census.abort(), 0);
        first.leave_to(|| census.spawn(Role::Stream, &Handle::current(), forever));
        tokio::time::timeout(Duration::from_secs(10), census.empty())
            .await
            .expect("no task is left");
        assert_eq!((census.connections(), census.streams()), (0, 0));
    }
}
