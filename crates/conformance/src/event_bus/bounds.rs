//! The law of how many logs anybody can begin.

use std::time::Duration;

use conch_domain::Job;
use conch_ports::{Commit, ErrorKind, Fence, Published, Quota};

use crate::Subject;
use crate::build::{Script, epoch};
use crate::observe::{log_of, publish_all, submitted};

/// As a foreign program's event is committed.
fn foreign(commit: Commit) -> Commit {
    Commit {
        fence: Fence::Foreign,
        announce: false,
        ..commit
    }
}

/// One more job than there may be: refused in words that name the setting, whoever tells of it and
/// whatever it begins with, and nothing of it is left.
async fn over_quota(subject: &dyn Subject) {
    let bus = subject.bus();
    for first in [Script::queued, Script::completed] {
        let mut script = Script::foreign();
        let commit = first(&mut script);
        for commit in [foreign(commit.clone()), commit] {
            let answer = bus.publish(commit).await;
            let error = answer.expect_err("one more log than there may be was begun");
            assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{error}");
            let setting = Quota::ForeignJobs.setting();
            assert!(error.message().contains(setting), "{error}");
        }
        let log = bus.read(script.id(), 0, 1).await.unwrap();
        assert!(log.is_none(), "a refused event began a log");
        let cached = subject.cache().get(script.id()).await.unwrap();
        assert_eq!(cached, None, "a refused end was cached");
    }
}

/// So many jobs of foreign publishers are unfinished as may be: another is refused, those that are
/// there go on, and our own jobs have nothing to do with it. Each that ends makes room for one, until
/// ten times as many have ended; those make room when their logs run out.
pub async fn foreign_logs_are_bounded(subject: &dyn Subject) {
    let (bus, quotas) = (subject.bus(), subject.limits().quotas);
    let mut scripts: Vec<Script> = Vec::new();
    while scripts.len() < quotas.foreign_jobs {
        let mut script = Script::foreign();
        // Told by a publisher, or derived.
        let commit = match scripts.len() % 2 {
            0 => foreign(script.queued()),
            _ => script.queued(),
        };
        publish_all(&*bus, [commit]).await;
        scripts.push(script);
    }
    over_quota(subject).await;
    for script in &mut scripts {
        publish_all(
            &*bus,
            [foreign(script.started()), foreign(script.progress(9))],
        )
        .await;
        assert_eq!(log_of(&*bus, script.id()).await.job, *script.job());
    }
    let mut own = submitted(subject).await;
    publish_all(&*bus, [own.started()]).await;
    publish_all(&*bus, [Script::own().queued(), own.failed()]).await;

    let mut end_one = async || {
        let mut script = scripts.pop().expect("some are unfinished");
        publish_all(&*bus, [foreign(script.completed())]).await;
    };
    end_one().await;
    publish_all(&*bus, [foreign(Script::foreign().started())]).await;
    over_quota(subject).await;
    end_one().await;
    // Quickly: the first ones must not have run out when the last one comes.
    for _ in 2..quotas.ended_foreign_jobs() {
        publish_all(&*bus, [foreign(Script::foreign().completed())]).await;
    }
    over_quota(subject).await;
    let mut script = scripts.pop().expect("some are unfinished");
    let last = bus.publish(foreign(script.progress(50))).await.unwrap();
    assert_eq!(last, Published::Appended, "what is there goes on");
    subject
        .advance(subject.limits().ended_log_ttl + Duration::from_millis(50))
        .await;
    publish_all(&*bus, [foreign(Script::foreign().started())]).await;
    over_quota(subject).await;
    // What is derived from a record of our own, whose log has run out by now, counts for nothing.
    let mut derived = Script::of(Job::unborn(own.id().clone(), epoch(), false));
    publish_all(&*bus, [derived.queued(), derived.started()]).await;
    publish_all(&*bus, [derived.completed()]).await;
    over_quota(subject).await;
}
