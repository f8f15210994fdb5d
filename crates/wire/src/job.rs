//! The job object of `GET /v1/triton/jobs/{job_id}`, of the cached result and of snapshots.

use std::fmt;

use bytes::Bytes;
use conch_domain::{
    Attempts, ClientId, Epoch, Job, JobId, JobRecord, JobStatus, Position, Timestamp,
    ValuePropositionId,
};
use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::fields::{self, Ids, Object};
use crate::{Invalid, time, to_bytes};

/// The job as every program sees it: every field present, absent values `null`. `priority` and `run_at` alone
/// are left out where its submission asked for neither.
pub fn encode(job: &Job) -> Bytes {
    to_bytes(&Body(job))
}

struct Body<'a>(&'a JobRecord);

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        put_fields(&mut map, self.0)?;
        map.end()
    }
}

/// Writes the fields of a job object into one that may have others.
pub(crate) fn put_fields<M: SerializeMap>(map: &mut M, job: &JobRecord) -> Result<(), M::Error> {
    let moment = |moment: Option<Timestamp>| moment.map(time::written);
    let client_id = job.client_id.as_ref().map(ClientId::as_str);
    let value_proposition_id = job.value_proposition_id.as_ref();
    let value_proposition_id = value_proposition_id.map(ValuePropositionId::as_str);
    map.serialize_entry("id", job.id.as_str())?;
    map.serialize_entry("job_id", job.id.as_str())?;
    map.serialize_entry("client_id", &client_id)?;
    map.serialize_entry("value_proposition_id", &value_proposition_id)?;
    map.serialize_entry("status", job.status.as_str())?;
    map.serialize_entry("progress", &job.progress)?;
    map.serialize_entry("attempt", &job.attempt)?;
    map.serialize_entry("error_message", &job.error_message)?;
    map.serialize_entry("started_at", &moment(job.started_at))?;
    map.serialize_entry("completed_at", &moment(job.completed_at))?;
    map.serialize_entry("generation_duration_ms", &job.generation_duration_ms)?;
    map.serialize_entry("template_ids", &Ids(&job.template_ids))?;
    map.serialize_entry("template_count", &job.template_count)?;
    map.serialize_entry("failed_templates", &Places(&job.attempts))?;
    map.serialize_entry("created_at", &moment(job.created_at))?;
    map.serialize_entry("updated_at", &moment(job.updated_at))?;
    map.serialize_entry("cancel_requested", &job.cancel_requested)?;
    fields::put_schedule(map, job.schedule)
}

/// The places of the templates that failed.
struct Places<'a>(&'a Attempts);

impl Serialize for Places<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.failed.keys())
    }
}

/// Whether a job object says that its job waits. A cheap look, without a copy.
pub fn is_pending(object: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Head<'a> {
        status: &'a str,
    }
    serde_json::from_slice::<Head<'_>>(object)
        .is_ok_and(|head| head.status == JobStatus::Pending.as_str())
}

/// Reads a job object that any program wrote, if it is about that job. What it lacks is absent in the
/// answer; its position says nothing. One with both `id` and `job_id` is our own Triton's: the Python
/// service's has only the first.
///
/// # Errors
/// When it is no JSON object, about another job, or without a known status.
pub fn decode(bytes: &[u8], job_id: &JobId) -> Result<Job, Invalid> {
    let job = decode_any(bytes)?;
    if job.id == *job_id {
        Ok(job)
    } else {
        Err(Invalid::new("it is about another job"))
    }
}

/// As [`decode`], about whichever job.
///
/// # Errors
/// When it is no JSON object, or has no usable id or status.
pub fn decode_any(bytes: &[u8]) -> Result<Job, Invalid> {
    let object: Object = serde_json::from_slice(bytes)
        .map_err(|e| Invalid::new(format!("not a JSON object: {e}")))?;
    Ok(Job::restore(from_object(&object)?))
}

/// The status of a job object that has every field of the contract, each of its type, no other, and is
/// about that job; none for any other. A cheap look, without a copy: what it finds can be served as it is.
pub fn status_if_whole(bytes: &[u8], job_id: &JobId) -> Option<JobStatus> {
    let whole: Whole<'_> = serde_json::from_slice(bytes).ok()?;
    let about_it = whole.id == job_id.as_str() && whole.job_id == job_id.as_str();
    JobStatus::parse(whole.status).filter(|_| about_it)
}

// A field that isn't ours may hold what no two readers agree about, and would be served unread.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(
    dead_code,
    reason = "most fields only have to be there, and of their type"
)]
struct Whole<'a> {
    id: &'a str,
    job_id: &'a str,
    status: &'a str,
    #[serde(deserialize_with = "nullable::<_, Text>")]
    client_id: (),
    #[serde(deserialize_with = "nullable::<_, Text>")]
    value_proposition_id: (),
    progress: u8,
    attempt: u32,
    #[serde(deserialize_with = "nullable::<_, Text>")]
    error_message: (),
    #[serde(deserialize_with = "nullable::<_, Text>")]
    started_at: (),
    #[serde(deserialize_with = "nullable::<_, Text>")]
    completed_at: (),
    #[serde(deserialize_with = "nullable::<_, u64>")]
    generation_duration_ms: (),
    template_ids: Vec<Text>,
    template_count: u64,
    // What an earlier build or the Python edge wrote has none.
    #[serde(default)]
    #[allow(dead_code, reason = "only its type matters")]
    failed_templates: Vec<u32>,
    #[serde(deserialize_with = "nullable::<_, Text>")]
    created_at: (),
    #[serde(deserialize_with = "nullable::<_, Text>")]
    updated_at: (),
    #[serde(default)]
    cancel_requested: bool,
    #[serde(default)]
    priority: Option<u8>,
    #[serde(default, deserialize_with = "nullable::<_, Text>")]
    run_at: (),
}

