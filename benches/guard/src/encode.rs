//! What is encoded for each template of a job: the template, the event that names it, and the job as a
//! lookup answers it.

use std::hint::black_box;

use conch_conformance::build::{self, Script};
use conch_domain::{Event, EventKind, Job, TemplateDraft};
use conch_wire::record::{self, Heading};
use conch_wire::{draft, event, job};

pub(crate) fn run(times: usize) {
    let mut script = Script::own();
    let commits = [script.queued(), script.started()];
    black_box(&commits);
    let template = build::template(script.job(), 1);
    let commit = script.template_completed(&template);
    let event = Event {
        job_id: template.job_id.clone(),
        client_id: Some(template.client_id.clone()),
        timestamp: template.created_at,
        attempt: Some(1),
        event_id: build::event_id(),
        making: Some(2),
        derived: false,
        kind: EventKind::TemplateCompleted {
            template_id: template.id.clone(),
            template_index: 1,
            total_templates: 7,
            name: template.name.clone(),
            category: template.category.as_str().to_owned(),
            target_audience: template.target_audience.as_str().to_owned(),
        },
    };
    let draft = build::draft(template.category, template.target_audience);
    for _ in 0..times {
        let heading = Heading {
            id: template.id.clone(),
            job_id: template.job_id.clone(),
            client_id: template.client_id.clone(),
            index: 1,
            created_at: template.created_at,
        };
        black_box(counted_encode(heading, draft.clone(), &event, &commit.job));
    }
}

#[inline(never)]
fn counted_encode(heading: Heading, draft: TemplateDraft, event: &Event, job: &Job) -> usize {
    let template = record::template(heading, &draft::written(draft));
    record::encode_template(&template).len()
        + event::encode(event, job).len()
        + job::encode(job).len()
}
