//! How a job's state records its attempts: which template is being made, which template a silent attempt is
//! charged to, and which templates are missing in the end.

use std::collections::BTreeMap;

use conch_domain::{
    Applied, Attempts, Epoch, Event, EventCap, EventId, EventKind, Illegal, Job, JobStatus,
    RetryReason, TemplateId, Timestamp,
};

fn job() -> Job {
    let id = "j".parse().expect("an id");
    Job::initial(id, Epoch::from_random([1; 4]), true)
}

fn tell(job: &mut Job, attempt: Option<u32>, making: Option<u32>, kind: EventKind) {
    let event = Event {
        job_id: job.id.clone(),
        client_id: None,
        timestamp: Timestamp::from_micros(3),
        attempt,
        event_id: EventId::parse("e").expect("an id"),
        making,
        derived: false,
        kind,
    };
    assert_eq!(
        job.apply(job.position.next(), &event),
        Ok(Applied::Applied),
        "{event:?}"
    );
}

fn template_id(place: u32) -> TemplateId {
    format!("t-{place}").parse().expect("an id")
}

/// `start`, `progress`, `made 3`, `failed 3`, `silent`, `error`, `shutdown`, `cancel`, each with what the
/// attempt makes next behind a `>`; `done`, `done 3,5`, `fail`.
fn story(words: &[&str]) -> Job {
    let mut job = job();
    let mut attempt = 1;
    for word in words {
        let (word, making) = match word.split_once('>') {
            Some((word, making)) => (word, making.parse().ok()),
            None => (*word, None),
        };
        let (word, place) = word.split_once(' ').unwrap_or((word, "0"));
        let number = || place.parse().expect("a place");
        let retrying = |reason| EventKind::Retrying {
            max_attempts: 3,
            retry_at: Timestamp::from_micros(3),
            reason,
            error_message: None,
        };
        let at = Timestamp::from_micros(9);
        let kind = match word {
            "start" => EventKind::Started { started_at: at },
            "progress" => EventKind::Progress {
                progress: 0,
                completed_templates: 0,
                total_templates: 7,
                message: None,
            },
            "made" => EventKind::TemplateCompleted {
                template_id: template_id(number()),
                template_index: number(),
                total_templates: 7,
                name: String::new(),
                category: String::new(),
                target_audience: String::new(),
            },
            "failed" => EventKind::TemplateFailed {
                template_index: number(),
                total_templates: 7,
                error_message: format!("bad {place}"),
            },
            "silent" => retrying(RetryReason::LeaseExpired),
            "error" => retrying(RetryReason::Error),
            "shutdown" => retrying(RetryReason::Shutdown),
            "cancel" => EventKind::CancelRequested { reason: None },
            "done" => EventKind::Completed {
                template_ids: Vec::new(),
                template_count: 0,
                generation_duration_ms: None,
                completed_at: at,
                failed_templates: place
                    .split(',')
                    .filter_map(|place| place.parse().ok().filter(|place| *place > 0))
                    .collect(),
                error_message: (place != "0").then(|| format!("missing {place}")),
            },
            "fail" => EventKind::Failed {
                error_message: "none".to_owned(),
                generation_duration_ms: None,
                completed_at: at,
            },
            unknown => panic!("no event is called {unknown}"),
        };
        let outside = matches!(kind, EventKind::CancelRequested { .. });
        tell(&mut job, (!outside).then_some(attempt), making, kind);
        attempt = attempt.max(job.least_attempt);
    }
    job
}

#[derive(Clone, Copy)]
struct After {
    making: Option<u32>,
    lost: &'static [(u32, u32)],
    failed: &'static [(u32, &'static str)],
    idle_claims: u32,
    least_attempt: u32,
}

#[track_caller]
fn check(words: &[&str], after: &After) {
    let job = story(words);
    let expected = Attempts {
        making: after.making,
        lost: after.lost.iter().copied().collect(),
        failed: after
            .failed
            .iter()
            .map(|(place, reason)| (*place, (*reason).to_owned()))
            .collect::<BTreeMap<_, _>>(),
        idle_claims: after.idle_claims,
    };
    assert_eq!(job.attempts, expected, "{words:?}");
    assert_eq!(job.least_attempt, after.least_attempt, "{words:?}");
}

const NOTHING: After = After {
    making: None,
    lost: &[],
    failed: &[],
    idle_claims: 0,
    least_attempt: 1,
};

