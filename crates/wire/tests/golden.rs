//! What we send, byte for byte, as files of the schema version: a change of the wire changes a file in
//! the same commit. `UPDATE_GOLDEN=1 cargo test -p conch-wire --test golden` writes them anew.
//!
//! And what existing programs send: the lines of the Python service, read as they come.

use std::path::Path;

use conch_domain::{
    Attempts, Audience, Category, ChartType, Client, ClientId, DataRequirements, DataType, Epoch,
    Event, EventId, EventKind, Filter, Job, JobId, JobStatus, Layout, LogSecret, Metadata, Metric,
    Operator, Priority, QueryType, RetryReason, Schedule, Template, TemplateDraft, TimeRange,
    TimeRangeKind, Timestamp, ValueProposition, VisualStyle, Widget, WidgetPosition, WidgetType,
};
use conch_wire::{envelope, event, job, record, schema, snapshot};

const NOW: Timestamp = Timestamp::from_micros(1_764_579_349_123_456);

fn job_id() -> JobId {
    JobId::parse("0197a0c1-7a10-7543-9ccc-9e638f717388").expect("an id")
}

fn initial() -> Job {
    let epoch: Epoch = "5f3a9c1e".parse().expect("an epoch");
    Job::initial(job_id(), epoch, true)
}

/// The job after the events, and the last one's line.
fn after(kinds: Vec<EventKind>) -> (Job, String) {
    let mut job = initial();
    let mut line = String::new();
    for (kind, n) in kinds.into_iter().zip(1_i64..) {
        let event = Event {
            job_id: job_id(),
            client_id: Some(ClientId::parse("c-1").expect("an id")),
            timestamp: NOW.plus_millis(n),
            attempt: (n > 1).then_some(job.least_attempt.max(1)),
            event_id: EventId::parse(&format!("e-{n}")).expect("an id"),
            making: matches!(kind, EventKind::Progress { .. }).then_some(2),
            derived: false,
            kind,
        };
        job.apply(job.position.next(), &event)
            .expect("a legal event");
        line = String::from_utf8(event::encode(&event, &job).to_vec()).expect("UTF-8");
    }
    (job, line)
}

fn started() -> Vec<EventKind> {
    vec![
        EventKind::Queued {
            queued_at: NOW,
            value_proposition_id: Some("vp-1".parse().expect("an id")),
            schedule: Schedule::default(),
        },
        EventKind::Started { started_at: NOW },
    ]
}

fn then(kind: EventKind) -> (Job, String) {
    let mut kinds = started();
    kinds.push(kind);
    after(kinds)
}

fn check(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/v1/{name}.json"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, format!("{actual}\n")).expect("the folder is there");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(golden.trim_end(), actual, "{name}");
}

