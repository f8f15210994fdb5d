//! What a generator program is asked and what it answers: one JSON object each way
//! (docs/generators.md).

use bytes::Bytes;
use conch_domain::{
    Client, Config, InvalidTemplate, JobId, PlanItem, TemplateDraft, ValueProposition, WidgetType,
    WrittenDraft,
};
use serde_json::{Map, Value, json};

use crate::{record, template, to_bytes};

/// Where in its job a template stands, and what was tried before.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Its place in the plan, 1-based.
    pub index: u32,
    /// Templates in the plan.
    pub total: u32,
    /// The attempt at the job, from 1.
    pub attempt: u32,
    /// The try at this template within the attempt, from 1.
    pub try_number: u32,
    /// What was wrong with the last answer.
    pub last_failure: Option<&'a str>,
    /// The names of the job's templates made so far.
    pub names: &'a [String],
}

/// The request for one template.
pub fn encode_brief(
    job_id: &JobId,
    client: &Client,
    value_proposition: &ValueProposition,
    item: PlanItem,
    place: Place<'_>,
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
        "try_number": place.try_number,
        "last_failure": place.last_failure,
        "names": place.names,
    }))
}

/// Why a generator's answer is no template, in words that quote nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// There is no JSON object in it.
    #[error("the answer {0}")]
    NoObject(&'static str),
    /// The object breaks rules.
    #[error("{0}")]
    Invalid(InvalidTemplate),
}

/// Reads a generator's answer: the template in either spelling, bare or wrapped, fenced or not. The
/// fields that only a stored template has (`id`, `job_id`, …) are ignored; the rest is held to the rules.
///
/// # Errors
/// When there is no JSON object in it, or when it breaks a rule.
pub fn decode(answer: &[u8]) -> Result<TemplateDraft, BadAnswer> {
    let object = template::find_object(answer).map_err(BadAnswer::NoObject)?;
    template::draft(object).map_err(BadAnswer::Invalid)
}

/// A draft with its JSON, ready to be stored under a [`Heading`](crate::record::Heading).
pub fn written(draft: TemplateDraft) -> WrittenDraft {
    template::write_draft(draft)
}

/// A template as a generator writes it.
pub fn encode(draft: &TemplateDraft) -> Bytes {
    template::generated(draft).into()
}

/// The `config` of a widget of that type.
pub fn config(widget_type: WidgetType, object: Map<String, Value>) -> Config {
    template::config_of(widget_type, object)
}
