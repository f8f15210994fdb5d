//! The logs: a stream of events and a hash with the fold per job, appended by one script with all
//! that belongs to the append.
//!
//! Redis publishes inside the script, after the writes, so announcements have the order of appends.

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::{Job, JobId, Position, Timestamp};
use conch_ports::{
    Appended, Bucket, BusId, Commit, Entry, Error, ErrorKind, Guarantees, JobLog, Log,
    MAX_COMMIT_EVENTS, Quota, Result, Stamp,
};
use conch_wire::{event, record};
use redis::{Cmd, Pipeline, Script, Value};

use crate::connection::{Connections, failed};
use crate::keys::Keys;
use crate::run::Run;
use crate::settings::Settings;
use crate::staging::UNSTAGED;

/// Logs, queue and catalogue in one Redis.
pub(crate) struct Redis {
    pub(crate) connections: Connections,
    pub(crate) keys: Keys,
    pub(crate) settings: Settings,
    pub(crate) scripts: Scripts,
    /// The bus on whose channels the scripts announce.
    bus: BusId,
}

/// All scripts, with their digests worked out once.
pub(crate) struct Scripts {
    pub(crate) append_own: Script,
    pub(crate) append_external: Script,
    read: Script,
    pub(crate) submit: Script,
    pub(crate) claim: Script,
    pub(crate) renew: Script,
    pub(crate) expired: Script,
    pub(crate) sweep: Script,
    pub(crate) places: Script,
    pub(crate) next_due: Script,
    pub(crate) restore: Script,
    pub(crate) put: Script,
    pub(crate) put_template: Script,
    pub(crate) put_ticket: Script,
    pub(crate) bind_ticket: Script,
    pub(crate) shorten_ticket: Script,
    pub(crate) list: Script,
    pub(crate) list_templates: Script,
    pub(crate) plan: Script,
}

/// A script from the parts that it is made of.
macro_rules! script {
    ($($part:literal),+) => {
        Script::new(concat!($(include_str!(concat!("lua/", $part, ".lua")), "\n"),+))
    };
}

impl Scripts {
    fn new() -> Self {
        Self {
            append_own: script!(
                "layout",
                "own_layout",
                "move_on",
                "prelude",
                "record",
                "templates",
                "rotation",
                "queue",
                "append",
                "own",
                "append_own"
            ),
            append_external: script!(
                "layout",
                "prelude",
                "rotation",
                "queue",
                "append",
                "append_external"
            ),
            read: script!("read"),
            submit: script!(
                "layout",
                "own_layout",
                "prelude",
                "record",
                "templates",
                "rotation",
                "queue",
                "append",
                "own",
                "submit"
            ),
            claim: script!("prelude", "rotation", "turns", "claim"),
            renew: script!("prelude", "renew"),
            expired: script!("prelude", "expired"),
            sweep: script!("prelude", "rotation", "turns", "sweep"),
            places: script!("places"),
            next_due: script!("prelude", "next_due"),
            restore: script!("prelude", "record", "restore"),
            put: script!("prelude", "record", "put"),
            put_template: script!("prelude", "record", "templates", "put_template"),
            put_ticket: script!("prelude", "put_ticket"),
            bind_ticket: script!("prelude", "bind_ticket"),
            shorten_ticket: script!("prelude", "shorten_ticket"),
            list: script!("prelude", "record", "page", "list"),
            list_templates: script!("prelude", "record", "templates", "page", "list_templates"),
            plan: script!("prelude", "templates", "plan"),
        }
    }
}

impl Redis {
    pub(crate) fn new(
        connections: Connections,
        keys: Keys,
        settings: Settings,
        bus: BusId,
    ) -> Self {
        Self {
            connections,
            keys,
            settings,
            scripts: Scripts::new(),
            bus,
        }
    }
}

#[async_trait]
impl JobLog for Redis {
    fn guarantees(&self) -> Guarantees {
        Guarantees {
            shared: true,
            // No script reaches into another Redis.
            caches_results: self.settings.cache_url.is_none(),
        }
    }

    fn announces(&self) -> Option<BusId> {
        self.settings.announces.then_some(self.bus)
    }

