//! A record of the catalogue on its way into a script: where it stands, which indexes list it, and
//! with which scores. `lua/record.lua` reads it in the same order. Never decides what is in it.

use std::time::Duration;

use conch_domain::{Client, ClientId, Job, Template, Timestamp, ValueProposition};
use conch_ports::Commit;
use conch_wire::record;
use redis::ScriptInvocation;

use crate::keys::Keys;

/// By how much a job's places outlive its templates.
const PLACES_GRACE: Duration = Duration::from_hours(48);

/// A record and its index entries.
pub(crate) struct Record {
    pub(crate) key: String,
    member: String,
    body: Vec<u8>,
    indexes: Vec<(String, i64)>,
    /// Records that this one needs: their retention begins anew with it.
    touches: Vec<String>,
}

/// What orders a list: ascending is newest first, and ties are by id.
fn newest_first(created_at: Timestamp) -> i64 {
    created_at.as_micros().saturating_neg()
}

impl Record {
    pub(crate) fn of_client(keys: &Keys, client: &Client) -> Self {
        let score = newest_first(client.created_at);
        let mut indexes = vec![(keys.clients(), score)];
        if let Some(industry) = &client.industry {
            indexes.push((keys.clients_in(industry), score));
        }
        Self {
            key: keys.client(&client.id),
            member: client.id.to_string(),
            body: record::encode_client(client).into(),
            indexes,
            touches: Vec::new(),
        }
    }

    pub(crate) fn of_value_proposition(keys: &Keys, value: &ValueProposition) -> Self {
        let score = newest_first(value.created_at);
        Self {
            key: keys.value_proposition(&value.id),
            member: value.id.to_string(),
            body: record::encode_value_proposition(value).into(),
            indexes: vec![(keys.value_propositions(&value.client_id), score)],
            touches: vec![keys.client(&value.client_id)],
        }
    }

    pub(crate) fn of_job(keys: &Keys, job: &Job) -> Self {
        let (mut indexes, by_update) = indexes_of_job(keys, job);
        indexes.push(by_update);
        Self {
            key: keys.job(&job.id),
            member: job.id.to_string(),
            body: record::encode_job(job).into(),
            indexes,
            touches: touches_of_job(keys, job).collect(),
        }
    }

    /// Appends the indexes to the script's keys and all else to its arguments.
    pub(crate) fn append_to(&self, script: &mut ScriptInvocation<'_>, retention: Option<Duration>) {
        script
            .arg(&self.member)
            .arg(&self.body[..])
            .arg(retention.map_or(0, micros))
            .arg(self.indexes.len());
        for (index, score) in &self.indexes {
            script.key(index).arg(score);
        }
        for key in &self.touches {
            script.arg(key);
        }
    }
}

/// What lists a job, and at last the index by its latest event.
fn indexes_of_job(keys: &Keys, job: &Job) -> (Vec<(String, i64)>, (String, i64)) {
    let score = created(job);
    let client = job.client_id.as_ref();
    let mut indexes = vec![
        (keys.jobs(None, None), score),
        (keys.jobs(None, Some(job.status)), score),
    ];
    if client.is_some() {
        indexes.push((keys.jobs(client, None), score));
        indexes.push((keys.jobs(client, Some(job.status)), score));
    }
    let updated = job.updated_at.map_or(0, Timestamp::as_micros);
    (indexes, (keys.jobs_by_update(), updated))
}

fn created(job: &Job) -> i64 {
    newest_first(job.created_at.unwrap_or(Timestamp::from_micros(0)))
}

fn touches_of_job(keys: &Keys, job: &Job) -> impl Iterator<Item = String> {
    let client = job.client_id.as_ref().map(|id| keys.client(id));
    let value_proposition = job.value_proposition_id.as_ref();
    let value_proposition = value_proposition.map(|id| keys.value_proposition(id));
    client.into_iter().chain(value_proposition)
}

/// All that says in which lists a job is, but for the one by its latest event.
pub(crate) fn listed(job: &Job) -> String {
    let client = job.client_id.as_ref().map_or("", ClientId::as_str);
    format!("{} {client} {}", job.status.as_str(), created(job))
}

/// The two indexes that list a template, and its score in both.
pub(crate) fn indexes_of_template(keys: &Keys, template: &Template) -> ([String; 2], i64) {
    let (category, audience) = (template.category, template.target_audience);
    let clients = [None, Some(&template.client_id)];
    let indexes = clients.map(|client| keys.templates(client, category, audience));
    (indexes, newest_first(template.created_at))
}

/// How long a job's places are kept; 0: for ever. They outlive its templates, so that the first one stays as long
/// as it is there.
pub(crate) fn places_lifetime(retention: Option<Duration>) -> u64 {
    retention.map_or(0, |time| millis(time + PLACES_GRACE))
}

/// Appends the templates of a commit to it.
fn keep(
    commit: &Commit,
    keys: &Keys,
    retention: Option<Duration>,
    call: &mut ScriptInvocation<'_>,
) {
    call.arg(commit.templates.len());
    if commit.templates.is_empty() {
        return;
    }
    call.arg(keys.places(&commit.job.id))
        .arg(places_lifetime(retention))
        .arg(keys.template_of(""))
        .arg(retention.map_or(0, micros));
    for template in &commit.templates {
        let (indexes, score) = indexes_of_template(keys, template);
        call.arg(template.id.as_str())
            .arg(template.index)
            .arg(score)
            .arg(&indexes);
    }
}

/// Appends the lists of a job to its commit, and its templates, as `lua/own.lua` reads them. `longer` is by how much
/// its record outlives the retention.
pub(crate) fn list(
    commit: &Commit,
    keys: &Keys,
    retention: Option<Duration>,
    longer: Duration,
    call: &mut ScriptInvocation<'_>,
) {
    let job = &commit.job;
    let (indexes, (by_update, updated)) = indexes_of_job(keys, job);
    call.arg(created(job))
        .arg(updated)
        .arg(retention.map_or(0, |kept| micros(kept + longer)))
        .arg(keys.retention());
    keep(commit, keys, retention, call);
    for (index, _) in indexes {
        call.key(index);
    }
    call.key(by_update);
    for key in touches_of_job(keys, job) {
        call.arg(key);
    }
}

/// As the scripts count time.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// As Redis takes a time to live; never zero, which it refuses.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}
