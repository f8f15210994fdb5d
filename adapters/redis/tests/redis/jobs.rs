//! Jobs, events and records to try the stores with.

use bytes::Bytes;
use conch_conformance::build;
use conch_domain::{
    Audience, Category, Client, ClientId, Epoch, Event, EventId, EventKind, Job, JobId, LeaseToken,
    Metadata, Position, RetryReason, Template, TemplateId, Timestamp, ValueProposition,
    ValuePropositionId,
};
use conch_ports::{Commit, Fence, NewEvent, QueueEffect, Submission};
use conch_wire::record::{self, Heading};

pub(crate) const EPOCH: [u8; 4] = [0x5f, 0x3a, 0x9c, 0x1e];

pub(crate) fn job_id(text: &str) -> JobId {
    JobId::parse(text).expect("a job id")
}

pub(crate) fn client_id(text: &str) -> ClientId {
    ClientId::parse(text).expect("a client id")
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_764_000_000_000_000 + second * 1_000_000)
}

pub(crate) fn initial(id: &str) -> Job {
    Job::initial(job_id(id), Epoch::from_random(EPOCH), true)
}

pub(crate) fn queued() -> EventKind {
    EventKind::Queued {
        queued_at: at(0),
        value_proposition_id: None,
        schedule: conch_domain::Schedule::default(),
    }
}

pub(crate) fn progress(progress: u8) -> EventKind {
    EventKind::Progress {
        progress,
        completed_templates: 0,
        total_templates: 7,
        message: None,
    }
}

/// Of what there is no end: no cap refuses it.
pub(crate) fn retrying() -> EventKind {
    EventKind::Retrying {
        max_attempts: 3,
        retry_at: at(1),
        reason: RetryReason::Shutdown,
        error_message: None,
    }
}

pub(crate) fn completed() -> EventKind {
    EventKind::Completed {
        template_ids: vec![TemplateId::parse("t-1").expect("an id")],
        template_count: 1,
        generation_duration_ms: Some(10),
        completed_at: at(9),
        failed_templates: Vec::new(),
        error_message: None,
    }
}

/// What follows `job`: an open commit of client `c-1`, its event id made from its place.
pub(crate) fn commit(job: &Job, kind: EventKind) -> Commit {
    let next = job.position.next();
    let event_id = EventId::parse(&format!("e-{}-{}", next.epoch, next.sequence));
    let event = Event {
        job_id: job.id.clone(),
        client_id: Some(client_id("c-1")),
        timestamp: at(next.sequence as i64),
        attempt: None,
        event_id: event_id.expect("an event id"),
        making: None,
        derived: false,
        kind,
    };
    let mut job = job.clone();
    job.apply(next, &event).expect("a legal event");
    Commit {
        events: vec![NewEvent {
            line: line(&event, &job),
            event_id: event.event_id,
        }],
        job,
        templates: Vec::new(),
        fence: Fence::Open,
        effect: QueueEffect::Keep,
        announce: true,
        replaces: None,
        base: None,
    }
}

fn line(event: &Event, job: &Job) -> Bytes {
    conch_wire::event::encode(event, job)
}

pub(crate) fn submission(id: &str) -> Submission {
    Submission {
        commit: commit(&initial(id), queued()),
        idempotency: None,
    }
}

pub(crate) fn held(commit: Commit, token: &LeaseToken) -> Commit {
    Commit {
        fence: Fence::Held(token.clone()),
        ..commit
    }
}

pub(crate) fn position(epoch: [u8; 4], sequence: u64) -> Position {
    Position {
        epoch: Epoch::from_random(epoch),
        sequence,
    }
}

pub(crate) fn client(id: &str, industry: Option<&str>, second: i64) -> Client {
    Client {
        id: client_id(id),
        name: format!("Client {id}"),
        industry: industry.map(str::to_owned),
        meta_data: Metadata::default(),
        created_at: at(second),
        updated_at: at(second),
    }
}

pub(crate) fn value_proposition(id: &str, client: &str, second: i64) -> ValueProposition {
    ValueProposition {
        id: ValuePropositionId::parse(id).expect("an id"),
        client_id: client_id(client),
        content: "We save everybody a lot of money.".to_owned(),
        is_active: true,
        meta_data: Metadata::from_json(r#"{"z":1.25,"a":[]}"#),
        created_at: at(second),
        updated_at: at(second),
    }
}

pub(crate) fn template(id: &str, job: &str, index: u32, category: Category) -> Template {
    let heading = Heading {
        id: TemplateId::parse(id).expect("an id"),
        job_id: job_id(job),
        client_id: client_id("c-1"),
        index,
        created_at: at(i64::from(index)),
    };
    let draft = build::draft(category, Audience::MedicalManagement);
    record::template(heading, &conch_wire::draft::written(draft))
}
