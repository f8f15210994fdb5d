//! Lookups of jobs that go on after their failure: the failure is never served once the job has gone on.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::{Job, JobId, JobRecord, JobStatus};
use conch_ports::ResultCache;
use conch_services::mare::ingest::{self, Listeners};
use conch_services::mare::lookup;
use conch_services::mare::reconcile::Reconcile;
use serde_json::Value;

use super::{TIME, event, failed, go_on_unheard, known, say, status};
use crate::world::{World, accept, job_id};

/// A cache in which what is put is there a second later.
struct Late(Arc<dyn ResultCache>);

#[async_trait]
impl ResultCache for Late {
    async fn get(&self, job_id: &JobId) -> conch_ports::Result<Option<Bytes>> {
        self.0.get(job_id).await
    }

    async fn put(&self, job_id: &JobId, result: Bytes) -> conch_ports::Result<()> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.0.put(job_id, result).await
    }

    async fn remove(&self, job_id: &JobId) -> conch_ports::Result<()> {
        self.0.remove(job_id).await
    }

    async fn ping(&self) -> conch_ports::Result<()> {
        self.0.ping().await
    }
}

/// A lookup whose results are in that cache.
fn lookup_on(world: &World, cache: Arc<dyn ResultCache>) -> lookup::Lookup {
    let (log, gateway) = (world.memory.log(), world.triton.clone());
    let reconcile = Reconcile::new(log.clone(), gateway.clone(), world.clock.clone());
    lookup::Settings {
        local_bytes: 0,
        ask_again_after: Duration::from_secs(10),
    }
    .build(lookup::Dependencies {
        cache,
        log,
        gateway,
        reconcile,
    })
}

async fn cached_status(cache: &dyn ResultCache) -> Option<Value> {
    let result = cache.get(&job_id("f")).await.expect("memory answers");
    let result: Option<Value> = result.map(|r| serde_json::from_slice(&r).expect("JSON"));
    result.map(|mut result| result["status"].take())
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_overlaps_with_a_retry_leaves_no_old_failure_in_the_cache() {
    for (then, cached) in [
        ("job:started", None),
        ("job:completed", Some("completed")),
        // Nothing: the failure is the result.
        ("data:other", Some("failed")),
    ] {
        let world = failed().await;
        let cache = world.memory.cache();
        cache.remove(&job_id("f")).await.expect("memory answers");
        let lookup = lookup_on(&world, Arc::new(Late(Arc::clone(&cache))));
        let id = job_id("f");
        let (found, ()) = tokio::join!(lookup.job(&id), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            say(&world, &event(then, 20)).await;
        });
        assert!(found.expect("memory answers").is_some());
        assert_eq!(
            cached_status(&*cache).await,
            cached.map(Value::from),
            "{then}"
        );
    }
}

/// Results that aren't in the log's own store have to be taken away from there.
#[tokio::test(start_paused = true)]
async fn a_cache_elsewhere_loses_the_failure_when_the_job_goes_on() {
    let world = World::ignoring_external_events();
    let elsewhere = conch_memory::Settings::default().build().cache();
    let listeners = Listeners {
        hub: world.hub.clone(),
        lookup: lookup_on(&world, Arc::clone(&elsewhere)),
        cache_results: true,
    };
    let log = world.memory.log();
    let (clock, shutdown) = (world.clock.clone(), world.shutdown.clone());
    let signals = world.memory.bus().subscribe();
    tokio::spawn(ingest::run(
        log,
        signals,
        listeners,
        accept(),
        clock,
        shutdown,
    ));
    tokio::time::sleep(Duration::from_millis(10)).await;
    for (kind, second, cached) in [
        ("job:started", 0, None),
        ("job:failed", 10, Some("failed")),
        ("job:started", 20, None),
        ("job:completed", 40, Some("completed")),
    ] {
        say(&world, &event(kind, second)).await;
        let found = cached_status(&*elsewhere).await;
        assert_eq!(found, cached.map(Value::from), "after {kind} at {second}");
    }
}

/// Whether its result lacks anything or not, a failure is asked for anew by each lookup.
#[tokio::test(start_paused = true)]
async fn a_retry_without_an_announcement_is_seen_by_the_next_lookup() {
    for triton_knows in [true, false] {
        let world = World::new();
        tokio::time::sleep(Duration::from_millis(10)).await;
        if triton_knows {
            world.triton.set_job(Job::restore(JobRecord {
                created_at: conch_wire::time::parse(&format!("{TIME}00Z")),
                ..(*known(JobStatus::Running, 0)).clone()
            }));
        }
        say(&world, &event("job:started", 0)).await;
        say(&world, &event("job:failed", 10)).await;
        for _ in 0..3 {
            assert_eq!(status(&world).await, "failed");
        }
        go_on_unheard(&world, &event("job:started", 20)).await;
        assert_eq!(status(&world).await, "running", "{triton_knows}");
    }
}
