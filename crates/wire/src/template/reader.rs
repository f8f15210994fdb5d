//! Fields of a JSON object in either spelling, each with its path, and what is wrong with them.
//!
//! Never in here: what a template is made of; a fault that quotes what was read.

use std::sync::Arc;

use conch_domain::{BrokenRule, InvalidTemplate};
use serde_json::Value;

use crate::fields::Object;

/// Most faults that are collected: the first few are told.
const MAX_FAULTS: usize = 64;
/// Most entries of a list that are read; rules about shorter lists are the domain's.
const MAX_ENTRIES: usize = 256;

/// An object and where it stands.
pub(super) struct Place<'a> {
    pub(super) path: String,
    pub(super) object: &'a Object,
}

impl<'a> Place<'a> {
    /// The field's path, by its name in HTTP answers.
    pub(super) fn at(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// The field under this name or under the same name in the other spelling; null is absent.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        let value = self.object.get(name).or_else(|| {
            let other = other_spelling(name);
            self.object.get(&other)
        });
        value.filter(|value| !value.is_null())
    }
}

/// `rowSpan` for `row_span`, and the reverse.
pub(super) fn other_spelling(name: &str) -> String {
    let mut other = String::with_capacity(name.len() + 2);
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else if c.is_ascii_uppercase() {
            other.push('_');
            other.push(c.to_ascii_lowercase());
        } else if std::mem::take(&mut upper) {
            other.push(c.to_ascii_uppercase());
        } else {
            other.push(c);
        }
    }
    other
}

/// Reads fields and collects what is wrong with them. What can't be read gets a value that stands in for
/// it: the draft is thrown away then.
#[derive(Default)]
pub(super) struct Reader(Vec<BrokenRule>);

impl Reader {
    /// What was found wrong, if anything.
    pub(super) fn invalid(self) -> Option<InvalidTemplate> {
        InvalidTemplate::of(self.0)
    }

    fn fault(&mut self, path: String, rule: impl Into<String>) {
        if self.0.len() < MAX_FAULTS {
            self.0.push(BrokenRule::new(path, rule));
        }
    }

    pub(super) fn text(&mut self, place: &Place<'_>, name: &str) -> String {
        match place.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(_) => {
                self.fault(place.at(name), "must be a text");
                String::new()
            }
            None => {
                self.fault(place.at(name), "is missing; it must be a text");
                String::new()
            }
        }
    }

    pub(super) fn optional_text(&mut self, place: &Place<'_>, name: &str) -> Option<String> {
        place.get(name).map(|_| self.text(place, name))
    }

    pub(super) fn whole(&mut self, place: &Place<'_>, name: &str) -> u32 {
        let number = place.get(name).and_then(|value| {
            let float = value.as_f64()?;
            (float.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&float))
                .then_some(float as u32)
        });
        number.unwrap_or_else(|| {
            self.fault(place.at(name), "must be a whole number");
            0
        })
    }

    pub(super) fn one_of<T: Copy>(
        &mut self,
        place: &Place<'_>,
        name: &str,
        all: &[T],
        as_str: impl Fn(T) -> &'static str,
    ) -> T {
        let text = place.get(name).and_then(Value::as_str);
        let found = text.and_then(|text| all.iter().find(|value| as_str(**value) == text));
        *found.unwrap_or_else(|| {
            let names: Vec<&str> = all.iter().map(|value| as_str(*value)).collect();
            self.fault(
                place.at(name),
                format!("must be one of {}", names.join(", ")),
            );
            &all[0]
        })
    }

    /// The entries of a list that must be there.
    pub(super) fn list<'a>(&mut self, place: &Place<'a>, name: &str) -> &'a [Value] {
        let list = self.any_list(place, name);
        if list.len() > MAX_ENTRIES {
            let rule = format!("must have at most {MAX_ENTRIES} entries");
            self.fault(place.at(name), rule);
        }
        &list[..list.len().min(MAX_ENTRIES)]
    }

    /// As [`Reader::list`], however many entries it has.
    pub(super) fn any_list<'a>(&mut self, place: &Place<'a>, name: &str) -> &'a [Value] {
        let Some(Value::Array(list)) = place.get(name) else {
            self.fault(place.at(name), "must be a list");
            return &[];
        };
        list
    }

    pub(super) fn optional_list<'a>(&mut self, place: &Place<'a>, name: &str) -> &'a [Value] {
        match place.get(name) {
            None => &[],
            Some(_) => self.list(place, name),
        }
    }

    pub(super) fn texts(&mut self, place: &Place<'_>, name: &str, list: &[Value]) -> Vec<String> {
        let mut texts = Vec::new();
        for (i, value) in list.iter().enumerate() {
            match value.as_str() {
                Some(text) => texts.push(text.to_owned()),
                None => self.fault(format!("{}[{i}]", place.at(name)), "must be a text"),
            }
        }
        texts
    }

    pub(super) fn object<'a>(&mut self, place: &Place<'a>, name: &str) -> Option<Place<'a>> {
        self.as_object(place.get(name), place.at(name))
    }

    fn as_object<'a>(&mut self, value: Option<&'a Value>, path: String) -> Option<Place<'a>> {
        if let Some(Value::Object(object)) = value {
            return Some(Place { path, object });
        }
        self.fault(path, "must be an object");
        None
    }

    /// The objects of a list.
    pub(super) fn places<'a>(&mut self, path: &str, list: &'a [Value]) -> Vec<Place<'a>> {
        let entries = list.iter().enumerate();
        entries
            .filter_map(|(i, value)| self.as_object(Some(value), format!("{path}[{i}]")))
            .collect()
    }

    /// Any JSON value that is there, as its text.
    pub(super) fn any(&mut self, place: &Place<'_>, name: &str) -> Arc<str> {
        if let Some(value) = place.object.get(name) {
            return value.to_string().into();
        }
        self.fault(place.at(name), "is missing");
        Arc::from("null")
    }
}
