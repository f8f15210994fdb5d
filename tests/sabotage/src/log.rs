//! Bugs of the logs. Never in here: a bug of another port.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::{EventId, Job, JobId, JobRecord, Position, TemplateId, Timestamp};
use conch_harness::Resp;
use conch_ports::{
    Appended, Bucket, BusId, Catalogue, Commit, Fence, Guarantees, JobLog, Lease, Log, QueueEffect,
    Result, Stamp,
};

use super::{Broken, panics};

#[async_trait]
impl JobLog for Broken {
    fn guarantees(&self) -> Guarantees {
        self.log.guarantees()
    }

    fn announces(&self) -> Option<BusId> {
        self.log.announces()
    }

    async fn append(&self, commit: Commit) -> Result<Appended> {
        let job_id = commit.job.id.clone();
        match self.bug.as_str() {
            "announce-before-append" if commit.announce => {
                for channel in ["all", job_id.as_str()] {
                    let channel = format!("triton:jobs:{channel}");
                    redis(&[b"PUBLISH", channel.as_bytes(), line_of(&commit)]).await;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                let silent = Commit {
                    announce: false,
                    ..commit
                };
                self.log.append(silent).await
            }
            "no-fence" if matches!(commit.fence, Fence::Held(_)) => {
                let (log, catalogue) = (Arc::clone(&self.log), Arc::clone(&self.catalogue));
                // Goes on although its caller has given up: the write was already on its way.
                tokio::spawn(append_wherever(log, catalogue, commit))
                    .await
                    .expect("it doesn't panic")
            }
            "acknowledge-apart" if commit.effect == QueueEffect::Remove => {
                let kept = Commit {
                    effect: QueueEffect::Keep,
                    ..commit
                };
                let appended = self.log.append(kept).await;
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    let entry = format!("triton:queue:entry:{job_id}");
                    redis(&[b"DEL", entry.as_bytes()]).await;
                    redis(&[b"ZREM", b"triton:queue:leases", job_id.as_str().as_bytes()]).await;
                });
                appended
            }
            "foreign-twice" if commit.fence == Fence::Foreign => {
                let event_id = EventId::parse(&format!("twice-{:x}", rand_like())).expect("an id");
                let mut commit = commit;
                for event in &mut commit.events {
                    event.event_id = event_id.clone();
                }
                self.log.append(commit).await
            }
            "result-lost" if commit.job.status.is_terminal() => {
                let appended = self.log.append(commit).await;
                redis(&[b"DEL", format!("triton:job:result:{job_id}").as_bytes()]).await;
                appended
            }
            "epoch-kept" => {
                let first = *self
                    .epochs
                    .lock()
                    .entry(job_id)
                    .or_insert(commit.job.position);
                let place = Position {
                    epoch: first.epoch,
                    ..commit.job.position
                };
                self.log.append(moved(commit, place)).await
            }
            "result-for-ever" if commit.job.status.is_terminal() && self.once_in(3) => {
                let appended = self.log.append(commit).await;
                redis(&[b"PERSIST", format!("triton:job:result:{job_id}").as_bytes()]).await;
                appended
            }
            "cancel-tried-once" if is(&commit, "job:cancel_requested") => {
                let log = Arc::clone(&self.log);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    drop(log.append(commit).await);
                });
                Ok(Appended::Appended)
            }
            "retry-tells-its-own" => {
                let commit = self.of_this_attempt(commit);
                self.log.append(commit).await
            }
            _ => self.log.append(commit).await,
        }
    }

    async fn read(&self, job_id: &JobId, after: u64, limit: usize) -> Result<Option<Log>> {
        match self.bug.as_str() {
            "no-buffering" if after == 0 && limit > 0 => {
                let log = self.log.read(job_id, after, limit).await;
                let mut reads = self.reads.lock();
                reads.insert(job_id.clone(), Instant::now());
                log
            }
            "wrong-log" if limit > 0 => {
                let another = {
                    let mut reads = self.reads.lock();
                    reads.insert(job_id.clone(), Instant::now());
                    reads.keys().find(|id| *id != job_id).cloned()
                };
                match another.filter(|_| self.once_in(50)) {
                    Some(another) => self.log.read(&another, after, limit).await,
                    None => self.log.read(job_id, after, limit).await,
                }
            }
            "panics" => {
                if job_id.as_str() == "panic-ingest" {
                    panics::panic_if_asked("ingest");
                }
                self.log.read(job_id, after, limit).await
            }
            _ => self.log.read(job_id, after, limit).await,
        }
    }

    async fn latest(&self, buckets: &[Bucket]) -> Result<Vec<Option<Stamp>>> {
        self.log.latest(buckets).await
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

impl Broken {
    /// The commit, and if it ends the job, without the templates that earlier attempts made.
    fn of_this_attempt(&self, commit: Commit) -> Commit {
        let job = &commit.job;
        let mut made = self.made.lock();
        let own = made.entry((job.id.clone(), job.attempt)).or_default();
        if is(&commit, "job:template_completed") {
            own.extend(job.template_ids.last().cloned());
            own.dedup();
        }
        let all = job.template_ids.len();
        if !job.status.is_terminal() || own.is_empty() || own.len() >= all {
            return commit;
        }
        let list = |ids: &[TemplateId]| {
            let quoted: Vec<_> = ids.iter().map(|id| format!("\"{id}\"")).collect();
            format!("[{}]", quoted.join(","))
        };
        let count = |count: usize| format!("\"template_count\":{count},");
        let line = String::from_utf8_lossy(line_of(&commit))
            .replace(&list(&job.template_ids), &list(own))
            .replace(&count(all), &count(own.len()));
        let record = JobRecord {
            template_ids: own.clone(),
            template_count: own.len() as u64,
            ..(**job).clone()
        };
        rewritten(commit, record, line)
    }
}

/// Appends at whatever the log's end is, with no fence, and doesn't take no for an answer. The templates go their own
/// way: no store takes them without a lease.
async fn append_wherever(
    log: Arc<dyn JobLog>,
    catalogue: Arc<dyn Catalogue>,
    commit: Commit,
) -> Result<Appended> {
    if let Fence::Held(token) = &commit.fence {
        let lease = Lease {
            job_id: commit.job.id.clone(),
            attempt: 1,
            token: token.clone(),
        };
        for template in &commit.templates {
            drop(catalogue.put_template(template, &lease).await);
        }
    }
    let mut commit = Commit {
        fence: Fence::Open,
        templates: Vec::new(),
        ..commit
    };
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match log.append(commit.clone()).await {
            Ok(Appended::Conflict(Some(end))) => commit = moved(commit, end.next()),
            Err(_) if Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            other => return other,
        }
    }
}

