//! Request bodies, Mare's and Triton's. Unknown fields are ignored; what is missing or wrong is named
//! by its path.

use bytes::Bytes;
use conch_domain::{
    Client, ClientId, InvalidText, Metadata, Priority, Schedule, ValueProposition,
    ValuePropositionId,
};
use serde_json::{Value, json};

use crate::fields::{Object, metadata, metadata_value, put_schedule};
use crate::{strict, time, to_bytes};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// A body that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is not JSON, or not an object.
    #[error("the body is malformed: {detail}")]
    Malformed {
        /// What is wrong and where.
        detail: String,
    },
    /// A field is missing or wrong.
    #[error("{path} {detail}")]
    Field {
        /// The field's path.
        path: String,
        /// What it must be.
        detail: String,
    },
}

fn field(path: &str, detail: impl Into<String>) -> Invalid {
    Invalid::Field {
        path: path.to_owned(),
        detail: detail.into(),
    }
}

fn object(body: &[u8]) -> Result<Object, Invalid> {
    match strict::parse(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Invalid::Malformed {
            detail: "it must be a JSON object".to_owned(),
        }),
        Err(e) => Err(Invalid::Malformed {
            detail: e.to_string(),
        }),
    }
}

fn required<'a>(o: &'a Object, name: &str) -> Result<&'a str, Invalid> {
    match o.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Null) | None => Err(field(name, "is required")),
        Some(_) => Err(field(name, "must be a string")),
    }
}

fn optional<'a>(o: &'a Object, name: &str) -> Result<Option<&'a str>, Invalid> {
    match o.get(name) {
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Null) | None => Ok(None),
        Some(_) => Err(field(name, "must be a string")),
    }
}

fn own_object(o: &Object, name: &str) -> Result<Metadata, Invalid> {
    match o.get(name) {
        None | Some(Value::Null | Value::Object(_)) => Ok(metadata(o.get(name))),
        Some(_) => Err(field(name, "must be an object")),
    }
}

fn checked(
    name: &str,
    text: &str,
    check: fn(&str) -> Result<String, InvalidText>,
) -> Result<String, Invalid> {
    check(text).map_err(|e| field(name, e.to_string()))
}

/// `POST …/clients`
#[derive(Debug, Clone, PartialEq)]
pub struct NewClient {
    /// The name, trimmed.
    pub name: String,
    /// What the client does.
    pub industry: Option<String>,
    /// The caller's own.
    pub meta_data: Metadata,
}

impl NewClient {
    /// Reads the body.
    ///
    /// # Errors
    /// As [`Invalid`] says.
    pub fn parse(body: &[u8]) -> Result<Self, Invalid> {
        let o = object(body)?;
        Ok(Self {
            name: checked("name", required(&o, "name")?, Client::parse_name)?,
            industry: optional(&o, "industry")?
                .filter(|text| !text.trim().is_empty())
                .map(|text| checked("industry", text, Client::parse_industry))
                .transpose()?,
            meta_data: own_object(&o, "meta_data")?,
        })
    }

    /// The body that asks Triton for the same.
    pub fn encode(&self) -> Bytes {
        to_bytes(&json!({
            "name": self.name,
            "industry": self.industry,
            "meta_data": metadata_value(&self.meta_data),
        }))
    }
}

/// `POST …/clients/{client_id}/value-propositions`
#[derive(Debug, Clone, PartialEq)]
pub struct NewValueProposition {
    /// The text, trimmed.
    pub content: String,
    /// True unless said otherwise.
    pub is_active: bool,
    /// The caller's own.
    pub meta_data: Metadata,
}

impl NewValueProposition {
    /// Reads the body.
    ///
    /// # Errors
    /// As [`Invalid`] says.
    pub fn parse(body: &[u8]) -> Result<Self, Invalid> {
        let o = object(body)?;
        Ok(Self {
            content: checked(
                "content",
                required(&o, "content")?,
                ValueProposition::parse_content,
            )?,
            is_active: match o.get("is_active") {
                None | Some(Value::Null) => true,
                Some(Value::Bool(is_active)) => *is_active,
                Some(_) => return Err(field("is_active", "must be true or false")),
            },
            meta_data: own_object(&o, "meta_data")?,
        })
    }

