//! Each invariant, broken by hand in a small history that is otherwise whole.

use serde_json::{Value, json};

use super::{is_due, judge};

mod going_on;
mod many;

const EPOCH: &str = "0000abcd";

fn terms(class: &str) -> Value {
    json!({ "at": 0.0, "what": "terms", "class": class, "t_ms": 3000, "prompt_ms": 1000,
            "settle_ms": 500, "history_limit": 100 })
}

fn event(sequence: u64, kind: &str, more: &Value) -> Value {
    let mut event = json!({ "event_type": kind, "job_id": "j", "client_id": "c" });
    let fields = event.as_object_mut().expect("it is one");
    fields.extend(more.as_object().expect("it is one").clone());
    fields.insert("sequence".to_owned(), sequence.into());
    fields.insert("epoch".to_owned(), EPOCH.into());
    event
}

/// A job that is queued, started, progresses twice, makes a template and completes.
fn log() -> Vec<Value> {
    let progress = |percent| json!({ "progress": percent, "attempt": 1 });
    let template = json!({ "template_id": "t", "template_index": 1, "attempt": 1 });
    let end = json!({ "template_ids": ["t"], "template_count": 1, "completed_at": "z",
                      "attempt": 1 });
    vec![
        event(1, "job:queued", &json!({})),
        event(
            2,
            "job:started",
            &json!({ "started_at": "y", "attempt": 1 }),
        ),
        event(3, "job:progress", &progress(10)),
        event(4, "job:progress", &progress(20)),
        event(5, "job:template_completed", &template),
        event(6, "job:completed", &end),
    ]
}

fn id(event: &Value) -> String {
    format!("{EPOCH}-{}", event["sequence"])
}

/// Everything as it should be: submitted, watched through, announced, looked up, stored.
fn whole() -> Vec<Value> {
    let log = log();
    let mut records = vec![
        terms("everysec"),
        json!({ "at": 1.0, "what": "submitting", "key": "k", "client": "c" }),
        json!({ "at": 2.0, "what": "accepted", "key": "k", "client": "c", "job": "j" }),
        json!({ "at": 3.0, "what": "connect", "who": "w", "job": "j", "cursor": null }),
        json!({ "at": 4.0, "what": "status", "who": "w", "status": 200 }),
    ];
    for event in &log {
        let at = 10_000.0 * event["sequence"].as_f64().expect("a number");
        let ended = event["event_type"] == "job:completed";
        let line = event.to_string();
        let look = json!({ "epoch": EPOCH, "sequence": event["sequence"], "ended": ended,
                           "entry": !ended, "leased": !ended, "result": ended, "attempts": 0 });
        records
            .push(json!({ "at": at, "what": "announced", "job": "j", "line": line, "look": look }));
        records.push(
            json!({ "at": at + 1.0, "what": "event", "who": "w", "id": id(event), "data": line }),
        );
    }
    let job = json!({ "status": "completed", "template_ids": ["t"], "template_count": 1, "completed_at": "z",
                      "started_at": "y", "generation_duration_ms": null });
    let kept: Vec<Value> = log
        .iter()
        .map(|e| json!([e["sequence"], e.to_string()]))
        .collect();
    records.extend([
        json!({ "at": 60_002.0, "what": "comment", "who": "w", "text": "Connection closing - job completed" }),
        json!({ "at": 60_003.0, "what": "closed", "who": "w" }),
        json!({ "at": 60_004.0, "what": "connect", "who": "w", "job": "j", "cursor": "0000abcd-6" }),
        json!({ "at": 60_005.0, "what": "status", "who": "w", "status": 204 }),
        json!({ "at": 60_006.0, "what": "store", "job": "j", "epoch": EPOCH, "sequence": 6, "ended": true,
                "own": true, "log": kept, "result": job.to_string(), "entry": false, "leased": false }),
        json!({ "at": 60_006.5, "what": "lifetime", "key": "triton:job:result:j", "left_ms": 9, "limit_ms": 10 }),
        json!({ "at": 60_007.0, "what": "lookup", "by": "p", "job": "j", "status": 200, "body": job }),
    ]);
    records
}

