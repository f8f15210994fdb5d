//! What a generator program is asked and what it answers: one JSON object each way.

use bytes::Bytes;
use conch_domain::{Client, JobId, PlanItem, TemplateDraft, ValueProposition};
use serde_json::json;

use crate::{Invalid, record, template, to_bytes};

/// Where in its job a template stands.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Its place in the plan, 1-based.
    pub index: u32,
    /// Templates in the plan.
    pub total: u32,
    /// The attempt, from 1.
    pub attempt: u32,
}

/// The request for one template.
pub fn encode_brief(
    job_id: &JobId,
    client: &Client,
    value_proposition: &ValueProposition,
    item: PlanItem,
    place: Place,
) -> Bytes {
    to_bytes(&json!({
        "job_id": job_id.as_str(),
        "client": record::client_object(client),
        "value_proposition": record::value_proposition_object(value_proposition),
        "category": item.category.as_str(),
        "target_audience": item.audience.as_str(),
        "template_index": place.index,
        "total_templates": place.total,
        "attempt": place.attempt,
    }))
}

/// Reads a template object. The fields that only a stored template has (`id`, `job_id`, …) are
/// ignored; the rest is held to the contract's rules.
///
/// # Errors
/// When it is no JSON, or breaks a rule.
pub fn decode(bytes: &[u8]) -> Result<TemplateDraft, Invalid> {
    let value =
        serde_json::from_slice(bytes).map_err(|e| Invalid::new(format!("not JSON: {e}")))?;
    template::draft(&value)
}