#[test]
fn every_event_of_ours() {
    let t1 = || "t-1".parse().expect("an id");
    check(
        "job_queued",
        &after(started().into_iter().take(1).collect()).1,
    );
    check("job_started", &after(started()).1);
    let rows = [
        (
            "job_progress",
            EventKind::Progress {
                progress: 14,
                completed_templates: 1,
                total_templates: 7,
                message: Some("one of seven".to_owned()),
            },
        ),
        (
            "job_template_completed",
            EventKind::TemplateCompleted {
                template_id: t1(),
                template_index: 1,
                total_templates: 7,
                name: "Return on investment".to_owned(),
                category: "roi-focused".to_owned(),
                target_audience: "Health Plan".to_owned(),
            },
        ),
        (
            "job_template_failed",
            EventKind::TemplateFailed {
                template_index: 2,
                total_templates: 7,
                error_message: "too slow".to_owned(),
            },
        ),
        (
            "job_retrying",
            EventKind::Retrying {
                max_attempts: 3,
                retry_at: NOW.plus_millis(5000),
                reason: RetryReason::LeaseExpired,
                error_message: None,
            },
        ),
        (
            "job_cancel_requested",
            EventKind::CancelRequested {
                reason: Some("not needed".to_owned()),
            },
        ),
        (
            "job_completed",
            EventKind::Completed {
                template_ids: vec![t1()],
                template_count: 1,
                generation_duration_ms: None,
                completed_at: NOW.plus_millis(60_000),
                failed_templates: Vec::new(),
                error_message: None,
            },
        ),
        (
            "job_completed_in_part",
            EventKind::Completed {
                template_ids: vec![t1()],
                template_count: 1,
                generation_duration_ms: None,
                completed_at: NOW.plus_millis(60_000),
                failed_templates: vec![2, 5],
                error_message: Some("2 of 7 templates are missing: 2 (too slow), 5".to_owned()),
            },
        ),
        (
            "job_failed",
            EventKind::Failed {
                error_message: "no template could be made".to_owned(),
                generation_duration_ms: Some(1234),
                completed_at: NOW.plus_millis(60_000),
            },
        ),
        (
            "job_cancelled",
            EventKind::Cancelled {
                template_ids: vec![t1()],
                completed_at: NOW.plus_millis(60_000),
            },
        ),
    ];
    for (name, kind) in rows {
        let (folded, line) = then(kind.clone());
        check(name, &line);
        let read = event::decode(line.as_bytes(), NOW).expect("our own");
        assert_eq!(read.sequence, Some(3), "{name}");
        assert_eq!(read.event.kind.event_type(), kind.event_type());
        // What is read back leads to the same state.
        let mut again = after(started()).0;
        again
            .apply(again.position.next(), &read.event)
            .expect("a legal event");
        assert_eq!(again, folded, "{name}");
        let glance = event::glance(line.as_bytes());
        assert_eq!(glance.vital, kind.is_vital(), "{name}");
    }
}

#[test]
fn a_job_and_its_snapshots() {
    let (completed, _) = then(EventKind::Completed {
        template_ids: vec!["t-1".parse().expect("an id")],
        template_count: 1,
        generation_duration_ms: None,
        completed_at: NOW.plus_millis(60_000),
        failed_templates: Vec::new(),
        error_message: None,
    });
    let text = |bytes: bytes::Bytes| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    check("job", &text(job::encode(&completed)));
    check("job_initial", &text(job::encode(&initial())));
    check("job_record", &text(record::encode_job(&completed)));
    let decoded = record::decode_job(&record::encode_job(&completed)).expect("our own");
    assert_eq!(decoded, completed);
    for (name, reason) in [
        ("snapshot_beginning", snapshot::Reason::Beginning),
        ("snapshot_reset", snapshot::Reason::Reset("5f3a9c1e-99")),
        (
            "snapshot_record_lost",
            snapshot::Reason::RecordLost("5f3a9c1e-2"),
        ),
    ] {
        check(name, &text(snapshot::encode(&completed, reason, NOW)));
    }
}

/// Only what a submission asked for is said, and it is read back from wherever it was said. What can't be
/// read is as if it hadn't been.
#[test]
fn a_schedule_is_said_where_there_is_one() {
    let queued = |schedule| EventKind::Queued {
        queued_at: NOW,
        value_proposition_id: None,
        schedule,
    };
    let schedule = Schedule {
        priority: Priority::HIGHEST,
        run_at: Some(NOW.plus_millis(60_000)),
    };
    let (job, line) = after(vec![queued(schedule)]);
    check("job_queued_scheduled", &line);
    let read = event::decode(line.as_bytes(), NOW).expect("our own");
    assert_eq!(read.event.kind, queued(schedule));
    let object = job::encode(&job);
    check("job_scheduled", str::from_utf8(&object).expect("UTF-8"));
    let told = job::decode_any(&object).expect("our own");
    assert_eq!(told.schedule, schedule);
    let status = job::status_if_whole(&object, &job_id());
    assert_eq!(status, Some(JobStatus::Pending), "it is whole");
    let record = record::encode_job(&job);
    assert_eq!(record::decode_job(&record).expect("our own"), job);

    for (priority, run_at) in [("10", "1"), ("\"x\"", "\"soon\""), ("null", "null")] {
        let odd = format!(
            r#"{{"event_type":"job:queued","job_id":"j","priority":{priority},"run_at":{run_at}}}"#
        );
        let read = event::decode(odd.as_bytes(), NOW).expect("an event");
        let EventKind::Queued { schedule, .. } = read.event.kind else {
            panic!("{odd}");
        };
        assert_eq!(schedule, Schedule::default(), "{odd}");
    }
}