    async fn append(&self, commit: Commit) -> Result<Appended> {
        const OPERATION: &str = "job_log.append";
        let events = commit.events(OPERATION)?;
        let templates = commit.templates(OPERATION)?.iter();
        let bodies: Vec<_> = templates
            .map(|template| (self.keys.template(&template.id), &**template))
            .collect();
        let script = self.appending(&commit.job);
        let call = |run: &Run| self.commit(script, &commit, events, &[], run);
        // Once more does no harm: it is a duplicate.
        let append = self.connections.script_of_run(OPERATION, &bodies, call);
        let answer = append.await?;
        if let [full, of] = &answer[..]
            && full == "full"
        {
            let quota = match of.as_str() {
                "job bytes" => Quota::ForeignJobKib,
                "bytes" => Quota::ForeignMib,
                _ => Quota::ForeignJobs,
            };
            return Err(self.settings.quotas.refusal(quota, OPERATION));
        }
        outcome(OPERATION, &answer)
    }

    async fn read(&self, job_id: &JobId, after: u64, limit: usize) -> Result<Option<Log>> {
        const OPERATION: &str = "job_log.read";
        let limit = limit.min(2 * self.settings.history_limit + MAX_COMMIT_EVENTS);
        let mut call = self.scripts.read.prepare_invoke();
        call.key(self.keys.log(job_id))
            .key(self.keys.state(job_id))
            .arg(after)
            .arg(limit);
        let answer: Option<Vec<Vec<u8>>> = self.connections.script_shared(OPERATION, &call).await?;
        let log = answer.map(|parts| log(OPERATION, parts)).transpose()?;
        match log {
            Some(log) if !is_sound(&log, job_id, after, limit) => Err(unexpected(OPERATION)),
            log => Ok(log),
        }
    }

    async fn positions(&self, job_ids: &[JobId]) -> Result<Vec<Option<Position>>> {
        const OPERATION: &str = "job_log.positions";
        if job_ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut questions = Pipeline::with_capacity(job_ids.len());
        questions.ignore_errors();
        let mut key = self.keys.state_of("");
        let prefix = key.len();
        for job_id in job_ids {
            key.truncate(prefix);
            key.push_str(job_id.as_str());
            let mut question = Cmd::with_capacity(4, 32 + key.len());
            question.arg("HMGET").arg(&key).arg("epoch").arg("sequence");
            questions.add_command(question);
        }
        let answers = self
            .connections
            .all_shared::<Place>(OPERATION, &questions)
            .await?;
        if answers.len() != job_ids.len() {
            return Err(unexpected(OPERATION));
        }
        answers
            .into_iter()
            .map(|answer| match answer {
                Ok((Some(epoch), Some(sequence))) => Ok(position(&epoch, &sequence)),
                Ok(_) => Ok(None),
                // Another program has written to the key.
                Err(error) if error.code() == Some("WRONGTYPE") => Ok(None),
                Err(error) => Err(failed(OPERATION, error)),
            })
            .collect()
    }

    async fn latest(&self, buckets: &[Bucket]) -> Result<Vec<Option<Stamp>>> {
        const OPERATION: &str = "job_log.latest";
        if buckets.is_empty() {
            return Ok(Vec::new());
        }
        let mut question = redis::cmd("HMGET");
        question.arg(self.keys.latest());
        for bucket in buckets {
            question.arg(bucket.number());
        }
        let answer = self.connections.run_shared(OPERATION, &question).await?;
        let stamps: Vec<Option<Bytes>> = match answer {
            Ok(stamps) => stamps,
            // Another program has written to the key, or this user may not read it.
            Err(error) if matches!(error.code(), Some("WRONGTYPE" | "NOPERM")) => Vec::new(),
            Err(error) => return Err(failed(OPERATION, error)),
        };
        let mut stamps = stamps.into_iter().map(|stamp| stamp.map(Stamp::from));
        let answers = buckets.iter().map(|_| stamps.next().flatten());
        Ok(answers.collect())
    }

    async fn now(&self) -> Result<Timestamp> {
        const OPERATION: &str = "job_log.now";
        let answer = self
            .connections
            .run_shared(OPERATION, &redis::cmd("TIME"))
            .await?;
        let (seconds, micros): (i64, i64) = answer.map_err(|error| failed(OPERATION, error))?;
        Ok(Timestamp::from_micros(seconds * 1_000_000 + micros))
    }

    async fn ping(&self) -> Result<()> {
        self.connections.ping("job_log.ping").await
    }
}

