//! The claims of `claims/mod.rs` on inputs that proptest makes: any bytes, JSON of any fields and values,
//! and what we send ourselves with a piece cut out, put in or changed.

mod claims;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// The fields that anything of ours reads, and some that nothing does.
const NAMES: &[&str] = &[
    "event_type",
    "timestamp",
    "job_id",
    "id",
    "client_id",
    "status",
    "queued_at",
    "priority",
    "run_at",
    "value_proposition_id",
    "started_at",
    "progress",
    "completed_templates",
    "total_templates",
    "message",
    "template_id",
    "template_index",
    "error_message",
    "error",
    "retry_at",
    "reason",
    "max_attempts",
    "template_ids",
    "template_count",
    "generation_duration_ms",
    "completed_at",
    "sequence",
    "epoch",
    "attempt",
    "event_id",
    "derived",
    "schema_version",
    "created_at",
    "updated_at",
    "cancel_requested",
    "_fold",
    "position",
    "own",
    "least_attempt",
    "name",
    "industry",
    "meta_data",
    "content",
    "is_active",
    "x",
    "",
];

const KINDS: &[&str] = &[
    "job:queued",
    "job:started",
    "job:progress",
    "job:template_completed",
    "job:template_failed",
    "job:retrying",
    "job:cancel_requested",
    "job:completed",
    "job:failed",
    "job:cancelled",
    "data:generated",
];

/// What a field may hold: right, wrong, or far too large.
fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "\\PC{0,12}",
        "[\\x00-\\x1f\u{2028}\"\\\\/:]{0,4}",
        "[0-9-]{1,6}",
        proptest::sample::select(KINDS).prop_map(str::to_owned),
        proptest::sample::select(&["pending", "running", "completed", "failed", "cancelled"][..])
            .prop_map(str::to_owned),
        proptest::sample::select(
            &[
                "j",
                "2025-12-01T08:55:49",
                "9999-12-31T23:59:59Z",
                "5f3a9c1e",
                "5f3a9c1e-1"
            ][..]
        )
        .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u32>().prop_map(Value::from),
        Just(json!(u32::MAX)),
        (0_u64..3).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec((proptest::sample::select(NAMES), inner), 0..4).prop_map(object),
        ]
    })
}

fn object(fields: Vec<(&str, Value)>) -> Value {
    let fields = fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    Value::Object(fields.collect::<Map<_, _>>())
}

/// An object of some of the fields.
fn fields() -> impl Strategy<Value = Value> {
    vec((proptest::sample::select(NAMES), value()), 0..12).prop_map(object)
}

/// An event with some of the fields.
fn message() -> impl Strategy<Value = String> {
    let kind = proptest::sample::select(KINDS);
    (kind, fields()).prop_map(|(kind, mut fields)| {
        fields["event_type"] = kind.into();
        fields["job_id"] = "j".into();
        fields.to_string()
    })
}

/// What we send, with a piece of it cut out, put in or changed.
fn tampered() -> impl Strategy<Value = Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1");
    let files: Vec<Vec<u8>> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|file| std::fs::read(file.expect("readable").path()).expect("readable"))
        .collect();
    assert!(files.len() > 10, "{} files", files.len());
    let place = (any::<prop::sample::Index>(), any::<prop::sample::Index>());
    (
        proptest::sample::select(files),
        place,
        vec(any::<u8>(), 0..6),
    )
        .prop_map(|(mut bytes, (from, to), new)| {
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            let to = to.clamp(from, from + 40).min(bytes.len());
            bytes.splice(from..to, new);
            bytes
        })
}

/// Any of these.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..200),
        tampered(),
        fields().prop_map(|fields| fields.to_string().into_bytes()),
        fields().prop_map(|fields| format!("{fields:#}").into_bytes()),
        "[\\[\\]{}\",:0-9eE.+tfn\\\\u-]{0,60}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn identifiers(text in prop_oneof![
        "\\PC{0,80}",
        "[A-Za-z0-9_-]{0,70}",
        "[0-9a-f]{7,9}(-[0-9+ ]{0,22})?",
        "[0-9-]{4,6}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,9})?(Z|[+-][0-2][0-9]:[0-6][0-9])?",
    ]) {
        claims::identifiers(&text);
    }

    #[test]
    fn events(messages in vec(message(), 1..6)) {
        claims::events(messages.join("\n").as_bytes());
    }

    #[test]
    fn events_of_any_bytes(bytes in bytes()) {
        claims::events(&bytes);
    }

    #[test]
    fn blobs(bytes in bytes(), fields in fields()) {
        claims::blob(&bytes);
        // With what every blob has to have.
        let mut likely = fields;
        likely["id"] = "j".into();
        likely["job_id"] = "j".into();
        likely["status"] = "completed".into();
        claims::blob(likely.to_string().as_bytes());
    }

    #[test]
    fn records(bytes in bytes()) {
        claims::records(&bytes);
    }

    #[test]
    fn requests(bytes in bytes(), fields in fields()) {
        claims::requests(&bytes);
        let mut likely = fields;
        likely["name"] = "a name".into();
        likely["content"] = "long enough for one".into();
        claims::requests(likely.to_string().as_bytes());
    }

    #[test]
    fn frames(bytes in prop_oneof![
        vec(any::<u8>(), 0..100),
        "(\\PC|[\\x00-\\x1f]|[\u{85}\u{2028}\u{2029}\u{feff}]|data: |id: |event: |retry: |: |\r\n|\n\n){0,20}"
            .prop_map(String::into_bytes),
    ]) {
        claims::one_event(&bytes);
    }
}

/// Every claim holds of what we send ourselves, and of the least that there is.
#[test]
fn of_what_is_ours() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1");
    let mut files = 0;
    for file in std::fs::read_dir(folder).expect("the folder is there") {
        let line = std::fs::read(file.expect("readable").path()).expect("readable");
        for bytes in [&line[..], b"", b"{}", b"null", b"\0", b"\xff", b"\r\n"] {
            claims::events(bytes);
            claims::blob(bytes);
            claims::records(bytes);
            claims::requests(bytes);
            claims::one_event(bytes);
        }
        files += 1;
    }
    assert!(files > 10, "{files} files");
}

/// What a fuzzer found, and what is mended.
#[test]
fn of_what_was_found() {
    for found in [
        // Served as it was, though nobody else could read it: what stood in a field that we don't know.
        "{\"x\":\"\\ud800\"}",
        "{\"x\":1e999}",
        // The last attempt that there can be.
        "{\"event_type\":\"job:progress\",\"job_id\":\"j\",\"attempt\":4294967295}\n\
         {\"event_type\":\"job:retrying\",\"job_id\":\"j\"}",
    ] {
        claims::events(found.as_bytes());
    }
    let whole = include_str!("golden/v1/job.json").trim_end();
    let id = "0197a0c1-7a10-7543-9ccc-9e638f717388";
    let whole = whole.replace(id, "j");
    claims::blob(whole.as_bytes());
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for odd in ["\"\\ud800\"", "1e999", deep.as_str(), "\"\u{1}\""] {
        let blob = whole.replacen('{', &format!("{{\"x\":{odd},"), 1);
        claims::blob(blob.as_bytes());
    }
    // A cursor in other words than it was given out in.
    claims::identifiers("5f3a9c1e-007");
    // A moment in the last second that there is.
    claims::identifiers("9999-12-30T22:00:00.900000Z");
}
