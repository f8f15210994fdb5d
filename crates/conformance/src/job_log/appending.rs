//! Laws of where and how often an event is appended.

use std::sync::Arc;

use conch_domain::{EventKind, Job, Position, RetryReason};
use conch_ports::{Appended, Commit, EVENT_IDS_REMEMBERED, Fence, JobLog};

use crate::build::{self, Script, event_of, with_event_id};
use crate::observe::{append_all, fold, log_of, parts, position_in};
use crate::{Outcome, StoreSubject};

/// Publishes all at the same time and gives the answers.
async fn append_at_once(logs: &Arc<dyn JobLog>, commits: Vec<Commit>) -> Vec<Appended> {
    let append = |commit| {
        let logs = Arc::clone(logs);
        tokio::spawn(async move { logs.append(commit).await.expect("the store answers") })
    };
    let tasks: Vec<_> = commits.into_iter().map(append).collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("appending doesn't panic"));
    }
    answers
}

fn count(answers: &[Appended], wanted: Appended) -> usize {
    answers.iter().filter(|answer| **answer == wanted).count()
}

/// Only right after the log's end, in its epoch; of 16 at once exactly one.
pub async fn append_is_compare_and_set(subject: &dyn StoreSubject) {
    let logs = subject.log();
    let mut script = Script::foreign();
    let mut early = script.clone();
    early.queued();
    let answer = logs.append(early.started()).await.unwrap();
    assert_eq!(answer, Appended::Conflict(None), "no log begins at 2");

    append_all(&*logs, [script.queued()]).await;
    let end = Some(script.job().position);
    let before = parts(log_of(&*logs, script.id()).await);

    let mut ahead = script.clone();
    ahead.started();
    let elsewhere = Script::of(script.job().with_epoch(build::epoch()));
    let mut begins_anew = elsewhere.clone();
    let mut goes_on = elsewhere;
    goes_on.progress(1);
    let refused = [
        ("a place left out", ahead.progress(10)),
        ("another epoch's beginning", begins_anew.progress(1)),
        ("another epoch's next place", goes_on.progress(2)),
    ];
    for (what, commit) in refused {
        assert_eq!(
            logs.append(commit).await.unwrap(),
            Appended::Conflict(end),
            "{what}"
        );
    }
    assert_eq!(
        parts(log_of(&*logs, script.id()).await),
        before,
        "what was refused changed something"
    );

    let rivals = (0..16).map(|n| script.clone().progress(n)).collect();
    let answers = append_at_once(&logs, rivals).await;
    assert_eq!(count(&answers, Appended::Appended), 1, "{answers:?}");
    let now_at = end.map(Position::next);
    assert_eq!(
        count(&answers, Appended::Conflict(now_at)),
        15,
        "{answers:?}"
    );
    assert_eq!(log_of(&*logs, script.id()).await.entries.len(), 2);
}

