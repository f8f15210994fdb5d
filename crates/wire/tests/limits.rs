//! An event of ours can be read by everybody, whatever words and ids went into it.

use conch_domain::{
    Event, EventId, EventKind, Job, MAX_TEMPLATE_IDS, MAX_TEXT_CHARS, RetryReason, TemplateId,
    Timestamp,
};
use conch_wire::event::{self, MAX_EVENT_BYTES};

const NOW: Timestamp = Timestamp::from_micros(1_764_579_349_123_456);

#[test]
fn the_longest_events_of_ours_are_read_by_everybody() {
    // Of all characters the one that takes the most bytes in JSON.
    let text = || "\u{1}".repeat(1 << 20);
    let id = |n: usize| format!("{n:064}").parse::<TemplateId>().expect("an id");
    let template_ids: Vec<_> = (0..20_000).map(id).collect();
    let kinds = [
        EventKind::Progress {
            progress: 14,
            completed_templates: 1,
            total_templates: 7,
            message: Some(text()),
        },
        EventKind::TemplateCompleted {
            template_id: id(1),
            template_index: 1,
            total_templates: 7,
            name: text(),
            category: text(),
            target_audience: text(),
        },
        EventKind::TemplateFailed {
            template_index: 1,
            total_templates: 7,
            error_message: text(),
        },
        EventKind::Retrying {
            max_attempts: 3,
            retry_at: NOW,
            reason: RetryReason::Error,
            error_message: Some(text()),
        },
        EventKind::CancelRequested {
            reason: Some(text()),
        },
        EventKind::Completed {
            template_ids: template_ids.clone(),
            template_count: 20_000,
            generation_duration_ms: None,
            completed_at: NOW,
            failed_templates: Vec::new(),
            error_message: None,
        },
        EventKind::Failed {
            error_message: text(),
            generation_duration_ms: None,
            completed_at: NOW,
        },
        EventKind::Cancelled {
            template_ids,
            completed_at: NOW,
        },
    ];
    for kind in kinds {
        let epoch = "5f3a9c1e".parse().expect("an epoch");
        let mut job = Job::initial("j".parse().expect("an id"), epoch, true);
        let event = Event {
            job_id: job.id.clone(),
            client_id: None,
            timestamp: NOW,
            attempt: Some(1),
            event_id: EventId::parse("e").expect("an id"),
            making: None,
            derived: false,
            kind: kind.clipped(),
        };
        job.apply(job.position.next(), &event).expect("legal");
        let line = event::encode(&event, &job);
        let name = event.kind.event_type();
        assert!(line.len() <= MAX_EVENT_BYTES / 2, "{name}: {}", line.len());
        let read = event::decode(&line, NOW).expect("it is read").event.kind;
        let whole = match &event.kind {
            // Derived by the fold.
            EventKind::Completed { template_ids, .. } => {
                assert_eq!(template_ids.len(), MAX_TEMPLATE_IDS);
                matches!(&read, EventKind::Completed { template_ids: all, .. } if all == template_ids)
            }
            EventKind::Failed { error_message, .. } => {
                assert_eq!(error_message.chars().count(), MAX_TEXT_CHARS);
                matches!(&read, EventKind::Failed { error_message: same, .. } if same == error_message)
            }
            kind => read == *kind,
        };
        assert!(whole, "{name}");
    }
}
