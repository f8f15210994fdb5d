//! A job to append to, as its worker would, and the events that it appends.

use conch_domain::{ClientId, Event, EventId, EventKind, Job, Timestamp};
use conch_doubles::FaultyMemory;
use conch_ports::{Appended, Commit, Fence, NewEvent, QueueEffect};
use conch_services::Clock;
use conch_wire::event;

/// Appends to one job's log as its worker would.
pub(crate) struct Writer {
    pub(super) memory: FaultyMemory,
    pub(super) clock: Clock,
    pub(crate) job: Job,
    pub(super) client: ClientId,
}

impl Writer {
    pub(crate) async fn append(&mut self, kind: EventKind) {
        let published = self.try_append(kind, None).await;
        assert_eq!(published, Appended::Appended);
    }

    /// Begins another incarnation of the log.
    pub(crate) async fn begin_again(&mut self, epoch: &str, kind: EventKind) {
        let log = self.memory.log().read(&self.job.id, 0, 0).await;
        let replaces = log.expect("memory answers").map(|log| log.job.position);
        self.job = self
            .job
            .with_epoch(epoch.parse().expect("an epoch"))
            .with_secret(super::secret(2));
        let published = self.try_append(kind, replaces).await;
        assert_eq!(published, Appended::Appended);
    }

    async fn try_append(
        &mut self,
        kind: EventKind,
        replaces: Option<conch_domain::Position>,
    ) -> Appended {
        let position = self.job.position.next();
        // Each event a little later than the one before it, though no time passes.
        let now = (self.clock)();
        let now = Timestamp::from_micros(now.as_micros() + position.sequence as i64);
        let event = Event {
            job_id: self.job.id.clone(),
            client_id: Some(self.client.clone()),
            timestamp: now,
            attempt: None,
            event_id: EventId::parse(&format!("{position}")).expect("an id"),
            making: None,
            derived: false,
            kind,
        };
        self.job.apply(position, &event).expect("a legal event");
        self.memory
            .log()
            .append(Commit {
                events: vec![NewEvent {
                    line: event::encode(&event, &self.job),
                    event_id: event.event_id.clone(),
                }],
                templates: Vec::new(),
                fence: Fence::Open,
                effect: QueueEffect::Keep,
                announce: true,
                replaces,
                base: None,
                job: self.job.clone(),
            })
            .await
            .expect("memory answers")
    }

    pub(crate) async fn start(&mut self) {
        self.append(queued()).await;
        self.append(started()).await;
    }

    pub(crate) async fn progress(&mut self, progress: u8) {
        self.append(EventKind::Progress {
            progress,
            completed_templates: 0,
            total_templates: 7,
            message: None,
        })
        .await;
    }

    pub(crate) async fn complete(&mut self) {
        self.append(completed()).await;
    }
}

pub(crate) fn queued() -> EventKind {
    EventKind::Queued {
        queued_at: Timestamp::from_micros(1_800_000_000_000_000),
        value_proposition_id: None,
        schedule: conch_domain::Schedule::default(),
    }
}

pub(crate) fn started() -> EventKind {
    EventKind::Started {
        started_at: Timestamp::from_micros(1_800_000_000_000_000),
    }
}

pub(crate) fn completed() -> EventKind {
    EventKind::Completed {
        template_ids: vec!["t1".parse().expect("an id")],
        template_count: 1,
        generation_duration_ms: Some(5),
        completed_at: Timestamp::from_micros(1_800_000_000_000_000),
        failed_templates: Vec::new(),
        error_message: None,
    }
}
