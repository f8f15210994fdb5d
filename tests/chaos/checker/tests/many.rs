//! Streams over many jobs.

use super::*;

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