/// The place of the record that is that, the n-th of its kind.
fn place(records: &[Value], what: &str, n: usize) -> usize {
    let mut places = records
        .iter()
        .enumerate()
        .filter(|(_, r)| r["what"] == what);
    places.nth(n).expect("there is one").0
}

fn rewritten(line: &Value, change: impl Fn(&mut Value)) -> Value {
    let mut event = serde_json::from_str(line.as_str().expect("a line")).expect("JSON");
    change(&mut event);
    event.to_string().into()
}

/// Changes the end wherever it was seen, and what is said of it everywhere.
fn retell_end(records: &mut [Value], change: impl Fn(&mut Value)) {
    let retold = |value: &Value| {
        let ended = value.as_str().is_some_and(|l| l.contains("job:completed"));
        ended.then(|| rewritten(value, &change))
    };
    for record in records.iter_mut() {
        for field in ["line", "data"] {
            if let Some(told) = retold(&record[field]) {
                record[field] = told;
            }
        }
        for kept in record["log"].as_array_mut().into_iter().flatten() {
            if let Some(told) = retold(&kept[1]) {
                kept[1] = told;
            }
        }
        if record["what"] == "store" {
            record["result"] = rewritten(&record["result"], &change);
        }
        if record["what"] == "lookup" {
            change(&mut record["body"]);
        }
    }
}

#[test]
fn a_whole_history_is_whole() {
    let judgement = judge(&whole());
    assert_eq!(judgement.told(), "");
    let figures = judgement.figures;
    assert_eq!((figures.expected, figures.seen, figures.missed), (1, 1, 0));
    assert_eq!((figures.jobs, figures.doubled, figures.events), (1, 0, 6));
}

