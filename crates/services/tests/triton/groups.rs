//! Steps that go into the log together: what is committed while the answer to a commit is on its way.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use conch_conformance::build;
use conch_domain::{
    EventCap, JobId, JobStatus, PLAN, Position, TemplateId, Timestamp, WrittenDraft,
};
use conch_doubles::When;
use conch_ports::{
    Appended, Brief, BusId, Commit, ErrorKind, Guarantees, JobLog, Log, PutTemplate, Result,
    TemplateGenerator,
};
use conch_services::worker::Settings;
use conch_wire::draft;
use parking_lot::Mutex;

use crate::silence::Deceived;
use crate::system::{Generator, PACE, System, Working, count, field, settings, story};

/// How long a commit takes to get to the log, and its answer back.
const WAY: Duration = Duration::from_millis(100);

/// A log at a distance, which notes how many events each commit has that gets there.
struct Distant {
    log: Arc<dyn JobLog>,
    way: Mutex<Duration>,
    commits: Mutex<Vec<usize>>,
}

impl Distant {
    fn new(system: &System) -> Arc<Self> {
        Arc::new(Self {
            log: system.memory.log(),
            way: Mutex::new(WAY),
            commits: Mutex::default(),
        })
    }

    fn commits(&self) -> Vec<usize> {
        self.commits.lock().clone()
    }
}

#[async_trait]
impl JobLog for Distant {
    fn guarantees(&self) -> Guarantees {
        self.log.guarantees()
    }

    fn announces(&self) -> Option<BusId> {
        self.log.announces()
    }

    async fn append(&self, commit: Commit) -> Result<Appended> {
        let way = *self.way.lock();
        tokio::time::sleep(way).await;
        self.commits.lock().push(commit.events.len());
        let answer = self.log.append(commit).await;
        tokio::time::sleep(way).await;
        answer
    }

    async fn read(&self, job_id: &JobId, after: u64, limit: usize) -> Result<Option<Log>> {
        self.log.read(job_id, after, limit).await
    }

    async fn positions(&self, job_ids: &[JobId]) -> Result<Vec<Option<Position>>> {
        self.log.positions(job_ids).await
    }

    async fn now(&self) -> Result<Timestamp> {
        self.log.now().await
    }

    async fn ping(&self) -> Result<()> {
        self.log.ping().await
    }
}

/// Has each template at once, and notes which it was asked for.
#[derive(Default)]
struct Ready(Mutex<Vec<u32>>);

#[async_trait]
impl TemplateGenerator for Ready {
    async fn generate(&self, brief: &Brief) -> Result<WrittenDraft> {
        self.0.lock().push(brief.index);
        let mut draft = build::draft(brief.item.category, brief.item.audience);
        draft.name = format!("number {}", brief.names.len() + 1);
        Ok(draft::written(draft))
    }
}

fn worker(system: &System, log: &Arc<Distant>, settings: Settings) -> Working {
    worker_with(system, log, settings, Arc::new(Ready::default()))
}

fn worker_with(
    system: &System,
    log: &Arc<Distant>,
    settings: Settings,
    generator: Arc<dyn TemplateGenerator>,
) -> Working {
    let signals = system.memory.bus().subscribe();
    let queue = system.memory.queue();
    system.start_over(log.clone(), settings, generator, queue, signals)
}

/// Its events are those of a job whose steps are committed one by one, and its templates are those that they name.
async fn check(system: &System, id: &JobId, log: &Log) {
    let mut expected = vec!["queued".to_owned(), "started 1".to_owned()];
    for _ in PLAN {
        expected.push("template_completed 1".to_owned());
        expected.push("progress 1".to_owned());
    }
    expected.push("completed 1".to_owned());
    assert_eq!(story(log), expected);
    let percents = [14, 28, 42, 57, 71, 85, 100];
    assert_eq!(field(log, "progress", "progress"), percents);
    let names: Vec<_> = (1..=7).map(|n| format!("number {n}")).collect();
    assert_eq!(field(log, "template_completed", "name"), names);
    let kept = system.memory.catalogue().templates_of(id).await.unwrap();
    let kept: Vec<_> = kept.iter().map(|template| template.id.as_str()).collect();
    assert_eq!(field(log, "template_completed", "template_id"), kept);
    let listed: Vec<_> = log
        .job
        .template_ids
        .iter()
        .map(TemplateId::as_str)
        .collect();
    assert_eq!(listed, kept);
}