/// What the attempts at a job have come to is kept with it; a record of a build that knew nothing of it
/// is read as one with nothing to say.
#[test]
fn a_record_keeps_what_its_attempts_have_come_to() {
    let kinds = [
        EventKind::Progress {
            progress: 14,
            completed_templates: 1,
            total_templates: 7,
            message: None,
        },
        EventKind::Retrying {
            max_attempts: 3,
            retry_at: NOW,
            reason: RetryReason::LeaseExpired,
            error_message: None,
        },
        EventKind::TemplateFailed {
            template_index: 3,
            total_templates: 7,
            error_message: "too \"slow\"".to_owned(),
        },
        EventKind::Progress {
            progress: 14,
            completed_templates: 1,
            total_templates: 7,
            message: None,
        },
    ];
    let (job, _) = after(started().into_iter().chain(kinds).collect());
    assert_eq!(job.attempts.making, Some(2));
    assert_eq!(job.attempts.lost_at(2), 1);
    let bytes = record::encode_job(&job);
    check("job_record_running", str::from_utf8(&bytes).expect("UTF-8"));
    assert_eq!(record::decode_job(&bytes).expect("our own"), job);

    let before = r#"{"id":"j","job_id":"j","client_id":"c-1","value_proposition_id":"vp-1","status":"running","progress":14,"attempt":2,"error_message":null,"started_at":"2025-12-01T08:55:49.123456Z","completed_at":null,"generation_duration_ms":null,"template_ids":["t-1"],"template_count":1,"created_at":null,"updated_at":null,"cancel_requested":false,"_fold":{"position":"5f3a9c1e-3","own":true,"least_attempt":2}}"#;
    let read = record::decode_job(before.as_bytes()).expect("an earlier build's");
    assert_eq!(read.attempts, Attempts::default());
    assert_eq!((read.attempt, read.position.sequence), (2, 3));
}

