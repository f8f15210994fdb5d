//! A publisher that knows only the three old events, and one that forges.
//!
//! Both publish straight on the channel. Each genuine line carries a mark, so that it is known again
//! wherever it turns up; whatever the forger makes up is written down as forged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::Dice;
use super::channel::Channel;
use super::history::History;
use super::store;

/// Publishes as soon as that is taken; false when it isn't for long.
async fn publish(channel: Channel, job: &str, line: &[u8]) -> bool {
    for _ in 0..50 {
        if channel.publish(job, line).await.is_ok() {
            return true;
        }
        sleep(Duration::from_millis(100)).await;
    }
    false
}

/// A job of an external publisher.
#[derive(Debug, Clone)]
pub(super) struct ExternalJob {
    pub(super) id: String,
    channel: Channel,
    history: History,
    /// Which run of the job this is: one that failed is tried again by its publisher, an hour later by
    /// its own clock.
    run: Arc<AtomicU64>,
}

impl ExternalJob {
    pub(super) fn new(id: &str, channel: Channel, history: &History) -> Self {
        Self {
            id: id.to_owned(),
            channel,
            history: history.clone(),
            run: Arc::new(AtomicU64::new(1)),
        }
    }

    fn moment(&self, rest: &str) -> String {
        let hour = 7 + self.run.load(Ordering::Relaxed);
        format!("2025-12-01T{hour:02}:{rest}")
    }

    fn line(&self, kind: &str, more: &Value) -> (String, String) {
        let mark = match self.run.load(Ordering::Relaxed) {
            1 => format!("{}/{kind}", self.id),
            run => format!("{}/{kind}@{run}", self.id),
        };
        let mut event = json!({
            "event_type": kind,
            "timestamp": self.moment("55:49.123456"),
            "job_id": self.id,
            "client_id": "external-client",
            "mark": mark,
        });
        let fields = event.as_object_mut().expect("it is one");
        fields.extend(more.as_object().cloned().unwrap_or_default());
        (mark, event.to_string())
    }

    async fn publish(&self, kind: &str, more: &Value) -> bool {
        let (mark, line) = self.line(kind, more);
        let published = publish(self.channel, &self.id, line.as_bytes()).await;
        if published {
            let fields = json!({ "job": self.id, "mark": mark });
            self.history.note("published", fields);
        }
        published
    }

    /// `job:started`; the same bytes each time.
    pub(super) async fn start(&self) -> bool {
        let started_at = self.moment("55:49.123456");
        let fields = json!({ "status": "running", "started_at": started_at });
        self.publish("job:started", &fields).await
    }

    /// `data:generated`, which the Python service really sends, without a status; each time another.
    pub(super) async fn data(&self, rows: u64) -> bool {
        let (mark, line) = self.line("data:generated", &json!({ "rows": rows }));
        let (mark, line) = (
            format!("{mark}/{rows}"),
            line.replace(&mark, &format!("{mark}/{rows}")),
        );
        let published = publish(self.channel, &self.id, line.as_bytes()).await;
        if published {
            self.history
                .note("published", json!({ "job": self.id, "mark": mark }));
        }
        published
    }

    /// `data:generated` with that many bytes; each time another.
    pub(super) async fn big(&self, rows: u64, bytes: usize) {
        let filler = "x".repeat(bytes);
        let (mark, line) = self.line("data:generated", &json!({ "rows": rows, "filler": filler }));
        let line = line.replace(&mark, &format!("{mark}/{rows}"));
        let published = publish(self.channel, &self.id, line.as_bytes()).await;
        assert!(published, "Redis takes it");
    }

    /// `job:completed`; the same bytes each time.
    pub(super) async fn complete(&self) -> bool {
        let fields = json!({
            "status": "completed", "template_ids": ["t-1", "t-2"], "template_count": 2,
            "generation_duration_ms": 4321, "completed_at": self.moment("56:49.000001"),
        });
        self.publish("job:completed", &fields).await
    }

