//! Triton's JSON, both dialects: ours and the Python service's.
//!
//! Never in here: IO. What an object says beyond what is asked of it is passed on as it came.

use std::cmp::Reverse;
use std::collections::HashMap;

use bytes::Bytes;
use conch_ports::{Document, Page, Paging};
use serde_json::Value;
use serde_json::value::RawValue;

/// Most characters of an upstream's own words that are passed on.
const QUOTED_MAX: usize = 300;

/// What is wrong with an answer, in words.
pub(crate) type Wrong = String;

/// One record of any kind: its text and what lists look at.
pub(crate) struct Item {
    pub(crate) text: Bytes,
    pub(crate) fields: Fields,
}

/// The fields that filters, paging and checks read; what is absent or of another type is none.
#[derive(Default)]
pub(crate) struct Fields(serde_json::Map<String, Value>);

impl Fields {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// Microseconds since 1970; the least number when it is absent.
    pub(crate) fn moment(&self, name: &str) -> i64 {
        self.text(name)
            .and_then(conch_wire::time::parse)
            .map_or(i64::MIN, conch_domain::Timestamp::as_micros)
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.as_u64()
    }

    pub(crate) fn has_list(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(Value::is_array)
    }
}

impl Item {
    /// Reads a record that has an id.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Wrong> {
        let fields: serde_json::Map<String, Value> =
            serde_json::from_slice(text).map_err(|e| format!("no JSON object ({e})"))?;
        let fields = Fields(fields);
        if fields
            .text("id")
            .or(fields.text("job_id"))
            .is_none_or(str::is_empty)
        {
            return Err("a record without an id".to_owned());
        }
        Ok(Self {
            text: Bytes::copy_from_slice(text),
            fields,
        })
    }

    pub(crate) fn id(&self) -> &str {
        self.fields
            .text("id")
            .or(self.fields.text("job_id"))
            .unwrap_or_default()
    }

    pub(crate) fn into_document(self) -> Document {
        Document::from_json(self.text)
    }
}

/// Checks that the text is one JSON object.
pub(crate) fn object(text: &[u8]) -> Result<(), Wrong> {
    match serde_json::from_slice::<Value>(text) {
        Ok(Value::Object(_)) => Ok(()),
        Ok(_) => Err("JSON, but no object".to_owned()),
        Err(e) => Err(format!("no JSON ({e})")),
    }
}

/// A list as it came.
pub(crate) enum List {
    /// The Python service's: all there is.
    Bare(Vec<Item>),
    /// Ours: one page of `total`.
    Paged { total: u64, items: Vec<Item> },
}

impl List {
    /// Reads a list whose page would be called `name`.
    pub(crate) fn parse(text: &[u8], name: &str) -> Result<Self, Wrong> {
        let records = |raw: Vec<Box<RawValue>>| -> Result<Vec<Item>, Wrong> {
            raw.iter()
                .map(|item| Item::parse(item.get().as_bytes()))
                .collect()
        };
        let no_list = |e| format!("no JSON list ({e})");
        if text.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[') {
            let raw = serde_json::from_slice(text).map_err(no_list)?;
            return Ok(Self::Bare(records(raw)?));
        }
        let fields: HashMap<String, Box<RawValue>> =
            serde_json::from_slice(text).map_err(no_list)?;
        let field = |name: &str| {
            fields
                .get(name)
                .map(|raw| raw.get())
                .ok_or_else(|| format!("a page without `{name}`"))
        };
        let raw = serde_json::from_str(field(name)?)
            .map_err(|_| format!("a page whose `{name}` is no list"))?;
        // `{client, value_propositions}`: all there is, beside whose it is.
        if name == "value_propositions" && fields.contains_key("client") {
            return Ok(Self::Bare(records(raw)?));
        }
        let total = serde_json::from_str(field("total")?)
            .map_err(|_| "a page whose `total` is no number".to_owned())?;
        Ok(Self::Paged {
            total,
            items: records(raw)?,
        })
    }

    /// The page that was asked for. A bare list is filtered, ordered and cut here; of a page only what
    /// doesn't meet the filter is left out, for its maker may not know each filter.
    pub(crate) fn page(self, paging: Paging, keep: impl Fn(&Fields) -> bool) -> Page<Item> {
        match self {
            Self::Paged { total, mut items } => {
                items.retain(|item| keep(&item.fields));
                Page { total, items }
            }
            Self::Bare(mut items) => {
                items.retain(|item| keep(&item.fields));
                items.sort_by(|a, b| {
                    let key = |item: &Item| Reverse(item.fields.moment("created_at"));
                    key(a).cmp(&key(b)).then_with(|| a.id().cmp(b.id()))
                });
                Page {
                    total: items.len() as u64,
                    items: items
                        .into_iter()
                        .skip(usize::try_from(paging.offset()).unwrap_or(usize::MAX))
                        .take(paging.page_size as usize)
                        .collect(),
                }
            }
        }
    }
}

