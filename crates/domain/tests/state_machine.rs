//! The job's complete state × event table: the state after each event, or why the event is refused.

use conch_domain::{
    Applied, Epoch, Event, EventCap, EventId, EventKind, Illegal, Job, JobId, JobStatus,
    MAX_TEMPLATE_IDS, MAX_TEXT_CHARS, RetryReason, TemplateId, Timestamp,
};

/// Rows are states, columns events. A capital is the status afterwards: Pending, Running, Completed,
/// Failed, X cancelled. Else why it is refused: q queued already, s started already, c cancellation
/// requested already, t the template's failure reported already, m too many events, M far too many, o the
/// attempt is over, e ended.
const TABLE: &str = "
                 queued started progress template+ template- retrying cancel completed failed cancelled other
initial            P       R       R         R         R        P       P        C       F        X       P
queued             q       R       R         R         R        P       P        C       F        X       P
running            q       s       R         R         R        P       R        C       F        X       R
template-failed    q       s       R         R         t        P       R        C       F        X       R
retried            q       s       R         R         R        P       P        C       F        X       P
given-back         q       s       R         R         R        P       P        C       F        X       P
cancel-pending     q       R       R         R         R        P       c        C       F        X       P
cancel-running     q       s       R         R         R        P       c        C       F        X       R
full               q       s       m         R         R        P       R        C       F        X       m
full-twice         q       s       m         M         M        P       R        C       F        X       m
stale-attempt      o       o       o         o         o        o       o        o       o        o       o
completed          e       e       e         e         e        e       e        e       e        e       e
failed             e       e       e         e         e        e       e        e       e        e       e
cancelled          e       e       e         e         e        e       e        e       e        e       e
";

/// The event limit of the table's `full` states.
const MOST: u64 = 1000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

fn kind(name: &str) -> EventKind {
    let template_id: TemplateId = "t-1".parse().expect("an id");
    match name {
        "queued" => EventKind::Queued {
            queued_at: at(1),
            value_proposition_id: None,
            schedule: conch_domain::Schedule::default(),
        },
        "started" => EventKind::Started { started_at: at(2) },
        "progress" => EventKind::Progress {
            progress: 14,
            completed_templates: 1,
            total_templates: 7,
            message: None,
        },
        "template+" => EventKind::TemplateCompleted {
            template_id,
            template_index: 1,
            total_templates: 7,
            name: "one".to_owned(),
            category: "roi-focused".to_owned(),
            target_audience: "Broker".to_owned(),
        },
        "template-" => EventKind::TemplateFailed {
            template_index: 1,
            total_templates: 7,
            error_message: "no idea".to_owned(),
        },
        "retrying" => retrying(RetryReason::Error),
        "cancel" => EventKind::CancelRequested { reason: None },
        "completed" => EventKind::Completed {
            template_ids: vec![template_id],
            template_count: 1,
            generation_duration_ms: None,
            completed_at: at(9),
            failed_templates: Vec::new(),
            error_message: None,
        },
        "failed" => EventKind::Failed {
            error_message: "no template".to_owned(),
            generation_duration_ms: None,
            completed_at: at(9),
        },
        "cancelled" => EventKind::Cancelled {
            template_ids: Vec::new(),
            completed_at: at(9),
        },
        "other" => EventKind::Other {
            event_type: "data:generated".to_owned(),
        },
        unknown => panic!("no event is called {unknown}"),
    }
}

fn retrying(reason: RetryReason) -> EventKind {
    EventKind::Retrying {
        max_attempts: 3,
        retry_at: at(5),
        reason,
        error_message: None,
    }
}

fn event(kind: EventKind, attempt: Option<u32>) -> Event {
    Event {
        job_id: "j".parse().expect("an id"),
        client_id: None,
        timestamp: at(3),
        attempt,
        event_id: EventId::parse("e").expect("an id"),
        making: None,
        derived: false,
        kind,
    }
}

fn tell(job: &mut Job, kind: EventKind, attempt: Option<u32>) {
    let applied = job.apply(job.position.next(), &event(kind, attempt));
    assert_eq!(applied, Ok(Applied::Applied));
}

/// The outcome of appending an event.
fn append(job: &mut Job, event: &Event, cap: EventCap) -> Result<Applied, Illegal> {
    job.check(event, cap)?;
    job.apply(job.position.next(), event)
}

