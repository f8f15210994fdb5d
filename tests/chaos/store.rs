//! What the store itself saw: a tap on the channel, which asks the store about each announced event at
//! once, and a look at everything when a run is over.
//!
//! The keys are those of `docs/operations.md`. This is the only place of the harness that knows them.

use std::collections::{BTreeMap, HashSet};
use std::io::Result;
use std::time::Duration;

use serde_json::{Value, json};

use super::channel::Channel;
use super::history::History;
use crate::Resp;
use crate::resp::Reply;

/// Of one moment: where a job's log stands, and what belongs to it.
const LOOK: &str = "local id = ARGV[1]
local state = redis.call('HMGET', 'triton:state:' .. id, 'epoch', 'sequence', 'ended')
local entry = 'triton:queue:entry:' .. id
return { state[1], state[2], state[3], redis.call('EXISTS', entry),
  redis.call('ZSCORE', 'triton:queue:leases', id) and 1 or 0,
  redis.call('EXISTS', 'triton:job:result:' .. id),
  redis.call('HGET', entry, 'attempts') }";

/// Listens to the channel of all events for as long as it is polled.
pub(super) async fn tap(port: u16, channel: Channel, history: History) {
    loop {
        let Err(error) = listen(port, channel, &history).await;
        history.note("tap", json!({ "lost": error.to_string() }));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

async fn listen(
    port: u16,
    channel: Channel,
    history: &History,
) -> Result<std::convert::Infallible> {
    let mut channel = channel.listen().await?;
    let mut store = Resp::open(port).await?;
    loop {
        let line = channel.next().await?;
        // What nobody could take for an event is the forger's, and written down by it.
        let Ok(line) = std::str::from_utf8(&line) else {
            continue;
        };
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let Some(job) = event["job_id"].as_str() else {
            continue;
        };
        if line.len() > 100_000 {
            continue;
        }
        let numbered = event["sequence"].is_u64();
        if let (Some(kind), true) = (event["event_type"].as_str(), numbered) {
            history.hear(job, kind);
        }
        // Its place alone: what was announced late says no more.
        if numbered && event.as_object().is_some_and(|fields| fields.len() == 4) {
            continue;
        }
        let look = store.say(&["EVAL", LOOK, "0", job]).await.ok();
        let look = look.map(|reply| {
            let part = |i: usize| reply.items().get(i).map_or(String::new(), Reply::text);
            let epoch = part(0);
            json!({
                "epoch": (!epoch.is_empty()).then_some(epoch),
                "sequence": part(1).parse::<u64>().unwrap_or(0),
                "ended": part(2) == "1",
                "entry": part(3) == "1",
                "leased": part(4) == "1",
                "result": part(5) == "1",
                "attempts": part(6).parse::<u64>().unwrap_or(0),
            })
        });
        history.note(
            "announced",
            json!({ "job": job, "line": line, "look": look }),
        );
    }
}

/// The genuine lines on the channel so far.
pub(super) fn announced_lines(history: &History) -> Vec<String> {
    let records = history.records();
    let forged: std::collections::HashSet<&str> = records
        .iter()
        .filter(|r| r["what"] == "forged")
        .filter_map(|r| r["line"].as_str())
        .collect();
    records
        .iter()
        .filter(|r| r["what"] == "announced")
        .filter_map(|r| r["line"].as_str())
        .filter(|line| !forged.contains(line))
        .map(str::to_owned)
        .collect()
}

/// All keys that match.
pub(super) async fn keys(store: &mut Resp, pattern: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut cursor = "0".to_owned();
    loop {
        let page = store
            .say(&["SCAN", &cursor, "MATCH", pattern, "COUNT", "1000"])
            .await?;
        let [next, keys] = page.items() else {
            return Ok(found);
        };
        found.extend(keys.items().iter().map(Reply::text));
        cursor = next.text();
        if cursor == "0" {
            return Ok(found);
        }
    }
}

/// Beyond this nothing that serves the moment is kept: 48 hours, and one more because lifetimes are renewed
/// that seldom.
const UNFINISHED: Duration = Duration::from_hours(49);
const IDEMPOTENCY: Duration = Duration::from_hours(24);
const TICKET: Duration = Duration::from_hours(24);

/// The settings that say how long something is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetimes {
    /// `RESULT_TTL_SECONDS`
    pub(super) result: Duration,
    /// `HISTORY_TTL_SECONDS`
    pub(super) history: Duration,
}

/// How long a key may be kept.
enum Limit {
    Within(Duration),
    /// `RETENTION_DAYS` is 0 in every run.
    ForEver,
    Unknown,
}

impl Lifetimes {
    /// The table of keys, read once more. `ended`: the jobs whose logs have an end.
    fn limit(self, key: &str, ended: &HashSet<String>) -> Limit {
        let name = key.strip_prefix("triton:").unwrap_or("");
        let of_a_log = ["log:", "state:", "seen:"];
        let of_a_log = of_a_log.iter().find_map(|kind| name.strip_prefix(kind));
        let begins = |kinds: &[&str]| kinds.iter().any(|kind| name.starts_with(kind));
        match of_a_log {
            // The stamps of all logs: a field per bucket.
            Some(":latest") => Limit::ForEver,
            Some(job) if ended.contains(job) => Limit::Within(self.history.max(self.result)),
            Some(_) => Limit::Within(UNFINISHED),
            None if begins(&["job:result:"]) => Limit::Within(self.result),
            None if begins(&["queue:", "foreign:"]) => Limit::Within(UNFINISHED),
            None if begins(&["idempotency:"]) => Limit::Within(IDEMPOTENCY),
            None if begins(&["ticket:", "tickets:"]) => Limit::Within(TICKET),
            None if begins(&["catalogue:"]) => Limit::ForEver,
            None => Limit::Unknown,
        }
    }
}

/// Writes down how long each key has to live that may not live for ever.
async fn lifetimes(
    store: &mut Resp,
    history: &History,
    settings: Lifetimes,
    ended: &HashSet<String>,
) -> Result<()> {
    for key in keys(store, "triton:*").await? {
        let limit = match settings.limit(&key, ended) {
            Limit::ForEver => continue,
            Limit::Within(limit) => Some(limit.as_millis() as u64),
            Limit::Unknown => None,
        };
        let left = match store.say(&["PTTL", &key]).await? {
            // It went while we looked.
            Reply::Number(-2) => continue,
            Reply::Number(left) => u64::try_from(left).ok(),
            _ => None,
        };
        let fields = json!({ "key": key, "left_ms": left, "limit_ms": limit });
        history.note("lifetime", fields);
    }
    Ok(())
}

/// Writes down what the store has of every job, and how long it will have it.
pub(super) async fn dump(port: u16, history: &History, settings: Lifetimes) -> Result<()> {
    let mut store = Resp::open(port).await?;
    let mut ended = HashSet::new();
    for key in keys(&mut store, "triton:state:*").await? {
        let job = key.trim_start_matches("triton:state:");
        let state = store
            .say(&["HMGET", &key, "epoch", "sequence", "ended", "own"])
            .await?;
        let log = store
            .say(&["XRANGE", &format!("triton:log:{job}"), "-", "+"])
            .await?;
        let result = store
            .say(&["GET", &format!("triton:job:result:{job}")])
            .await?;
        let entry = store
            .say(&["EXISTS", &format!("triton:queue:entry:{job}")])
            .await?;
        let lease = store.say(&["ZSCORE", "triton:queue:leases", job]).await?;
        let part = |i: usize| state.items().get(i).map_or(String::new(), Reply::text);
        let events: Vec<Value> = log.items().iter().filter_map(entry_of).collect();
        let result = matches!(result, Reply::Text(_)).then(|| result.text());
        if part(2) == "1" {
            ended.insert(job.to_owned());
        }
        history.note(
            "store",
            json!({
                "job": job,
                "epoch": part(0),
                "sequence": part(1).parse::<u64>().unwrap_or(0),
                "ended": part(2) == "1",
                "own": part(3) == "1",
                "log": events,
                "result": result,
                "entry": entry.text() == "1",
                "leased": lease != Reply::Nil,
            }),
        );
    }
    lifetimes(&mut store, history, settings, &ended).await
}

/// Whether the store has a job's end.
pub(super) async fn has_completed(port: u16, job: &str) -> bool {
    let Ok(mut store) = Resp::open(port).await else {
        return false;
    };
    let state = format!("triton:state:{job}");
    let fold = store.say(&["HGET", &state, "fold"]).await;
    let fold = fold
        .ok()
        .and_then(|fold| serde_json::from_str::<Value>(&fold.text()).ok());
    fold.is_some_and(|fold| fold["status"] == "completed")
}

/// `[sequence, line]`
fn entry_of(entry: &Reply) -> Option<Value> {
    let [id, fields] = entry.items() else {
        return None;
    };
    let id = id.text();
    let sequence: u64 = id.split('-').next()?.parse().ok()?;
    let pairs = fields.items().chunks_exact(2);
    let named: BTreeMap<String, String> = pairs.map(|p| (p[0].text(), p[1].text())).collect();
    Some(json!([sequence, named.get("line")?]))
}

/// Which process holds a job, by its number; none when none does.
pub(super) async fn holder(port: u16, job: &str) -> Option<u32> {
    let mut store = Resp::open(port).await.ok()?;
    let entry = format!("triton:queue:entry:{job}");
    let worker = store.say(&["HGET", &entry, "worker"]).await.ok()?.text();
    worker.rsplit('-').next()?.parse().ok()
}

/// The epoch and the latest sequence of a job's log, if there is one.
pub(super) async fn head(port: u16, job: &str) -> Option<(String, u64)> {
    let mut store = Resp::open(port).await.ok()?;
    let state = format!("triton:state:{job}");
    let head = store
        .say(&["HMGET", &state, "epoch", "sequence"])
        .await
        .ok()?;
    let [epoch, sequence] = head.items() else {
        return None;
    };
    Some((epoch.text(), sequence.text().parse().ok()?))
}

/// How many events a job's log has had.
pub(super) async fn sequence(port: u16, job: &str) -> u64 {
    let Ok(mut store) = Resp::open(port).await else {
        return 0;
    };
    let state = format!("triton:state:{job}");
    let sequence = store.say(&["HGET", &state, "sequence"]).await;
    sequence
        .ok()
        .and_then(|s| s.text().parse().ok())
        .unwrap_or(0)
}