#[test]
fn each_invariant_is_missed_when_it_is_broken() {
    type Break = fn(&mut Vec<Value>);
    let rows: &[(&str, &str, Break)] = &[
        ("I1", "one number, two events", |r| {
            let at = place(r, "event", 3);
            r[at]["data"] = rewritten(&r[at]["data"].clone(), |e| e["progress"] = 99.into());
        }),
        ("I1", "an id that its event doesn't bear", |r| {
            let at = place(r, "event", 4);
            r[at]["data"] = rewritten(&r[at]["data"].clone(), |e| e["sequence"] = 7.into());
        }),
        ("I1", "announced, and not in the log", |r| {
            let at = place(r, "announced", 2);
            r[at]["look"]["sequence"] = 2.into();
        }),
        ("I1", "a gap in the store", |r| {
            let at = place(r, "store", 0);
            r[at]["log"].as_array_mut().expect("a list").remove(2);
        }),
        ("I2", "something after the end", |r| {
            let late = event(7, "job:progress", &json!({ "attempt": 1 }));
            let at = place(r, "store", 0);
            r.insert(
                at,
                json!({ "at": 60_005.5, "what": "history", "job": "j", "events": [late] }),
            );
        }),
        ("I3", "an event is missing", |r| {
            r.remove(place(r, "event", 1));
        }),
        ("I3", "an event comes twice", |r| {
            let at = place(r, "event", 1);
            r.insert(at, r[at].clone());
        }),
        ("I3", "told to stop too early", |r| {
            r.truncate(place(r, "event", 3));
            r.push(json!({ "at": 5e4, "what": "connect", "who": "w", "job": "j", "cursor": "0000abcd-3" }));
            r.push(json!({ "at": 5e4, "what": "status", "who": "w", "status": 204 }));
        }),
        ("I3", "an answer that ends an EventSource", |r| {
            let at = place(r, "status", 1);
            r[at]["status"] = 500.into();
        }),
        ("I3", "closed before the end", |r| {
            r.remove(place(r, "event", 5));
        }),
        ("I4", "a hole after a snapshot", |r| {
            let at = place(r, "event", 2);
            let snapshot = json!({ "event_type": "job:snapshot", "job_id": "j", "reset": true,
                                   "status": "running" });
            r[at]["id"] = "0000abcd-3".into();
            r[at]["data"] = snapshot.to_string().into();
            r.remove(place(r, "event", 3));
        }),
        ("I5", "a reset though nothing was lost", |r| {
            let at = place(r, "event", 2);
            let snapshot = json!({ "event_type": "job:snapshot", "job_id": "j", "reset": true,
                                   "status": "running" });
            r[at]["data"] = snapshot.to_string().into();
        }),
        ("I5", "told to go on, and it is one of our own", |r| {
            let at = place(r, "event", 2);
            let snapshot = json!({ "event_type": "job:snapshot", "job_id": "j", "reset": true,
                                   "reopened": true, "status": "running" });
            r[at]["data"] = snapshot.to_string().into();
        }),
        ("I5", "seen, and gone from the store", |r| {
            let at = place(r, "store", 0);
            r[at]["log"].as_array_mut().expect("a list").pop();
            r[at]["sequence"] = 5.into();
        }),
        ("I6", "a cached result that says something else", |r| {
            let at = place(r, "store", 0);
            r[at]["result"] =
                rewritten(&r[at]["result"].clone(), |j| j["template_ids"] = json!([]));
        }),
        ("I6", "ended, and nothing cached", |r| {
            let at = place(r, "store", 0);
            r[at]["result"] = Value::Null;
        }),
        ("I6", "an end that leaves out what was made", |r| {
            retell_end(r, |e| {
                e["template_ids"] = json!([]);
                e["template_count"] = 0.into();
            });
        }),
        ("I6", "an end that counts otherwise than it lists", |r| {
            retell_end(r, |e| e["template_count"] = 2.into());
        }),
        ("I6", "a lookup that goes back", |r| {
            let mut later = r[place(r, "lookup", 0)].clone();
            later["body"]["status"] = "running".into();
            r.push(later);
        }),
        ("I7", "an attempt writes after its end", |r| {
            let back = json!({ "reason": "lease_expired", "attempt": 1 });
            let retrying = event(4, "job:retrying", &back).to_string();
            for record in r.iter_mut() {
                for field in ["line", "data"] {
                    let line = record[field].as_str();
                    if line.is_some_and(|l| l.contains("\"sequence\":4,")) {
                        record[field] = retrying.clone().into();
                    }
                }
            }
            let at = place(r, "store", 0);
            r[at]["log"][3][1] = retrying.into();
        }),
        ("I7", "ended, and still in the queue", |r| {
            let at = place(r, "announced", 5);
            r[at]["look"]["entry"] = true.into();
        }),
        ("I8", "a watcher that never learns of the end", |r| {
            r.remove(place(r, "event", 5));
            r.remove(place(r, "comment", 0));
            r.truncate(place(r, "closed", 0));
        }),
        ("I8", "the end comes late", |r| {
            for what in ["event", "comment"] {
                let at = place(r, what, if what == "event" { 5 } else { 0 });
                r[at]["at"] = 64_000.0.into();
            }
        }),
        ("P", "an event comes late in calm", |r| {
            let at = place(r, "event", 3);
            r[at]["at"] = 42_000.0.into();
        }),
        ("I9", "more memory than may be", |r| {
            r.push(json!({ "at": 7e4, "what": "bound", "target": "api-0", "name": "KiB", "used": 2, "limit": 1 }));
        }),
        ("I9", "a key that never goes", |r| {
            let at = place(r, "lifetime", 0);
            r[at]["left_ms"] = Value::Null;
        }),
        ("I9", "a key that goes too late", |r| {
            let at = place(r, "lifetime", 0);
            r[at]["left_ms"] = 11.into();
        }),
        ("I9", "a key that nobody described", |r| {
            let at = place(r, "lifetime", 0);
            r[at]["limit_ms"] = Value::Null;
        }),
        ("I10", "another job's event", |r| {
            let at = place(r, "event", 2);
            r[at]["data"] = rewritten(&r[at]["data"].clone(), |e| e["job_id"] = "k".into());
        }),
        ("I11", "acknowledged, and unknown", |r| {
            r.push(
                json!({ "at": 7e4, "what": "accepted", "key": "l", "client": "c", "job": "lost" }),
            );
        }),
        ("I11", "cancelled, and the log knows nothing of it", |r| {
            r.push(json!({ "at": 7e4, "what": "cancel", "job": "j", "status": 202 }));
        }),
        ("I11", "one key, two jobs", |r| {
            r.push(
                json!({ "at": 7e4, "what": "accepted", "key": "k", "client": "c", "job": "again" }),
            );
        }),
    ];
    for (law, what, destroy) in rows {
        let mut records = whole();
        destroy(&mut records);
        let judgement = judge(&records);
        assert!(
            judgement.laws().contains(law),
            "{law}, {what}: {}",
            judgement.told()
        );
    }
}

