//! JSON Schema (2020-12) of a template, made from the types in `body`.
//!
//! What a schema can't say (no two widgets share a cell, unique widget ids) is said in its descriptions.
//! Never in here: a rule of one field (`rules`).

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::body::{GeneratedBody, TemplateBody};

/// A schema that refers to those in `definitions`, by `#{path}/name`.
fn of<T: JsonSchema>(path: &'static str) -> (Value, Map<String, Value>) {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = path.into();
    });
    let mut generator = settings.for_serialize().into_generator();
    let mut schema = T::json_schema(&mut generator);
    for transform in generator.transforms_mut() {
        transform.transform(&mut schema);
    }
    (schema.to_value(), generator.take_definitions(true))
}

fn whole<T: JsonSchema>(title: &str, description: &str) -> Value {
    let (schema, definitions) = of::<T>("/$defs");
    let mut whole = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "description": description,
    });
    let object = whole.as_object_mut().expect("an object was written");
    if let Value::Object(schema) = schema {
        for (key, value) in schema {
            object.entry(key).or_insert(value);
        }
    }
    object.insert("$defs".to_owned(), definitions.into());
    whole
}

const SERVED: &str = "A dashboard template as HTTP answers show it. No two widgets share a cell and no two have one id. Templates of earlier versions and of another job service are served as they are.";
const GENERATED: &str = "A dashboard template as a generator writes it: this object, or {\"template\": this, \"reasoning\": …}. Keys may be written in snake_case, too. No two widgets share a cell and no two have one id.";

/// The schema of a template in HTTP answers.
pub fn served() -> Value {
    whole::<TemplateBody<'_>>("Template", SERVED)
}

/// The schema of what a generator writes.
pub fn to_generate() -> Value {
    whole::<GeneratedBody<'_>>("GeneratedTemplate", GENERATED)
}

/// Both schemas and what they refer to, for `components.schemas` of an OpenAPI document.
pub fn components() -> Map<String, Value> {
    let mut components = Map::new();
    for (name, description, (mut schema, definitions)) in [
        (
            "ComposedTemplate",
            SERVED,
            of::<TemplateBody<'_>>("/components/schemas"),
        ),
        (
            "GeneratedTemplate",
            GENERATED,
            of::<GeneratedBody<'_>>("/components/schemas"),
        ),
    ] {
        components.extend(definitions);
        schema["description"] = description.into();
        components.insert(name.to_owned(), schema);
    }
    components
}
