//! Laws of what a log says when it is read.

use conch_domain::{Job, JobStatus};
use conch_ports::{Appended, Commit, Fence, MAX_POSITIONS};

use crate::StoreSubject;
use crate::build::{self, Script, event_of};
use crate::observe::{append_all, fold, log_of};

/// State and entries belong together at every moment while events are appended; the newest events
/// are kept, and trimming the oldest leaves the state whole.
pub async fn read_is_one_moment(subject: &dyn StoreSubject) {
    let logs = subject.log();
    let history_limit = subject.limits().history_limit;
    let total = history_limit * 2 + 10;
    let mut script = Script::foreign();
    let mut commits = vec![script.queued(), script.started()];
    let template = build::template(script.job(), 1);
    commits.push(script.template_completed(&template));
    while commits.len() < total {
        commits.push(script.progress((commits.len() * 100 / total) as u8));
    }
    let (id, expected) = (script.id().clone(), commits.clone());

    let writer = {
        let logs = subject.log();
        tokio::spawn(async move { append_all(&*logs, commits).await })
    };
    let mut seen = 0;
    while seen < total {
        tokio::task::yield_now().await;
        // Asked before the read: what was written by now must be in it.
        let written = writer.is_finished();
        let Some(log) = logs.read(&id, 0, usize::MAX >> 32).await.unwrap() else {
            assert!(!written, "everything was written, and there is no log");
            continue;
        };
        let end = log.job.position.sequence as usize;
        assert!(end >= seen, "the log went back from {seen} to {end}");
        assert_eq!(
            log.job,
            expected[end - 1].job,
            "the state isn't the fold at {end}"
        );
        assert!(
            log.entries.len() >= history_limit.min(end),
            "too few events are kept"
        );
        assert_eq!(
            log.oldest as usize,
            end + 1 - log.entries.len(),
            "oldest and entries differ"
        );
        for (sequence, entry) in (log.oldest..).zip(&log.entries) {
            assert_eq!(entry.sequence, sequence);
            assert_eq!(entry.line, event_of(&expected[sequence as usize - 1]).line);
        }
        assert!(
            !written || end == total,
            "the log is short, or the writer failed"
        );
        seen = end;
    }
    writer.await.expect("writing doesn't panic");

    let log = log_of(&*logs, &id).await;
    assert_eq!(log.job, *script.job(), "trimming changed the state");
    assert_eq!(
        log.job.template_ids,
        [template.id],
        "what was trimmed still counts"
    );
    assert_eq!(log.job.status, JobStatus::Running);
    asks_for_a_part(subject, &script, history_limit as u64).await;
}

/// A read from before the oldest kept event answers the state that the kept ones go on from:
/// at every length of a log that is trimmed, and of one that began in mid-life.
pub async fn the_base_joins_on(subject: &dyn StoreSubject) {
    let logs = subject.log();
    let history_limit = subject.limits().history_limit as u64;
    let mut script = Script::foreign();
    append_all(&*logs, [script.queued()]).await;
    let template = build::template(script.job(), 1);
    append_all(&*logs, [script.template_completed(&template)]).await;
    joins_on(
        subject,
        &Job::initial(script.id().clone(), script.job().position.epoch, false),
    )
    .await;
    append_all(&*logs, [script.in_new_epoch()]).await;
    let log = log_of(&*logs, script.id()).await;
    let renewed = log.base.expect("the log began in mid-life");
    assert_eq!(
        renewed.template_ids,
        [template.id],
        "what came before still counts"
    );
    for n in 0..3 * history_limit {
        append_all(&*logs, [script.progress((n % 100) as u8)]).await;
        joins_on(subject, &renewed).await;
    }
    let log = log_of(&*logs, script.id()).await;
    assert!(log.oldest > 1, "it was trimmed");
    assert!(
        (log.entries.len() as u64) < 2 * history_limit,
        "too much is kept"
    );
    let cheap = logs.read(script.id(), 0, 0).await.unwrap();
    assert_eq!(
        cheap.expect("it lives").base,
        None,
        "no entries were asked for"
    );
    let later = logs.read(script.id(), log.oldest, 1).await.unwrap();
    assert_eq!(
        later.expect("it lives").base,
        None,
        "all that was asked for is kept"
    );
}