/// Where a log ends, as its state has it; none if another program has written there.
fn position(epoch: &[u8], sequence: &[u8]) -> Option<Position> {
    let epoch = std::str::from_utf8(epoch).ok()?;
    let sequence = std::str::from_utf8(sequence).ok()?;
    Some(Position {
        epoch: epoch.parse().ok()?,
        sequence: sequence.parse().ok()?,
    })
}

/// The fields of a log's state that say where it ends.
type Place = (Option<Vec<u8>>, Option<Vec<u8>>);

/// What a script says became of a commit.
pub(crate) fn outcome(operation: &'static str, answer: &[String]) -> Result<Appended> {
    let position = |epoch: &str, sequence: &str| {
        format!("{epoch}-{sequence}")
            .parse::<Position>()
            .map_err(|error| unexpected(operation).with_source(error))
    };
    let words: Vec<&str> = answer.iter().map(String::as_str).collect();
    Ok(match words[..] {
        ["appended"] => Appended::Appended,
        ["duplicate", epoch, sequence] => Appended::Duplicate(position(epoch, sequence)?),
        ["conflict"] => Appended::Conflict(None),
        ["conflict", epoch, sequence] => Appended::Conflict(Some(position(epoch, sequence)?)),
        ["doubtful", epoch, sequence] => Appended::Doubtful(position(epoch, sequence)?),
        ["torn"] => {
            return Err(Error::new(
                ErrorKind::Refused,
                operation,
                "some events of the commit are in the log already, and others are not",
            ));
        }
        ["taken", place] => Appended::PlaceTaken(place.parse().map_err(|_| unexpected(operation))?),
        [UNSTAGED] => {
            return Err(Error::new(
                ErrorKind::Unavailable,
                operation,
                "a commit's templates were gone right after they were sent: does Redis evict keys (maxmemory-policy)?",
            ));
        }
        ["ended"] => Appended::Ended,
        ["fenced"] => Appended::Fenced,
        _ => return Err(unexpected(operation)),
    })
}

fn log(operation: &'static str, parts: Vec<Vec<u8>>) -> Result<Log> {
    let mut parts = parts.into_iter();
    let (Some(fold), Some(oldest), Some(base)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(unexpected(operation));
    };
    let state = |fold: &[u8]| {
        record::decode_job(fold).map_err(|error| unexpected(operation).with_source(error))
    };
    let mut entries = Vec::with_capacity(parts.len() / 2);
    while let (Some(sequence), Some(line)) = (parts.next(), parts.next()) {
        entries.push(Entry {
            sequence: number(operation, &sequence)?,
            line: line.into(),
        });
    }
    Ok(Log {
        job: state(&fold)?,
        base: (!base.is_empty()).then(|| state(&base)).transpose()?,
        oldest: number(operation, &oldest)?,
        entries,
    })
}

/// Whether an answer can be of a log that only our scripts have written to. What can't is never
/// served: another job's state, an event that is no line, a gap, an end before the state's.
fn is_sound(log: &Log, job_id: &JobId, after: u64, limit: usize) -> bool {
    let is_about_it = |job: &Job| job.id == *job_id;
    let follow_each_other = log
        .entries
        .windows(2)
        .all(|pair| pair[0].sequence + 1 == pair[1].sequence);
    let head = log.job.position.sequence;
    let latest = log.entries.last().map_or(after, |entry| entry.sequence);
    let is_evicted = log.oldest > head;
    let is_whole = log.entries.len() == limit || latest >= head || is_evicted;
    is_about_it(&log.job)
        && log.base.as_ref().is_none_or(is_about_it)
        && follow_each_other
        && is_whole
        && (log.entries.is_empty() || latest <= head)
        && log.entries.iter().all(|entry| event::is_line(&entry.line))
}

fn number(operation: &'static str, text: &[u8]) -> Result<u64> {
    str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| unexpected(operation))
}

/// Something under a key of ours that we did not write.
pub(crate) fn unexpected(operation: &'static str) -> Error {
    Error::new(
        ErrorKind::BadResponse,
        operation,
        "a key of ours holds something else: does another program use this prefix?",
    )
}

/// The answer's text, where a script answers words and bodies mixed.
pub(crate) fn bytes(operation: &'static str, value: Value) -> Result<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        _ => Err(unexpected(operation)),
    }
}
