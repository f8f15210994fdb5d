//! What holds for any input at all, as claims about bytes: each function panics where its claim doesn't
//! hold, and is silent about input that is refused.
//!
//! `properties.rs` tries them in every test run on inputs that proptest makes; `fuzz/` includes this file
//! and tries them on those that a fuzzer finds. So nothing in here knows where its input comes from.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use bytes::Bytes;
use conch_domain::{
    Applied, ClientId, Epoch, EventId, Job, JobId, LeaseToken, LogSecret, Position, TemplateId,
    Timestamp, ValuePropositionId,
};
use conch_wire::envelope::{Sealed, seal};
use conch_wire::event::{self, Incoming, MAX_EVENT_BYTES};
use conch_wire::request::{GenerateTemplates, NewClient, NewJob, NewValueProposition};
use conch_wire::snapshot::{self, Reason};
use conch_wire::{draft, job, record, sse, strict, time};
use eventsource_stream::Eventsource;
use futures::{FutureExt, StreamExt, stream};
use serde_json::{Map, Value};

/// When everything in here happens.
pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_764_579_349_123_456);

fn id() -> JobId {
    "j".parse().expect("an id")
}

fn epoch() -> Epoch {
    "5f3a9c1e".parse().expect("an epoch")
}

/// What is parsed is written as it was, and is of the grammar.
pub(crate) fn identifiers(text: &str) {
    fn is_written_as_read<T: FromStr + Display>(text: &str) -> bool {
        let Ok(parsed) = text.parse::<T>() else {
            return false;
        };
        assert_eq!(parsed.to_string(), text);
        true
    }
    let token = (1..=64).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    assert_eq!(is_written_as_read::<ClientId>(text), token);
    assert_eq!(is_written_as_read::<TemplateId>(text), token);
    assert_eq!(is_written_as_read::<ValuePropositionId>(text), token);
    assert_eq!(is_written_as_read::<EventId>(text), token);
    assert_eq!(is_written_as_read::<LeaseToken>(text), token);
    let reserved = ["all", "subscribe"].contains(&text);
    assert_eq!(is_written_as_read::<JobId>(text), token && !reserved);
    let is_epoch = text.len() == 8 && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    assert_eq!(is_written_as_read::<Epoch>(text), is_epoch);
    // A cursor that was never given out in these words is none.
    if is_written_as_read::<Position>(text) {
        let at: Position = text.parse().expect("it was just parsed");
        assert_eq!(at.next().sequence, at.sequence + 1);
    }
    if let Some(moment) = time::parse(text) {
        let written = time::format(moment);
        assert_eq!(time::parse(&written), Some(moment), "{written}");
    }
}

/// Each line is a message of a channel, and those that are events are folded into one job in turn: what is
/// kept of each is one line with all its fields, and means what it meant.
pub(crate) fn events(lines: &[u8]) {
    let mut job = Job::initial(id(), epoch(), false);
    for line in lines.split(|byte| *byte == b'\n') {
        event::glance(line);
        let Ok(incoming) = event::decode(line, NOW) else {
            continue;
        };
        let before = job.clone();
        let next = job.position.next();
        match job.apply(next, &incoming.event) {
            Ok(applied) => {
                assert_eq!(applied, Applied::Applied);
                adopted(line, &incoming, &before, &job);
            }
            Err(_) => assert_eq!(job, before, "a refused event changes nothing"),
        }
        folds(&job);
    }
}

