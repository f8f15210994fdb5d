//! The laws of how many logs anybody can begin, and how many bytes they may have.

use std::time::Duration;

use bytes::Bytes;
use conch_domain::Job;
use conch_ports::{Appended, Commit, EVENT_OVERHEAD, ErrorKind, Fence, JobLog, Quota};

use crate::StoreSubject;
use crate::build::{Script, epoch, event_of, with_line};
use crate::observe::{append_all, log_of, parts, submitted};

use super::reading::joins_on;

/// As a foreign program's event is committed.
fn foreign(commit: Commit) -> Commit {
    Commit {
        fence: Fence::Foreign,
        announce: false,
        ..commit
    }
}

/// One more job than there may be: refused in words that name the setting, whether told or derived, and
/// whatever it begins with, and nothing of it is left.
async fn over_quota(subject: &dyn StoreSubject) {
    let logs = subject.log();
    for first in [Script::queued, Script::completed] {
        let mut script = Script::foreign();
        let commit = first(&mut script);
        for commit in [foreign(commit.clone()), commit] {
            let answer = logs.append(commit).await;
            let error = answer.expect_err("one more log than there may be was begun");
            assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{error}");
            let setting = Quota::ForeignJobs.setting();
            assert!(error.message().contains(setting), "{error}");
        }
        let log = logs.read(script.id(), 0, 1).await.unwrap();
        assert!(log.is_none(), "a refused event began a log");
        let cached = subject.cache().get(script.id()).await.unwrap();
        assert_eq!(cached, None, "a refused end was cached");
    }
}

/// So many jobs of foreign publishers are unfinished as may be: another is refused, those that are
/// there go on, and our own jobs have nothing to do with it. Each that ends makes room for one, until
/// ten times as many have ended; those make room when their logs run out.
pub async fn external_logs_are_bounded(subject: &dyn StoreSubject) {
    let (logs, quotas) = (subject.log(), subject.limits().quotas);
    let mut scripts: Vec<Script> = Vec::new();
    while scripts.len() < quotas.foreign_jobs {
        let mut script = Script::foreign();
        // Told by a publisher, or derived.
        let commit = match scripts.len() % 2 {
            0 => foreign(script.queued()),
            _ => script.queued(),
        };
        append_all(&*logs, [commit]).await;
        scripts.push(script);
    }
    over_quota(subject).await;
    for script in &mut scripts {
        append_all(
            &*logs,
            [foreign(script.started()), foreign(script.progress(9))],
        )
        .await;
        assert_eq!(log_of(&*logs, script.id()).await.job, *script.job());
    }
    let mut own = submitted(subject).await;
    append_all(&*logs, [own.started()]).await;
    append_all(&*logs, [Script::own().queued(), own.failed()]).await;

    let mut end_one = async || {
        let mut script = scripts.pop().expect("some are unfinished");
        append_all(&*logs, [foreign(script.completed())]).await;
    };
    end_one().await;
    append_all(&*logs, [foreign(Script::foreign().started())]).await;
    over_quota(subject).await;
    end_one().await;
    // Quickly: the first ones must not have run out when the last one comes.
    for _ in 2..quotas.ended_foreign_jobs() {
        append_all(&*logs, [foreign(Script::foreign().completed())]).await;
    }
    over_quota(subject).await;
    let mut script = scripts.pop().expect("some are unfinished");
    let last = logs.append(foreign(script.progress(50))).await.unwrap();
    assert_eq!(last, Appended::Appended, "what is there goes on");
    subject
        .advance(subject.limits().ended_log_ttl + Duration::from_millis(50))
        .await;
    append_all(&*logs, [foreign(Script::foreign().started())]).await;
    over_quota(subject).await;
    // What is derived from a record of our own, whose log has run out by now, counts for nothing.
    let mut derived = Script::of(Job::initial(own.id().clone(), epoch(), false));
    append_all(&*logs, [derived.queued(), derived.started()]).await;
    append_all(&*logs, [derived.completed()]).await;
    over_quota(subject).await;
}

