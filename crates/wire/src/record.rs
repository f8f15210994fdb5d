//! Records as a store keeps them: the public JSON object, and for a job the fold's inner fields
//! beside it. What is encoded here decodes to an equal value.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use conch_domain::{
    Attempts, Audience, Category, Client, ClientId, Job, JobId, JobRecord, MAX_PLACES, Metadata,
    Template, TemplateId, Timestamp, ValueProposition, WrittenDraft,
};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::fields::{self, Object, Text, metadata, metadata_value};
use crate::{Invalid, job, template, time, to_bytes};

/// Where a job's inner fields stand.
const FOLD: &str = "_fold";

/// A job with all that its fold knows.
pub fn encode_job(job: &Job) -> Bytes {
    to_bytes(&JobBody(job))
}

struct JobBody<'a>(&'a JobRecord);

impl Serialize for JobBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        job::put_fields(&mut map, self.0)?;
        map.serialize_entry(FOLD, &FoldBody(self.0))?;
        map.end()
    }
}

/// What only a fold knows of a job.
struct FoldBody<'a>(&'a JobRecord);

impl Serialize for FoldBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let job = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("position", &Text(job.position))?;
        map.serialize_entry("own", &job.own)?;
        map.serialize_entry("least_attempt", &job.least_attempt)?;
        if let Some(secret) = job.secret {
            map.serialize_entry("secret", &secret.to_stored())?;
        }
        if job.attempts != Attempts::default() {
            map.serialize_entry("attempts", &AttemptsBody::of(&job.attempts))?;
        }
        if !job.past.is_empty() {
            let past: Vec<_> = job.past.iter().map(Text).collect();
            map.serialize_entry("past", &past)?;
            map.serialize_entry("reopened_at", &job.reopened_at.map(time::written))?;
        }
        if let Some(run_at) = job.schedule.run_at {
            // For a store's script, which knows no calendar.
            map.serialize_entry("run_at_us", &run_at.as_micros())?;
        }
        map.end()
    }
}

/// Reads what [`encode_job`] wrote.
///
/// # Errors
/// When it is something else.
pub fn decode_job(bytes: &[u8]) -> Result<Job, Invalid> {
    let object = parse(bytes)?;
    let mut record = job::from_object(&object)?;
    let fold = object
        .get(FOLD)
        .and_then(Value::as_object)
        .ok_or_else(|| Invalid::new("a job object, but not a job record"))?;
    record.position = fields::text(fold, "position")
        .and_then(|p| p.parse().ok())
        .ok_or_else(|| Invalid::new("a job record without a position"))?;
    // Without one a log is read before its announcements are believed.
    record.secret = fields::text(fold, "secret").and_then(|secret| secret.parse().ok());
    record.own = fold.get("own") == Some(&Value::Bool(true));
    if let Some(past) = fold.get("past") {
        let ends = past.as_array().map(Vec::as_slice).unwrap_or_default();
        let end = |end: &Value| end.as_str()?.parse().ok();
        record.past = ends
            .iter()
            .map(end)
            .collect::<Option<_>>()
            .ok_or_else(|| Invalid::new("an earlier epoch without an end"))?;
        record.reopened_at = fields::moment(fold, "reopened_at");
    }
    record.least_attempt = fields::small(fold, "least_attempt").unwrap_or(record.attempt);
    // Left out where there is nothing to say, and by earlier builds.
    if let Some(attempts) = fold.get("attempts").and_then(Value::as_object) {
        record.attempts = attempts_from(attempts);
    }
    Ok(Job::restore(record))
}

/// The maps as lists of pairs: their keys are numbers.
#[derive(Serialize)]
struct AttemptsBody<'a> {
    making: Option<u32>,
    lost: Vec<(&'a u32, &'a u32)>,
    failed: Vec<(&'a u32, &'a String)>,
    idle_claims: u32,
}

impl<'a> AttemptsBody<'a> {
    fn of(attempts: &'a Attempts) -> Self {
        Self {
            making: attempts.making,
            lost: attempts.lost.iter().collect(),
            failed: attempts.failed.iter().collect(),
            idle_claims: attempts.idle_claims,
        }
    }
}

/// What can't be read is absent.
fn attempts_from(o: &Object) -> Attempts {
    Attempts {
        making: fields::small(o, "making"),
        lost: pairs(o, "lost"),
        failed: pairs(o, "failed"),
        idle_claims: fields::small(o, "idle_claims").unwrap_or(0),
    }
}

fn pairs<T: serde::de::DeserializeOwned>(o: &Object, name: &str) -> BTreeMap<u32, T> {
    let pairs = o.get(name).and_then(Value::as_array);
    pairs
        .into_iter()
        .flatten()
        .filter_map(|pair| serde_json::from_value::<(u32, T)>(pair.clone()).ok())
        .take(MAX_PLACES)
        .collect()
}

fn parse(bytes: &[u8]) -> Result<Object, Invalid> {
    serde_json::from_slice(bytes).map_err(|e| Invalid::new(format!("not a JSON object: {e}")))
}

/// A client as everybody sees it.
pub fn encode_client(client: &Client) -> Bytes {
    to_bytes(&client_object(client))
}

pub(crate) fn client_object(client: &Client) -> Value {
    json!({
        "id": client.id.as_str(),
        "name": client.name,
        "industry": client.industry,
        "meta_data": metadata_value(&client.meta_data),
        "created_at": time::format(client.created_at),
        "updated_at": time::format(client.updated_at),
    })
}

