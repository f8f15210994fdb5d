//! Ready-made clients, templates, jobs and commits, for tests of anything that speaks the ports.
//!
//! Never in here: an assertion, a clock. Times are made up and go forward by a second per event.

use bytes::Bytes;
use conch_domain::{
    Audience, Category, ChartType, Client, ClientId, Config, DataRequirements, DataType, Epoch,
    Event, EventId, EventKind, Job, JobId, JobRecord, JobStatus, Layout, LeaseToken, Metadata,
    Metric, Position, QueryType, RetryReason, Schedule, Template, TemplateDraft, TemplateId,
    Timestamp, ValueProposition, ValuePropositionId, VisualStyle, Widget, WidgetPosition,
    WidgetType,
};
use conch_ports::{
    Announcement, Commit, Fence, Idempotency, Lease, NewEvent, QueueEffect, Submission,
};
use conch_wire::record::{self, Heading};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The moment at which every script begins: 2026-01-01T00:00:00Z.
pub const BEGINNING: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

/// An unused job id.
pub fn job_id() -> JobId {
    JobId::from_uuid(Uuid::now_v7())
}

/// An unused client id.
pub fn client_id() -> ClientId {
    ClientId::from_uuid(Uuid::now_v7())
}

/// An unused event id.
pub fn event_id() -> EventId {
    EventId::from_uuid(Uuid::now_v7())
}

/// An unused template id.
pub fn template_id() -> TemplateId {
    TemplateId::from_uuid(Uuid::now_v7())
}

/// A token that no store has given out.
pub fn token() -> LeaseToken {
    LeaseToken::from_uuid(Uuid::now_v7())
}

/// An epoch that no log has had.
pub fn epoch() -> Epoch {
    let random = Uuid::now_v7().into_bytes();
    Epoch::from_random([random[12], random[13], random[14], random[15]])
}

/// A client of an industry, made `seconds` after the beginning.
pub fn client(industry: &str, seconds: i64) -> Client {
    let created_at = BEGINNING.plus_millis(seconds * 1000);
    Client {
        id: client_id(),
        name: "Nereid Health \u{1f41a}".to_owned(),
        industry: Some(industry.to_owned()),
        meta_data: Metadata::from_json(r#"{"region":"coast","beds":120}"#),
        created_at,
        updated_at: created_at,
    }
}

/// An active value proposition of a client, made `seconds` after the beginning.
pub fn value_proposition(client_id: &ClientId, seconds: i64) -> ValueProposition {
    let created_at = BEGINNING.plus_millis(seconds * 1000);
    ValueProposition {
        id: ValuePropositionId::from_uuid(Uuid::now_v7()),
        client_id: client_id.clone(),
        content: "We cut readmissions by a fifth, and \"show\" it.".to_owned(),
        is_active: true,
        meta_data: Metadata::default(),
        created_at,
        updated_at: created_at,
    }
}

/// A draft that meets every rule.
pub fn draft(category: Category, target_audience: Audience) -> TemplateDraft {
    let widget = |n: u32| Widget {
        id: format!("w{n}"),
        widget_type: WidgetType::LineChart,
        title: format!("Readmissions {n}"),
        description: Some("How many came back".to_owned()),
        position: WidgetPosition {
            row: 3 * n - 2,
            col: 1,
            row_span: 3,
            col_span: 12,
        },
        analytics_question: "How many came back?".to_owned(),
        data_requirements: DataRequirements {
            query_type: QueryType::TimeSeries,
            metrics: vec![Metric {
                name: "Readmission rate".to_owned(),
                metric_ref: Some("readmission_rate".to_owned()),
                expression: None,
                data_type: DataType::Percentage,
                format: "0.0%".to_owned(),
            }],
            dimensions: vec!["month".to_owned()],
            filters: Vec::new(),
            time_range: None,
            more: Metadata::default(),
        },
        chart_type: Some(ChartType::Line),
        config: Config::default(),
        data: Metadata::default(),
    };
    TemplateDraft {
        name: format!("{} for {}", category.as_str(), target_audience.as_str()),
        description: "What it saves, and for whom".to_owned(),
        category,
        target_audience,
        key_features: ["Savings", "Trend", "Peers"].map(str::to_owned).to_vec(),
        widgets: (1..=6).map(widget).collect(),
        visual_style: VisualStyle {
            primary_color: "#102030".to_owned(),
            secondary_color: VisualStyle::SECONDARY_COLOR.to_owned(),
            accent_color: "#708090".to_owned(),
            background_color: VisualStyle::BACKGROUND_COLOR.to_owned(),
            text_color: VisualStyle::TEXT_COLOR.to_owned(),
            font_family: VisualStyle::FONT_FAMILY.to_owned(),
            layout: Layout::Balanced,
        },
        meta_data: Metadata::default(),
    }
}

/// A template of a job at a place of its plan, made `index` seconds after the beginning.
pub fn template(job: &Job, index: u32) -> Template {
    template_of(job, index, Category::RoiFocused, Audience::Broker)
}

/// The same, of that category and audience.
pub fn template_of(job: &Job, index: u32, category: Category, audience: Audience) -> Template {
    let heading = Heading {
        id: template_id(),
        job_id: job.id.clone(),
        client_id: job.client_id.clone().unwrap_or_else(client_id),
        index,
        created_at: BEGINNING.plus_millis(i64::from(index) * 1000),
    };
    record::template(
        heading,
        &conch_wire::draft::written(draft(category, audience)),
    )
}

/// An idempotency key that is remembered for an hour.
pub fn idempotency(key: &str, digest: &str) -> Idempotency {
    Idempotency {
        key: key.to_owned(),
        digest: digest.to_owned(),
        lifetime: Duration::from_hours(1),
    }
}

/// What says that a commit was appended.
pub fn announcement(commit: &Commit) -> Announcement {
    Announcement {
        job_id: commit.job.id.clone(),
        position: Some(commit.job.position),
        line: event_of(commit).line.clone(),
        secret: None,
    }
}

/// All of a story's commits in one: what the last one says goes, and where the first one begins.
///
/// # Panics
/// When there is none.
pub fn together(commits: impl IntoIterator<Item = Commit>) -> Commit {
    let joined = commits.into_iter().reduce(|before, mut last| {
        last.events.splice(..0, before.events);
        last.templates.splice(..0, before.templates);
        (last.replaces, last.base) = (before.replaces, before.base);
        last
    });
    joined.expect("there is a commit")
}

/// The first event of a commit.
///
/// # Panics
/// When it has none.
pub fn event_of(commit: &Commit) -> &NewEvent {
    commit.events.first().expect("a commit has an event")
}

/// The same commit, with these templates.
pub fn with_templates<'a>(
    templates: impl IntoIterator<Item = &'a Template>,
    mut commit: Commit,
) -> Commit {
    let templates = templates.into_iter().cloned().map(Arc::new);
    commit.templates.extend(templates);
    commit
}

