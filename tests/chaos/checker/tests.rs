//! Each invariant, broken by hand in a small history that is otherwise whole.

use serde_json::{Value, json};

use super::{is_due, judge};

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

/// An event of another publisher's job, in one of its epochs.
fn external(epoch: &str, sequence: u64, kind: &str, mark: &str) -> Value {
    json!({ "event_type": kind, "job_id": "f", "client_id": "c", "mark": mark, "epoch": epoch,
            "sequence": sequence })
}

/// One that failed in its first epoch and completed in its second: watched through, with a cursor of the
/// first one in between.
fn gone_on() -> Vec<Value> {
    let (first, second) = ("0000aaaa", "0000bbbb");
    let event = |at: f64, event: Value| {
        let (epoch, sequence) = (event["epoch"].as_str().expect("text"), &event["sequence"]);
        json!({ "at": at, "what": "event", "who": "w", "id": format!("{epoch}-{sequence}"),
                "data": event.to_string() })
    };
    let snapshot = json!({ "event_type": "job:snapshot", "job_id": "f", "reset": true, "epoch": second,
                           "sequence": 1, "reopened": true, "status": "running",
                           "requested": "0000aaaa-2" });
    let mut records = vec![terms("everysec")];
    for mark in ["started", "failed", "started@2", "completed@2"] {
        records.push(json!({ "at": 0.0, "what": "published", "job": "f", "mark": mark }));
    }
    records.extend([
        json!({ "at": 1.0, "what": "connect", "who": "w", "job": "f", "cursor": null }),
        json!({ "at": 2.0, "what": "status", "who": "w", "status": 200 }),
        event(3.0, external(first, 1, "job:started", "started")),
        event(4.0, external(first, 2, "job:failed", "failed")),
        json!({ "at": 5.0, "what": "comment", "who": "w", "text": "Connection closing - job failed" }),
        json!({ "at": 6.0, "what": "closed", "who": "w" }),
        json!({ "at": 7.0, "what": "history", "job": "f",
                "events": [external(second, 1, "job:started", "started@2")] }),
        json!({ "at": 8.0, "what": "connect", "who": "w", "job": "f", "cursor": "0000aaaa-2" }),
        json!({ "at": 9.0, "what": "status", "who": "w", "status": 200 }),
        event(10.0, snapshot),
        event(11.0, external(second, 2, "job:completed", "completed@2")),
        json!({ "at": 12.0, "what": "comment", "who": "w", "text": "Connection closing - job completed" }),
        json!({ "at": 13.0, "what": "closed", "who": "w" }),
        json!({ "at": 14.0, "what": "connect", "who": "w", "job": "f", "cursor": "0000bbbb-2" }),
        json!({ "at": 15.0, "what": "status", "who": "w", "status": 204 }),
    ]);
    records
}

