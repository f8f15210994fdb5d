//! Bugs of the logs and announcements. Never in here: a bug of another port.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::{EventId, Job, JobId, JobRecord, Position, TemplateId, Timestamp};
use conch_ports::{
    Commit, EventBus, Fence, Guarantees, Log, Published, QueueEffect, Result, Signal, Signals,
};
use futures::StreamExt as _;

use super::{Broken, panics};

#[async_trait]
impl EventBus for Broken {
    fn guarantees(&self) -> Guarantees {
        self.bus.guarantees()
    }

    async fn publish(&self, commit: Commit) -> Result<Published> {
        let job_id = commit.job.id.clone();
        match self.bug.as_str() {
            "announce-before-append" if commit.announce => {
                for channel in ["all", job_id.as_str()] {
                    let channel = format!("triton:jobs:{channel}");
                    redis(&[b"PUBLISH", channel.as_bytes(), &commit.line]);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                let silent = Commit {
                    announce: false,
                    ..commit
                };
                self.bus.publish(silent).await
            }
            "no-fence" if matches!(commit.fence, Fence::Held(_)) => {
                let bus = Arc::clone(&self.bus);
                // Goes on although its caller has given up: the write was already on its way.
                tokio::spawn(append_wherever(bus, commit))
                    .await
                    .expect("it doesn't panic")
            }
            "acknowledge-apart" if commit.effect == QueueEffect::Remove => {
                let kept = Commit {
                    effect: QueueEffect::Keep,
                    ..commit
                };
                let published = self.bus.publish(kept).await;
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    let entry = format!("triton:queue:entry:{job_id}");
                    redis(&[b"DEL", entry.as_bytes()]);
                    redis(&[b"ZREM", b"triton:queue:leases", job_id.as_str().as_bytes()]);
                });
                published
            }
            "foreign-twice" if commit.fence == Fence::Foreign => {
                let event_id = EventId::parse(&format!("twice-{:x}", rand_like())).expect("an id");
                self.bus.publish(Commit { event_id, ..commit }).await
            }
            "result-lost" if commit.job.status.is_terminal() => {
                let published = self.bus.publish(commit).await;
                redis(&[b"DEL", format!("triton:job:result:{job_id}").as_bytes()]);
                published
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
                self.bus.publish(moved(commit, place)).await
            }
            "result-for-ever" if commit.job.status.is_terminal() && self.once_in(3) => {
                let published = self.bus.publish(commit).await;
                redis(&[b"PERSIST", format!("triton:job:result:{job_id}").as_bytes()]);
                published
            }
            "cancel-tried-once" if is(&commit, "job:cancel_requested") => {
                let bus = Arc::clone(&self.bus);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    drop(bus.publish(commit).await);
                });
                Ok(Published::Appended)
            }
            "retry-tells-its-own" => {
                let commit = self.of_this_attempt(commit);
                self.bus.publish(commit).await
            }
            _ => self.bus.publish(commit).await,
        }
    }

    async fn read(&self, job_id: &JobId, after: u64, limit: usize) -> Result<Option<Log>> {
        match self.bug.as_str() {
            "no-buffering" if after == 0 && limit > 0 => {
                let log = self.bus.read(job_id, after, limit).await;
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
                    Some(another) => self.bus.read(&another, after, limit).await,
                    None => self.bus.read(job_id, after, limit).await,
                }
            }
            "panics" => {
                if job_id.as_str() == "panic-ingest" {
                    panics::panic_if_asked("ingest");
                }
                self.bus.read(job_id, after, limit).await
            }
            _ => self.bus.read(job_id, after, limit).await,
        }
    }

    async fn positions(&self, job_ids: &[JobId]) -> Result<Vec<Option<Position>>> {
        self.bus.positions(job_ids).await
    }

    fn subscribe(&self) -> Signals {
        let signals = self.bus.subscribe();
        let mut seen = 0_u64;
        match self.bug.as_str() {
            "lag-swallowed" => signals
                .filter(move |signal| {
                    seen += u64::from(matches!(signal, Signal::Message(_)));
                    // An overflow takes many in a row.
                    let lost = matches!(signal, Signal::Message(_)) && seen % 64 > 48;
                    futures::future::ready(!lost)
                })
                .boxed(),
            "lapsed-dropped" => signals
                .filter(move |signal| {
                    seen += u64::from(*signal == Signal::Lapsed);
                    futures::future::ready(*signal != Signal::Lapsed || seen == 1)
                })
                .boxed(),
            "no-buffering" => {
                let reads = Arc::clone(&self.reads);
                signals
                    .filter(move |signal| {
                        let reads = reads.lock();
                        let deaf = |id: &JobId| {
                            let read = reads.get(id);
                            read.is_some_and(|at| at.elapsed() < Duration::from_secs(1))
                        };
                        let lost = match signal {
                            Signal::Message(line) => job_of(line).is_some_and(|id| deaf(&id)),
                            Signal::Lapsed => false,
                        };
                        futures::future::ready(!lost)
                    })
                    .boxed()
            }
            "panics" => signals.inspect(panics::hear).boxed(),
            _ => signals,
        }
    }

    async fn now(&self) -> Result<Timestamp> {
        self.bus.now().await
    }

    async fn ping(&self) -> Result<()> {
        self.bus.ping().await
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
        let line = String::from_utf8_lossy(&commit.line)
            .replace(&list(&job.template_ids), &list(own))
            .replace(&count(all), &count(own.len()));
        let record = JobRecord {
            template_ids: own.clone(),
            template_count: own.len() as u64,
            ..(**job).clone()
        };
        Commit {
            job: Job::restore(record),
            line: Bytes::from(line),
            ..commit
        }
    }
}

/// Appends at whatever the log's end is, with no fence, and doesn't take no for an answer.
async fn append_wherever(bus: Arc<dyn EventBus>, commit: Commit) -> Result<Published> {
    let mut commit = Commit {
        fence: Fence::Open,
        ..commit
    };
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match bus.publish(commit.clone()).await {
            Ok(Published::Conflict(Some(end))) => commit = moved(commit, end.next()),
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
    let line = String::from_utf8_lossy(&commit.line)
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
    Commit {
        job: Job::restore(record),
        line: Bytes::from(line),
        ..commit
    }
}

fn is(commit: &Commit, event_type: &str) -> bool {
    let text = std::str::from_utf8(&commit.line).unwrap_or_default();
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
fn redis(words: &[&[u8]]) {
    let url = std::env::var("REDIS_URL").unwrap_or_default();
    let address = url
        .trim_start_matches("redis://")
        .split('/')
        .next()
        .unwrap_or("")
        .to_owned();
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    if let Ok(mut connection) = TcpStream::connect(address) {
        let limit = Some(Duration::from_millis(200));
        if connection.set_read_timeout(limit).is_ok() && connection.write_all(&bytes).is_ok() {
            drop(connection.read(&mut [0; 64]));
        }
    }
}
