//! What each step of a job costs Redis: every command, those inside scripts included, and how often. A
//! number that rises here is more work per event for everybody; change one only with the step that it is of.

use std::time::Duration;

use conch_conformance::build::together;
use conch_domain::{Category, Epoch, Job};
use conch_ports::{Appended, Commit, Fence, Lease, PutTemplate, QueueEffect, Submitted, Sweep};
use conch_redis::Stores;
use parking_lot::Mutex;

use crate::cost::every_command;
use crate::jobs::{
    commit, completed, held, initial, job_id, progress, queued, submission, template,
};
use crate::server::Server;
use crate::templates::step;

const MINUTE: Duration = Duration::from_mins(1);

/// A Redis whose scripts are loaded and whose connections are open: the first job of each kind pays for that.
struct Bench {
    server: Server,
    stores: Stores,
    /// What each step cost, in their order.
    costs: Mutex<Vec<String>>,
}

impl Bench {
    async fn start() -> Self {
        let server = Server::start();
        let mut settings = server.settings();
        settings.history_limit = 4;
        let stores = settings.build().expect("good settings");
        let costs = Mutex::default();
        let bench = Self {
            server,
            stores,
            costs,
        };
        bench.submit("warm").await;
        let lease = bench.claim("warm").await;
        let job = bench.own(&submission("warm").commit.job, &lease).await;
        let job = bench.templates(&job, &lease, 1..=1).await;
        bench.put(&lease, 2).await;
        assert!(bench.stores.queue.renew(&lease, MINUTE).await.unwrap());
        bench.end(&job, &lease).await;
        let log = bench.stores.log.read(&job.id, 0, 9).await.unwrap();
        let log = log.expect("it is kept");
        bench
            .external(commit(&external("warm-too"), progress(1)))
            .await;
        bench.stores.queue.expired(9).await.unwrap();
        bench.sweep().await;
        bench.stores.queue.next_due().await.unwrap();
        bench
            .stores
            .log
            .positions(std::slice::from_ref(&log.job.id))
            .await
            .unwrap();
        every_command(&bench.server);
        bench
    }

    /// Notes what was sent to Redis since the last time: how many commands in scripts, and each of all.
    fn cost(&self, step: &str) {
        let found = every_command(&self.server);
        let around = ["evalsha", "ping", "unwatch"];
        let inner = found
            .iter()
            .filter(|(name, _)| !around.contains(&name.as_str()));
        let inner: u64 = inner.map(|(_, calls)| calls).sum();
        let each: Vec<_> = found
            .iter()
            .map(|(n, calls)| format!("{n} {calls}"))
            .collect();
        let cost = format!("{step}, {inner}: {}", each.join(", "));
        self.costs.lock().push(cost);
    }

    /// Asserts what was noted.
    #[track_caller]
    fn costs(&self, expected: &[&str]) {
        let found = self.costs.lock();
        assert!(*found == expected, "found {found:#?}");
    }

    async fn submit(&self, id: &str) {
        let submitted = self.stores.queue.submit(submission(id)).await.unwrap();
        assert_eq!(submitted, Submitted::New);
    }

    async fn claim(&self, id: &str) -> Lease {
        let token = conch_conformance::build::token();
        let lease = self.stores.queue.claim("w", &token, MINUTE).await.unwrap();
        let lease = lease.expect("one is due").lease;
        assert_eq!(lease.job_id, job_id(id));
        lease
    }

    async fn append(&self, commit: Commit) -> Job {
        let job = commit.job.clone();
        let published = self.stores.log.append(commit).await.unwrap();
        assert_eq!(published, Appended::Appended);
        job
    }

    /// An event of the lease's holder that leaves the job running.
    async fn own(&self, job: &Job, lease: &Lease) -> Job {
        let sequence = u8::try_from(job.position.sequence).expect("few");
        self.append(held(commit(job, progress(sequence)), &lease.token))
            .await
    }

    async fn end(&self, job: &Job, lease: &Lease) -> Job {
        let mut end = held(commit(job, completed()), &lease.token);
        end.effect = QueueEffect::Remove;
        self.append(end).await
    }

    async fn put(&self, lease: &Lease, index: u32) {
        let job = lease.job_id.as_str();
        let made = template(&format!("{job}-{index}"), job, index, Category::RoiFocused);
        let put = self.stores.catalogue.put_template(&made, lease).await;
        assert_eq!(put.unwrap(), PutTemplate::Stored);
    }

    /// These templates in one commit, each with its event and the progress that it means.
    async fn templates(
        &self,
        job: &Job,
        lease: &Lease,
        places: std::ops::RangeInclusive<u32>,
    ) -> Job {
        let id = lease.job_id.as_str();
        let mut then = job.clone();
        let steps = places.map(|place| {
            let made = template(&format!("{id}-{place}"), id, place, Category::RoiFocused);
            let step = step(&then, &made, lease);
            then = step.job.clone();
            step
        });
        let steps: Vec<_> = steps.collect();
        self.append(together(steps)).await
    }

    async fn external(&self, commit: Commit) -> Job {
        let commit = Commit {
            fence: Fence::Foreign,
            announce: false,
            ..commit
        };
        self.append(commit).await
    }