/// The same commit at another place.
fn moved(commit: Commit, place: Position) -> Commit {
    let before = commit.job.position;
    let line = String::from_utf8_lossy(line_of(&commit))
        .replace(
            &format!("\"epoch\":\"{}\"", before.epoch),
            &format!("\"epoch\":\"{}\"", place.epoch),
        )
        .replace(
            &format!("\"sequence\":{},", before.sequence),
            &format!("\"sequence\":{},", place.sequence),
        );
    let record = JobRecord {
        position: place,
        ..(*commit.job).clone()
    };
    rewritten(commit, record, line)
}

/// The same commit of another event, after which the job stands as the record says.
fn rewritten(mut commit: Commit, record: JobRecord, line: String) -> Commit {
    let line = Bytes::from(line);
    for event in &mut commit.events {
        event.line = line.clone();
    }
    commit.job = Job::restore(record);
    commit
}

fn line_of(commit: &Commit) -> &[u8] {
    commit.events.first().map_or(&[], |event| &event.line[..])
}

fn is(commit: &Commit, event_type: &str) -> bool {
    let text = std::str::from_utf8(line_of(commit)).unwrap_or_default();
    text.contains(&format!("\"event_type\":\"{event_type}\""))
}

pub(super) fn job_of(line: &[u8]) -> Option<JobId> {
    let text = std::str::from_utf8(line).ok()?;
    let (_, rest) = text.split_once("\"job_id\":\"")?;
    JobId::parse(rest.split_once('"')?.0).ok()
}

/// Differs from one instance to the next.
fn rand_like() -> u128 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_nanos()) ^ (u128::from(std::process::id()) << 64)
}

/// One command past every adapter: this is what no port offers. What Redis says to it is of no interest.
async fn redis(words: &[&[u8]]) {
    let url = std::env::var("REDIS_URL").unwrap_or_default();
    let port = url.rsplit(':').next().unwrap_or_default();
    let port = port.split('/').next().unwrap_or_default().parse();
    if let Ok(port) = port {
        let asked = async { Resp::open(port).await?.ask(words).await };
        drop(tokio::time::timeout(Duration::from_millis(200), asked).await);
    }
}
