//! The tasks of a process. Each must run until the shutdown: if one panics or returns before that, the
//! process has to end, because without the task it would look healthy and do nothing.
//!
//! Never in here: restarting a task. The state that it shared with others may be inconsistent; a restarted
//! process begins with a clean state.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Owns the tasks. A cheap handle.
#[derive(Clone)]
pub(crate) struct Supervisor(Arc<Inner>);

struct Inner {
    tasks: TaskTracker,
    shutdown: CancellationToken,
    /// Why the process has to end, once a task has failed.
    failure: OnceLock<String>,
    failed: CancellationToken,
}

impl Supervisor {
    /// For tasks that end with `shutdown`.
    pub(crate) fn new(shutdown: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            tasks: TaskTracker::new(),
            shutdown,
            failure: OnceLock::new(),
            failed: CancellationToken::new(),
        }))
    }

    /// Spawns a task that must run until the shutdown.
    pub(crate) fn spawn(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let inner = Arc::clone(&self.0);
        self.0.tasks.spawn(async move {
            // The task's state isn't used after its panic.
            match AssertUnwindSafe(task).catch_unwind().await {
                Ok(()) if inner.shutdown.is_cancelled() => {}
                Ok(()) => inner.fail(name, None),
                Err(panic) => inner.fail(name, Some(message(&*panic))),
            }
        });
    }

    /// Spawns a task that ends when it is done, and that nothing depends on.
    pub(crate) fn spawn_one_shot(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn(task);
    }

    /// Waits until a task has ended too early. Cancel-safe.
    pub(crate) async fn failed(&self) {
        self.0.failed.cancelled().await;
    }

    /// Which task ended too early, in words, if any.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.0.failure.get().map(String::as_str)
    }

    /// Waits until all tasks have ended. Call it after the shutdown was requested.
    pub(crate) async fn stopped(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

impl Inner {
    /// Only the first failure is reported. Later ones are consequences of it, or make no difference.
    fn fail(&self, name: &'static str, panic: Option<&str>) {
        let why = format!("the task '{name}' ended before its time");
        if self.failure.set(why.clone()).is_ok() {
            // Before logging: the process has to end even if the line can't be written.
            self.failed.cancel();
            tracing::error!(panic, "{why}: draining");
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::io;
    use std::sync::Mutex;

    use futures::future::BoxFuture;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn supervisor() -> (Supervisor, CancellationToken) {
        let shutdown = CancellationToken::new();
        (Supervisor::new(shutdown.clone()), shutdown)
    }

    #[tokio::test]
    async fn a_task_that_ends_before_its_time_is_told_of_once() {
        let panics = || async { panic!("number {}", 7) }.boxed();
        let rows: [(BoxFuture<'static, ()>, &str); 3] = [
            (panics(), "panic=\"number 7\""),
            (async { panic!("plain") }.boxed(), "panic=\"plain\""),
            (ready(()).boxed(), "draining"),
        ];
        for (task, said) in rows {
            let log = Log::default();
            let writer = log.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_ansi(false)
                .with_writer(move || writer.clone())
                .finish();
            let _guard = tracing::subscriber::set_default(subscriber);
            let (supervisor, shutdown) = supervisor();
            supervisor.spawn("lasting", pending());
            assert!(supervisor.failed().now_or_never().is_none());
            assert_eq!(supervisor.failure(), None);

            supervisor.spawn("first", task);
            supervisor.failed().await;
            let first = Some("the task 'first' ended before its time");
            assert_eq!(supervisor.failure(), first);
            supervisor.spawn("second", panics());
            shutdown.cancel();
            tokio::task::yield_now().await;
            assert_eq!(supervisor.failure(), first);

            let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
            assert_eq!(log.lines().count(), 1, "{log}");
            let line = "ERROR conch::supervisor: the task 'first' ended before its time: draining";
            assert!(log.contains(line) && log.contains(said), "{log}");
        }
    }

    #[tokio::test]
    async fn the_process_is_told_to_end_before_anything_is_logged() {
        let (supervisor, _shutdown) = supervisor();
        let log = Log::default();
        let (writer, seen) = (log.clone(), supervisor.clone());
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || {
                assert!(seen.failed().now_or_never().is_some(), "logged first");
                writer.clone()
            })
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        supervisor.spawn("first", ready(()));
        supervisor.stopped().await;
        assert!(!log.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_end_that_was_asked_for_is_no_failure() {
        let (supervisor, shutdown) = supervisor();
        let asked = shutdown.clone();
        supervisor.spawn("lasting", async move { asked.cancelled().await });
        supervisor.spawn_one_shot(ready(()));
        assert!(supervisor.stopped().now_or_never().is_none());
        shutdown.cancel();
        supervisor.stopped().await;
        assert_eq!(supervisor.failure(), None);
        assert!(supervisor.failed().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_panic_on_the_way_out_is_a_failure_too() {
        let (supervisor, shutdown) = supervisor();
        shutdown.cancel();
        supervisor.spawn("last", async { panic!("while it drains") });
        supervisor.stopped().await;
        assert!(supervisor.failure().is_some());
    }
}