#[test]
fn an_attempt_that_ends_in_silence_is_charged_to_what_was_being_made() {
    let making = |place| After {
        making: Some(place),
        ..NOTHING
    };
    check(&["start>1"], &making(1));
    check(&["start>1", "cancel"], &making(1));
    check(&["start>1", "made 1>2"], &making(2));
    check(
        &["start>1", "failed 1"],
        &After {
            failed: &[(1, "bad 1")],
            ..NOTHING
        },
    );
    check(
        &["start>1", "made 1>2", "silent"],
        &After {
            lost: &[(2, 1)],
            least_attempt: 2,
            ..NOTHING
        },
    );
    check(
        &[
            "start>3",
            "silent",
            "progress>3",
            "silent",
            "progress>4",
            "silent",
        ],
        &After {
            lost: &[(3, 2), (4, 1)],
            least_attempt: 4,
            ..NOTHING
        },
    );
    // Made after all: its lost attempts are forgotten.
    check(
        &["start>3", "silent", "progress>3", "made 3>4"],
        &After {
            least_attempt: 2,
            ..making(4)
        },
    );
    // No template was being made.
    check(
        &["start", "silent"],
        &After {
            lost: &[(0, 1)],
            least_attempt: 2,
            ..NOTHING
        },
    );
}

#[test]
fn the_failure_of_a_template_is_reported_once_by_us_and_as_often_as_they_like_by_others() {
    let failed_again = |own| {
        let id = "j".parse().expect("an id");
        let mut job = Job::initial(id, Epoch::from_random([1; 4]), own);
        let failed = || EventKind::TemplateFailed {
            template_index: 3,
            total_templates: 7,
            error_message: "its worker fell silent".to_owned(),
        };
        tell(&mut job, None, None, failed());
        let again = Event {
            job_id: job.id.clone(),
            client_id: None,
            timestamp: Timestamp::from_micros(4),
            attempt: None,
            event_id: EventId::parse("f").expect("an id"),
            making: None,
            derived: false,
            kind: failed(),
        };
        job.check(&again, EventCap::default())
    };
    assert_eq!(
        failed_again(true),
        Err(Illegal::AlreadyFailed { template_index: 3 })
    );
    assert_eq!(failed_again(false), Ok(()));
}

#[test]
fn a_claim_that_begins_nothing_does_not_count() {
    check(
        &["silent"],
        &After {
            idle_claims: 1,
            ..NOTHING
        },
    );
    check(
        &["silent", "silent", "silent"],
        &After {
            idle_claims: 3,
            ..NOTHING
        },
    );
    check(
        &["silent", "silent", "start>1"],
        &After {
            making: Some(1),
            ..NOTHING
        },
    );
    check(
        &["start>2", "silent", "silent"],
        &After {
            lost: &[(2, 1)],
            idle_claims: 1,
            least_attempt: 2,
            ..NOTHING
        },
    );
    check(&["start>2", "shutdown"], &NOTHING);
}

#[test]
fn an_error_gives_all_that_failed_another_attempt_but_forgets_no_silence() {
    check(
        &[
            "start>1",
            "silent",
            "progress>1",
            "failed 1>2",
            "failed 2",
            "error",
        ],
        &After {
            lost: &[(0, 1), (1, 1)],
            least_attempt: 3,
            ..NOTHING
        },
    );
}

#[test]
fn the_end_keeps_what_is_missing_and_nothing_else() {
    let failed = &["start>1", "silent", "progress>1", "failed 2>3", "failed 5"];
    let end = |end: &'static str| [&failed[..], &[end]].concat();
    let base = After {
        least_attempt: 2,
        ..NOTHING
    };
    check(
        &end("done"),
        &After {
            failed: &[(2, "bad 2"), (5, "bad 5")],
            ..base
        },
    );
    check(
        &end("done 5,6"),
        &After {
            failed: &[(5, "bad 5"), (6, "")],
            ..base
        },
    );
    check(
        &end("fail"),
        &After {
            failed: &[(2, "bad 2"), (5, "bad 5")],
            ..base
        },
    );
    let job = story(&end("done 5,6"));
    assert_eq!(job.status, JobStatus::Completed);
    assert_eq!(job.error_message.as_deref(), Some("missing 5,6"));
    assert_eq!(
        job.attempts.missing(7).as_deref(),
        Some("2 of 7 templates are missing: 5 (bad 5), 6")
    );
    // Once a later attempt has made it, the template is no longer missing.
    check(&["start>2", "failed 2>3", "made 2"], &NOTHING);
}
