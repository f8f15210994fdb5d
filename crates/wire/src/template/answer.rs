//! The JSON object in what a generator answered: bare, in a Markdown code fence, with words around it,
//! or wrapped as `{"template": {…}, "reasoning": "…"}`.
//!
//! The first whole object with `widgets` or a `template` counts; where there is none, the object that the
//! answer begins with. Never in here: two objects made into one.

use serde::Deserialize;
use serde_json::Value;

use crate::fields::Object;
use crate::strict::Strict;

/// Most places of a text where an object is looked for.
const MAX_PLACES: usize = 16;
/// Most characters between a fence and the line end or the brace after it.
const MAX_INFO: usize = 64;

const NO_OBJECT: &str = "has no JSON object that is whole and has no key twice";

/// The JSON object of an answer, or in words why there is none.
pub(crate) fn find_object(answer: &[u8]) -> Result<Object, &'static str> {
    let answer = answer.strip_prefix(b"\xef\xbb\xbf").unwrap_or(answer);
    let text = std::str::from_utf8(answer).map_err(|_| "is not UTF-8")?;
    if text.trim().is_empty() {
        return Err("is empty");
    }
    // First what stands in a fence: prose before it may well have a brace.
    let fences = text.match_indices("```").take(MAX_PLACES);
    let fenced = fences.filter_map(|(at, fence)| {
        let body = &text[at + fence.len()..];
        // ```json
        let info = body.char_indices().take(MAX_INFO);
        let (begin, _) = info.into_iter().find(|(_, c)| matches!(c, '\n' | '{'))?;
        let body = body[begin..].trim_start();
        body.starts_with('{').then_some(body)
    });
    let bare = text.match_indices('{').map(|(at, _)| &text[at..]);
    let starts_bare = text.trim_start().starts_with('{');
    let (first, then): (Vec<&str>, Vec<&str>) = if starts_bare {
        (bare.take(1).collect(), fenced.collect())
    } else {
        (fenced.collect(), bare.take(MAX_PLACES).collect())
    };
    let mut places = first.into_iter().chain(then).map(whole_object);
    let foremost = places.next().flatten();
    if foremost.as_ref().is_some_and(looks_like_template) {
        return foremost.ok_or(NO_OBJECT);
    }
    // An object from within one that was cut off would be told by rules that have nothing to do with the
    // real fault.
    let other = places.flatten().find(looks_like_template);
    other.or(foremost).ok_or(NO_OBJECT)
}

/// Whether an object is a template, or wraps one, as far as can be told at a glance.
fn looks_like_template(object: &Object) -> bool {
    object.contains_key("widgets") || object.contains_key("template")
}

/// The object that a text begins with; what follows it doesn't matter.
fn whole_object(text: &str) -> Option<Object> {
    let mut reader = serde_json::Deserializer::from_str(text);
    match Strict::deserialize(&mut reader) {
        Ok(Strict(Value::Object(object))) => Some(object),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_is_found_wherever_it_stands() {
        for answer in [
            r#"{"a":"```"}"#,
            "\u{feff} {\"a\":\"```\"}\n",
            "```json\n{\"a\":\"```\"}\n```",
            "```\n{\"a\":\"```\"}\n```\n",
            "```JSON {\"a\":\"```\"} ```",
            "Sure {as you wish}! Here it is:\n\n```json\n{\"a\":\"```\"}\n```\nAnything else? {}",
            "The template is {\"a\":\"```\"}, enjoy.",
            "~~~\n{\"a\":\"```\"}\n~~~",
        ] {
            let found = find_object(answer.as_bytes()).expect(answer);
            assert_eq!(Value::from(found).to_string(), r#"{"a":"```"}"#, "{answer}");
        }
    }

    #[test]
    fn what_looks_like_a_template_comes_before_other_objects() {
        for answer in [
            "With {} as data: {\"widgets\":[]}",
            "```json\n{\"note\":1}\n```\n```json\n{\"widgets\":[]}\n```",
            "{\"note\":1}\n```json\n{\"widgets\":[]}\n```",
        ] {
            let found = find_object(answer.as_bytes()).expect(answer);
            assert_eq!(
                Value::from(found).to_string(),
                r#"{"widgets":[]}"#,
                "{answer}"
            );
        }
        // What is nested in a template that was cut off, or has a comma too many, is none.
        for answer in [
            "```json\n{\"widgets\":[{\"position\":{\"row\":1}},",
            "Here: {\"widgets\":[{\"position\":{\"row\":1}},]}",
        ] {
            assert_eq!(find_object(answer.as_bytes()), Err(NO_OBJECT), "{answer}");
        }
    }

    #[test]
    fn an_answer_without_an_object_is_told_apart() {
        for (answer, why) in [
            (&b""[..], "is empty"),
            (b" \n", "is empty"),
            (b"\xff{}", "is not UTF-8"),
            (b"no", "has no JSON object"),
            (b"[1]", "has no JSON object"),
            (b"{\"a\":1", "has no JSON object"),
            (b"{\"a\":1,\"a\":2}", "has no JSON object"),
            (b"```json\n{\"a\":\n```", "has no JSON object"),
        ] {
            let error = find_object(answer).expect_err("nothing there");
            assert!(error.starts_with(why), "{error}");
        }
        // As long as it may get: bounded work, no deep recursion.
        let braces = "{".repeat(1 << 20);
        find_object(braces.as_bytes()).expect_err("nothing there");
        let fences = "```".repeat(1 << 18);
        find_object(fences.as_bytes()).expect_err("nothing there");
    }
}