fn adopted(line: &[u8], incoming: &Incoming, before: &Job, after: &Job) {
    let adopted = incoming.adopt(after);
    let object = |bytes: &[u8]| -> Map<String, Value> {
        serde_json::from_slice(bytes).expect("it is an object")
    };
    let (came, kept) = (object(line), object(&adopted));
    for (name, value) in &came {
        let place = ["sequence", "epoch"].contains(&name.as_str());
        let decided = name == "status" && incoming.event.kind.event_type().starts_with("job:");
        if !(place || decided || value.is_null()) {
            assert_eq!(&kept[name], value, "{name}");
        }
        assert!(kept.contains_key(name), "{name}");
    }
    assert_eq!(kept["sequence"], after.position.sequence);
    assert_eq!(kept["epoch"], after.position.epoch.to_string());
    if !matches!(incoming.event.kind, conch_domain::EventKind::Other { .. }) {
        assert_eq!(kept["status"], after.status.as_str(), "the type decides");
    }
    assert!(event::is_line(&adopted));
    on_one_line(&adopted);
    one_event(&adopted);

    let kind = &incoming.event.kind;
    let glance = event::glance(&adopted);
    assert_eq!(glance.vital, kind.is_vital());
    assert_eq!(glance.superseded_by_later, kind.is_superseded_by_later());
    if adopted.len() <= MAX_EVENT_BYTES {
        // Whoever reads the log comes to the same state.
        let again = event::decode(&adopted, NOW).expect("an event");
        let mut replayed = before.clone();
        replayed
            .apply(after.position, &again.event)
            .expect("as legal as before");
        assert_eq!(&replayed, after);
    }
    let ours = event::encode(&incoming.event, after);
    for line in [adopted, ours] {
        joins_on(&line, before, after);
    }
}

/// Whoever is told the line alone, and doesn't know when it was received, comes to the same state, unless the
/// line says no time.
fn joins_on(line: &Bytes, before: &Job, after: &Job) {
    const UNSTATED: Timestamp = Timestamp::from_micros(i64::MIN);
    if line.len() > MAX_EVENT_BYTES {
        return;
    }
    let secret = LogSecret::from_random([1; 16]);
    let sealed = seal(&secret, &after.id, after.position, &[line]);
    let sealed = Sealed::read(&sealed).expect("our own");
    assert!(sealed.is_made_with(&secret));
    assert_eq!(sealed.lines, [line]);
    assert_eq!(
        (&sealed.job_id, sealed.first()),
        (&after.id, after.position)
    );
    let told = event::decode(&sealed.lines[0], UNSTATED).expect("an event");
    if told.event.timestamp != UNSTATED {
        let mut job = before.clone();
        let applied = job.apply(after.position, &told.event);
        assert_eq!((applied, &job), (Ok(Applied::Applied), after));
    }
}

/// A fold in all forms in which it is written down.
fn folds(job: &Job) {
    let kept = record::decode_job(&record::encode_job(job)).expect("our own");
    assert_eq!(&kept, job);
    let public = job::encode(job);
    assert!(event::is_line(&public));
    on_one_line(&public);
    assert_eq!(job::status_if_whole(&public, &id()), Some(job.status));
    let read = job::decode(&public, &id()).expect("our own");
    assert_eq!(job::encode(&read), public);
    for reason in [
        Reason::Beginning,
        Reason::Reset("\r\n\u{2028}\0"),
        Reason::RecordLost("x"),
    ] {
        let line = snapshot::encode(job, reason, NOW);
        assert!(event::is_line(&line));
        on_one_line(&line);
        one_event(&line);
    }
}

/// What a cache or a job service may hold for a job: what is served as it is, is what would be read.
pub(crate) fn blob(bytes: &[u8]) {
    let whole = job::status_if_whole(bytes, &id());
    let decoded = job::decode(bytes, &id());
    if let Some(status) = whole {
        let job = decoded.as_ref().expect("it is served as it is");
        assert_eq!(job.status, status);
    }
    if let Ok(job) = decoded {
        assert_eq!(job.id, id());
        folds(&job);
    }
    if let Ok(job) = job::decode_any(bytes) {
        let again = job::decode(&job::encode(&job), &job.id).expect("our own");
        assert_eq!(job::encode(&again), job::encode(&job));
    }
}