/// Checks that a field that is there is null or of that type.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<(), D::Error> {
    Option::<T>::deserialize(value).map(drop)
}

/// A text that is not kept.
struct Text;

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        value.deserialize_str(Self)
    }
}

impl Visitor<'_> for Text {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }
}

pub(crate) fn from_object(o: &Object) -> Result<JobRecord, Invalid> {
    let id = match (fields::text(o, "job_id"), fields::text(o, "id")) {
        (Some(a), Some(b)) if a != b => return Err(Invalid::new("id and job_id differ")),
        (Some(id), _) | (None, Some(id)) => {
            JobId::parse(id).map_err(|e| Invalid::new(e.to_string()))?
        }
        (None, None) => return Err(Invalid::new("neither id nor job_id")),
    };
    let status = fields::text(o, "status")
        .and_then(JobStatus::parse)
        .ok_or_else(|| Invalid::new("no known status"))?;
    let template_ids = match o.get("template_ids") {
        None | Some(Value::Null) => Vec::new(),
        Some(_) => {
            fields::template_ids(o).ok_or_else(|| Invalid::new("template_ids is no list"))?
        }
    };
    let attempt = fields::small(o, "attempt").unwrap_or(0);
    Ok(JobRecord {
        position: Position {
            epoch: Epoch::from_random([0; 4]),
            sequence: 0,
        },
        secret: None,
        past: Vec::new(),
        reopened_at: None,
        own: o.contains_key("id") && o.contains_key("job_id"),
        client_id: fields::text(o, "client_id").and_then(|id| id.parse().ok()),
        value_proposition_id: fields::text(o, "value_proposition_id")
            .and_then(|id| id.parse().ok()),
        schedule: fields::schedule(o),
        progress: fields::number(o, "progress").map_or(
            if status == JobStatus::Completed {
                100
            } else {
                0
            },
            |p| p.min(100) as u8,
        ),
        attempt,
        least_attempt: attempt,
        attempts: Attempts {
            failed: fields::places(o, "failed_templates")
                .into_iter()
                .map(|place| (place, String::new()))
                .collect(),
            ..Attempts::default()
        },
        cancel_requested: o.get("cancel_requested") == Some(&Value::Bool(true)),
        error_message: fields::text(o, "error_message").map(str::to_owned),
        created_at: fields::moment(o, "created_at"),
        started_at: fields::moment(o, "started_at"),
        completed_at: fields::moment(o, "completed_at"),
        updated_at: fields::moment(o, "updated_at"),
        generation_duration_ms: fields::number(o, "generation_duration_ms"),
        template_count: fields::number(o, "template_count").unwrap_or(template_ids.len() as u64),
        template_ids,
        status,
        id,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(job: &Job) -> Object {
        serde_json::from_slice(&encode(job)).expect("an object")
    }

    #[test]
    fn an_object_tells_whose_it_is() {
        let own = |text: &str| {
            decode_any(text.as_bytes())
                .expect("it has what it needs")
                .own
        };
        let job = Job::initial(
            JobId::parse("j").expect("an id"),
            Epoch::from_random([0; 4]),
            true,
        );
        assert!(decode_any(&encode(&job)).expect("ours").own);
        assert!(!own(r#"{"id":"j","client_id":"c","status":"running"}"#));
        assert!(!own(
            r#"{"job_id":"j","status":"completed","template_ids":[]}"#
        ));
    }

    #[test]
    fn which_objects_say_that_their_job_waits() {
        let pending = |text: &str| is_pending(text.as_bytes());
        assert!(pending(r#"{"id":"j","status":"pending"}"#));
        assert!(!pending(
            r#"{"id":"j","status":"running","x":{"status":"pending"}}"#
        ));
        assert!(!pending(r#"{"id":"j","status":1}"#) && !pending(r#"{"id":"j"}"#));
        assert!(!pending(r#"{"status":"pending""#));
    }

    /// What an object of an earlier build may lack.
    const OPTIONAL: [&str; 2] = ["cancel_requested", "failed_templates"];

    #[test]
    fn a_whole_object_is_recognised_and_nothing_less() {
        let id = JobId::parse("j").expect("an id");
        let job = Job::restore(JobRecord {
            status: JobStatus::Failed,
            ..(*Job::initial(id.clone(), Epoch::from_random([0; 4]), true)).clone()
        });
        let bytes = encode(&job);
        assert_eq!(status_if_whole(&bytes, &id), Some(JobStatus::Failed));
        let other = JobId::parse("other").expect("an id");
        assert_eq!(status_if_whole(&bytes, &other), None);
        let fields: Vec<String> = object(&job).keys().cloned().collect();
        for name in fields
            .iter()
            .filter(|name| !OPTIONAL.contains(&name.as_str()))
        {
            let mut less = object(&job);
            less.shift_remove(name);
            assert_eq!(status_if_whole(&to_bytes(&less), &id), None, "{name}");
            let mut odd = object(&job);
            odd.insert(name.clone(), json!({"of": "another type"}));
            assert_eq!(status_if_whole(&to_bytes(&odd), &id), None, "{name}");
        }
        for name in OPTIONAL {
            let mut old = object(&job);
            old.shift_remove(name);
            let status = status_if_whole(&to_bytes(&old), &id);
            assert_eq!(status, Some(JobStatus::Failed), "without {name}");
        }
        assert_eq!(status_if_whole(&bytes[..bytes.len() - 1], &id), None);
    }
}
