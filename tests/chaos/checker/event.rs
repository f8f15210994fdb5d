//! The checker's own reading of an event, and its own fold.
//!
//! Never taken from the system: the contract's §2, read a second time.

use std::collections::BTreeSet;

use serde_json::Value;

/// A place in a job's log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) epoch: String,
    pub(super) sequence: u64,
}

impl Place {
    /// `<epoch>-<sequence>`, the epoch eight hexadecimal digits.
    pub(super) fn parse(id: &str) -> Option<Self> {
        let (epoch, sequence) = id.split_once('-')?;
        let hex = epoch.len() == 8 && epoch.bytes().all(|b| b.is_ascii_hexdigit());
        let digits = !sequence.is_empty() && sequence.bytes().all(|b| b.is_ascii_digit());
        (hex && digits).then(|| Self {
            epoch: epoch.to_owned(),
            sequence: sequence.parse().unwrap_or(u64::MAX),
        })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.epoch, self.sequence)
    }
}

pub(super) fn kind(event: &Value) -> &str {
    event["event_type"].as_str().unwrap_or("")
}

/// The status that a terminal event leaves its job in.
pub(super) fn end_of(event: &Value) -> Option<&'static str> {
    match kind(event) {
        "job:completed" => Some("completed"),
        "job:failed" => Some("failed"),
        "job:cancelled" => Some("cancelled"),
        _ => None,
    }
}

/// An external publisher's naive time is UTC, and said so when it comes back. Only of times.
fn utc(value: &Value) -> Value {
    match value.as_str() {
        Some(text) if is_naive_time(text) => Value::from(format!("{text}Z")),
        _ => value.clone(),
    }
}

fn is_naive_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shape = |at: usize, mark: u8| bytes.get(at) == Some(&mark);
    shape(4, b'-') && shape(7, b'-') && shape(10, b'T') && shape(13, b':') && !text.ends_with('Z')
}

pub(super) fn is_terminal_status(status: &str) -> bool {
    matches!(status, "completed" | "failed" | "cancelled")
}

/// Whether the attempt that this `job:retrying` ends is counted: not one that a shutdown cut short, nor
/// one that ended in silence before it had begun.
pub(super) fn counts(event: &Value) -> bool {
    let began = event["error_message"] != "its worker fell silent before the attempt began";
    event["reason"] != "shutdown" && began
}

/// What a job's events add up to, as far as a lookup shows it.
#[derive(Debug, Clone, Default)]
pub(super) struct Fold {
    pub(super) status: String,
    pub(super) template_ids: Vec<Value>,
    pub(super) started_at: Value,
    /// The places of the templates that failed.
    pub(super) failed: BTreeSet<u64>,
    pub(super) end: Value,
}

impl Fold {
    pub(super) fn apply(&mut self, event: &Value) {
        match kind(event) {
            "job:queued" | "job:retrying" => {
                "pending".clone_into(&mut self.status);
                if event["reason"] == "error" {
                    self.failed.clear();
                }
            }
            "job:started" => {
                "running".clone_into(&mut self.status);
                self.started_at = event["started_at"].clone();
            }
            "job:progress" => "running".clone_into(&mut self.status),
            "job:template_failed" => {
                "running".clone_into(&mut self.status);
                self.failed.extend(event["template_index"].as_u64());
            }
            "job:template_completed" => {
                "running".clone_into(&mut self.status);
                if let Some(place) = event["template_index"].as_u64() {
                    self.failed.remove(&place);
                }
                let id = &event["template_id"];
                if !self.template_ids.contains(id) {
                    self.template_ids.push(id.clone());
                }
            }
            _ => {}
        }
        if let Some(status) = end_of(event) {
            status.clone_into(&mut self.status);
            self.end = event.clone();
        }
    }

    /// Where a job object says something else than its log; none if nowhere.
    pub(super) fn disagrees(&self, job: &Value) -> Option<String> {
        let differs = |field: &str, expected: &Value| {
            (utc(&job[field]) != utc(expected))
                .then(|| format!("{field} is {} and the log says {expected}", job[field]))
        };
        differs("status", &Value::from(self.status.as_str())).or_else(|| {
            let end = &self.end;
            let fields: &[&str] = match kind(end) {
                "job:completed" => &[
                    "template_ids",
                    "template_count",
                    "failed_templates",
                    "error_message",
                    "completed_at",
                    "generation_duration_ms",
                ],
                "job:failed" => &["error_message", "completed_at", "generation_duration_ms"],
                "job:cancelled" => &["template_ids", "completed_at"],
                _ => return None,
            };
            fields
                .iter()
                // What the old forms lack is filled in by the system, each time alike.
                .filter(|field| !end[**field].is_null())
                .find_map(|field| differs(field, &end[*field]))
                .or_else(|| {
                    let own = !end["sequence"].is_null() && !self.started_at.is_null();
                    own.then(|| differs("started_at", &self.started_at))
                        .flatten()
                })
                .or_else(|| {
                    let failed = self.failed.iter().copied().collect::<Value>();
                    (!self.failed.is_empty())
                        .then(|| differs("failed_templates", &failed))
                        .flatten()
                })
        })
    }
}