#[test]
fn what_a_store_without_persistence_loses_is_no_violation_if_it_is_said() {
    let mut records = whole();
    records[0] = terms("none");
    let at = place(&records, "event", 2);
    let snapshot =
        json!({ "event_type": "job:snapshot", "job_id": "j", "reset": true, "status": "failed" });
    records.truncate(at);
    for record in [
        json!({ "what": "event", "id": "lost-0", "data": snapshot.to_string() }),
        json!({ "what": "comment", "text": "Connection closing - job failed" }),
        json!({ "what": "closed" }),
        json!({ "what": "connect", "job": "j", "cursor": "lost-0" }),
        json!({ "what": "status", "status": 204 }),
    ] {
        let mut record = record;
        record["at"] = 30_000.0.into();
        record["who"] = "w".into();
        records.push(record);
    }
    let judgement = judge(&records);
    assert_eq!(judgement.told(), "");
    assert_eq!((judgement.figures.resets, judgement.figures.seen), (1, 1));
}

#[test]
fn superseded_progress_may_be_left_out_and_nothing_else() {
    let mut records = whole();
    records.remove(place(&records, "event", 2));
    assert_eq!(judge(&records).told(), "", "3 is superseded by 4");
    records.remove(place(&records, "event", 2));
    assert_eq!(judge(&records).laws(), ["I3"], "4 is the last of its kind");
}

#[test]
fn an_end_lists_what_its_own_incarnation_made_and_a_request_to_cancel_is_in_the_log() {
    let mut records = whole();
    records.push(json!({ "at": 7e4, "what": "cancel", "job": "j", "status": 202 }));
    // Asked for on the way, and too late.
    for record in &mut records {
        for field in ["line", "data"] {
            if let Some(line) = record[field].as_str() {
                let asked = line.replacen("\"progress\":10", "\"progress\":10,\"reason\":\"x\"", 1);
                if asked != line {
                    record[field] = asked.replace("job:progress", "job:cancel_requested").into();
                }
            }
        }
    }
    let at = place(&records, "store", 0);
    let asked = records[place(&records, "event", 2)]["data"].clone();
    records[at]["log"][2][1] = asked;
    assert_eq!(judge(&records).told(), "");
    // What an earlier incarnation made, and this one doesn't know of, a store has lost.
    let mut before = event(
        1,
        "job:template_completed",
        &json!({ "template_id": "lost", "attempt": 1 }),
    );
    before["epoch"] = "00000001".into();
    records[0] = terms("none");
    records.push(json!({ "at": 1e3, "what": "history", "job": "j", "events": [before] }));
    assert_eq!(judge(&records).told(), "");
}