/// The same event in a line of so many bytes.
fn long(commit: Commit, bytes: usize) -> Commit {
    let text = std::str::from_utf8(&event_of(&commit).line).expect("a line is text");
    let open = text.strip_suffix('}').expect("a line is an object");
    let pad = "x".repeat(bytes.saturating_sub(open.len() + 11));
    let line = Bytes::from(format!(r#"{open},"pad":"{pad}"}}"#));
    with_line(&line, commit)
}

async fn is_full(logs: &dyn JobLog, commit: Commit, quota: Quota) {
    let error = logs
        .append(commit)
        .await
        .expect_err("more bytes than there may be");
    assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{error}");
    assert!(error.message().contains(quota.setting()), "{error}");
}

/// An event of an external job is refused if it alone is larger than what may be kept of its job, and any
/// once so many bytes of all such jobs are kept; what a job's life depends on is taken beyond that. What is
/// trimmed makes room, and so does what runs out. What is derived from a record of our own has nothing to do
/// with it.
pub async fn external_bytes_are_bounded(subject: &dyn StoreSubject) {
    let (logs, quotas) = (subject.log(), subject.limits().quotas);
    let mut own = submitted(subject).await;
    append_all(&*logs, [own.started(), own.failed()]).await;
    let runs_out = subject.limits().ended_log_ttl + Duration::from_millis(50);
    subject.advance(runs_out).await;
    let of_job = quotas.foreign_job_kib << 10;
    let mut script = Script::foreign();
    append_all(&*logs, [foreign(script.started())]).await;
    let before = parts(log_of(&*logs, script.id()).await);
    let larger = long(foreign(script.clone().progress(9)), of_job);
    is_full(&*logs, larger, Quota::ForeignJobKib).await;
    let retrying = |script: &mut Script| {
        let reason = conch_domain::RetryReason::Error;
        Commit {
            effect: conch_ports::QueueEffect::Keep,
            ..foreign(script.retrying(reason, Duration::ZERO))
        }
    };
    let larger = long(retrying(&mut script.clone()), 2 * of_job);
    is_full(&*logs, larger, Quota::ForeignJobKib).await;
    let after = parts(log_of(&*logs, script.id()).await);
    assert_eq!(after, before, "what is refused changes nothing");
    append_all(&*logs, [long(retrying(&mut script), of_job)]).await;
    append_all(&*logs, [long(foreign(script.failed()), 2 * of_job)]).await;
    subject.advance(runs_out).await;

    // All jobs together: large ends, until no job may begin, and then none may end.
    let end = |script: &mut Script| long(foreign(script.failed()), of_job);
    let mut unfinished = Script::foreign();
    append_all(&*logs, [foreign(unfinished.started())]).await;
    let mut begun = 0;
    while begun < 10 * (quotas.foreign_mib << 20) / of_job {
        let mut next = Script::foreign();
        if logs.append(end(&mut next)).await.is_err() {
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
    is_full(&*logs, end(&mut Script::foreign()), Quota::ForeignMib).await;
    let light = long(
        foreign(unfinished.clone().progress(9)),
        of_job - EVENT_OVERHEAD,
    );
    is_full(&*logs, light, Quota::ForeignMib).await;
    append_all(&*logs, [end(&mut unfinished)]).await;
    let mut derived = Script::of(Job::initial(own.id().clone(), epoch(), false));
    let queued = long(derived.queued(), 2 * of_job + 1);
    append_all(&*logs, [queued, derived.failed()]).await;
    subject.advance(runs_out).await;
    append_all(&*logs, [end(&mut Script::foreign())]).await;
}

/// An event that finds no room among its job's bytes has the oldest trimmed: it is in the log, the state is
/// whole, and what is kept goes on from the base, within the bound and no less than half of it. However
/// long that goes on, other jobs lose no room.
pub async fn a_full_log_is_trimmed(subject: &dyn StoreSubject) {
    let (logs, limits) = (subject.log(), subject.limits());
    let of_job = limits.quotas.foreign_job_kib << 10;
    let mut script = Script::foreign();
    let beginning = script.job().clone();
    let first = foreign(script.started());
    append_all(&*logs, [first.clone()]).await;
    let cost = |line: &Bytes| line.len() + EVENT_OVERHEAD;
    let mut costs = vec![cost(&event_of(&first).line)];
    let mut trimmed = 0;
    for n in 0.. {
        if costs.iter().sum::<usize>() > 2 * (limits.quotas.foreign_mib << 20) {
            break;
        }
        // Large ones, those that alone are more than half of what may be kept, and in between as many small
        // ones as are trimmed by their number.
        let size = match n % (2 * limits.history_limit + 40) {
            35 => of_job - EVENT_OVERHEAD,
            10..30 => of_job / 16,
            0..40 => of_job / 6,
            _ => 0,
        };
        let commit = long(foreign(script.progress(9)), size);
        costs.push(cost(&event_of(&commit).line));
        append_all(&*logs, [commit]).await;
        let log = log_of(&*logs, script.id()).await;
        assert_eq!(log.job, *script.job(), "trimming changed the state");
        let bytes: usize = log.entries.iter().map(|entry| cost(&entry.line)).sum();
        assert!(bytes <= of_job, "{bytes} bytes are kept at {n}");
        if log.oldest > 1 && log.entries.len() < limits.history_limit {
            trimmed += 1;
            let newest_trimmed = costs[log.oldest as usize - 2];
            assert!(
                bytes + newest_trimmed > of_job / 2,
                "only {bytes} bytes are kept at {n}"
            );
        }
        joins_on(subject, &beginning).await;
    }
    assert!(trimmed > 0, "nothing was trimmed");
    let late = logs.read(script.id(), 2, 1).await.unwrap();
    let (base, oldest) = late.map(|log| (log.base, log.oldest)).expect("it lives");
    let place = base.expect("it was trimmed").position;
    assert_eq!(
        place.sequence + 1,
        oldest,
        "who is behind it is told the base"
    );
    let again = logs.append(first.clone()).await.unwrap();
    assert_eq!(again, Appended::Duplicate(first.job.position));
    append_all(&*logs, [long(foreign(script.failed()), of_job / 6)]).await;
    append_all(&*logs, [foreign(Script::foreign().started())]).await;
}
