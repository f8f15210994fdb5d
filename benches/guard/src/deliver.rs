//! An event from the bus to the frames of five watchers of its job: taken from the subscription, understood,
//! taken into the job's topic, framed once, handed to each watcher.
//!
//! One thread, so that a count doesn't depend on which thread was first.

use std::{
    future::poll_fn,
    hint::black_box,
    sync::Arc,
    task::Poll,
    time::{Duration, SystemTime},
};

use anyhow::{Result, bail, ensure};
use conch_conformance::build::Script;
use conch_domain::{EventCap, Timestamp};
use conch_doubles::ScriptedTriton;
use conch_memory::Memory;
use conch_services::{
    Clock,
    mare::{
        hub::{self, Attached, Hub, Watcher},
        ingest::{self, ForeignEvents, Listeners},
        lookup,
        reconcile::Reconcile,
    },
};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const WATCHERS: usize = 5;
/// Nothing that only passes time happens within a run.
const LONG: Duration = Duration::from_hours(1);

pub(crate) fn run(times: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let memory = conch_memory::Settings::default().build();
    let hub = {
        let _entered = runtime.enter();
        hub(&memory)
    };
    let mut job = Script::own();
    let (mut watchers, log) = runtime.block_on(async {
        let log = memory.log();
        for commit in [job.queued(), job.started()] {
            log.append(commit).await?;
        }
        let mut watchers = Vec::new();
        for _ in 0..WATCHERS {
            let Attached::Stream(watcher) = hub.watch(job.id(), None).await else {
                bail!("the job can't be watched");
            };
            watchers.push(watcher);
        }
        Ok((watchers, log))
    })?;
    // What they are greeted with, and the first two events.
    counted_deliver(&runtime, &mut watchers);
    for number in 0..times {
        let commit = job.progress((number % 100) as u8);
        runtime.block_on(log.append(commit))?;
        let frames = counted_deliver(&runtime, &mut watchers);
        ensure!(
            frames == WATCHERS,
            "{frames} frames for {WATCHERS} watchers"
        );
    }
    black_box(watchers);
    Ok(())
}

/// Waits until each watcher has frames; answers how many they have together.
#[inline(never)]
fn counted_deliver(runtime: &Runtime, watchers: &mut [Watcher]) -> usize {
    runtime.block_on(receive(watchers))
}

async fn receive(watchers: &mut [Watcher]) -> usize {
    let mut frames = Vec::new();
    for watcher in watchers {
        poll_fn(|context| match watcher.poll_frames(context, &mut frames) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        })
        .await;
    }
    frames.len()
}

pub(crate) fn clock() -> Clock {
    Arc::new(|| {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let since_1970 = since_1970.unwrap_or_default();
        Timestamp::from_micros(since_1970.as_micros() as i64)
    })
}

/// The edge without its sockets, in memory.
fn hub(memory: &Memory) -> Hub {
    let shutdown = CancellationToken::new();
    let (log, clock, triton) = (memory.log(), clock(), Arc::new(ScriptedTriton::new()));
    let reconcile = Reconcile::new(Arc::clone(&log), triton.clone(), Arc::clone(&clock));
    let hub = hub::Settings {
        heartbeat: LONG,
        position_check: LONG,
        ..hub::Settings::default()
    }
    .build(
        hub::Dependencies {
            log: Arc::clone(&log),
            cache: memory.cache(),
            gateway: triton.clone(),
            reconcile: reconcile.clone(),
            clock: Arc::clone(&clock),
        },
        shutdown.clone(),
    );
    let lookup = lookup::Settings {
        local_bytes: 1 << 20,
        ask_again_after: LONG,
    }
    .build(lookup::Dependencies {
        cache: memory.cache(),
        log: Arc::clone(&log),
        gateway: triton,
        reconcile,
    });
    let ingest = ingest::run(
        log,
        memory.bus().subscribe(),
        Listeners {
            hub: hub.clone(),
            lookup,
            cache_results: false,
        },
        ForeignEvents::Accept {
            max_bytes: 64 * 1024,
            cap: EventCap::default(),
        },
        clock,
        shutdown,
    );
    tokio::spawn(ingest);
    hub
}
