//! The law of commits that have several events.

use std::time::Duration;

use conch_domain::{JobId, JobStatus, Position, RetryReason, Template};
use conch_ports::{
    Appended, Commit, ErrorKind, Fence, JobLog, MAX_COMMIT_EVENTS, MAX_COMMIT_TEMPLATES,
};

use crate::StoreSubject;
use crate::build::{self, Script, together, with_templates};
use crate::job_log::reading::joins_on;
use crate::observe::{LONG, append_all, claim, claimed, flowing, fold, log_of, next_of};

/// The events of a log, from the first one on.
async fn lines(logs: &dyn JobLog, job_id: &JobId) -> Vec<bytes::Bytes> {
    let log = log_of(logs, job_id).await;
    let sequences = log.entries.iter().map(|entry| entry.sequence);
    let expected = 1..=log.job.position.sequence;
    assert!(sequences.eq(expected), "the log has a gap");
    log.entries.into_iter().map(|entry| entry.line).collect()
}

/// What was to be appended, line for line.
fn lines_of<'a>(commits: impl IntoIterator<Item = &'a Commit>) -> Vec<bytes::Bytes> {
    let events = commits.into_iter().flat_map(|commit| &commit.events);
    events.map(|event| event.line.clone()).collect()
}

/// All events of a commit are in the log after it, or none.
pub async fn a_commit_is_one_step(subject: &dyn StoreSubject) {
    it_is_appended_as_a_whole(subject).await;
    a_refused_one_leaves_nothing(subject).await;
    its_templates_are_of_the_same_step(subject).await;
    its_last_event_ends_the_job(subject).await;
    it_begins_a_log(subject).await;
    logs_are_cut_off_between_commits(subject).await;
    an_external_commit_fits_in_whole(subject).await;
}

async fn it_is_appended_as_a_whole(subject: &dyn StoreSubject) {
    let (logs, catalogue) = (subject.log(), subject.catalogue());
    let mut signals = match subject.bus() {
        Some(bus) => Some(flowing(&*bus).await),
        None => None,
    };
    let (mut script, _) = claimed(subject, LONG).await;
    let queued = log_of(&*logs, script.id()).await.job;
    let many = (0..MAX_COMMIT_EVENTS).map(|n| match n {
        0 => script.started(),
        n => script.progress(n as u8),
    });
    let many = together(many.collect::<Vec<_>>());
    let first = many.first();
    assert_eq!(first, queued.position.next(), "the builder counts wrongly");
    append_all(&*logs, [many.clone()]).await;
    let kept = lines(&*logs, script.id()).await;
    assert_eq!(
        kept[1..],
        lines_of([&many]),
        "an event of a commit is missing"
    );
    let log = log_of(&*logs, script.id()).await;
    assert_eq!(
        log.job,
        *script.job(),
        "the state isn't that after the last event"
    );
    let record = catalogue.job(script.id()).await.unwrap();
    assert_eq!(record.as_ref(), Some(script.job()), "the record");
    if let Some(signals) = &mut signals {
        for (event, sequence) in many.events.iter().zip(first.sequence..) {
            let place = Position { sequence, ..first };
            let heard = loop {
                let heard = next_of(signals, script.id()).await;
                if heard.0.sequence >= first.sequence {
                    break heard;
                }
            };
            assert_eq!(
                heard,
                (place, event.line.clone()),
                "each event is announced"
            );
        }
    }

    let again = logs.append(many.clone()).await.unwrap();
    assert_eq!(again, Appended::Duplicate(first), "where it begins");
    let one = Commit {
        events: many.events[2..3].to_vec(),
        ..many.clone()
    };
    let known = Position {
        sequence: first.sequence + 2,
        ..first
    };
    let again = logs.append(one).await.unwrap();
    assert_eq!(again, Appended::Duplicate(known), "each event is known");
    assert_eq!(
        lines(&*logs, script.id()).await,
        kept,
        "a duplicate changes nothing"
    );
}

