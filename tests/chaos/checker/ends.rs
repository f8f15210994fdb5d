//! What an end says of its own log: I6, before any cache or lookup says it again.
//!
//! Never of an external job's: its publisher says what it likes.

use serde_json::Value;

use super::Judgement;
use super::book::{Book, Epoch};
use super::event::kind;

/// An end lists every template that its log told of. What a store lost is told of in another incarnation.
pub(super) fn judge(book: &Book<'_>, judgement: &mut Judgement) {
    for (job, log) in book.logs.iter().filter(|(_, log)| log.own()) {
        for (name, epoch) in &log.epochs {
            lists_all(job, name, epoch, judgement);
        }
    }
}

fn lists_all(job: &str, name: &str, epoch: &Epoch<'_>, judgement: &mut Judgement) {
    let mut made: Vec<&Value> = Vec::new();
    for (sequence, entry) in &epoch.entries {
        let event = &entry.event;
        match kind(event) {
            "job:template_completed" => made.push(&event["template_id"]),
            "job:completed" | "job:cancelled" => {
                let (list, count) = (&event["template_ids"], &event["template_count"]);
                let listed = list.as_array().map_or(&[][..], Vec::as_slice);
                let end = format!("{job} {name}-{sequence}");
                if let Some(id) = made.iter().find(|id| !listed.contains(id)) {
                    let what = format!("{end}: {id} was made, and the end lists {list}");
                    judgement.broken("I6", what);
                }
                // A cancelled one doesn't count.
                if !count.is_null() && count.as_u64() != Some(listed.len() as u64) {
                    judgement.broken("I6", format!("{end} counts {count} in {list}"));
                }
            }
            _ => {}
        }
    }
}