    async fn sweep(&self) {
        let sweep = Sweep {
            from: 0,
            limit: 10,
            grace: MINUTE,
        };
        let swept = self.stores.queue.sweep(&sweep).await.unwrap();
        assert_eq!(swept.found, []);
    }
}

fn external(id: &str) -> Job {
    Job::initial(job_id(id), Epoch::from_random([7; 4]), false)
}

#[tokio::test]
async fn of_a_job_that_a_worker_runs() {
    let bench = Bench::start().await;
    bench.submit("j-1").await;
    bench.cost("submit");
    let lease = bench.claim("j-1").await;
    bench.cost("claim");
    let job = bench.own(&submission("j-1").commit.job, &lease).await;
    bench.cost("the first event of a running job");
    bench.put(&lease, 7).await;
    bench.cost("a template by itself");
    let job = bench.own(&job, &lease).await;
    bench.cost("one more event");
    assert!(bench.stores.queue.renew(&lease, MINUTE).await.unwrap());
    bench.cost("renew");
    let job = bench.own(&job, &lease).await;
    bench.cost("an event whose fold is the first mark");
    let mut job = bench.own(&job, &lease).await;
    for _ in 0..2 {
        job = bench.own(&job, &lease).await;
    }
    bench.cost("three events");
    let job = bench.own(&job, &lease).await;
    bench.cost("an event at which the log is cut off");
    let steps = [1, 2, 3].map(|step| progress(50 + step));
    let mut then = job.clone();
    let commits = steps.map(|kind| {
        let next = held(commit(&then, kind), &lease.token);
        then = next.job.clone();
        next
    });
    let job = bench.append(together(commits)).await;
    bench.cost("three events in one commit");
    let job = bench.templates(&job, &lease, 1..=1).await;
    bench.cost("a template with two events");
    let job = bench.templates(&job, &lease, 2..=4).await;
    bench.cost("three templates with two events each");
    bench.end(&job, &lease).await;
    bench.cost("the end");
    bench.costs(&[
        "submit, 27: evalsha 1, exists 1, hget 1, hmget 1, hset 4, pexpire 3, publish 2, time 1, xadd 1, zadd 9, zcard 3, zrange 1",
        "claim, 14: evalsha 1, get 1, hget 1, hmget 1, hset 1, set 1, time 1, zadd 1, zrange 3, zrem 3, zscore 1",
        "the first event of a running job, 18: evalsha 1, hget 1, hmget 3, hset 3, publish 2, time 1, xadd 1, zadd 4, zmscore 1, zrem 2",
        "a template by itself, 8: evalsha 1, hmget 2, hset 1, persist 1, set 1, time 1, zadd 2",
        "one more event, 12: evalsha 1, hmget 2, hset 3, publish 2, time 1, xadd 1, zadd 2, zmscore 1",
        "renew, 5: evalsha 1, hmget 1, hset 1, persist 1, time 1, zadd 1",
        "an event whose fold is the first mark, 15: evalsha 1, hmget 4, hset 4, publish 2, time 1, xadd 1, zadd 2, zmscore 1",
        "three events, 36: evalsha 3, hmget 6, hset 9, publish 6, time 3, xadd 3, zadd 6, zmscore 3",
        "an event at which the log is cut off, 17: evalsha 1, hmget 4, hset 5, publish 2, time 1, xadd 1, xtrim 1, zadd 2, zmscore 1",
        "three events in one commit, 18: evalsha 1, hmget 2, hset 3, publish 6, time 1, xadd 3, zadd 2, zmscore 1",
        "a template with two events, 27: evalsha 1, exists 1, hmget 5, hset 6, persist 1, publish 4, set 1, time 1, xadd 2, xtrim 1, zadd 4, zmscore 1",
        "three templates with two events each, 47: evalsha 1, exists 1, hmget 5, hset 6, persist 3, publish 12, set 3, time 1, xadd 6, xtrim 1, zadd 8, zmscore 1",
        "the end, 23: del 1, evalsha 1, hget 1, hmget 2, hset 3, pexpire 3, publish 2, set 1, time 1, xadd 1, zadd 4, zmscore 1, zrem 3",
    ]);
}