/// The same commit, of an event with that id.
pub fn with_event_id(event_id: &EventId, mut commit: Commit) -> Commit {
    for event in &mut commit.events {
        event.event_id = event_id.clone();
    }
    commit
}

/// The same commit, with that line for its event.
pub fn with_line(line: &Bytes, mut commit: Commit) -> Commit {
    for event in &mut commit.events {
        event.line = line.clone();
    }
    commit
}

/// Writes one job's story: each method folds the next event in and gives the commit that appends it.
///
/// A clone tells another story from the same point on: that is how conflicts are made. The commits
/// carry an open fence, keep the queue entry and are announced; change that by their fields.
#[derive(Debug, Clone)]
pub struct Script {
    job: Job,
    attempt: Option<u32>,
    fence: Fence,
    schedule: Schedule,
}

impl Script {
    /// A job of our own Triton, before its first event.
    pub fn own() -> Self {
        Self::of(Job::initial(job_id(), epoch(), true))
    }

    /// A job that a foreign program announced, before its first event.
    pub fn foreign() -> Self {
        Self::of(Job::initial(job_id(), epoch(), false))
    }

    /// A story that goes on from a job.
    pub fn of(job: Job) -> Self {
        Self {
            job,
            attempt: None,
            fence: Fence::Open,
            schedule: Schedule::default(),
        }
    }

    /// A job of our own Triton that belongs to the client, before its first event.
    pub fn of_client(client_id: &ClientId) -> Self {
        Self::of(Job::restore(JobRecord {
            client_id: Some(client_id.clone()),
            ..(*Self::own().job).clone()
        }))
    }

    /// The same story, of a job that may run when and as urgently as this says.
    #[must_use]
    pub fn scheduled(self, schedule: Schedule) -> Self {
        Self { schedule, ..self }
    }

    /// The fold so far.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Its id.
    pub fn id(&self) -> &JobId {
        &self.job.id
    }

    /// From here on the events are those of an attempt, fenced by its lease.
    pub fn hold(&mut self, lease: &Lease) {
        self.attempt = Some(lease.attempt);
        self.fence = Fence::Held(lease.token.clone());
    }

    /// The same story, after what the job has been through.
    #[must_use]
    pub fn onto(self, job: Job) -> Self {
        Self { job, ..self }
    }

    /// The next event.
    ///
    /// # Panics
    /// When the event can't follow what the job has been through.
    pub fn then(&mut self, kind: EventKind) -> Commit {
        let position = self.job.position.next();
        let event = Event {
            job_id: self.job.id.clone(),
            client_id: self.job.client_id.clone().or_else(|| Some(client_id())),
            timestamp: self.now(),
            attempt: self.attempt,
            event_id: event_id(),
            making: None,
            derived: false,
            kind,
        };
        self.job
            .apply(position, &event)
            .expect("the script tells a legal story");
        Commit {
            events: vec![NewEvent {
                line: conch_wire::event::encode(&event, &self.job),
                event_id: event.event_id,
            }],
            job: self.job.clone(),
            templates: Vec::new(),
            fence: self.fence.clone(),
            effect: QueueEffect::Keep,
            announce: true,
            replaces: None,
            base: None,
        }
    }