#[tokio::test(start_paused = true)]
async fn what_happens_during_a_commit_goes_into_the_next_one_together() {
    let system = System::new().await;
    let log = Distant::new(&system);
    let _worker = worker(&system, &log, settings("a"));
    let id = system.submitted().await;
    let ended = system.ended(&id).await;
    check(&system, &id, &ended).await;
    assert_eq!(log.commits(), [1, 8, 6, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_waits_for_no_commit_is_committed_at_once() {
    let system = System::new().await;
    let log = Distant::new(&system);
    let _worker = worker_with(&system, &log, settings("a"), Generator::reliable());
    let id = system.submitted().await;
    let first = system.until(&id, |job| job.template_count == 1).await;
    let started = first.job.started_at.expect("it has started");
    let told = first.job.updated_at.expect("it was told of");
    // The first commit's way and the generator's time; the event is stamped before its own way.
    assert_eq!(told.millis_since(started), PACE.as_millis() as u64);
    system.ended(&id).await;
    assert_eq!(log.commits(), [1, 2, 2, 2, 2, 2, 2, 2, 1]);
}

/// A request to cancel comes first while four templates are on their way.
#[tokio::test(start_paused = true)]
async fn a_group_that_comes_second_is_folded_again_whole() {
    let system = System::new().await;
    let log = Distant::new(&system);
    let _worker = worker(&system, &log, settings("a"));
    let id = system.submitted().await;
    system.until(&id, |job| job.started_at.is_some()).await;
    // Its answer is on its way, and the group then.
    tokio::time::sleep(WAY + WAY / 2).await;
    system.memory.faults().hold_announcements();
    system.cancel().cancel(&id, None).await.unwrap();
    system.memory.faults().release_announcements();
    let log = system.ended(&id).await;
    assert_eq!(log.job.status, JobStatus::Cancelled);
    let mut expected = vec!["queued", "started 1", "cancel_requested"];
    for _ in 0..log.job.template_count {
        expected.extend(["template_completed 1", "progress 1"]);
    }
    expected.push("cancelled 1");
    assert_eq!(story(&log), expected);
    assert!(log.job.template_count >= 4, "what was made is kept");
}

/// The lease is lost while a commit is on its way and other steps wait: none of them gets to the log.
#[tokio::test(start_paused = true)]
async fn no_step_outlives_the_lease() {
    let system = System::new().await;
    let log = Distant::new(&system);
    let cut_off = worker(&system, &log, settings("a"));
    let id = system.submitted().await;
    system.until(&id, |job| job.started_at.is_some()).await;
    *log.way.lock() = Duration::from_secs(30);
    let faults = system.memory.faults();
    for operation in ["job_queue.renew", "job_queue.expired", "job_queue.claim"] {
        faults.fail_next(operation, 10_000, ErrorKind::Unavailable, When::Before);
    }
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(log.commits(), [1]);
    drop(cut_off);
    faults.fail_no_more();
    let _worker = system.worker(settings("b"), &Generator::reliable());
    let log = system.ended(&id).await;
    assert_eq!(count(&log, "template_completed"), 7);
    assert_eq!(log.job.attempt, 2);
}

#[tokio::test(start_paused = true)]
async fn a_group_gives_way_to_a_template_that_has_a_place_of_its_own() {
    let system = System::new().await;
    let log = Distant::new(&system);
    let queue = Deceived::of(&system);
    let signals = system.memory.bus().subscribe();
    let mut long = settings("a");
    long.lease = Duration::from_mins(10);
    let generator = Arc::new(Ready::default());
    let _worker = system.start_over(log.clone(), long, generator, queue.clone(), signals);
    let id = system.submitted().await;
    let begun = system.until(&id, |job| job.started_at.is_some()).await;
    let first = build::template(&begun.job, 3);
    let lease = queue.lease();
    let catalogue = system.memory.catalogue();
    let put = catalogue.put_template(&first, &lease).await.unwrap();
    assert_eq!(put, PutTemplate::Stored);
    let ended = system.ended(&id).await;
    let kept = catalogue.templates_of(&id).await.unwrap();
    assert_eq!(kept[2], first);
    let kept: Vec<_> = kept.iter().map(|template| template.id.as_str()).collect();
    assert_eq!(field(&ended, "template_completed", "template_id"), kept);
    assert_eq!(ended.job.template_count, 7);
    let percents = [14, 28, 42, 57, 71, 85, 100];
    assert_eq!(field(&ended, "progress", "progress"), percents);
    assert_eq!(log.commits(), [1, 8, 8, 6, 1], "the group is tried again");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_one_too_many_is_left_out_and_its_group_goes_on() {
    let system = System::new().await;
    let log = Distant::new(&system);
    let capped = Settings {
        cap: EventCap::new(3),
        ..settings("a")
    };
    let _worker = worker(&system, &log, capped);
    let id = system.submitted().await;
    let ended = system.ended(&id).await;
    assert!(
        count(&ended, "template_completed") < 7,
        "{:?}",
        story(&ended)
    );
    assert_eq!(ended.job.status, JobStatus::Completed);
    let kept = system.memory.catalogue().templates_of(&id).await.unwrap();
    let kept: Vec<_> = kept.into_iter().map(|template| template.id).collect();
    assert_eq!(kept.len(), 7, "a template is kept whatever is told of it");
    assert_eq!(ended.job.template_ids, kept);
}

/// Each step of a group that the store doesn't take is tried alone.
#[tokio::test(start_paused = true)]
async fn a_template_that_can_not_be_stored_keeps_no_other_from_the_log() {
    for (refusals, failed) in [(1, 0), (2, 1)] {
        let system = System::new().await;
        let log = Distant::new(&system);
        let _worker = worker(&system, &log, settings("a"));
        let id = system.submitted().await;
        system.until(&id, |job| job.started_at.is_some()).await;
        let faults = system.memory.faults();
        faults.fail_next("job_log.append", refusals, ErrorKind::Refused, When::Before);
        let ended = system.ended(&id).await;
        assert_eq!(ended.job.template_count, 7 - failed);
        assert_eq!(count(&ended, "template_completed") as u64, 7 - failed);
        assert_eq!(count(&ended, "template_failed") as u64, failed);
        let last = field(&ended, "progress", "completed_templates").pop();
        assert_eq!(last, Some((7 - failed).into()));
    }
}

/// After an attempt that ended in silence it must be known which template the next one was at.
#[tokio::test(start_paused = true)]
async fn a_later_attempt_commits_each_step_before_the_next_template() {
    let system = System::new().await;
    let log = Distant::new(&system);
    let silent = worker_with(&system, &log, settings("a"), Generator::reliable());
    let id = system.submitted().await;
    system.until(&id, |job| job.template_count == 1).await;
    silent.kill();
    let before = log.commits().len();
    let _worker = worker(&system, &log, settings("b"));
    let ended = system.ended(&id).await;
    assert_eq!(ended.job.attempt, 2);
    // Taken back, begun, six templates, the end.
    assert_eq!(log.commits()[before..], [1, 1, 2, 2, 2, 2, 2, 2, 1]);
}

/// A log that is out of reach costs the templates of one commit, not all.
#[tokio::test(start_paused = true)]
async fn no_more_is_made_ahead_of_the_log_than_one_commit_takes() {
    let system = System::new().await;
    let log = Distant::new(&system);
    let generator = Arc::new(Ready::default());
    let _worker = worker_with(&system, &log, settings("a"), generator.clone());
    *log.way.lock() = Duration::from_secs(5);
    system.submitted().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(*generator.0.lock(), [1, 2, 3, 4]);
}