#[test]
fn an_external_job_may_go_on_after_a_failure_and_after_nothing_else() {
    let judgement = judge(&gone_on());
    assert_eq!(judgement.told(), "");
    assert_eq!((judgement.figures.resets, judgement.figures.seen), (0, 1));

    let completed = |text: &str| text.replace("job:failed", "job:completed");
    let in_first = |record: &mut Value| {
        if let Some(data) = record["data"].as_str() {
            record["data"] = completed(data).into();
        }
    };
    let mut twice = gone_on();
    twice.iter_mut().for_each(in_first);
    assert!(
        judge(&twice).laws().contains(&"I2"),
        "{}",
        judge(&twice).told()
    );

    // Nobody saw the failure, for its watcher was cut off right before: its publisher told of it.
    let mut unseen = gone_on();
    unseen.remove(place(&unseen, "event", 1));
    unseen.remove(place(&unseen, "comment", 0));
    for record in &mut unseen {
        let earlier = record.to_string().replace("0000aaaa-2", "0000aaaa-1");
        *record = serde_json::from_str(&earlier).expect("still JSON");
    }
    assert_eq!(judge(&unseen).told(), "");
    unseen.retain(|record| record["mark"] != "failed");
    assert_eq!(judge(&unseen).laws(), ["I5"], "and it told of none");

    // A run in between that no watcher saw: its publisher told of its failure.
    let mut unwatched = gone_on();
    unwatched.push(json!({ "at": 0.0, "what": "published", "job": "f", "mark": "failed@2" }));
    let snapshot = json!({ "event_type": "job:snapshot", "job_id": "f", "reset": true, "epoch": "0000bbbb",
                           "sequence": 1, "reopened": true, "status": "running",
                           "requested": "0000cccc-4" });
    unwatched.extend([
        json!({ "at": 1.0, "what": "connect", "who": "m", "selects": { "jobs": [], "clients": [] } }),
        json!({ "at": 2.0, "what": "status", "who": "m", "status": 200 }),
        json!({ "at": 10.0, "what": "event", "who": "m", "id": "m-1", "data": snapshot.to_string() }),
    ]);
    assert_eq!(judge(&unwatched).told(), "");
    unwatched.retain(|record| record["mark"] != "failed@2");
    assert_eq!(judge(&unwatched).laws(), ["I5"], "and it told of none");

    // The end of the run that failed is none once the job has gone on.
    let mut stopped = gone_on();
    stopped.truncate(place(&stopped, "status", 1));
    stopped.push(json!({ "at": 9.0, "what": "status", "who": "w", "status": 204 }));
    let judgement = judge(&stopped);
    assert_eq!(judgement.laws(), ["I3"], "{}", judgement.told());
    // Before it has, it is; and where the store is out of reach, it can't be known.
    for excuse in [
        json!({ "at": 8.5, "what": "history", "job": "f", "events": stopped[place(&stopped, "history", 0)]["events"] }),
        json!({ "at": 7.5, "what": "fault", "fault": "stop", "target": "redis" }),
    ] {
        let mut excused = stopped.clone();
        if excuse["what"] == "history" {
            excused.remove(place(&excused, "history", 0));
        }
        excused.push(excuse);
        assert_eq!(judge(&excused).told(), "");
    }

    // What an instance that lags behind offers late ends another run.
    let mut late = gone_on();
    let old = external("0000bbbb", 2, "job:failed", "failed");
    let at = place(&late, "event", 3);
    late[at]["data"] = old.to_string().into();
    assert!(
        judge(&late).laws().contains(&"I5"),
        "{}",
        judge(&late).told()
    );
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

/// Of `whole`, watched among all jobs by `m` (which leaves after the start and comes back for the end),
/// and by name by `n`.
fn watched_among_many() -> Vec<Value> {
    let mut records = whole();
    let log = log();
    let state = |sequence: u64, status: &str| {
        json!({ "event_type": "job:snapshot", "job_id": "j", "client_id": "c", "status": status,
                "reset": false, "epoch": EPOCH, "sequence": sequence })
        .to_string()
    };
    let told = |at: f64, who: &str, id: &str, data: String| json!({ "at": at, "what": "event", "who": who, "id": id, "data": data });
    let all = json!({ "jobs": [], "clients": ["c"] });
    let named = json!({ "jobs": ["j"], "clients": [] });
    records.extend([
        json!({ "at": 5.0, "what": "connect", "who": "m", "selects": all, "cursor": null }),
        json!({ "at": 6.0, "what": "status", "who": "m", "status": 200 }),
        told(10_001.0, "m", "m-1", log[0].to_string()),
        told(20_001.0, "m", "m-2", log[1].to_string()),
        json!({ "at": 20_002.0, "what": "closed", "who": "m", "left": true }),
        json!({ "at": 70_000.0, "what": "connect", "who": "m", "selects": all, "cursor": "m-2" }),
        json!({ "at": 70_001.0, "what": "status", "who": "m", "status": 200 }),
        told(70_002.0, "m", "m-3", state(6, "completed")),
        json!({ "at": 31_000.0, "what": "connect", "who": "n", "selects": named, "cursor": null }),
        json!({ "at": 31_001.0, "what": "status", "who": "n", "status": 200 }),
        told(31_002.0, "n", "m-1", state(3, "running")),
        told(40_001.0, "n", "m-2", log[3].to_string()),
        told(50_001.0, "n", "m-3", log[4].to_string()),
        told(60_001.0, "n", "m-253402300799999", log[5].to_string()),
        json!({ "at": 60_002.0, "what": "comment", "who": "n", "text": "Connection closing - all jobs ended" }),
        json!({ "at": 60_003.0, "what": "closed", "who": "n", "left": false }),
        json!({ "at": 60_100.0, "what": "connect", "who": "n", "selects": named, "cursor": "m-253402300799999" }),
        json!({ "at": 60_101.0, "what": "status", "who": "n", "status": 204 }),
        json!({ "at": 80_000.0, "what": "over" }),
    ]);
    records
}

#[test]
fn many_jobs_on_one_stream_are_watched_as_is_promised() {
    let judgement = judge(&watched_among_many());
    assert_eq!(judgement.told(), "");
    assert_eq!((judgement.figures.expected, judgement.figures.seen), (3, 3));
    assert!(!is_due(&watched_among_many()));
    let mut records = watched_among_many();
    records.remove(of(&records, "m", "event", 2));
    assert!(is_due(&records), "the end is still to be told");
}

/// The place of the n-th record of that kind that is somebody's.
fn of(records: &[Value], who: &str, what: &str, n: usize) -> usize {
    let mut places = records
        .iter()
        .enumerate()
        .filter(|(_, r)| r["who"] == who && r["what"] == what);
    places.nth(n).expect("there is one").0
}

#[test]
fn each_promise_to_those_who_watch_many_jobs_is_missed_when_it_is_broken() {
    type Break = fn(&mut Vec<Value>);
    let rows: &[(&str, &str, Break)] = &[
        ("I8", "what ended while it was away is not told", |r| {
            r.remove(of(r, "m", "event", 2));
        }),
        ("I8", "the end comes late after a resume", |r| {
            let at = of(r, "m", "event", 2);
            r[at]["at"] = 75_000.0.into();
        }),
        ("I8", "an end that is told only after another resume", |r| {
            let at = of(r, "m", "connect", 1);
            let mut connect = r[at].clone();
            connect["at"] = 61_000.0.into();
            let status = json!({ "at": 61_001.0, "what": "status", "who": "m", "status": 200 });
            let closed = json!({ "at": 65_000.0, "what": "closed", "who": "m", "left": true });
            r.splice(at..at, [connect, status, closed]);
        }),
        ("I3", "told to stop, and some end never told", |r| {
            r.remove(of(r, "n", "comment", 0));
            r.remove(of(r, "n", "event", 3));
        }),
        ("I3", "closed before all have ended", |r| {
            r.remove(of(r, "n", "event", 3));
        }),
        ("I3", "a stream that names no jobs is closed", |r| {
            r.push(json!({ "at": 71_000.0, "what": "comment", "who": "m",
                           "text": "Connection closing - all jobs ended" }));
        }),
        ("I3", "a stream that names no jobs is told to stop", |r| {
            let at = of(r, "m", "status", 1);
            r[at]["status"] = 204.into();
        }),
        ("I3", "an answer that ends an EventSource", |r| {
            let at = of(r, "n", "status", 1);
            r[at]["status"] = 404.into();
        }),
        ("I3", "an id of another kind", |r| {
            let at = of(r, "m", "event", 1);
            r[at]["id"] = "0000abcd-2".into();
        }),
        ("I3", "a job goes back", |r| {
            let (first, second) = (of(r, "m", "event", 0), of(r, "m", "event", 1));
            r.swap(first, second);
        }),
        ("I3", "a state goes back", |r| {
            let at = of(r, "n", "event", 1);
            let state = r[of(r, "n", "event", 0)]["data"].clone();
            let again = rewritten(&state, |e| e["sequence"] = 2.into());
            r.insert(
                at,
                json!({ "at": 31_003.0, "what": "event", "who": "n", "id": "m-1", "data": again }),
            );
        }),
        ("I3", "an event of a named job is missing", |r| {
            r.remove(of(r, "n", "event", 2));
        }),
        ("I3", "a named job begins without its state", |r| {
            r.remove(of(r, "n", "event", 0));
        }),
        ("I4", "a state that isn't the fold", |r| {
            let at = of(r, "n", "event", 0);
            r[at]["data"] = rewritten(&r[at]["data"].clone(), |e| e["status"] = "pending".into());
        }),
        ("I5", "a reset though nothing was lost", |r| {
            let at = of(r, "n", "event", 0);
            r[at]["data"] = rewritten(&r[at]["data"].clone(), |e| e["reset"] = true.into());
        }),
        ("I5", "another epoch without a reset", |r| {
            let at = of(r, "n", "event", 1);
            r[at]["data"] = rewritten(&r[at]["data"].clone(), |e| e["epoch"] = "00000001".into());
        }),
        ("I1", "an event that isn't the log's", |r| {
            let at = of(r, "n", "event", 1);
            r[at]["data"] = rewritten(&r[at]["data"].clone(), |e| e["progress"] = 99.into());
        }),
        ("I10", "another client's job", |r| {
            let at = of(r, "m", "event", 1);
            r[at]["data"] = rewritten(&r[at]["data"].clone(), |e| e["client_id"] = "d".into());
        }),
        ("I10", "a job that it doesn't name", |r| {
            let at = of(r, "n", "event", 0);
            r[at]["data"] = rewritten(&r[at]["data"].clone(), |e| e["job_id"] = "k".into());
        }),
    ];
    for (law, what, destroy) in rows {
        let mut records = watched_among_many();
        destroy(&mut records);
        let told = judge(&records).told();
        let by_them =
            |line: &str| line.starts_with(&format!("{law}: ")) && !line.contains("w of j");
        assert!(told.lines().any(by_them), "{law}, {what}: {told}");
    }
}
