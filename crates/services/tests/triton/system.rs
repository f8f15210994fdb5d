//! A store, a client with a value proposition, and workers with a generator that does as it is told.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use conch_conformance::build;
use conch_domain::{
    Client, Epoch, Job, JobId, LeaseToken, TemplateDraft, Timestamp, ValueProposition, WrittenDraft,
};
use conch_doubles::FaultyMemory;
use conch_ports::{
    Brief, Claimed, Error, ErrorKind, Idempotency, JobLog, JobQueue, Lease, Log, NewJob,
    QueuePlace, Requested, Result, Signals, Submission, Submitted, Sweep, Swept, TemplateGenerator,
};
use conch_services::Clock;
use conch_services::triton::cancel::Cancel;
use conch_services::triton::submit::Submit;
use conch_services::worker::{Dependencies, Settings};
use conch_wire::draft;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::Barrier;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::distant::Distant;

/// Time that the generator takes per template.
pub(crate) const PACE: Duration = Duration::from_secs(1);

/// What the generator was asked for and how it ended, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Asked { index: u32, attempt: u32 },
    Made { index: u32 },
    Failed { index: u32 },
    Dropped { index: u32 },
}

/// A template, or in words why there is none.
type Makes = Box<dyn Fn(&Brief) -> std::result::Result<TemplateDraft, String> + Send + Sync>;

/// The source of every error of a [`Generator`].
pub(crate) const FOR_THE_OPERATOR: &str = "s3cret of /srv/generator";

pub(crate) struct Generator {
    makes: Makes,
    /// Of what makes nothing.
    kind: ErrorKind,
    calls: Mutex<Vec<Call>>,
}

impl Generator {
    pub(crate) fn new(fails: impl Fn(&Brief) -> bool + Send + Sync + 'static) -> Arc<Self> {
        Self::making(move |brief| {
            if fails(brief) {
                return Err(format!("no idea for template {}", brief.index));
            }
            Ok(build::draft(brief.item.category, brief.item.audience))
        })
    }

    pub(crate) fn making(
        makes: impl Fn(&Brief) -> std::result::Result<TemplateDraft, String> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            makes: Box::new(makes),
            kind: ErrorKind::BadResponse,
            calls: Mutex::default(),
        })
    }

    pub(crate) fn reliable() -> Arc<Self> {
        Self::new(|_| false)
    }

    /// Makes nothing, and never will.
    pub(crate) fn refusing() -> Arc<Self> {
        Arc::new(Self {
            makes: Box::new(|_| Err("not for you".to_owned())),
            kind: ErrorKind::Refused,
            calls: Mutex::default(),
        })
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().clone()
    }
}

/// Writes down that a call was dropped, unless it ended otherwise.
struct Watch<'a>(&'a Generator, Call);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.calls.lock().push(self.1);
    }
}

#[async_trait]
impl TemplateGenerator for Generator {
    async fn generate(&self, brief: &Brief) -> Result<WrittenDraft> {
        let (index, attempt) = (brief.index, brief.attempt);
        self.calls.lock().push(Call::Asked { index, attempt });
        let mut watch = Watch(self, Call::Dropped { index });
        tokio::time::sleep(PACE).await;
        let made = (self.makes)(brief);
        watch.1 = match made {
            Ok(_) => Call::Made { index },
            Err(_) => Call::Failed { index },
        };
        made.map(draft::written).map_err(|message| {
            Error::new(self.kind, "template_generator.generate", message)
                .with_source(FOR_THE_OPERATOR)
        })
    }
}

struct ClaimsNothing {
    queue: Arc<dyn JobQueue>,
    /// Those who look for silent workers' jobs begin at the same moment, each that much later.
    together: Option<(Arc<Barrier>, Duration)>,
}

#[async_trait]
impl JobQueue for ClaimsNothing {
    async fn submit(&self, submission: Submission) -> Result<Submitted> {
        self.queue.submit(submission).await
    }
    async fn recall(&self, idempotency: &Idempotency) -> Result<Option<Submitted>> {
        self.queue.recall(idempotency).await
    }
    async fn claim(&self, _: &str, _: &LeaseToken, _: Duration) -> Result<Option<Claimed>> {
        Ok(None)
    }
    async fn sweep(&self, sweep: &Sweep) -> Result<Swept> {
        self.queue.sweep(sweep).await
    }
    async fn renew(&self, lease: &Lease, duration: Duration) -> Result<bool> {
        self.queue.renew(lease, duration).await
    }
    async fn expired(&self, limit: usize) -> Result<Vec<Lease>> {
        if let Some((begin, late)) = &self.together {
            begin.wait().await;
            tokio::time::sleep(*late).await;
        }
        self.queue.expired(limit).await
    }
    async fn places(&self, job_ids: &[JobId]) -> Result<Vec<Option<QueuePlace>>> {
        self.queue.places(job_ids).await
    }
    async fn next_due(&self) -> Result<Option<Duration>> {
        Ok(None)
    }
    async fn restore(&self, lease: &Lease, job: &Job, duration: Duration) -> Result<bool> {
        self.queue.restore(lease, job, duration).await
    }
}

