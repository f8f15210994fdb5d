//! Records as a store keeps them: the public JSON object, and for a job the fold's inner fields
//! beside it. What is encoded here decodes to an equal value.

use std::collections::BTreeMap;

use bytes::Bytes;
use conch_domain::{
    Attempts, Client, ClientId, Job, MAX_PLACES, Template, TemplateId, Timestamp, ValueProposition,
};
use serde_json::{Value, json};

use crate::fields::{self, Object, metadata, metadata_value};
use crate::{Invalid, job, template, time, to_bytes};

/// Where a job's inner fields stand.
const FOLD: &str = "_fold";

/// A job with all that its fold knows.
pub fn encode_job(job: &Job) -> Bytes {
    let mut object = job::object(job);
    let mut fold = json!({
        "position": job.position.to_string(),
        "own": job.own,
        "least_attempt": job.least_attempt,
    });
    if job.attempts != Attempts::default() {
        fold["attempts"] = attempts_value(&job.attempts);
    }
    if !job.past.is_empty() {
        fold["past"] = job.past.iter().map(ToString::to_string).collect();
        fold["reopened_at"] = json!(job.reopened_at.map(time::format));
    }
    object.insert(FOLD.to_owned(), fold);
    to_bytes(&object)
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

fn attempts_value(attempts: &Attempts) -> Value {
    json!({
        "making": attempts.making,
        "lost": attempts.lost.iter().collect::<Vec<_>>(),
        "failed": attempts.failed.iter().collect::<Vec<_>>(),
        "idle_claims": attempts.idle_claims,
    })
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

/// A template as everybody sees it.
pub fn encode_template(template: &Template) -> Bytes {
    to_bytes(&template::object(template))
}

/// Reads a template object.
///
/// # Errors
/// When it lacks what a stored template has, or breaks a rule of the contract.
pub fn decode_template(bytes: &[u8]) -> Result<Template, Invalid> {
    let o = parse(bytes)?;
    let created_at = created_at(&o)?;
    Ok(Template {
        id: id::<TemplateId>(&o, "id")?,
        job_id: id(&o, "job_id")?,
        client_id: id(&o, "client_id")?,
        index: fields::small(&o, "template_index")
            .ok_or_else(|| Invalid::new("no template_index"))?,
        created_at,
        updated_at: fields::moment(&o, "updated_at").unwrap_or(created_at),
        draft: template::draft(&Value::Object(o))?,
    })
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