/// A caller's own object, with what a careless reader loses: order, and the last digit of a number.
fn metadata() -> Metadata {
    Metadata::from_json(r#"{"z":31.245270191439438,"a":[null,"é"],"n":18446744073709551615}"#)
}

fn draft() -> TemplateDraft {
    let widget = |n: u32| Widget {
        id: format!("w-{n}"),
        widget_type: if n > 1 {
            WidgetType::LineChart
        } else {
            WidgetType::KpiCard
        },
        title: format!("Readmissions {n}"),
        description: (n > 2).then(|| "How many come back.".to_owned()),
        position: WidgetPosition {
            row: 3 * n - 2,
            col: 1,
            row_span: 3,
            col_span: 12,
        },
        analytics_question: "How many come back?".to_owned(),
        data_requirements: DataRequirements {
            query_type: QueryType::TimeSeries,
            metrics: vec![Metric {
                name: "Readmission rate".to_owned(),
                metric_ref: (n > 1).then(|| "readmissions".to_owned()),
                expression: (n < 3).then(|| "SUM(readmitted) / SUM(discharged)".to_owned()),
                data_type: DataType::Percentage,
                format: "0.0%".to_owned(),
            }],
            dimensions: vec!["month".to_owned()],
            filters: vec![Filter {
                field: "age".to_owned(),
                operator: Operator::Between,
                value: "[18,65.0]".into(),
            }],
            time_range: (n > 1).then(|| TimeRange {
                kind: TimeRangeKind::Relative,
                value: "\"last_12_months\"".into(),
            }),
            more: Metadata::from_json(r#"{"aggregation":"average"}"#),
        },
        chart_type: (n > 1).then_some(ChartType::Line),
        config: conch_wire::draft::config(
            if n > 1 {
                WidgetType::LineChart
            } else {
                WidgetType::KpiCard
            },
            serde_json::from_str(r#"{"subtitle":"per month","icon":"users"}"#).expect("an object"),
        ),
        data: metadata(),
    };
    TemplateDraft {
        name: "Return on investment".to_owned(),
        description: "What it pays, and when.".to_owned(),
        category: Category::RoiFocused,
        target_audience: Audience::HealthPlan,
        key_features: vec!["one".to_owned(), "two".to_owned(), "three".to_owned()],
        widgets: (1..=6).map(widget).collect(),
        visual_style: VisualStyle {
            primary_color: "#102030".to_owned(),
            secondary_color: "#112131".to_owned(),
            accent_color: "#122232".to_owned(),
            background_color: "#132333".to_owned(),
            text_color: "#142434".to_owned(),
            font_family: "Inter".to_owned(),
            layout: Layout::Balanced,
        },
        meta_data: metadata(),
    }
}

fn template() -> Template {
    let heading = record::Heading {
        id: "t-1".parse().expect("an id"),
        job_id: job_id(),
        client_id: "c-1".parse().expect("an id"),
        index: 1,
        created_at: NOW,
    };
    record::template(heading, &conch_wire::draft::written(draft()))
}

/// A seal, and the secret in the record of the job that it was made with.
#[test]
fn a_sealed_announcement() {
    let secret = LogSecret::from_random(std::array::from_fn(|n| n as u8));
    let (job, line) = after(started());
    let job = job.with_secret(secret);
    let text = |bytes: &bytes::Bytes| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    check(
        "sealed",
        &text(&envelope::seal(&secret, &job.id, job.position, &[line])),
    );
    let encoded = record::encode_job(&job);
    check("job_record_with_secret", &text(&encoded));
    assert_eq!(record::decode_job(&encoded), Ok(job.clone()));
    for public in [
        job::encode(&job),
        snapshot::encode(&job, snapshot::Reason::Beginning, NOW),
    ] {
        assert!(!text(&public).contains(&secret.to_stored()));
    }
}

#[test]
fn records_come_back_equal() {
    let client = Client {
        id: "c-1".parse().expect("an id"),
        name: "Acme \u{1f41a}\r\n".to_owned(),
        industry: Some("Health".to_owned()),
        meta_data: metadata(),
        created_at: NOW,
        updated_at: NOW.plus_millis(1),
    };
    let value_proposition = ValueProposition {
        id: "vp-1".parse().expect("an id"),
        client_id: "c-1".parse().expect("an id"),
        content: "We save everybody money.".to_owned(),
        is_active: false,
        meta_data: metadata(),
        created_at: NOW,
        updated_at: NOW.plus_millis(1),
    };
    let text = |bytes: &bytes::Bytes| String::from_utf8(bytes.to_vec()).expect("UTF-8");

    let encoded = record::encode_client(&client);
    check("client", &text(&encoded));
    assert_eq!(record::decode_client(&encoded), Ok(client));
    let encoded = record::encode_value_proposition(&value_proposition);
    check("value_proposition", &text(&encoded));
    let decoded = record::decode_value_proposition(&encoded);
    assert_eq!(decoded, Ok(value_proposition));
    let encoded = record::encode_template(&template());
    check("template", &text(&encoded));
    assert_eq!(record::decode_template(&encoded), Ok(template()));
}

/// What a version before the present rules stored: metrics as texts, a type that is none of the 37.
#[test]
fn a_template_of_an_earlier_version_is_served_as_it_is() {
    let stored = include_str!("golden/v1/template_of_an_earlier_version.json").trim_end();
    let template = record::decode_template(stored.as_bytes()).expect("it is read");
    assert_eq!(template.name, "Return on investment");
    assert_eq!(record::encode_template(&template), stored.as_bytes());
}

#[test]
fn a_template_as_a_generator_writes_it() {
    let line = conch_wire::draft::encode(&draft());
    check(
        "generated_template",
        std::str::from_utf8(&line).expect("UTF-8"),
    );
    let mut read = conch_wire::draft::decode(&line).expect("it meets the rules");
    assert_eq!(read.meta_data, Metadata::default(), "notes are ours");
    read.meta_data = metadata();
    assert_eq!(read.check(), Ok(()));
    assert_eq!(read.widgets[3], draft().widgets[3]);
    assert_eq!(read.visual_style, draft().visual_style);
}

#[test]
fn the_json_schemas_of_a_template() {
    let text = |schema: &serde_json::Value| format!("{schema:#}");
    check("template.schema", &text(&schema::served()));
    check("generated_template.schema", &text(&schema::to_generate()));
}

#[test]
fn what_the_python_service_sends() {
    let read = |line: &str| event::decode(line.as_bytes(), NOW).expect(line);
    let started = read(
        r#"{"event_type":"job:started","timestamp":"2025-12-01T08:55:49.123456","job_id":"j","client_id":"c","status":"running","started_at":"2025-12-01T08:55:49.123456"}"#,
    );
    assert_eq!(started.event.kind, EventKind::Started { started_at: NOW });
    assert!(!started.is_numbered());
    let mut job = Job::initial(
        started.event.job_id.clone(),
        "5f3a9c1e".parse().expect("an epoch"),
        false,
    );
    job.apply(job.position.next(), &started.event)
        .expect("legal");
    check(
        "adopted_started",
        std::str::from_utf8(&started.adopt(&job)).expect("UTF-8"),
    );

    let generated = read(
        r#"{"event_type":"data:generated","timestamp":"2025-12-01T08:55:50","job_id":"j","rows":[1,2],"note":"kept"}"#,
    );
    job.apply(job.position.next(), &generated.event)
        .expect("legal");
    assert_eq!(job.status, JobStatus::Running);
    check(
        "adopted_data_generated",
        std::str::from_utf8(&generated.adopt(&job)).expect("UTF-8"),
    );

    let completed = read(
        r#"{"event_type":"job:completed","timestamp":"2025-12-01T08:58:49.123456","job_id":"j","client_id":"c","status":"completed","template_ids":["t-1","t-2"],"template_count":2}"#,
    );
    job.apply(job.position.next(), &completed.event)
        .expect("legal");
    assert_eq!(job.generation_duration_ms, Some(180_000));
    check(
        "adopted_completed",
        std::str::from_utf8(&completed.adopt(&job)).expect("UTF-8"),
    );

    let failed = read(r#"{"event_type":"job:failed","job_id":"j","error_message":"no luck"}"#);
    assert!(matches!(
        failed.event.kind,
        EventKind::Failed {
            completed_at: NOW,
            ..
        }
    ));
    let five = br#"{"job_id":"j","status":"completed","template_ids":["t-1"],"template_count":1,"generation_duration_ms":5}"#;
    let cached = job::decode(five, &"j".parse().expect("an id")).expect("five fields are enough");
    assert_eq!(cached.generation_duration_ms, Some(5));
}

/// Python's `str.splitlines`, and with it `httpx`, ends a line at each of these.
#[test]
fn a_name_with_line_separators_stays_on_one_line_and_means_the_same() {
    let name = "Return\u{b}on\u{c}\u{1c}\u{1d}\u{1e}\u{85}in\u{2028}vest\u{2029}ment";
    let named = EventKind::TemplateCompleted {
        template_id: "t-1".parse().expect("an id"),
        template_index: 1,
        total_templates: 7,
        name: name.to_owned(),
        category: "roi-focused".to_owned(),
        target_audience: "Health Plan".to_owned(),
    };
    let (_, line) = then(named);
    let escaped = r"Return\u000bon\u000c\u001c\u001d\u001e\u0085in\u2028vest\u2029ment";
    let escaped = escaped.replace("\\u000c", "\\f");
    assert!(line.contains(&escaped), "{line}");
    let read: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(read["name"], name);
}
