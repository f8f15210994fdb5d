//! External jobs that go on after a failure.

use super::*;

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

    // The watcher was cut off right before the failure and never saw it; the publisher recorded it.
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

    // A run in between that no watcher saw; the publisher recorded its failure.
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

/// Another watcher of the same job, after what the first one saw.
fn with_another(visits: &[Value]) -> Vec<Value> {
    let mut records = gone_on();
    records.extend_from_slice(visits);
    records
}

#[test]
fn who_comes_with_a_cursor_at_an_old_end_may_be_told_of_it_by_the_close_alone() {
    let closed = |cursor: &str, status: &str| {
        let text = format!("Connection closing - job {status}");
        with_another(&[
            json!({ "at": 4.5, "what": "connect", "who": "x", "job": "f", "cursor": cursor }),
            json!({ "at": 4.6, "what": "status", "who": "x", "status": 200 }),
            json!({ "at": 4.7, "what": "comment", "who": "x", "text": text }),
            json!({ "at": 4.8, "what": "closed", "who": "x" }),
            json!({ "at": 16.0, "what": "connect", "who": "x", "job": "f", "cursor": "0000bbbb-2" }),
            json!({ "at": 17.0, "what": "status", "who": "x", "status": 204 }),
        ])
    };
    assert_eq!(judge(&closed("0000aaaa-2", "failed")).told(), "");
    for (cursor, status) in [("0000aaaa-1", "failed"), ("0000aaaa-2", "completed")] {
        let told = judge(&closed(cursor, status)).told();
        assert!(
            told.contains(&format!("closed as {status} before the end")),
            "{told}"
        );
    }
}

#[test]
fn a_stream_that_began_without_a_cursor_may_be_told_that_its_job_went_on() {
    let snapshot = json!({ "event_type": "job:snapshot", "job_id": "f", "reset": true, "epoch": "0000bbbb",
                           "sequence": 2, "reopened": true, "status": "completed", "requested": "0000aaaa-1" });
    let started = external("0000aaaa", 1, "job:started", "started");
    let watched = |first: &[Value]| {
        let mut visits = vec![
            json!({ "at": 2.5, "what": "connect", "who": "x", "job": "f", "cursor": null }),
            json!({ "at": 2.6, "what": "status", "who": "x", "status": 200 }),
        ];
        visits.extend_from_slice(first);
        visits.extend([
            json!({ "at": 12.0, "what": "event", "who": "x", "id": "0000bbbb-2", "data": snapshot.to_string() }),
            json!({ "at": 12.1, "what": "comment", "who": "x", "text": "Connection closing - job completed" }),
            json!({ "at": 12.2, "what": "closed", "who": "x" }),
            json!({ "at": 16.0, "what": "connect", "who": "x", "job": "f", "cursor": "0000bbbb-2" }),
            json!({ "at": 17.0, "what": "status", "who": "x", "status": 204 }),
        ]);
        judge(&with_another(&visits))
    };
    let begun = json!({ "at": 3.1, "what": "event", "who": "x", "id": "0000aaaa-1", "data": started.to_string() });
    assert_eq!(watched(&[begun]).told(), "");
    // It knew of no run from which the job could have gone on.
    let unknowing = watched(&[]);
    assert_eq!(unknowing.laws(), ["I5"], "{}", unknowing.told());
}

#[test]
fn a_snapshot_is_held_against_a_log_only_where_all_of_it_was_seen() {
    // How this run began was seen by none, and what followed says nothing of its state.
    let is_contradicted = |sequence: u64, begin: Option<Value>| {
        let mut events = vec![
            external("0000bbbb", 2, "data:generated", "data"),
            external("0000bbbb", 3, "data:generated", "more"),
        ];
        events.extend(begin);
        let snapshot = json!({ "event_type": "job:snapshot", "job_id": "f", "epoch": "0000bbbb",
                               "sequence": sequence, "status": "running" });
        let id = format!("0000bbbb-{sequence}");
        let judgement = judge(&[
            terms("everysec"),
            json!({ "at": 1.0, "what": "history", "job": "f", "events": events }),
            json!({ "at": 1.0, "what": "connect", "who": "x", "job": "f", "cursor": null }),
            json!({ "at": 2.0, "what": "status", "who": "x", "status": 200 }),
            json!({ "at": 3.0, "what": "event", "who": "x", "id": id, "data": snapshot.to_string() }),
        ]);
        judgement.laws().contains(&"I4")
    };
    assert!(!is_contradicted(2, None));
    let failed = || Some(external("0000bbbb", 1, "job:failed", "failed"));
    assert!(is_contradicted(2, failed()));
    // What the log of a run goes on from is in no event.
    assert!(!is_contradicted(0, failed()));
}
