//! Every task of a server: how many there are, the wait for the last one, the means to cut them.
//!
//! A task holds a [`TaskGuard`]; when that is dropped the task counts as gone, so it must be the last
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
pub(super) struct Tracker {
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

impl Tracker {
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

    /// Spawns the task that `build` makes around its guard.
    pub(super) fn spawn<F>(
        self: &Arc<Self>,
        role: Role,
        runtime: &Handle,
        build: impl FnOnce(TaskGuard) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let guard = TaskGuard::new(self, role);
        let id = guard.id;
        // Not under the lock: a runtime that is going down drops the task, and with it the guard,
        // before `spawn` returns.
        let task = runtime.spawn(build(guard)).abort_handle();
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

impl fmt::Debug for Tracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracker")
            .field("connections", &self.connections())
            .field("streams", &self.streams())
            .finish_non_exhaustive()
    }
}

/// Counts its task in the tracker until it is dropped.
#[derive(Debug)]
pub(super) struct TaskGuard {
    tracker: Arc<Tracker>,
    id: u64,
    role: Role,
}

impl TaskGuard {
    fn new(tracker: &Arc<Tracker>, role: Role) -> Self {
        let id = tracker.next_id.fetch_add(1, Ordering::Relaxed);
        tracker.tasks().handles.insert(id, None);
        tracker.count(role);
        Self {
            tracker: Arc::clone(tracker),
            id,
            role,
        }
    }

    /// Lets the task that `spawn` starts count in this one's place.
    pub(super) fn leave_to(mut self, spawn: impl FnOnce()) {
        self.tracker.discount(self.role);
        self.role = Role::Accept;
        // This guard is still in the list: it is not empty in between.
        spawn();
    }

    /// The server's tasks.
    pub(super) fn tracker(&self) -> &Arc<Tracker> {
        &self.tracker
    }
}

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.tracker.discount(self.role);
        let mut tasks = self.tracker.tasks();
        tasks.handles.remove(&self.id);
        if tasks.handles.is_empty() {
            self.tracker.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_successor_of_a_task_that_was_cut_is_cut_too() {
        let tracker = Arc::new(Tracker::new(Settings::default()));
        let forever = |guard: TaskGuard| async move {
            std::future::pending::<()>().await;
            drop(guard);
        };
        let first = TaskGuard::new(&tracker, Role::Connection);
        // As when the last of a drain's time passes while a connection becomes a stream.
        assert_eq!(tracker.abort(), 0);
        first.leave_to(|| tracker.spawn(Role::Stream, &Handle::current(), forever));
        tokio::time::timeout(Duration::from_secs(10), tracker.empty())
            .await
            .expect("no task is left");
        assert_eq!((tracker.connections(), tracker.streams()), (0, 0));
    }
}