#[tokio::test]
async fn of_a_job_that_is_given_back() {
    let bench = Bench::start().await;
    bench.submit("j-1").await;
    let lease = bench.claim("j-1").await;
    let job = bench.own(&submission("j-1").commit.job, &lease).await;
    every_command(&bench.server);
    let mut back = held(commit(&job, progress(2)), &lease.token);
    back.effect = QueueEffect::Requeue {
        after: Duration::ZERO,
        counts: true,
    };
    bench.append(back).await;
    bench.cost("requeue");
    bench.claim("j-1").await;
    bench.cost("claim");
    let token = conch_conformance::build::token();
    assert_eq!(
        bench.stores.queue.claim("w", &token, MINUTE).await.unwrap(),
        None
    );
    bench.cost("a claim when nothing is due");
    bench.stores.queue.next_due().await.unwrap();
    bench.cost("when the next is due");
    assert_eq!(bench.stores.queue.expired(9).await.unwrap(), []);
    bench.cost("leases that have run out");
    bench.sweep().await;
    bench.cost("a sweep over one held job");
    bench.costs(&[
        "requeue, 20: evalsha 1, hdel 1, hget 1, hmget 2, hset 4, publish 2, time 1, xadd 1, zadd 5, zmscore 1, zrange 1, zrem 1",
        "claim, 14: evalsha 1, get 1, hget 1, hmget 1, hset 1, set 1, time 1, zadd 1, zrange 3, zrem 3, zscore 1",
        "a claim when nothing is due, 6: evalsha 1, get 1, time 1, zrange 4",
        "when the next is due, 2: evalsha 1, type 1, zrange 1",
        "leases that have run out, 3: evalsha 1, ping 1, time 1, type 1, unwatch 1, zrangebyscore 1",
        "a sweep over one held job, 18: evalsha 1, hget 1, hmget 1, persist 3, ping 1, time 1, type 4, unwatch 1, zcard 2, zrange 3, zrem 1, zscore 2",
    ]);
}

#[tokio::test]
async fn of_an_external_job() {
    let bench = Bench::start().await;
    let first = bench.external(commit(&external("x-1"), progress(1))).await;
    bench.cost("the first event");
    let next = commit(&first, progress(2));
    let job = bench.external(next.clone()).await;
    bench.cost("one more event");
    let again = Commit {
        fence: Fence::Foreign,
        announce: false,
        ..next
    };
    let published = bench.stores.log.append(again).await.unwrap();
    assert_eq!(published, Appended::Duplicate(job.position));
    bench.cost("the same once more");
    let log = bench.stores.log.read(&job.id, 0, 9).await.unwrap().unwrap();
    assert_eq!(log.entries.len(), 2);
    bench.cost("a read of all");
    bench.stores.log.read(&job.id, 2, 9).await.unwrap().unwrap();
    bench.cost("a read of what is new");
    let ids = vec![job.id.clone(); 3];
    bench.stores.log.positions(&ids).await.unwrap();
    bench.cost("three positions");
    bench.external(commit(&job, completed())).await;
    bench.cost("the end");
    bench.costs(&[
        "the first event, 25: evalsha 1, exists 2, hmget 2, hset 3, pexpire 6, time 1, type 3, xadd 1, zadd 2, zcount 2, zrangebyscore 2, zrem 1",
        "one more event, 10: evalsha 1, exists 1, hmget 2, hset 3, time 1, xadd 1, zadd 1, zmscore 1",
        "the same once more, 3: evalsha 1, hmget 1, time 1, zmscore 1",
        "a read of all, 4: evalsha 1, hget 1, hmget 1, xrange 2",
        "a read of what is new, 3: evalsha 1, hmget 1, xrange 2",
        "three positions, 3: hmget 3",
        "the end, 24: evalsha 1, exists 1, hmget 2, hset 3, pexpire 6, set 1, time 1, type 3, xadd 1, zadd 2, zmscore 1, zrangebyscore 2, zrem 1",
    ]);
}

/// A log that is begun anew: the epoch, what belongs to it, and the first event of it.
#[tokio::test]
async fn of_an_epoch() {
    let bench = Bench::start().await;
    let first = bench.append(commit(&initial("j-1"), queued())).await;
    every_command(&bench.server);
    let anew = first.with_epoch(Epoch::from_random([9; 4]));
    let replacing = Commit {
        replaces: Some(first.position),
        base: Some(anew.clone()),
        ..commit(&anew, progress(1))
    };
    bench.append(replacing).await;
    bench.cost("an epoch that replaces another");
    bench.costs(&[
        "an epoch that replaces another, 26: del 1, evalsha 1, hget 1, hmget 1, hset 5, pexpire 3, publish 2, time 1, type 2, xadd 1, zadd 6, zmscore 1, zrem 2",
    ]);
}

/// Redis is asked which run it is by the first event of a log after a restart, and by no other.
#[tokio::test]
async fn of_a_log_from_another_run() {
    let mut bench = Bench::start().await;
    bench.server.append_only();
    // A connection looks at that at its start.
    bench.stores = bench.server.stores();
    bench.submit("j-1").await;
    let lease = bench.claim("j-1").await;
    let job = bench.own(&submission("j-1").commit.job, &lease).await;
    bench.server.restart();
    bench.stores = bench.server.stores();
    bench.submit("j-2").await;
    let other = bench.claim("j-2").await;
    bench.own(&submission("j-2").commit.job, &other).await;
    every_command(&bench.server);
    let job = bench.own(&job, &lease).await;
    bench.cost("the first event after a restart");
    bench.own(&job, &lease).await;
    bench.cost("one more event");
    bench.costs(&[
        "the first event after a restart, 17: evalsha 1, hmget 3, hset 4, info 3, publish 2, time 1, xadd 1, zadd 2, zmscore 1",
        "one more event, 12: evalsha 1, hmget 2, hset 3, publish 2, time 1, xadd 1, zadd 2, zmscore 1",
    ]);
}