/// A job in that state, and the attempt of the event to be appended.
fn state(name: &str) -> (Job, Option<u32>) {
    let id: JobId = "j".parse().expect("an id");
    let mut job = Job::initial(id, Epoch::from_random([1; 4]), true);
    let history: &[&str] = match name {
        "initial" => &[],
        "queued" => &["queued"],
        "cancel-pending" => &["queued", "cancel"],
        "cancel-running" => &["queued", "started", "cancel"],
        "retried" | "stale-attempt" => &["queued", "started", "retrying"],
        "running" | "full" | "full-twice" | "given-back" => &["queued", "started"],
        "template-failed" => &["queued", "started", "template-"],
        end @ ("completed" | "failed" | "cancelled") => &["queued", "started", end],
        unknown => panic!("no state is called {unknown}"),
    };
    for event in history {
        let attempt = (!["queued", "cancel"].contains(event)).then_some(1);
        tell(&mut job, kind(event), attempt);
    }
    match name {
        "given-back" => tell(&mut job, retrying(RetryReason::Shutdown), Some(1)),
        "full" | "full-twice" => {
            while job.position.sequence < MOST {
                tell(&mut job, kind("progress"), Some(1));
            }
            while name == "full-twice" && job.position.sequence < 2 * MOST {
                tell(&mut job, kind("template+"), Some(1));
            }
        }
        _ => {}
    }
    let attempt = match name {
        "initial" | "queued" => None,
        // Only after a shutdown is the number of the ended attempt used again.
        "retried" => Some(2),
        _ => Some(1),
    };
    (job, attempt)
}

fn verdict(job: &Job, before: &Job, answer: Result<Applied, Illegal>) -> char {
    match answer {
        Ok(applied) => {
            assert_eq!(applied, Applied::Applied);
            assert_eq!(job.position, before.position.next());
            match job.status {
                JobStatus::Pending => 'P',
                JobStatus::Running => 'R',
                JobStatus::Completed => 'C',
                JobStatus::Failed => 'F',
                JobStatus::Cancelled => 'X',
            }
        }
        Err(illegal) => {
            assert_eq!(job, before, "a refused event changes nothing");
            match illegal {
                Illegal::AlreadyQueued => 'q',
                Illegal::Behind => panic!("only said of what a publisher repeats"),
                Illegal::OfAnEarlierEpoch => panic!("this job has had one epoch"),
                Illegal::AlreadyStarted => 's',
                Illegal::AlreadyCancelRequested => 'c',
                Illegal::AlreadyFailed { template_index } => {
                    assert_eq!(template_index, 1);
                    't'
                }
                Illegal::TooManyEvents { most } if most == MOST => 'm',
                Illegal::TooManyEvents { most } => {
                    assert_eq!(most, 2 * MOST);
                    'M'
                }
                Illegal::StaleAttempt { attempt, least } => {
                    assert_eq!((attempt, least), (1, 2));
                    'o'
                }
                Illegal::Ended(status) => {
                    assert_eq!(status, before.status);
                    'e'
                }
            }
        }
    }
}

#[test]
fn every_event_in_every_state() {
    let mut lines = TABLE.trim_matches('\n').lines();
    let events: Vec<_> = lines.next().expect("a head").split_whitespace().collect();
    assert_eq!(events.len(), 11, "one column per kind of event");
    let mut cells = 0;
    for line in lines {
        let (name, expected) = line.split_once(' ').expect("a state and its row");
        let expected: Vec<_> = expected.split_whitespace().collect();
        let found: Vec<_> = events
            .iter()
            .map(|column| {
                let (before, attempt) = state(name);
                let mut job = before.clone();
                let event = event(kind(column), attempt);
                let answer = append(&mut job, &event, EventCap::default());
                verdict(&job, &before, answer).to_string()
            })
            .collect();
        assert_eq!(found, expected, "{name}");
        cells += found.len();
    }
    assert_eq!(cells, 14 * 11);
}

#[test]
fn an_event_out_of_its_place_changes_nothing() {
    let (before, attempt) = state("running");
    for (sequence, expected) in [
        (0, Applied::Duplicate),
        (1, Applied::Duplicate),
        (2, Applied::Duplicate),
        (4, Applied::Gap),
        (u64::MAX, Applied::Gap),
    ] {
        let mut job = before.clone();
        let mut position = before.position;
        position.sequence = sequence;
        let answer = job.apply(position, &event(kind("completed"), attempt));
        assert_eq!(answer, Ok(expected), "at {sequence}");
        assert_eq!(job, before);
    }
}

#[test]
fn a_new_epoch_keeps_the_state_and_begins_at_its_first_place() {
    let (job, _) = state("cancel-running");
    let again = job.with_epoch(Epoch::from_random([2; 4]));
    assert_eq!(again.position.to_string(), "02020202-0");
    assert_eq!(again.status, JobStatus::Running);
    assert!(again.cancel_requested);
    let second_start = event(kind("started"), Some(1));
    let answer = again.check(&second_start, EventCap::NONE);
    assert_eq!(answer, Err(Illegal::AlreadyStarted));
}