/// The base, or without one the beginning, and the kept entries are the state.
pub(super) async fn joins_on(subject: &dyn StoreSubject, beginning: &Job) {
    let log = log_of(&*subject.log(), &beginning.id).await;
    let base = log.base.unwrap_or_else(|| beginning.clone());
    assert_eq!(
        base.position.sequence + 1,
        log.oldest,
        "base and entries don't join"
    );
    assert_eq!(fold(base, &log.entries), log.job);
}

/// `after` and `limit` cut entries, never the state.
async fn asks_for_a_part(subject: &dyn StoreSubject, script: &Script, history_limit: u64) {
    let logs = subject.log();
    let end = script.job().position.sequence;
    let rows: [(u64, usize, &[u64]); 6] = [
        (end - 3, 2, &[end - 2, end - 1]),
        (end - 3, 10, &[end - 2, end - 1, end]),
        (end, 10, &[]),
        (end + 5, 10, &[]),
        (u64::MAX, 10, &[]),
        (0, 0, &[]),
    ];
    for (after, limit, wanted) in rows {
        let log = logs
            .read(script.id(), after, limit)
            .await
            .unwrap()
            .expect("the log lives");
        let sequences: Vec<_> = log.entries.iter().map(|entry| entry.sequence).collect();
        assert_eq!(sequences, wanted, "after {after}, at most {limit}");
        assert_eq!(log.job, *script.job(), "after {after}, at most {limit}");
        assert!(
            log.oldest <= end + 1 - history_limit,
            "after {after}, at most {limit}"
        );
    }
    let log = logs
        .read(script.id(), 0, 3)
        .await
        .unwrap()
        .expect("the log lives");
    assert_eq!(
        log.entries.first().map(|entry| entry.sequence),
        Some(log.oldest)
    );
    assert_eq!(log.entries.len(), 3);
}

/// A job without a log reads as none: never begun, refused, or run out.
pub async fn a_lost_log_is_absent(subject: &dyn StoreSubject) {
    let logs = subject.log();
    assert!(logs.read(&build::job_id(), 0, 10).await.unwrap().is_none());

    let mut refused = Script::foreign();
    let fenced = Commit {
        fence: Fence::Held(build::token()),
        ..refused.queued()
    };
    assert_eq!(logs.append(fenced).await.unwrap(), Appended::Fenced);
    assert_eq!(
        logs.append(refused.started()).await.unwrap(),
        Appended::Conflict(None)
    );
    assert!(
        logs.read(refused.id(), 0, 10).await.unwrap().is_none(),
        "refusals leave no trace"
    );

    let mut ended = Script::foreign();
    append_all(&*logs, [ended.queued(), ended.completed()]).await;
    assert!(logs.read(ended.id(), 0, 10).await.unwrap().is_some());
    let ttl = subject.limits().ended_log_ttl;
    subject
        .advance(ttl + std::time::Duration::from_millis(50))
        .await;
    assert!(
        logs.read(ended.id(), 0, 10).await.unwrap().is_none(),
        "a log outlived its time"
    );
}

/// Whatever is asked about in one question is answered as one by one: logs of our own and of others, that
/// have ended or go on, twice the same, and none.
pub async fn positions_are_those_of_reads(subject: &dyn StoreSubject) {
    let logs = subject.log();
    let (mut own, mut other) = (Script::own(), Script::foreign());
    append_all(&*logs, [own.queued(), own.started(), own.completed()]).await;
    append_all(&*logs, [other.started()]).await;
    let absent = build::job_id();
    let asked = [&absent, own.id(), other.id(), &absent, own.id()].map(Clone::clone);
    let positions = logs.positions(&asked).await.unwrap();
    let mut reads = Vec::new();
    for job_id in &asked {
        let log = logs.read(job_id, 0, 0).await.unwrap();
        reads.push(log.map(|log| log.job.position));
    }
    assert_eq!(positions, reads, "not what reads say");
    assert_eq!(positions[0], None, "there is no such log");
    assert_eq!(positions[1], Some(own.job().position));
    assert_eq!(logs.positions(&[]).await.unwrap(), []);
    let many: Vec<_> = (0..MAX_POSITIONS).map(|_| build::job_id()).collect();
    let positions = logs.positions(&many).await.unwrap();
    assert_eq!(positions, vec![None; MAX_POSITIONS]);
}