/// Whatever refuses a commit, none of its events is there.
async fn a_refused_one_leaves_nothing(subject: &dyn StoreSubject) {
    let logs = subject.log();
    let mut script = Script::own();
    append_all(&*logs, [script.queued(), script.started()]).await;
    let before = log_of(&*logs, script.id()).await;
    let end = before.job.position;
    let two = |script: &Script| {
        let mut script = script.clone();
        together([script.progress(10), script.progress(20)])
    };
    let known = before.entries.len();
    let unchanged = async |why: &str| {
        let now = log_of(&*logs, script.id()).await;
        assert_eq!((now.job.position, now.entries.len()), (end, known), "{why}");
    };

    let fenced = Commit {
        fence: Fence::Held(build::token()),
        ..two(&script)
    };
    assert_eq!(logs.append(fenced).await.unwrap(), Appended::Fenced);
    unchanged("fenced").await;

    let mut ahead = script.clone();
    ahead.progress(1);
    let too_far = logs.append(two(&ahead)).await.unwrap();
    assert_eq!(too_far, Appended::Conflict(Some(end)), "a place left out");
    unchanged("a place left out").await;

    let taken = Commit {
        job: script.clone().progress(1).job,
        ..two(&script)
    };
    let answer = logs.append(taken).await.unwrap();
    assert_eq!(
        answer,
        Appended::Conflict(Some(end)),
        "its first place is taken"
    );
    unchanged("its first place is taken").await;

    let mut none = two(&script);
    none.events.clear();
    let mut too_many = script.clone();
    let too_many = (0..=MAX_COMMIT_EVENTS).map(|n| too_many.progress(n as u8));
    let too_many = together(too_many.collect::<Vec<_>>());
    let mut no_place = two(&Script::own());
    no_place.job = Script::own().progress(1).job;
    for (commit, why) in [
        (none, "no event"),
        (too_many, "too many events"),
        (no_place, "more events than places"),
    ] {
        let refused = logs.append(commit).await.expect_err(why);
        assert_eq!(refused.kind(), ErrorKind::Refused, "{why}: {refused}");
        unchanged(why).await;
    }

    // Of a commit that is repeated all is known, or nothing.
    let mut torn = script.clone();
    let first = torn.progress(10);
    let second = torn.progress(20);
    append_all(&*logs, [first.clone()]).await;
    let refused = logs.append(together([first.clone(), second.clone()])).await;
    let refused = refused.expect_err("half is known");
    assert_eq!(refused.kind(), ErrorKind::Refused, "{refused}");
    assert_eq!(
        log_of(&*logs, script.id()).await.job,
        first.job,
        "half is known"
    );
    append_all(&*logs, [second]).await;
}

/// With its events come its templates, or neither does.
async fn its_templates_are_of_the_same_step(subject: &dyn StoreSubject) {
    let (logs, catalogue) = (subject.log(), subject.catalogue());
    let (mut script, _) = claimed(subject, LONG).await;
    let id = script.id().clone();
    let before = log_of(&*logs, &id).await.job;
    let made: Vec<_> = (1..=3)
        .map(|place| build::template(script.job(), place))
        .collect();
    let group = |script: &mut Script, made: &[Template]| {
        let mut steps = vec![script.progress(5)];
        for template in made {
            steps.push(script.template_completed(template));
            steps.push(script.progress(10));
        }
        with_templates(made, together(steps))
    };
    let unchanged = async |why: &str| {
        assert_eq!(log_of(&*logs, &id).await.job, before, "{why}");
        let kept = catalogue.templates_of(&id).await.unwrap();
        assert_eq!(kept, [], "a template of a refused commit: {why}");
        for template in &made {
            let found = catalogue.template(&template.id).await.unwrap();
            assert_eq!(found, None, "a template of a refused commit: {why}");
        }
    };
    let mut ahead = script.clone();
    ahead.progress(1);
    let conflict = logs.append(group(&mut ahead, &made)).await.unwrap();
    assert_eq!(conflict, Appended::Conflict(Some(before.position)));
    unchanged("a lost race").await;
    let fenced = Commit {
        fence: Fence::Held(build::token()),
        ..group(&mut script.clone(), &made)
    };
    assert_eq!(logs.append(fenced).await.unwrap(), Appended::Fenced);
    unchanged("a lost lease").await;
    let many = (1..=MAX_COMMIT_TEMPLATES as u32 + 1).map(|place| build::template(&before, place));
    let many: Vec<_> = many.collect();
    let others = build::template(Script::own().job(), 1);
    for (templates, why) in [(&many[..], "too many"), (&[others], "another job's")] {
        let commit = with_templates(templates, script.clone().progress(5));
        let refused = logs.append(commit).await.expect_err(why);
        assert_eq!(refused.kind(), ErrorKind::Refused, "{why}: {refused}");
        unchanged(why).await;
    }

    let commit = group(&mut script, &made);
    append_all(&*logs, [commit.clone()]).await;
    for what in ["appended", "a duplicate"] {
        let kept = catalogue.templates_of(&id).await.unwrap();
        assert_eq!(kept, made, "a commit's templates are kept: {what}");
        for template in &made {
            let found = catalogue.template(&template.id).await.unwrap();
            assert_eq!(found.as_ref(), Some(template), "{what}");
        }
        let again = logs.append(commit.clone()).await.unwrap();
        assert_eq!(again, Appended::Duplicate(commit.first()));
    }
    assert_eq!(log_of(&*logs, &id).await.job, *script.job());
}

