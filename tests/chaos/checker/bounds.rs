//! I9: what a process holds, against what it may hold; and what is left in the store.

use super::Judgement;
use super::history::{History, text};

pub(super) fn judge(history: &History<'_>, judgement: &mut Judgement) {
    for record in history.records {
        match text(record, "what") {
            // `used` and `limit` of anything that is counted: bytes, descriptors, keys.
            "bound" => {
                let (used, limit) = (record["used"].as_f64(), record["limit"].as_f64());
                if used.zip(limit).is_none_or(|(used, limit)| used > limit) {
                    judgement.broken(
                        "I9",
                        format!(
                            "{}: {} is {}, and may be {}",
                            text(record, "target"),
                            text(record, "name"),
                            record["used"],
                            record["limit"]
                        ),
                    );
                }
                judgement.figures.bounds += 1;
            }
            // What a key has left to live, in the store at the end.
            "lifetime" => {
                let key = text(record, "key");
                match (record["left_ms"].as_f64(), record["limit_ms"].as_f64()) {
                    (_, None) => judgement.broken("I9", format!("{key}: nothing says how long")),
                    (None, Some(limit)) => {
                        let what = format!("{key} is kept for ever, and may be for {limit} ms");
                        judgement.broken("I9", what);
                    }
                    (Some(left), Some(limit)) if left > limit => {
                        let what = format!("{key} is kept for {left} ms, and may be for {limit}");
                        judgement.broken("I9", what);
                    }
                    _ => {}
                }
                judgement.figures.lifetimes += 1;
            }
            "panicked" => {
                let (target, said) = (text(record, "target"), text(record, "text"));
                judgement.broken("I9", format!("{target} panicked: {said}"));
            }
            _ => {}
        }
    }
}