/// The limit applies only when appending: a log written with another limit can still be read.
#[test]
fn a_cap_binds_appends_and_no_fold() {
    let cap = EventCap::new(3);
    let (mut job, attempt) = state("running");
    let told = |name: &str| event(kind(name), attempt);
    for (name, expected) in [
        ("progress", Ok(Applied::Applied)),
        ("progress", Err(Illegal::TooManyEvents { most: 3 })),
        ("other", Err(Illegal::TooManyEvents { most: 3 })),
        ("template+", Ok(Applied::Applied)),
        ("template-", Ok(Applied::Applied)),
        ("template+", Ok(Applied::Applied)),
        ("template+", Err(Illegal::TooManyEvents { most: 6 })),
        ("template-", Err(Illegal::TooManyEvents { most: 6 })),
        ("cancel", Ok(Applied::Applied)),
    ] {
        let answer = append(&mut job, &told(name), cap);
        assert_eq!(answer, expected, "{name} at {}", job.position);
    }
    let mut reader = job.clone();
    // Also beyond the usual number.
    for name in ["progress", "other", "template+", "template-"].repeat(600) {
        let answer = reader.apply(reader.position.next(), &told(name));
        assert_eq!(
            answer,
            Ok(Applied::Applied),
            "{name} at {}",
            reader.position
        );
    }
    let mut all = job.clone();
    assert_eq!(
        append(&mut all, &told("progress"), EventCap::NONE),
        Ok(Applied::Applied)
    );
    assert_eq!(
        append(&mut job, &told("completed"), cap),
        Ok(Applied::Applied)
    );
}

/// An external publisher may claim any attempt number.
#[test]
fn the_last_attempt_that_there_can_be_is_followed_by_no_other() {
    let mut job = state("running").0;
    tell(&mut job, kind("progress"), Some(u32::MAX));
    tell(&mut job, kind("retrying"), Some(u32::MAX));
    assert_eq!((job.attempt, job.least_attempt), (u32::MAX, u32::MAX));
    tell(&mut job, kind("completed"), Some(u32::MAX));
    assert_eq!(job.status, JobStatus::Completed);
}

#[test]
fn a_job_lists_so_many_templates_and_counts_the_rest() {
    let id = |n: usize| -> TemplateId { format!("t-{n}").parse().expect("an id") };
    let (mut job, _) = state("running");
    for n in 0..MAX_TEMPLATE_IDS + 7 {
        let mut made = kind("template+");
        if let EventKind::TemplateCompleted { template_id, .. } = &mut made {
            *template_id = id(n);
        }
        tell(&mut job, made, Some(1));
    }
    let first: Vec<_> = (0..MAX_TEMPLATE_IDS).map(id).collect();
    assert_eq!(job.template_ids, first);
    assert_eq!(job.template_count, 1007);
    tell(&mut job, kind("template+"), Some(1));
    assert_eq!(
        job.template_count, 1007,
        "a listed one again is not another"
    );

    let all: Vec<_> = (0..MAX_TEMPLATE_IDS + 500).map(id).collect();
    let ends = [
        EventKind::Completed {
            template_ids: all.clone(),
            template_count: 1_800,
            generation_duration_ms: None,
            completed_at: at(9),
            failed_templates: Vec::new(),
            error_message: None,
        },
        EventKind::Cancelled {
            template_ids: all,
            completed_at: at(9),
        },
    ];
    for (end, count) in ends.into_iter().zip([1_800, 1_500]) {
        let (mut job, _) = state("running");
        tell(&mut job, end, Some(1));
        assert_eq!((&job.template_ids, job.template_count), (&first, count));
    }
}

/// An external event may contain more: its line keeps all of it.
#[test]
fn a_job_keeps_so_much_of_what_an_event_says_went_wrong() {
    let long = "é".repeat(MAX_TEXT_CHARS + 1);
    let kept = "é".repeat(MAX_TEXT_CHARS - 1) + "…";
    let mut failed = kind("failed");
    if let EventKind::Failed { error_message, .. } = &mut failed {
        error_message.clone_from(&long);
    }
    let mut retrying = kind("retrying");
    if let EventKind::Retrying { error_message, .. } = &mut retrying {
        *error_message = Some(long);
    }
    for told in [failed, retrying] {
        let (mut job, _) = state("running");
        tell(&mut job, told, Some(1));
        let of_job = job.error_message.as_ref();
        assert!(of_job == Some(&kept), "{:?}", of_job.map(String::len));
    }
}