    /// The body that asks Triton for the same.
    pub fn encode(&self) -> Bytes {
        to_bytes(&json!({
            "content": self.content,
            "is_active": self.is_active,
            "meta_data": metadata_value(&self.meta_data),
        }))
    }
}

/// `POST …/clients/{client_id}/generate-templates`; the body may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GenerateTemplates {
    /// From which value proposition; none: the latest active one.
    pub value_proposition_id: Option<ValuePropositionId>,
    /// When it may run, and how urgently.
    pub schedule: Schedule,
}

impl GenerateTemplates {
    /// Reads the body.
    ///
    /// # Errors
    /// As [`Invalid`] says.
    pub fn parse(body: &[u8]) -> Result<Self, Invalid> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let o = object(body)?;
        nothing_unsupported(&o)?;
        Ok(Self {
            value_proposition_id: value_proposition_id(&o)?,
            schedule: schedule(&o)?,
        })
    }
}

/// Fields of a submission that the contract knows and this version can't honour.
const UNSUPPORTED: [&str; 3] = [
    "webhook_url",
    "template_indexes",
    "stop_when_unwatched_seconds",
];

/// Refuses what would change what becomes of the job: to ignore it would do something else than was asked.
fn nothing_unsupported(o: &Object) -> Result<(), Invalid> {
    let given = |name: &&&str| o.get(**name).is_some_and(|value| !value.is_null());
    match UNSUPPORTED.iter().find(given) {
        Some(name) => Err(field(
            name,
            "is not supported by this version: leave it out",
        )),
        None => Ok(()),
    }
}

fn schedule(o: &Object) -> Result<Schedule, Invalid> {
    let priority = match o.get("priority") {
        None | Some(Value::Null) => Priority::default(),
        Some(value) => value
            .as_u64()
            .and_then(|number| Priority::new(number).ok())
            .ok_or_else(|| field("priority", "must be a whole number from 0 to 9"))?,
    };
    let run_at = optional(o, "run_at")?.map(|text| {
        time::parse(text).ok_or_else(|| {
            let example = "2026-01-01T06:00:00Z";
            field(
                "run_at",
                format!("must be a time as in {example} (RFC 3339)"),
            )
        })
    });
    Ok(Schedule {
        priority,
        run_at: run_at.transpose()?,
    })
}

fn value_proposition_id(o: &Object) -> Result<Option<ValuePropositionId>, Invalid> {
    const NAME: &str = "value_proposition_id";
    optional(o, NAME)?
        .map(|id| {
            ValuePropositionId::parse(id).map_err(|e| field(NAME, format!("is not one: {e}")))
        })
        .transpose()
}

/// Triton's `POST /jobs/`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// Whose.
    pub client_id: ClientId,
    /// From which value proposition; none: the latest active one.
    pub value_proposition_id: Option<ValuePropositionId>,
    /// When it may run, and how urgently.
    pub schedule: Schedule,
}

impl NewJob {
    /// Reads the body.
    ///
    /// # Errors
    /// As [`Invalid`] says.
    pub fn parse(body: &[u8]) -> Result<Self, Invalid> {
        let o = object(body)?;
        nothing_unsupported(&o)?;
        let client_id = required(&o, "client_id")?;
        Ok(Self {
            client_id: ClientId::parse(client_id)
                .map_err(|e| field("client_id", format!("is not one: {e}")))?,
            value_proposition_id: value_proposition_id(&o)?,
            schedule: schedule(&o)?,
        })
    }

    /// The body that asks Triton for the same.
    pub fn encode(&self) -> Bytes {
        to_bytes(self)
    }
}

impl Serialize for NewJob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("client_id", self.client_id.as_str())?;
        if let Some(id) = &self.value_proposition_id {
            map.serialize_entry("value_proposition_id", id.as_str())?;
        }
        put_schedule(&mut map, self.schedule)?;
        map.end()
    }
}
