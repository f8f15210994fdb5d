//! What bounds a job of ours: its time, how many events it has, how long the words in them are.

use std::time::Duration;

use conch_conformance::build;
use conch_domain::{Epoch, Event, EventCap, EventId, EventKind, Job, JobStatus, MAX_TEXT_CHARS};
use conch_ports::{Appended, Commit, Fence, NewEvent, QueueEffect};
use tokio::time::Instant;

use crate::counters::Counters;
use crate::system::{Call, Generator, PACE, System, count, field, settings};

#[tokio::test(start_paused = true)]
async fn a_job_ends_at_its_deadline_with_what_there_is() {
    for (allowed, status, made) in [
        (PACE * 3 + PACE / 2, JobStatus::Completed, 3),
        (PACE / 2, JobStatus::Failed, 0),
    ] {
        let counters = Counters::start();
        let system = System::new().await;
        let generator = Generator::reliable();
        let mut hasty = settings("a");
        hasty.deadline = allowed;
        let id = system.submitted().await;
        let worker = system.worker(hasty.clone(), &generator);
        let began = Instant::now();
        let log = system.ended(&id).await;
        assert_eq!((log.job.status, log.job.template_count), (status, made));
        assert!(
            began.elapsed() < allowed + PACE / 10,
            "not at the next template"
        );
        let dropped = |call: &&Call| matches!(call, Call::Dropped { .. });
        assert_eq!(generator.calls().iter().filter(dropped).count(), 1);

        // One that waited for longer than that isn't begun.
        let waited = system.submitted().await;
        drop(worker);
        tokio::time::sleep(allowed + PACE).await;
        let _late = system.worker(hasty, &generator);
        let log = system.ended(&waited).await;
        assert_eq!(log.job.status, JobStatus::Failed);
        let message = log.job.error_message.clone().unwrap_or_default();
        assert!(message.contains("deadline"), "{message}");
        assert_eq!(counters.of("conch_jobs_overdue_total"), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_worker_died_ends_at_its_deadline_too() {
    for (before, status, made) in [
        (PACE * 2 + PACE / 2, JobStatus::Completed, 2),
        (PACE / 2, JobStatus::Failed, 0),
    ] {
        let system = System::new().await;
        let mut hasty = settings("a");
        hasty.deadline = PACE * 4;
        let id = system.submitted().await;
        let first = system.worker(hasty.clone(), &Generator::reliable());
        tokio::time::sleep(before).await;
        first.kill();
        let next = Generator::reliable();
        let _second = system.worker(hasty.clone(), &next);
        let began = Instant::now();
        let log = system.ended(&id).await;
        assert_eq!((log.job.status, log.job.template_count), (status, made));
        assert_eq!(log.job.attempt, 2, "by the worker that took it over");
        assert_eq!(next.calls(), [], "nothing more was begun");
        // The lease of the dead, a round of the reaper's, and the pause before another attempt.
        assert!(began.elapsed() < hasty.lease * 2 + Duration::from_secs(1));
    }
}

/// What a foreign program announces is its own to end, however long it takes.
#[tokio::test(start_paused = true)]
async fn no_deadline_ends_a_foreign_job() {
    let system = System::new().await;
    let mut hasty = settings("a");
    hasty.deadline = PACE;
    let _worker = system.worker(hasty, &Generator::reliable());
    let mut job = Job::initial("theirs".parse().unwrap(), Epoch::from_random([1; 4]), false);
    let event = Event {
        job_id: job.id.clone(),
        client_id: None,
        timestamp: build::BEGINNING,
        attempt: None,
        event_id: EventId::parse("e").unwrap(),
        making: None,
        derived: false,
        kind: EventKind::Started {
            started_at: build::BEGINNING,
        },
    };
    job.apply(job.position.next(), &event).unwrap();
    let commit = Commit {
        events: vec![NewEvent {
            line: conch_wire::event::encode(&event, &job),
            event_id: event.event_id,
        }],
        templates: Vec::new(),
        fence: Fence::Foreign,
        effect: QueueEffect::Keep,
        announce: true,
        replaces: None,
        base: None,
        job: job.clone(),
    };
    let published = system.memory.log().append(commit).await.unwrap();
    assert_eq!(published, Appended::Appended);
    // One of ours, so that it is seen that the worker does end what is its own.
    let ours = system.submitted().await;
    let log = system.ended(&ours).await;
    assert_eq!(log.job.status, JobStatus::Failed);
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(system.job(&job.id).await, job);
}

#[tokio::test(start_paused = true)]
async fn a_job_takes_so_many_events_and_ends_all_the_same() {
    let counters = Counters::start();
    let system = System::new().await;
    let mut terse = settings("a");
    terse.cap = EventCap::new(5);
    let _worker = system.worker(terse, &Generator::reliable());
    let id = system.submitted().await;
    let log = system.ended(&id).await;
    assert_eq!(log.job.status, JobStatus::Completed);
    assert_eq!(log.job.template_count, 7, "what was made is there");
    // queued, started, two templates with the first one's progress; then templates alone, up to ten.
    assert_eq!(count(&log, "progress"), 1);
    assert_eq!(count(&log, "template_completed"), 7);
    assert_eq!(log.job.position.sequence, 11);
    assert_eq!(counters.hits("max_events_per_job"), 6);
}

#[tokio::test(start_paused = true)]
async fn what_a_generator_says_makes_no_event_that_nobody_can_read() {
    let long = |text: &str| text.repeat((1 << 20) / text.len());
    let system = System::new().await;
    let wordy = Generator::making(move |brief| {
        if brief.index == 1 {
            let mut draft = build::draft(brief.item.category, brief.item.audience);
            draft.name = long("\u{1}é");
            return Ok(draft);
        }
        Err(long("\"\u{1f41a}"))
    });
    let worker = system.worker(settings("a"), &wordy);
    let id = system.submitted().await;
    // Reads every line as anybody does.
    let log = system.ended(&id).await;
    assert_eq!(log.job.status, JobStatus::Completed);
    for entry in &log.entries {
        assert!(entry.line.len() < 16 * 1024, "{} bytes", entry.line.len());
    }
    let texts = [
        field(&log, "template_completed", "name"),
        field(&log, "template_failed", "error_message"),
    ];
    assert_eq!(texts.each_ref().map(Vec::len), [1, 6]);
    for text in texts.iter().flatten() {
        let text = text.as_str().unwrap();
        assert_eq!(text.chars().count(), MAX_TEXT_CHARS);
        assert!(text.ends_with('…'));
    }
    let kept = system.memory.catalogue().templates_of(&id).await.unwrap();
    assert_eq!(kept[0].name.len(), (1 << 20) / 3 * 3, "whole");

    // The same where it is why a job failed.
    let hopeless = Generator::making(move |_| Err(long("x")));
    worker.kill();
    let _worker = system.worker(settings("b"), &hopeless);
    let id = system.submitted().await;
    let log = system.ended(&id).await;
    assert_eq!(log.job.status, JobStatus::Failed);
    for kind in ["retrying", "failed"] {
        for text in field(&log, kind, "error_message") {
            assert_eq!(
                text.as_str().unwrap().chars().count(),
                MAX_TEXT_CHARS,
                "{kind}"
            );
        }
    }
    let message = log.job.error_message.clone().unwrap();
    assert_eq!(message.chars().count(), MAX_TEXT_CHARS);
}