/// 1..n in the order of the appends, the very bytes, and unchanged by what follows. Also when four
/// writers at once append by read, fold and try again.
pub async fn sequences_have_no_gaps(subject: &dyn StoreSubject) {
    const WRITERS: u8 = 4;
    let logs = subject.log();
    let total = subject.limits().history_limit.min(20);
    let mut script = Script::foreign();
    let mut appended = Vec::new();
    append_all(&*logs, [script.queued()]).await;
    let first = log_of(&*logs, script.id()).await.entries;

    let each = (total - 1) / usize::from(WRITERS);
    let write = |writer: u8| {
        let (logs, id) = (subject.log(), script.id().clone());
        tokio::spawn(async move {
            let mut lines = Vec::new();
            while lines.len() < each {
                let mut script = Script::of(log_of(&*logs, &id).await.job);
                let commit = script.progress(writer);
                let (place, line) = (commit.job.position, event_of(&commit).line.clone());
                tokio::task::yield_now().await;
                match logs.append(commit).await.expect("the store answers") {
                    Appended::Appended => lines.push((place.sequence, line)),
                    Appended::Conflict(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            lines
        })
    };
    let writers: Vec<_> = (0..WRITERS).map(write).collect();
    for writer in writers {
        appended.extend(writer.await.expect("writing doesn't panic"));
    }
    appended.sort_by_key(|(sequence, _)| *sequence);

    let log = log_of(&*logs, script.id()).await;
    let epoch = script.job().position.epoch;
    assert_eq!(log.entries[0], first[0], "an event changed");
    assert_eq!(log.entries.len(), 1 + appended.len());
    for (entry, (sequence, line)) in log.entries[1..].iter().zip(&appended) {
        assert_eq!(
            (entry.sequence, &entry.line),
            (*sequence, line),
            "not what was appended"
        );
    }
    for (n, entry) in (1..).zip(&log.entries) {
        let place = Position { epoch, sequence: n };
        assert_eq!(entry.sequence, n, "a gap");
        assert_eq!(
            position_in(&entry.line, script.id()),
            Some(place),
            "renumbered"
        );
    }
    let initial = Job::initial(script.id().clone(), epoch, false);
    assert_eq!(log.job, fold(initial, &log.entries));
}

/// A commit whose id is in the log answers its first place, whatever else it says: at once, after
/// as many later events as the port says, after the end, and when several come at the same time.
pub async fn event_id_is_appended_once(subject: &dyn StoreSubject) {
    let logs = subject.log();
    let mut script = Script::foreign();
    append_all(&*logs, [script.queued()]).await;
    let commit = script.started();
    let place = commit.job.position;

    let answers = append_at_once(&logs, vec![commit.clone(); 8]).await;
    assert_eq!(count(&answers, Appended::Appended), 1, "{answers:?}");
    assert_eq!(
        count(&answers, Appended::Duplicate(place)),
        7,
        "{answers:?}"
    );

    let event_id = event_of(&commit).event_id.clone();
    let mut disguised = Commit {
        fence: Fence::Held(build::token()),
        ..with_event_id(&event_id, script.clone().progress(5))
    };
    let duplicate = Appended::Duplicate(place);
    assert_eq!(
        logs.append(disguised.clone()).await.unwrap(),
        duplicate,
        "fence before id"
    );
    disguised.replaces = Some(place);
    assert_eq!(
        logs.append(disguised).await.unwrap(),
        duplicate,
        "replaced before id"
    );
    assert_eq!(log_of(&*logs, script.id()).await.entries.len(), 2);

    let later = (1..EVENT_IDS_REMEMBERED).map(|_| {
        // Of these no cap on a job's events refuses any.
        script.then(EventKind::Retrying {
            max_attempts: 3,
            retry_at: build::BEGINNING,
            reason: RetryReason::Shutdown,
            error_message: None,
        })
    });
    append_all(&*logs, later.collect::<Vec<_>>()).await;
    let end = script.completed();
    append_all(&*logs, [end.clone()]).await;
    assert_eq!(
        logs.append(commit).await.unwrap(),
        duplicate,
        "after {EVENT_IDS_REMEMBERED} later events"
    );
    let at_the_end = Appended::Duplicate(end.job.position);
    assert_eq!(
        logs.append(end).await.unwrap(),
        at_the_end,
        "the end itself, told again"
    );
    assert_eq!(log_of(&*logs, script.id()).await.job, *script.job());
}

/// Once a terminal event is in, every other commit is `Ended` and changes nothing; of several ends
/// at once one is taken.
pub async fn nothing_follows_the_end(subject: &dyn StoreSubject) {
    let logs = subject.log();
    for end in [Script::completed, Script::failed, Script::cancelled] {
        let mut script = Script::foreign();
        append_all(&*logs, [script.queued(), script.started()]).await;
        let open = script.clone();
        append_all(&*logs, [end(&mut script)]).await;
        let before = parts(log_of(&*logs, script.id()).await);

        // What a program would send that doesn't know the state machine: the next place, no end.
        let mut next = open.clone().progress(90);
        let mut record = (*next.job).clone();
        record.position = script.job().position.next();
        next.job = Job::restore(record);
        let mut held = open.clone().progress(90);
        held.fence = Fence::Held(build::token());
        let anew = Commit {
            replaces: Some(script.job().position),
            ..open.clone().in_new_epoch()
        };
        let late = [
            ("the next place", next),
            ("the end's place", open.clone().progress(91)),
            ("another end", open.clone().failed()),
            ("a lost lease", held),
            ("another epoch", anew),
        ];
        for (what, commit) in late {
            assert_eq!(
                logs.append(commit).await.unwrap(),
                Appended::Ended,
                "{what}"
            );
        }
        let after = parts(log_of(&*logs, script.id()).await);
        assert_eq!(after, before, "something changed after the end");
    }

    let mut script = Script::foreign();
    append_all(&*logs, [script.queued()]).await;
    let ends = (0..9)
        .map(|n| {
            let end = [Script::completed, Script::failed, Script::cancelled][n % 3];
            end(&mut script.clone())
        })
        .collect();
    let answers = append_at_once(&logs, ends).await;
    assert_eq!(count(&answers, Appended::Appended), 1, "{answers:?}");
    assert_eq!(count(&answers, Appended::Ended), 8, "{answers:?}");
}

/// A commit at sequence 1 that names the end that it saw replaces exactly that log, in one step.
pub async fn replacing_begins_an_epoch(subject: &dyn StoreSubject) {
    let logs = subject.log();
    let mut script = Script::foreign();
    append_all(
        &*logs,
        [script.queued(), script.started(), script.progress(30)],
    )
    .await;
    let old = script.clone();
    let end = old.job().position;
    let before = parts(log_of(&*logs, script.id()).await);

    let with = |replaces| Commit {
        replaces,
        ..old.clone().in_new_epoch()
    };
    let stale = Position {
        sequence: end.sequence - 1,
        ..end
    };
    let foreign = Position {
        epoch: build::epoch(),
        ..end
    };
    for replaces in [None, Some(stale), Some(end.next()), Some(foreign)] {
        let answer = logs.append(with(replaces)).await.unwrap();
        assert_eq!(
            answer,
            Appended::Conflict(Some(end)),
            "replaces {replaces:?}"
        );
    }
    let unknown = Commit {
        replaces: Some(end),
        ..Script::foreign().progress(1)
    };
    let unknown_id = unknown.job.id.clone();
    assert_eq!(
        logs.append(unknown).await.unwrap(),
        Appended::Conflict(None),
        "no log to replace"
    );
    assert!(logs.read(&unknown_id, 0, 10).await.unwrap().is_none());
    assert_eq!(
        parts(log_of(&*logs, script.id()).await),
        before,
        "a refusal changed something"
    );

    let rivals: Vec<_> = (0..8).map(|_| with(Some(end))).collect();
    let answers = append_at_once(&logs, rivals.clone()).await;
    assert_eq!(count(&answers, Appended::Appended), 1, "{answers:?}");
    let log = log_of(&*logs, script.id()).await;
    let winner = rivals
        .into_iter()
        .find(|rival| rival.job.position == log.job.position);
    let winner = winner.expect("the log stands where one of them said");
    assert_eq!(log.job, winner.job, "the state goes on");
    assert_eq!(log.oldest, 1);
    assert_eq!(log.entries.len(), 1, "the old events are gone");
    assert_eq!(log.entries[0].line, event_of(&winner).line);

    let now_at = Appended::Conflict(Some(winner.job.position));
    let mut zombie = old;
    assert_eq!(
        logs.append(zombie.progress(40)).await.unwrap(),
        now_at,
        "the old epoch goes on"
    );
    let mut heir = Script::of(winner.job.clone());
    append_all(&*logs, [heir.progress(50)]).await;
}

/// A store that may have lost what it acknowledged takes nothing more in the old epoch, from any caller;
/// what it has of the job is read as before, and another epoch goes on from there.
pub async fn what_may_have_lost_begins_anew(subject: &dyn StoreSubject) -> Outcome {
    let logs = subject.log();
    let mut script = Script::foreign();
    let first = script.queued();
    append_all(&*logs, [first.clone(), script.started()]).await;
    let mut ended = Script::foreign();
    append_all(&*logs, [ended.queued()]).await;
    let mut late = ended.clone();
    append_all(&*logs, [ended.completed()]).await;
    if !subject.restart_from_a_copy().await {
        return Outcome::Skipped;
    }
    let log = log_of(&*logs, script.id()).await;
    assert_eq!(log.job, *script.job(), "nothing was lost");

    let end = script.job().position;
    let doubtful = Appended::Doubtful(end);
    for commit in [script.clone().progress(9), script.clone().failed()] {
        assert_eq!(logs.append(commit).await.unwrap(), doubtful);
    }
    assert_eq!(
        logs.append(first.clone()).await.unwrap(),
        Appended::Duplicate(first.job.position),
        "an id that is there is there"
    );
    let late = logs.append(late.progress(90)).await.unwrap();
    assert_eq!(late, Appended::Ended, "an end stays the end");
    let log = log_of(&*logs, script.id()).await;
    assert_eq!(
        log.job,
        *script.job(),
        "a doubtful commit changed something"
    );

    append_all(&*logs, [script.in_new_epoch(), script.progress(40)]).await;
    let mut begun_since = Script::foreign();
    append_all(&*logs, [begun_since.queued(), begun_since.started()]).await;
    Outcome::Held
}