/// Reads a client object.
///
/// # Errors
/// When it lacks a usable id, name or time.
pub fn decode_client(bytes: &[u8]) -> Result<Client, Invalid> {
    let o = parse(bytes)?;
    let created_at = created_at(&o)?;
    Ok(Client {
        id: id(&o, "id")?,
        name: string(&o, "name")?,
        industry: fields::text(&o, "industry").map(str::to_owned),
        meta_data: metadata(o.get("meta_data")),
        created_at,
        updated_at: fields::moment(&o, "updated_at").unwrap_or(created_at),
    })
}

/// A value proposition as everybody sees it.
pub fn encode_value_proposition(value_proposition: &ValueProposition) -> Bytes {
    to_bytes(&value_proposition_object(value_proposition))
}

pub(crate) fn value_proposition_object(value_proposition: &ValueProposition) -> Value {
    json!({
        "id": value_proposition.id.as_str(),
        "client_id": value_proposition.client_id.as_str(),
        "content": value_proposition.content,
        "is_active": value_proposition.is_active,
        "meta_data": metadata_value(&value_proposition.meta_data),
        "created_at": time::format(value_proposition.created_at),
        "updated_at": time::format(value_proposition.updated_at),
    })
}

/// Reads a value proposition object.
///
/// # Errors
/// When it lacks a usable id, content or time.
pub fn decode_value_proposition(bytes: &[u8]) -> Result<ValueProposition, Invalid> {
    let o = parse(bytes)?;
    let created_at = created_at(&o)?;
    Ok(ValueProposition {
        id: id(&o, "id")?,
        client_id: id::<ClientId>(&o, "client_id")?,
        content: string(&o, "content")?,
        is_active: o.get("is_active") != Some(&Value::Bool(false)),
        meta_data: metadata(o.get("meta_data")),
        created_at,
        updated_at: fields::moment(&o, "updated_at").unwrap_or(created_at),
    })
}

/// What a template gets when it is stored.
#[derive(Debug, Clone)]
pub struct Heading {
    /// Its id.
    pub id: TemplateId,
    /// The job that made it.
    pub job_id: JobId,
    /// Whom it was made for.
    pub client_id: ClientId,
    /// Its place in the job's plan, 1-based.
    pub index: u32,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The template of a draft.
pub fn template(heading: Heading, draft: &WrittenDraft) -> Template {
    Template {
        object: Metadata::from_json(template::object(&heading, draft)),
        name: draft.name.clone(),
        category: draft.category,
        target_audience: draft.target_audience,
        id: heading.id,
        job_id: heading.job_id,
        client_id: heading.client_id,
        index: heading.index,
        created_at: heading.created_at,
        updated_at: heading.created_at,
    }
}

/// A template as everybody sees it.
pub fn encode_template(template: &Template) -> Bytes {
    Bytes::copy_from_slice(template.object.as_json().as_bytes())
}

/// What is read of a template's object.
#[derive(Deserialize)]
struct TemplateHead<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    job_id: Cow<'a, str>,
    #[serde(borrow)]
    client_id: Cow<'a, str>,
    template_index: u32,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    category: Cow<'a, str>,
    #[serde(borrow)]
    target_audience: Cow<'a, str>,
    #[serde(borrow)]
    created_at: Cow<'a, str>,
    #[serde(borrow, default)]
    updated_at: Option<Cow<'a, str>>,
}

/// Reads a template object, of this version or of an earlier one: what a list is asked for is read,
/// the rest is kept as it is.
///
/// # Errors
/// When it lacks what a stored template has.
pub fn decode_template(bytes: &[u8]) -> Result<Template, Invalid> {
    let text = std::str::from_utf8(bytes).map_err(|_| Invalid::new("not UTF-8"))?;
    if !text.trim_start().starts_with('{') {
        return Err(Invalid::new("not a JSON object"));
    }
    let head: TemplateHead<'_> =
        serde_json::from_str(text).map_err(|e| Invalid::new(format!("not a template: {e}")))?;
    let created_at =
        time::parse(&head.created_at).ok_or_else(|| Invalid::new("no usable created_at"))?;
    let updated_at = head.updated_at.as_deref().and_then(time::parse);
    Ok(Template {
        id: parsed("id", head.id.parse())?,
        job_id: parsed("job_id", head.job_id.parse())?,
        client_id: parsed("client_id", head.client_id.parse())?,
        index: head.template_index,
        category: parsed("category", Category::parse(&head.category).ok_or(()))?,
        target_audience: parsed(
            "target_audience",
            Audience::parse(&head.target_audience).ok_or(()),
        )?,
        name: head.name.into_owned(),
        created_at,
        updated_at: updated_at.unwrap_or(created_at),
        object: Metadata::from_json(text),
    })
}

fn parsed<T, E>(name: &str, value: Result<T, E>) -> Result<T, Invalid> {
    value.map_err(|_| Invalid::new(format!("no usable {name}")))
}

fn id<T: std::str::FromStr>(o: &Object, name: &str) -> Result<T, Invalid> {
    fields::text(o, name)
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| Invalid::new(format!("no usable {name}")))
}

fn string(o: &Object, name: &str) -> Result<String, Invalid> {
    fields::text(o, name)
        .map(str::to_owned)
        .ok_or_else(|| Invalid::new(format!("no {name}")))
}

fn created_at(o: &Object) -> Result<Timestamp, Invalid> {
    fields::moment(o, "created_at").ok_or_else(|| Invalid::new("no usable created_at"))
}
