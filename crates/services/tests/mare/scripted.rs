//! Lookups and questions to Triton against scripted ports: which calls are made, how often, and what
//! comes of each failure. A call that isn't in the script fails the test.

use std::sync::Arc;

use conch_domain::JobStatus;
use conch_ports::{Error, ErrorKind, MockResultCache, MockTritonGateway};
use conch_services::mare::lookup::{self, Lookup};
use conch_services::mare::reconcile::{Asked, Reconcile};
use mockall::Sequence;

use crate::world::{POSITION_CHECK, World, job_id};

/// A lookup on the world's logs, with another cache and another Triton.
fn lookup_with(world: &World, cache: MockResultCache, gateway: MockTritonGateway) -> Lookup {
    let gateway = Arc::new(gateway);
    let log = world.memory.log();
    let reconcile = Reconcile::new(Arc::clone(&log), gateway.clone(), Arc::clone(&world.clock));
    lookup::Settings {
        local_bytes: 1 << 20,
        ask_again_after: POSITION_CHECK,
    }
    .build(lookup::Dependencies {
        cache: Arc::new(cache),
        log,
        gateway,
        reconcile,
    })
}

fn down(message: &str) -> Error {
    Error::new(ErrorKind::Unavailable, "triton_gateway.job", message)
}

async fn status(lookup: &Lookup, id: &str) -> String {
    let bytes = lookup.job(&job_id(id)).await.expect("an answer");
    let job: serde_json::Value =
        serde_json::from_slice(&bytes.expect("it is known")).expect("JSON");
    job["status"].as_str().expect("a status").to_owned()
}

async fn ended(world: &World) {
    let mut job = world.job("j");
    job.start().await;
    job.complete().await;
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_is_elsewhere_is_asked_once_and_given_the_result_once() {
    let world = World::new();
    ended(&world).await;
    let mut cache = MockResultCache::new();
    cache.expect_get().times(1).returning(|_| Ok(None));
    cache
        .expect_put()
        .times(1)
        .withf(|id, result| id.as_str() == "j" && result.starts_with(b"{"))
        .returning(|_, _| Ok(()));
    let lookup = lookup_with(&world, cache, MockTritonGateway::new());
    for _ in 0..3 {
        assert_eq!(status(&lookup, "j").await, JobStatus::Completed.as_str());
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_that_is_down_costs_no_answer() {
    let world = World::new();
    ended(&world).await;
    let mut cache = MockResultCache::new();
    cache
        .expect_get()
        .times(1)
        .returning(|_| Err(down("no cache")));
    cache
        .expect_put()
        .times(..=1)
        .returning(|_, _| Err(down("no cache")));
    let lookup = lookup_with(&world, cache, MockTritonGateway::new());
    assert_eq!(status(&lookup, "j").await, JobStatus::Completed.as_str());
}

/// The gateway has retried and its breaker is open: whoever asks it adds no retries of their own, and
/// the next lookup asks again.
#[tokio::test(start_paused = true)]
async fn a_lookup_asks_a_failing_gateway_once() {
    let world = World::new();
    let mut cache = MockResultCache::new();
    cache.expect_get().times(2).returning(|_| Ok(None));
    let mut gateway = MockTritonGateway::new();
    let mut order = Sequence::new();
    gateway
        .expect_job()
        .times(1)
        .in_sequence(&mut order)
        .returning(|_| Err(down("left alone for a while")));
    gateway
        .expect_job()
        .times(1)
        .in_sequence(&mut order)
        .returning(|_| Ok(None));
    let lookup = lookup_with(&world, cache, gateway);
    let error = lookup.job(&job_id("t")).await.expect_err("it is down");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.message(), "left alone for a while");
    assert_eq!(lookup.job(&job_id("t")).await.expect("it answers"), None);
}

#[tokio::test(start_paused = true)]
async fn a_question_to_triton_is_one_call_whatever_comes_of_it() {
    let world = World::new();
    let mut gateway = MockTritonGateway::new();
    let mut order = Sequence::new();
    for kind in [ErrorKind::Timeout, ErrorKind::BadResponse] {
        gateway
            .expect_job()
            .times(1)
            .in_sequence(&mut order)
            .returning(move |_| Err(Error::new(kind, "triton_gateway.job", "no")));
    }
    gateway
        .expect_job()
        .times(1)
        .in_sequence(&mut order)
        .returning(|_| Ok(None));
    let reconcile = Reconcile::new(
        world.memory.log(),
        Arc::new(gateway),
        Arc::clone(&world.clock),
    );
    for kind in [ErrorKind::Timeout, ErrorKind::BadResponse] {
        let error = reconcile.ask(&job_id("t")).await.expect_err("it fails");
        assert_eq!(error.kind(), kind);
    }
    let asked = reconcile.ask(&job_id("t")).await.expect("it answers");
    assert_eq!(asked, Asked::Unknown);
}