pub(crate) struct System {
    pub(crate) memory: FaultyMemory,
    pub(crate) clock: Clock,
    pub(crate) client: Client,
    pub(crate) value_proposition: ValueProposition,
}

/// A worker at work; aborted when dropped, as if its process had been killed.
pub(crate) struct Working {
    task: JoinHandle<()>,
    shutdown: CancellationToken,
}

impl Working {
    /// Tells it to stop and waits until it has.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        (&mut self.task).await.expect("a worker doesn't panic");
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(mut self) -> std::result::Result<(), JoinError> {
        let ended = tokio::time::timeout(Duration::from_mins(1), &mut self.task).await;
        ended.expect("it ends")
    }

    /// Kills it, as if its process had ended.
    pub(crate) fn kill(self) {
        drop(self);
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn settings(name: &str) -> Settings {
    Settings {
        name: name.to_owned(),
        lease: Duration::from_secs(6),
        // Whoever waits for a look into the queue by chance is seen.
        poll: Duration::from_hours(1),
        // Whoever tests the tries asks for more.
        template_tries: 1,
        ..Settings::default()
    }
}

impl System {
    pub(crate) async fn new() -> Self {
        let memory = FaultyMemory::new(conch_memory::Settings::default());
        let began = Instant::now();
        let clock: Clock = Arc::new(move || {
            let millis = began.elapsed().as_millis();
            build::BEGINNING.plus_millis(i64::try_from(millis).expect("a test is short"))
        });
        let client = build::client("health plans", 0);
        let value_proposition = build::value_proposition(&client.id, 0);
        let catalogue = memory.catalogue();
        catalogue.create_client(&client).await.unwrap();
        assert!(
            catalogue
                .add_value_proposition(&value_proposition)
                .await
                .unwrap()
        );
        Self {
            memory,
            clock,
            client,
            value_proposition,
        }
    }

    pub(crate) fn submit(&self) -> Submit {
        Submit::new(
            self.memory.queue(),
            self.memory.catalogue(),
            Arc::clone(&self.clock),
        )
    }

    pub(crate) fn cancel(&self) -> Cancel {
        Cancel::new(
            self.memory.log(),
            self.memory.catalogue(),
            Arc::clone(&self.clock),
        )
    }

    pub(crate) fn new_job(&self) -> NewJob {
        NewJob {
            client_id: self.client.id.clone(),
            value_proposition_id: None,
            schedule: conch_domain::Schedule::default(),
            idempotency_key: None,
        }
    }

    pub(crate) async fn submitted(&self) -> JobId {
        match self
            .submit()
            .submit(self.new_job(), "somebody")
            .await
            .unwrap()
        {
            Requested::Accepted(job) | Requested::Repeated(job) => job.id.clone(),
            refused => panic!("{refused:?}"),
        }
    }

    pub(crate) fn worker(&self, settings: Settings, generator: &Arc<Generator>) -> Working {
        self.worker_on(settings, generator, self.memory.queue())
    }

    /// A worker that hears what it is told to.
    pub(crate) fn worker_that_hears(
        &self,
        settings: Settings,
        generator: &Arc<Generator>,
        signals: Signals,
    ) -> Working {
        self.start(settings, generator, self.memory.queue(), signals)
    }

    /// A worker with any generator.
    pub(crate) fn worker_asking(
        &self,
        settings: Settings,
        generator: Arc<dyn TemplateGenerator>,
    ) -> Working {
        let signals = self.memory.bus().subscribe();
        self.start_with(settings, generator, self.memory.queue(), signals)
    }

    /// A worker that sees the queue through somebody else's eyes.
    pub(crate) fn worker_on(
        &self,
        settings: Settings,
        generator: &Arc<Generator>,
        queue: Arc<dyn JobQueue>,
    ) -> Working {
        self.start(settings, generator, queue, self.memory.bus().subscribe())
    }

    /// The queue as a worker sees it for which nothing is ever due.
    pub(crate) fn claims_nothing(&self) -> Arc<dyn JobQueue> {
        Arc::new(ClaimsNothing {
            queue: self.memory.queue(),
            together: None,
        })
    }

    /// Two workers that claim nothing, and take silent workers' jobs back at once: the second one, whose
    /// store is nearer, looks at a job before the first one's first event, and appends between that and
    /// the next.
    pub(crate) fn two_reapers(&self) -> [Working; 2] {
        let begin = Arc::new(Barrier::new(2));
        [("a", 3, 0), ("b", 1, 7)].map(|(name, way, late)| {
            let queue = Arc::new(ClaimsNothing {
                queue: self.memory.queue(),
                together: Some((Arc::clone(&begin), Duration::from_millis(late))),
            });
            let log = Arc::new(Distant(self.memory.log(), Duration::from_millis(way)));
            let signals = self.memory.bus().subscribe();
            self.start_over(log, settings(name), Generator::reliable(), queue, signals)
        })
    }

    fn start(
        &self,
        settings: Settings,
        generator: &Arc<Generator>,
        queue: Arc<dyn JobQueue>,
        signals: Signals,
    ) -> Working {
        let generator: Arc<Generator> = Arc::clone(generator);
        self.start_with(settings, generator, queue, signals)
    }

    fn start_with(
        &self,
        settings: Settings,
        generator: Arc<dyn TemplateGenerator>,
        queue: Arc<dyn JobQueue>,
        signals: Signals,
    ) -> Working {
        self.start_over(self.memory.log(), settings, generator, queue, signals)
    }

    /// A worker on a log of its own.
    pub(crate) fn start_over(
        &self,
        log: Arc<dyn JobLog>,
        settings: Settings,
        generator: Arc<dyn TemplateGenerator>,
        queue: Arc<dyn JobQueue>,
        signals: Signals,
    ) -> Working {
        let worker = settings.build(Dependencies {
            log,
            queue,
            catalogue: self.memory.catalogue(),
            generator,
            clock: Arc::clone(&self.clock),
        });
        let shutdown = CancellationToken::new();
        Working {
            task: tokio::spawn(worker.run(signals, shutdown.clone())),
            shutdown,
        }
    }

    pub(crate) async fn job(&self, id: &JobId) -> Job {
        let log = self.memory.log().read(id, 0, 0).await.unwrap();
        log.expect("the job has a log").job
    }

    /// The whole log, once the job is as it should be. Its sequences have no gaps, its times never go
    /// back, nothing follows its end and its record agrees with it.
    pub(crate) async fn until(&self, id: &JobId, wanted: impl Fn(&Job) -> bool) -> Log {
        let waiting = async {
            let mut signals = self.memory.bus().subscribe();
            while signals.next().await.is_some() {
                if let Some(log) = self.memory.log().read(id, 0, 1000).await.unwrap()
                    && wanted(&log.job)
                {
                    return log;
                }
            }
            panic!("the subscription ended");
        };
        let Ok(log) = tokio::time::timeout(Duration::from_mins(15), waiting).await else {
            let log = self.memory.log().read(id, 0, 1000).await;
            panic!("the job doesn't get there: {log:#?}");
        };
        check(&log);
        let record = self.memory.catalogue().job(id).await.unwrap();
        assert_eq!(
            record.as_ref(),
            Some(&log.job),
            "the record follows the log"
        );
        log
    }

    pub(crate) async fn ended(&self, id: &JobId) -> Log {
        self.until(id, |job| job.status.is_terminal()).await
    }
}

fn check(log: &Log) {
    let mut latest = Timestamp::from_micros(0);
    let mut ids = HashSet::new();
    for (entry, sequence) in log.entries.iter().zip(1..) {
        let incoming = conch_wire::event::decode(&entry.line, latest).unwrap();
        assert_eq!(entry.sequence, sequence);
        assert_eq!(incoming.sequence, Some(sequence));
        assert_eq!(incoming.epoch, Some(log.job.position.epoch));
        assert!(incoming.event.timestamp >= latest, "times never go back");
        latest = incoming.event.timestamp;
        assert!(ids.insert(incoming.event.event_id), "each event once");
        let last = entry.sequence == log.job.position.sequence;
        assert!(
            last || !incoming.event.kind.is_terminal(),
            "nothing follows the end"
        );
    }
    assert_eq!(log.entries.len() as u64, log.job.position.sequence);
}

/// The log in short: each event's type without `job:`, with its attempt if it has one.
pub(crate) fn story(log: &Log) -> Vec<String> {
    log.entries
        .iter()
        .map(|entry| {
            let event = conch_wire::event::decode(&entry.line, Timestamp::from_micros(0)).unwrap();
            let kind = event
                .event
                .kind
                .event_type()
                .trim_start_matches("job:")
                .to_owned();
            match event.event.attempt {
                Some(attempt) => format!("{kind} {attempt}"),
                None => kind,
            }
        })
        .collect()
}

/// How often an event stands in the log, whatever its attempt.
pub(crate) fn count(log: &Log, kind: &str) -> usize {
    let is = |event: &&String| event.split(' ').next() == Some(kind);
    story(log).iter().filter(is).count()
}

/// One field of each event of a type.
pub(crate) fn field(log: &Log, kind: &str, name: &str) -> Vec<serde_json::Value> {
    log.entries
        .iter()
        .map(|entry| serde_json::from_slice::<serde_json::Value>(&entry.line).unwrap())
        .filter(|event| event["event_type"] == format!("job:{kind}"))
        .map(|event| event[name].clone())
        .collect()
}

pub(crate) fn epoch(log: &Log) -> Epoch {
    log.job.position.epoch
}