/// What an error answer says of itself: problem+json's `detail`, or FastAPI's.
pub(crate) fn detail(body: &[u8]) -> Option<String> {
    let object: serde_json::Map<String, Value> = serde_json::from_slice(body).ok()?;
    match object.get("detail").or(object.get("title"))? {
        Value::String(text) => Some(quoted(text)),
        other => Some(quoted(&other.to_string())),
    }
}

/// An upstream's own words as they may stand in ours: bounded, and on one line, for errors become lines
/// of logs as they are.
pub(crate) fn quoted(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(QUOTED_MAX)
        .collect()
}

/// Whether an answer says that no record can have such an id: a service whose ids are UUIDs refuses
/// all others as badly formed (FastAPI: 422) before it looks for one. `place` is where the request
/// names the ids, `ids` how they are called there; in a path everything is an id.
pub(crate) fn refuses_id(status: u16, body: &[u8], place: &str, ids: &[&str]) -> bool {
    if !matches!(status, 400 | 422) {
        return false;
    }
    let Ok(Value::Object(object)) = serde_json::from_slice(body) else {
        return false;
    };
    let in_path = place == "path";
    match object.get("detail") {
        // Each entry says where in the request something is wrong.
        Some(Value::Array(faults)) => {
            let of_an_id = |fault: &Value| {
                let at = |index: usize| fault["loc"].get(index).and_then(Value::as_str);
                at(0) == Some(place) && (in_path || at(1).is_some_and(|name| ids.contains(&name)))
            };
            !faults.is_empty() && faults.iter().all(of_an_id)
        }
        Some(Value::String(words)) if in_path => {
            let words = words.to_ascii_lowercase();
            let mut parts = words.split(|c: char| !c.is_ascii_alphanumeric());
            words.contains("uuid") || words.contains("invalid") && parts.any(|part| part == "id")
        }
        _ => false,
    }
}

/// The stable code of a problem.
pub(crate) fn problem_code(body: &[u8]) -> Option<String> {
    let object: serde_json::Map<String, Value> = serde_json::from_slice(body).ok()?;
    Some(object.get("code")?.as_str()?.to_owned())
}

/// Which field of a job's schedule a service of ours refuses, and what is wrong with it.
pub(crate) fn refused_schedule(body: &[u8]) -> Option<(String, String)> {
    let object: serde_json::Map<String, Value> = serde_json::from_slice(body).ok()?;
    let error = object.get("errors")?.get(0)?;
    let path = error.get("path")?.as_str()?;
    let is_ours = matches!(path, "priority" | "run_at");
    let detail = error.get("detail")?.as_str()?;
    is_ours.then(|| (path.to_owned(), quoted(detail)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_refusals_say_that_no_record_can_have_such_an_id() {
        let uuid = |loc: &str| format!(r#"{{"detail":[{{"type":"uuid_parsing","loc":{loc}}}]}}"#);
        let refused = |status, body: &str| {
            (
                refuses_id(status, body.as_bytes(), "path", &[]),
                refuses_id(status, body.as_bytes(), "query", &["client_id", "job_id"]),
            )
        };
        for (status, body, expected) in [
            (422, uuid(r#"["path","job_id"]"#), (true, false)),
            (422, uuid(r#"["query","job_id"]"#), (false, true)),
            (422, uuid(r#"["query","page_size"]"#), (false, false)),
            (422, uuid(r#"["header","x-tenant"]"#), (false, false)),
            (422, r#"{"detail":[]}"#.to_owned(), (false, false)),
            (
                400,
                r#"{"detail":"Invalid job ID"}"#.to_owned(),
                (true, false),
            ),
            (
                400,
                r#"{"detail":"badly formed hexadecimal UUID string"}"#.to_owned(),
                (true, false),
            ),
            (400, r#"{"detail":"no"}"#.to_owned(), (false, false)),
            (
                400,
                r#"{"detail":"invalid width"}"#.to_owned(),
                (false, false),
            ),
            (422, "<html>".to_owned(), (false, false)),
            (500, uuid(r#"["path","job_id"]"#), (false, false)),
        ] {
            assert_eq!(refused(status, &body), expected, "{status} {body}");
        }
        let two = r#"{"detail":[{"loc":["query","job_id"]},{"loc":["query","page"]}]}"#;
        assert_eq!(refused(422, two), (false, false), "the page is wrong, too");
    }
}