/// What belongs to an end, or to an attempt's, belongs to the commit that ends with it.
async fn its_last_event_ends_the_job(subject: &dyn StoreSubject) {
    let (logs, queue) = (subject.log(), subject.queue());
    let (mut script, lease) = claimed(subject, LONG).await;
    let tried = together([
        script.started(),
        script.progress(5),
        script.retrying(RetryReason::Error, Duration::ZERO),
    ]);
    append_all(&*logs, [tried]).await;
    assert!(
        !queue.renew(&lease, LONG).await.unwrap(),
        "the lease has ended"
    );
    let lease = claim(subject, LONG).await.expect("the job is claimable");
    assert_eq!((&lease.job_id, lease.attempt), (script.id(), 2));
    script.hold(&lease);
    let ended = together([script.progress(90), script.completed()]);
    append_all(&*logs, [ended]).await;
    let log = log_of(&*logs, script.id()).await;
    assert_eq!(log.job.status, JobStatus::Completed);
    assert!(
        !queue.renew(&lease, LONG).await.unwrap(),
        "the lease has ended"
    );
    if logs.guarantees().caches_results {
        let cached = subject.cache().get(script.id()).await.unwrap();
        assert_eq!(
            cached,
            Some(conch_wire::job::encode(script.job())),
            "the result"
        );
    }
}

/// A log may begin with several events, of an external job as of our own, and another epoch, too.
async fn it_begins_a_log(subject: &dyn StoreSubject) {
    let logs = subject.log();
    for mut script in [Script::own(), Script::foreign()] {
        let initial = script.job().clone();
        let first = together([script.queued(), script.started(), script.progress(1)]);
        append_all(&*logs, [first.clone()]).await;
        let kept = lines(&*logs, script.id()).await;
        assert_eq!(kept, lines_of([&first]));
        let log = log_of(&*logs, script.id()).await;
        assert_eq!(fold(initial, &log.entries), log.job);
        let anew = script.in_new_epoch();
        let anew = together([anew, script.progress(50)]);
        append_all(&*logs, [anew.clone()]).await;
        assert_eq!(lines(&*logs, script.id()).await, lines_of([&anew]));
        assert_eq!(log_of(&*logs, script.id()).await.job, *script.job());
    }
}

/// However many events its commits have, a log keeps enough of them, and not many more.
async fn logs_are_cut_off_between_commits(subject: &dyn StoreSubject) {
    let (logs, limits) = (subject.log(), subject.limits());
    let mut script = Script::own();
    let beginning = script.job().clone();
    append_all(&*logs, [script.queued(), script.started()]).await;
    let most = 2 * limits.history_limit + MAX_COMMIT_EVENTS;
    for n in 0..3 * limits.history_limit / MAX_COMMIT_EVENTS {
        let commits: Vec<_> = (0..MAX_COMMIT_EVENTS)
            .map(|_| script.progress((n % 100) as u8))
            .collect();
        append_all(&*logs, [together(commits)]).await;
        let log = log_of(&*logs, script.id()).await;
        assert!(log.entries.len() < most, "too much is kept");
        let all = log.job.position.sequence as usize;
        assert!(
            log.entries.len() >= limits.history_limit.min(all),
            "too little"
        );
        joins_on(subject, &beginning).await;
    }
    assert!(
        log_of(&*logs, script.id()).await.oldest > 1,
        "it was trimmed"
    );
}

/// A commit of an external job for which there is no room in whole is refused in whole.
async fn an_external_commit_fits_in_whole(subject: &dyn StoreSubject) {
    let (logs, quotas) = (subject.log(), subject.limits().quotas);
    let mut script = Script::foreign();
    append_all(&*logs, [script.queued()]).await;
    let before = log_of(&*logs, script.id()).await;
    let half = bytes::Bytes::from(vec![b' '; quotas.bytes_per_job() * 3 / 5]);
    let large = |commit| build::with_line(&half, commit);
    let two = together([large(script.progress(1)), large(script.progress(2))]);
    let refused = logs.append(two).await.expect_err("it doesn't fit");
    assert_eq!(refused.kind(), ErrorKind::QuotaExceeded, "{refused}");
    let after = log_of(&*logs, script.id()).await;
    assert_eq!(after.entries, before.entries, "a part of it is there");
}
