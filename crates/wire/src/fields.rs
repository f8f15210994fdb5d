//! Fields of JSON objects, both ways. What a program of any age wrote is read: what is absent, null or of the
//! wrong type is absent. What we write goes straight into the output.
//!
//! Never in here: a tree of values for what is only written.

use std::fmt::Display;

use conch_domain::{MAX_PLACES, Metadata, Priority, Schedule, TemplateId, Timestamp};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value};

pub(crate) type Object = Map<String, Value>;

pub(crate) fn text<'a>(object: &'a Object, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str()
}

/// A whole number, also when written as `12.0` or `"12"`.
pub(crate) fn number(object: &Object, name: &str) -> Option<u64> {
    match object.get(name)? {
        Value::Number(n) => n.as_u64().or_else(|| {
            let float = n.as_f64()?;
            (0.0..1e15).contains(&float).then_some(float as u64)
        }),
        Value::String(s) => s.parse().ok(),
        _ => None,
    }
}

pub(crate) fn small(object: &Object, name: &str) -> Option<u32> {
    number(object, name)?.try_into().ok()
}

pub(crate) fn moment(object: &Object, name: &str) -> Option<Timestamp> {
    crate::time::parse(text(object, name)?)
}

/// The template ids of a list, those that are none left out.
pub(crate) fn template_ids(object: &Object) -> Option<Vec<TemplateId>> {
    let list = object.get("template_ids")?.as_array()?;
    Some(
        list.iter()
            .filter_map(|id| TemplateId::parse(id.as_str()?).ok())
            .collect(),
    )
}

/// Places in a plan, those that are none left out.
pub(crate) fn places(object: &Object, name: &str) -> Vec<u32> {
    let list = object.get(name).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|place| u32::try_from(place.as_u64()?).ok())
        .take(MAX_PLACES)
        .collect()
}

/// When a job may run, and how urgently: what isn't said is as if nothing had been asked for.
pub(crate) fn schedule(object: &Object) -> Schedule {
    let priority = number(object, "priority").and_then(|number| Priority::new(number).ok());
    Schedule {
        priority: priority.unwrap_or_default(),
        run_at: moment(object, "run_at"),
    }
}

/// Writes only what isn't the default: most jobs ask for nothing.
pub(crate) fn put_schedule<M: SerializeMap>(
    map: &mut M,
    schedule: Schedule,
) -> Result<(), M::Error> {
    if schedule.priority != Priority::default() {
        map.serialize_entry("priority", &schedule.priority.get())?;
    }
    if let Some(run_at) = schedule.run_at {
        map.serialize_entry("run_at", &crate::time::written(run_at))?;
    }
    Ok(())
}

/// Written as the text that it displays as.
pub(crate) struct Text<T>(pub(crate) T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Template ids, written as a list.
pub(crate) struct Ids<'a>(pub(crate) &'a [TemplateId]);

impl Serialize for Ids<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(TemplateId::as_str))
    }
}

/// An object of the caller's own; `{}` when absent.
pub(crate) fn metadata(value: Option<&Value>) -> Metadata {
    match value {
        Some(value @ Value::Object(_)) => Metadata::from_json(value.to_string()),
        _ => Metadata::default(),
    }
}

/// The object as a value, for writing.
pub(crate) fn metadata_value(metadata: &Metadata) -> Value {
    serde_json::from_str(metadata.as_json()).unwrap_or_else(|_| Value::Object(Map::new()))
}