/// Records that a store may hold: what can be read is written as it was read.
pub(crate) fn records(bytes: &[u8]) {
    fn comes_back<T: Debug + PartialEq, E: Debug>(
        bytes: &[u8],
        decode: impl Fn(&[u8]) -> Result<T, E>,
        encode: impl Fn(&T) -> Bytes,
    ) {
        if let Ok(value) = decode(bytes) {
            assert_eq!(decode(&encode(&value)).expect("our own"), value);
        }
    }
    comes_back(bytes, record::decode_job, record::encode_job);
    comes_back(bytes, record::decode_client, record::encode_client);
    comes_back(
        bytes,
        record::decode_value_proposition,
        record::encode_value_proposition,
    );
    comes_back(bytes, record::decode_template, record::encode_template);
    drop(draft::decode(bytes));
}

/// Request bodies: what is taken is passed on as it was taken, and is read by everybody in the same way.
pub(crate) fn requests(body: &[u8]) {
    if let Ok(value) = strict::parse(body) {
        let loose: Value = serde_json::from_slice(body).expect("strict is stricter");
        assert_eq!(value, loose);
    }
    if let Ok(new) = NewClient::parse(body) {
        assert_eq!(NewClient::parse(&new.encode()), Ok(new));
    }
    if let Ok(new) = NewValueProposition::parse(body) {
        assert_eq!(NewValueProposition::parse(&new.encode()), Ok(new));
    }
    if let Ok(new) = NewJob::parse(body) {
        assert_eq!(NewJob::parse(&new.encode()), Ok(new));
    }
    drop(GenerateTemplates::parse(body));
}

/// Whether common line readers end a line at it, though JSON and `text/event-stream` don't.
fn breaks_lines(c: char) -> bool {
    matches!(
        c,
        '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// A line that we wrote is one line for every line reader.
fn on_one_line(line: &[u8]) {
    let text = str::from_utf8(line).expect("JSON is UTF-8");
    let breaks = |c| matches!(c, '\r' | '\n') || breaks_lines(c);
    assert!(!text.chars().any(breaks), "{text:?}");
}

/// Whatever is sent as an event is one event, by the letter of the format and for an independent parser.
pub(crate) fn one_event(line: &[u8]) {
    const ID: &str = "5f3a9c1e-7";
    let frame = sse::event(ID, line);
    // Escaped for readers that split lines at more than CR and LF; the same where there is none of these.
    let expected = str::from_utf8(line).ok().map(|text| {
        let escaped = |c| match c {
            '\r' | '\n' => " ".to_owned(),
            c if breaks_lines(c) => format!("\\u{:04x}", u32::from(c)),
            c => c.to_string(),
        };
        text.chars().map(escaped).collect::<String>()
    });
    if let Some(expected) = &expected {
        assert_eq!(sse::data_of(&frame), format!("data: {expected}\n\n"));
    }
    let lines: Vec<&[u8]> = frame.split(|byte| *byte == b'\n').collect();
    assert_eq!(
        lines.len(),
        4,
        "id, data, the blank line, and nothing after it"
    );
    assert!(!frame.contains(&b'\r'));
    // A stream is UTF-8 for whoever reads it by the letter, and has an event only where there are data.
    let (Some(text), false) = (expected, line.is_empty()) else {
        return;
    };
    let around = [
        sse::retry(2000),
        frame,
        sse::KEEP_ALIVE,
        sse::event("x-1", b"{}"),
    ];
    let pieces = around.into_iter().map(Ok::<_, std::convert::Infallible>);
    let parsed = stream::iter(pieces).eventsource().collect::<Vec<_>>();
    let parsed = parsed.now_or_never().expect("nothing is waited for");
    let events: Vec<_> = parsed
        .into_iter()
        .map(|e| e.expect("well-formed"))
        .collect();
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(
        (events[0].id.as_str(), events[0].data.as_str()),
        (ID, &*text)
    );
    assert_eq!(
        (events[1].id.as_str(), events[1].data.as_str()),
        ("x-1", "{}")
    );
}
