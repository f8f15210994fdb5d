//! The job object of `GET /v1/triton/jobs/{job_id}`, of the cached result and of snapshots.

use bytes::Bytes;
use conch_domain::{ClientId, Epoch, Job, JobId, JobRecord, JobStatus, Position, TemplateId};
use conch_domain::{Timestamp, ValuePropositionId};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use crate::fields::{self, Object};
use crate::{Invalid, time, to_bytes};

/// The job as everybody sees it: every field present, absent values `null`.
pub fn encode(job: &Job) -> Bytes {
    to_bytes(&object(job))
}

pub(crate) fn object(job: &JobRecord) -> Object {
    let moment = |m: Option<Timestamp>| m.map(time::format);
    let template_ids: Value = job.template_ids.iter().map(TemplateId::as_str).collect();
    let value = json!({
        "id": job.id.as_str(),
        "job_id": job.id.as_str(),
        "client_id": job.client_id.as_ref().map(ClientId::as_str),
        "value_proposition_id": job.value_proposition_id.as_ref().map(ValuePropositionId::as_str),
        "status": job.status.as_str(),
        "progress": job.progress,
        "attempt": job.attempt,
        "error_message": job.error_message,
        "started_at": moment(job.started_at),
        "completed_at": moment(job.completed_at),
        "generation_duration_ms": job.generation_duration_ms,
        "template_ids": template_ids,
        "template_count": job.template_count,
        "created_at": moment(job.created_at),
        "updated_at": moment(job.updated_at),
        "cancel_requested": job.cancel_requested,
    });
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
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

/// The status of a job object that has every field of the contract and is about that job; none for
/// any other. A cheap look, without a copy: what it finds can be served as it is.
pub fn status_if_whole(bytes: &[u8], job_id: &JobId) -> Option<JobStatus> {
    let whole: Whole<'_> = serde_json::from_slice(bytes).ok()?;
    let about_it = whole.id == job_id.as_str() && whole.job_id == job_id.as_str();
    JobStatus::parse(whole.status).filter(|_| about_it)
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "these fields only have to be there")]
struct Whole<'a> {
    id: &'a str,
    job_id: &'a str,
    status: &'a str,
    client_id: IgnoredAny,
    value_proposition_id: IgnoredAny,
    progress: IgnoredAny,
    attempt: IgnoredAny,
    error_message: IgnoredAny,
    started_at: IgnoredAny,
    completed_at: IgnoredAny,
    generation_duration_ms: IgnoredAny,
    template_ids: IgnoredAny,
    template_count: IgnoredAny,
    created_at: IgnoredAny,
    updated_at: IgnoredAny,
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
    let template_ids = fields::template_ids(o).unwrap_or_default();
    let attempt = fields::small(o, "attempt").unwrap_or(0);
    Ok(JobRecord {
        position: Position {
            epoch: Epoch::from_random([0; 4]),
            sequence: 0,
        },
        own: o.contains_key("id") && o.contains_key("job_id"),
        client_id: fields::text(o, "client_id").and_then(|id| id.parse().ok()),
        value_proposition_id: fields::text(o, "value_proposition_id")
            .and_then(|id| id.parse().ok()),
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
    use super::*;

    #[test]
    fn an_object_tells_whose_it_is() {
        let own = |text: &str| {
            decode_any(text.as_bytes())
                .expect("it has what it needs")
                .own
        };
        let job = Job::unborn(
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
    fn a_whole_object_is_recognised_and_nothing_less() {
        let id = JobId::parse("j").expect("an id");
        let job = Job::restore(JobRecord {
            status: JobStatus::Failed,
            ..(*Job::unborn(id.clone(), Epoch::from_random([0; 4]), true)).clone()
        });
        let bytes = encode(&job);
        assert_eq!(status_if_whole(&bytes, &id), Some(JobStatus::Failed));
        let other = JobId::parse("other").expect("an id");
        assert_eq!(status_if_whole(&bytes, &other), None);
        let fields: Vec<String> = object(&job).keys().cloned().collect();
        for name in fields.iter().filter(|name| *name != "cancel_requested") {
            let mut less = object(&job);
            less.shift_remove(name);
            assert_eq!(status_if_whole(&to_bytes(&less), &id), None, "{name}");
        }
        assert_eq!(status_if_whole(&bytes[..bytes.len() - 1], &id), None);
    }
}