    /// `job:failed`, after which the job is run again: what is published from now on is of another run.
    pub(super) async fn fail(&self) -> bool {
        let fields = json!({
            "status": "failed", "error_message": "the model is tired",
            "completed_at": self.moment("56:49.000001"),
        });
        let published = self.publish("job:failed", &fields).await;
        self.run.fetch_add(1, Ordering::Relaxed);
        published
    }
}

/// Publishes forgeries about these jobs of our own.
pub(super) async fn forge(channel: Channel, history: &History, dice: &mut Dice, jobs: &[String]) {
    let Some(job) = (!jobs.is_empty()).then(|| jobs[dice.place(jobs.len())].as_str()) else {
        return;
    };
    if dice.place(3) == 0 {
        return forge_seal(channel, dice, job).await;
    }
    let sequence = dice.number(1..=30);
    let line: Vec<u8> = match dice.place(10) {
        0 => b"this is not JSON".to_vec(),
        1 => Vec::new(),
        2 => b"{\"event_type\":\"\xff\xfe\"}".to_vec(),
        3 => forged(job, "job:completed", &json!({})),
        4 => forged(
            job,
            "job:failed",
            &json!({ "error_message": "a\r\nid: x-1\r\ndata: y" }),
        ),
        5 => forged(
            job,
            "job:completed",
            &json!({ "sequence": sequence, "epoch": "00000000" }),
        ),
        6 => forged(
            job,
            "job:cancelled",
            &json!({ "sequence": 18_446_744_073_709_551_615_u64 }),
        ),
        7 => forged(job, "data:generated", &json!({ "rows": 42 })),
        8 => forged("../../etc", "job:completed", &json!({})),
        _ => forged("all", "job:started", &json!({ "job": [[[[]]]] })),
    };
    forge_line(channel, history, job, &line).await;
}

/// Seals the next event of a job, which was made up, with anything but the secret of its log.
async fn forge_seal(channel: Channel, dice: &mut Dice, job: &str) {
    let Some(port) = channel.redis() else {
        return;
    };
    let Some((epoch, sequence)) = store::head(port, job).await else {
        return;
    };
    // What joins on, and now and then what doesn't.
    let sequence = sequence + if dice.place(4) == 0 { 2 } else { 1 };
    let (kind, progress) = [("job:progress", 99), ("job:completed", 100)][dice.place(2)];
    let place = json!({ "sequence": sequence, "epoch": epoch, "progress": progress });
    let line = String::from_utf8(forged(job, kind, &place)).expect("it is JSON");
    let digit = dice.number(0..=9);
    let mac = digit.to_string().repeat(32);
    let seal = format!(
        r#"{{"event_type":"{kind}","job_id":"{job}","sequence":{sequence},"epoch":"{epoch}","v":1,"mac":"{mac}","events":[{line}]}}"#
    );
    channel.seal(seal.as_bytes()).await;
}

/// Publishes one made-up line, and tries to do so as one of our own programs.
pub(super) async fn forge_line(channel: Channel, history: &History, job: &str, line: &[u8]) {
    if let Ok(text) = std::str::from_utf8(line)
        && line.len() < 100_000
    {
        history.note("forged", json!({ "line": text }));
    }
    assert!(!channel.impersonate(job, line).await, "it has no right to");
    // Whether it arrives is the forger's own trouble.
    drop(channel.publish(job, line).await);
}

pub(super) fn forged(job: &str, kind: &str, more: &Value) -> Vec<u8> {
    let mut event = json!({
        "event_type": kind, "timestamp": "2025-12-01T08:57:00Z", "job_id": job, "forged": true,
        "status": "completed", "template_ids": ["forged"], "template_count": 1,
    });
    let fields = event.as_object_mut().expect("it is one");
    fields.extend(more.as_object().cloned().unwrap_or_default());
    event.to_string().into_bytes()
}
