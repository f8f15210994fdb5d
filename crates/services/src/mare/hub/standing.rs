//! The hub's own tasks, which last until the shutdown. That one ends before is told of, and nothing
//! more: what is to become of the process is not decided here.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::announced;
use super::batched_check;
use super::expiry;
use super::feed;
use super::looks;
use super::unfinished;
use super::wake::SHARDS;

pub(super) fn spawn_all(shared: &Arc<Shared>) {
    spawn(shared, heart(Arc::clone(shared)));
    spawn(shared, farewells(Arc::clone(shared)));
    spawn(shared, expiry::keep(Arc::clone(shared)));
    spawn(shared, feed::watch_over(Arc::clone(shared)));
    spawn(shared, batched_check::keep_checking(Arc::clone(shared)));
    spawn(shared, unfinished::keep_comparing(Arc::clone(shared)));
    spawn(shared, announced::follow_up(Arc::clone(shared)));
    spawn(shared, looks::answer(Arc::clone(shared)));
}

fn spawn(shared: &Arc<Shared>, task: impl Future<Output = ()> + Send + 'static) {
    let standing = Standing(Arc::clone(shared));
    shared.tasks.spawn(async move {
        task.await;
        drop(standing);
    });
}

/// Tells of the end of a task that was to last until the shutdown.
struct Standing(Arc<Shared>);

impl Drop for Standing {
    fn drop(&mut self) {
        if !self.0.shutdown.is_cancelled() {
            self.0.failed.cancel();
        }
    }
}

/// Asks a share of all watchers for a heartbeat at each tick: one timer for all of them.
async fn heart(shared: Arc<Shared>) {
    let period = (shared.settings.heartbeat / SHARDS as u32).max(Duration::from_millis(1));
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for tick in 0_usize.. {
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            _ = ticks.tick() => shared.beats.beat(tick),
        }
    }
}

/// Has every stream end with its farewell at the shutdown. Not the heart's to do, whose failure may be
/// what the shutdown is for.
async fn farewells(shared: Arc<Shared>) {
    shared.shutdown.cancelled().await;
    shared.beats.wake_all();
}