    /// The moment of the next event.
    pub fn now(&self) -> Timestamp {
        self.job
            .updated_at
            .map_or(BEGINNING, |latest| latest.plus_millis(1000))
    }

    /// `job:queued`
    pub fn queued(&mut self) -> Commit {
        self.then(EventKind::Queued {
            queued_at: self.now(),
            value_proposition_id: None,
            schedule: self.schedule,
        })
    }

    /// `job:queued` as a submission without an idempotency key.
    pub fn submission(&mut self) -> Submission {
        Submission {
            commit: self.queued(),
            idempotency: None,
        }
    }

    /// `job:started`
    pub fn started(&mut self) -> Commit {
        self.then(EventKind::Started {
            started_at: self.now(),
        })
    }

    /// `job:progress`
    pub fn progress(&mut self, progress: u8) -> Commit {
        self.then(EventKind::Progress {
            progress,
            completed_templates: u32::from(progress) * 7 / 100,
            total_templates: 7,
            message: Some(format!("{progress} % \u{2713}")),
        })
    }

    /// `job:template_completed`
    pub fn template_completed(&mut self, template: &Template) -> Commit {
        self.then(EventKind::TemplateCompleted {
            template_id: template.id.clone(),
            template_index: template.index,
            total_templates: 7,
            name: template.name.clone(),
            category: template.category.as_str().to_owned(),
            target_audience: template.target_audience.as_str().to_owned(),
        })
    }

    /// `job:retrying`, which also ends the attempt and requeues the job.
    pub fn retrying(&mut self, reason: RetryReason, after: Duration) -> Commit {
        let mut commit = self.then(EventKind::Retrying {
            max_attempts: 3,
            retry_at: self.now(),
            reason,
            error_message: None,
        });
        self.attempt = None;
        self.fence = Fence::Open;
        commit.effect = QueueEffect::Requeue {
            after,
            counts: reason != RetryReason::Shutdown,
        };
        commit
    }

    /// `job:completed` with what was made, which also takes the job out of the queue.
    pub fn completed(&mut self) -> Commit {
        let template_ids = self.job.template_ids.clone();
        self.end(EventKind::Completed {
            template_count: template_ids.len() as u64,
            template_ids,
            generation_duration_ms: None,
            completed_at: self.now(),
            failed_templates: Vec::new(),
            error_message: None,
        })
    }

    /// `job:failed`, which also takes the job out of the queue.
    pub fn failed(&mut self) -> Commit {
        self.end(EventKind::Failed {
            error_message: "no template could be made".to_owned(),
            generation_duration_ms: None,
            completed_at: self.now(),
        })
    }

    /// `job:cancelled`, which also takes the job out of the queue.
    pub fn cancelled(&mut self) -> Commit {
        self.end(EventKind::Cancelled {
            template_ids: self.job.template_ids.clone(),
            completed_at: self.now(),
        })
    }

    fn end(&mut self, kind: EventKind) -> Commit {
        Commit {
            effect: QueueEffect::Remove,
            ..self.then(kind)
        }
    }

    /// Goes on in another incarnation of the log, which replaces the one that stands where this
    /// script does. Gives its first commit, a progress.
    pub fn in_new_epoch(&mut self) -> Commit {
        let seen = self.job.position;
        self.job = self.job.with_epoch(epoch());
        Commit {
            replaces: Some(seen),
            base: Some(self.job.clone()),
            ..self.progress(self.job.progress)
        }
    }

    /// Goes on after its end, as an external program tells it: the event that `then` makes begins a new
    /// epoch. For a job of our own, which can't, it is what a program would have to say.
    ///
    /// # Panics
    /// When the job hasn't failed.
    pub fn reopened(&mut self, then: impl FnOnce(&mut Self) -> Commit) -> Commit {
        let ended_at = self.job.position;
        let mut past = self.job.past.clone();
        past.push(ended_at);
        assert_eq!(
            self.job.status,
            JobStatus::Failed,
            "only what failed goes on"
        );
        self.job = Job::restore(JobRecord {
            position: Position {
                epoch: epoch(),
                sequence: 0,
            },
            past,
            reopened_at: Some(self.now()),
            status: JobStatus::Pending,
            started_at: None,
            completed_at: None,
            generation_duration_ms: None,
            error_message: None,
            progress: 0,
            ..(*self.job).clone()
        });
        Commit {
            fence: Fence::Foreign,
            announce: false,
            effect: QueueEffect::Keep,
            replaces: Some(ended_at),
            ..then(self)
        }
    }
}
