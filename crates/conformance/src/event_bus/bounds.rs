//! The laws of how many logs anybody can begin, and how many bytes they may have.

use std::time::Duration;

use bytes::Bytes;
use conch_domain::Job;
use conch_ports::{Commit, EVENT_OVERHEAD, ErrorKind, EventBus, Fence, Published, Quota};

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

/// The same event in a line of so many bytes.
fn long(commit: Commit, bytes: usize) -> Commit {
    let text = std::str::from_utf8(&commit.line).expect("a line is text");
    let open = text.strip_suffix('}').expect("a line is an object");
    let pad = "x".repeat(bytes.saturating_sub(open.len() + 11));
    let line = Bytes::from(format!(r#"{open},"pad":"{pad}"}}"#));
    Commit { line, ..commit }
}

async fn is_full(bus: &dyn EventBus, commit: Commit, quota: Quota) {
    let error = bus
        .publish(commit)
        .await
        .expect_err("more bytes than there may be");
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{error}");
    assert!(error.message().contains(quota.setting()), "{error}");
}

/// Events of an external job are refused once so many bytes of it are kept, and those of all jobs once
/// so many of all are; what a job's life depends on is taken beyond that. What is trimmed makes room, and
/// so does what runs out.
pub async fn external_bytes_are_bounded(subject: &dyn Subject) {
    let (bus, quotas) = (subject.bus(), subject.limits().quotas);
    let of_job = quotas.foreign_job_kib << 10;
    let size = of_job / 6;
    let progress = |script: &mut Script| long(foreign(script.progress(9)), size - EVENT_OVERHEAD);
    let mut script = Script::foreign();
    publish_all(&*bus, [foreign(script.started())]).await;
    for _ in 0..2 {
        publish_all(&*bus, [progress(&mut script)]).await;
    }
    // Small ones until what is large is trimmed away: it takes no room then.
    let kept = subject.limits().history_limit as u64;
    while script.job().position.sequence < 2 * kept {
        publish_all(&*bus, [foreign(script.progress(9))]).await;
    }
    for _ in 0..4 {
        publish_all(&*bus, [progress(&mut script)]).await;
    }
    is_full(&*bus, progress(&mut script.clone()), Quota::ForeignJobKib).await;
    let retrying = |script: &mut Script| {
        let reason = conch_domain::RetryReason::Error;
        let commit = Commit {
            effect: conch_ports::QueueEffect::Keep,
            ..script.retrying(reason, Duration::ZERO)
        };
        long(foreign(commit), size - EVENT_OVERHEAD)
    };
    for _ in 0..4 {
        publish_all(&*bus, [retrying(&mut script)]).await;
    }
    publish_all(&*bus, [long(foreign(script.failed()), size)]).await;

    // All jobs together: large ends, until no job may begin, and then none may end.
    let end = |script: &mut Script| long(foreign(script.failed()), of_job);
    let mut unfinished = Script::foreign();
    publish_all(&*bus, [foreign(unfinished.started())]).await;
    let mut begun = 0;
    while begun < 10 * (quotas.foreign_mib << 20) / of_job {
        let mut next = Script::foreign();
        if bus.publish(end(&mut next)).await.is_err() {
            break;
        }
        begun += 1;
    }
    let bytes = begun * (of_job + EVENT_OVERHEAD);
    assert!(
        bytes <= quotas.foreign_mib << 20,
        "{bytes} bytes of {begun} jobs were taken"
    );
    assert!(
        bytes + 4 * of_job > quotas.foreign_mib << 20,
        "{begun} jobs only"
    );
    is_full(&*bus, end(&mut Script::foreign()), Quota::ForeignMib).await;
    let light = long(foreign(unfinished.clone().progress(9)), 50_000);
    is_full(&*bus, light, Quota::ForeignMib).await;
    publish_all(&*bus, [end(&mut unfinished)]).await;
    subject
        .advance(subject.limits().ended_log_ttl + Duration::from_millis(50))
        .await;
    publish_all(&*bus, [end(&mut Script::foreign())]).await;
}
