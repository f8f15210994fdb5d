//! Messages that somebody might publish on a channel: unreadable ones, and odd ones that are events.
//!
//! Never in here: what becomes of them.

use serde_json::{Value, json};

/// Messages that are no events.
pub(super) fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let event = |more: &str| {
        format!("{{\"event_type\":\"job:started\",\"job_id\":\"j\"{more}}}").into_bytes()
    };
    let id = |id: &str| format!("{{\"event_type\":\"job:started\",\"job_id\":{id}}}").into_bytes();
    let kind = |kind: &str| format!("{{\"event_type\":{kind},\"job_id\":\"j\"}}").into_bytes();
    let deep = format!(",\"x\":{}{}", "[".repeat(10_000), "]".repeat(10_000));
    vec![
        ("empty", Vec::new()),
        ("a blank", b" ".to_vec()),
        ("words", b"hello".to_vec()),
        ("a number", b"7".to_vec()),
        ("null", b"null".to_vec()),
        ("a list", b"[]".to_vec()),
        ("an empty object", b"{}".to_vec()),
        ("a list of events", [&b"["[..], &event(""), b"]"].concat()),
        (
            "an event in a string",
            format!("{:?}", String::from_utf8_lossy(&event(""))).into_bytes(),
        ),
        ("half of one", event("")[..30].to_vec()),
        (
            "two of them",
            [event(""), b"\n".to_vec(), event("")].concat(),
        ),
        ("trailing bytes", [event(""), b"x".to_vec()].concat()),
        ("a BOM", [b"\xef\xbb\xbf".to_vec(), event("")].concat()),
        (
            "not UTF-8",
            event(",\"x\":\"\u{1}\"")
                .into_iter()
                .map(|b| if b == 1 { 0xff } else { b })
                .collect(),
        ),
        ("UTF-16", b"\xff\xfe{\0}\0".to_vec()),
        ("a pickle", b"\x80\x04\x95\x1c\0\0\0\0\0\0\0}\x94".to_vec()),
        ("a raw NUL in a string", event(",\"x\":\"\0\"")),
        ("a raw line end in a string", event(",\"x\":\"a\nb\"")),
        ("a lone surrogate", event(",\"x\":\"\\ud800\"")),
        ("NaN, as Python writes it", event(",\"x\":NaN")),
        ("Infinity", event(",\"x\":Infinity")),
        ("a number too large to be one", event(",\"x\":1e999")),
        ("10,000 lists deep", event(&deep)),
        ("no job", b"{\"event_type\":\"job:started\"}".to_vec()),
        ("no kind", b"{\"job_id\":\"j\"}".to_vec()),
        ("a job that is a number", id("7")),
        ("a job that is null", id("null")),
        ("a job that is a list", id("[\"j\"]")),
        ("an empty job", id("\"\"")),
        ("the channel's own name", id("\"all\"")),
        ("a route's name", id("\"subscribe\"")),
        ("a job with a blank", id("\"a b\"")),
        ("a job with line ends", id("\"a\\r\\nid: 1\\r\\n\"")),
        ("a job with a NUL", id("\"a\\u0000b\"")),
        ("a job with a colon", id("\"queue:ready\"")),
        ("a job with braces", id("\"{job_id}\"")),
        ("a job that is a path", id("\"../x\"")),
        ("a job that is a glob", id("\"*\"")),
        (
            "a job of 65 characters",
            id(&format!("\"{}\"", "x".repeat(65))),
        ),
        ("a job in other letters", id("\"\u{202e}j\"")),
        ("an empty kind", kind("\"\"")),
        ("a kind that is a number", kind("7")),
        ("a kind that is null", kind("null")),
        (
            "a kind of 129 characters",
            kind(&format!("\"{}\"", "x".repeat(129))),
        ),
    ]
}

/// An event of a job of its own, with these fields beside those that it needs.
pub(super) fn event(job_id: &str, kind: &str, more: &Value) -> Vec<u8> {
    let mut event = json!({"event_type": kind, "job_id": job_id});
    let fields = event.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    event.to_string().into_bytes()
}

/// Events whose fields are odd, and that are taken all the same: what can't be read is as if it were
/// absent, and is passed on as it came.
pub(super) fn odd() -> Vec<(&'static str, &'static str, Value)> {
    let completed = "job:completed";
    vec![
        (
            "a time in year 0",
            completed,
            json!({"timestamp": "0000-01-01T00:00:00"}),
        ),
        (
            "a time in year 9999",
            completed,
            json!({"timestamp": "9999-12-31T23:59:59.999999"}),
        ),
        (
            "a time at +14:00",
            completed,
            json!({"timestamp": "2025-12-01T08:55:49+14:00"}),
        ),
        (
            "a time before Christ",
            completed,
            json!({"timestamp": "-009999-01-01T00:00:00Z"}),
        ),
        (
            "a leap second",
            completed,
            json!({"timestamp": "2016-12-31T23:59:60Z"}),
        ),
        (
            "a time that is none",
            completed,
            json!({"timestamp": "yesterday", "completed_at": "tomorrow"}),
        ),
        (
            "a time that is a number",
            completed,
            json!({"timestamp": 1_764_579_349, "completed_at": -1}),
        ),
        (
            "a time that is null",
            completed,
            json!({"timestamp": null, "completed_at": null}),
        ),
        (
            "the end before the start",
            completed,
            json!({"started_at": "2030-01-01T00:00:00Z", "completed_at": "0000-01-01T00:00:00Z"}),
        ),
        (
            "a status of another kind",
            completed,
            json!({"status": "running"}),
        ),
        ("a status that is none", completed, json!({"status": 7})),
        (
            "a client that is none",
            completed,
            json!({"client_id": "a b"}),
        ),
        (
            "a client that is a list",
            completed,
            json!({"client_id": ["c"]}),
        ),
        (
            "templates that are no list",
            completed,
            json!({"template_ids": "t-1"}),
        ),
        (
            "templates that are none",
            completed,
            json!({"template_ids": ["a b", 7, null, {}, "t-1"]}),
        ),
        (
            "1,000 templates",
            completed,
            json!({"template_ids": vec!["t".repeat(40); 1000]}),
        ),
        (
            "more templates than there are",
            completed,
            json!({"template_ids": [], "template_count": u64::MAX}),
        ),
        (
            "fewer than none",
            completed,
            json!({"template_count": -7, "generation_duration_ms": -1}),
        ),
        (
            "numbers with a fraction",
            completed,
            json!({"template_count": 1.5, "generation_duration_ms": 1e300}),
        ),
        (
            "numbers as text",
            completed,
            json!({"template_count": "2", "generation_duration_ms": "x"}),
        ),
        (
            "a number that is negative",
            completed,
            json!({"sequence": -1, "epoch": "5f3a9c1e"}),
        ),
        (
            "the number 2^64",
            completed,
            json!({"sequence": 2_f64.powi(64), "epoch": "5f3a9c1e"}),
        ),
        ("a number with no epoch", completed, json!({"sequence": 1})),
        (
            "an epoch that is none",
            completed,
            json!({"sequence": 1, "epoch": "5F3A9C1E"}),
        ),
        (
            "an epoch that is a number",
            completed,
            json!({"sequence": 1, "epoch": 7}),
        ),
        (
            "an attempt of 2^32",
            completed,
            json!({"attempt": 4_294_967_296_u64}),
        ),
        ("a negative attempt", completed, json!({"attempt": -1})),
        (
            "an event id that is none",
            completed,
            json!({"event_id": "a b"}),
        ),
        (
            "the fields of our own",
            completed,
            json!({"own": true, "derived": true, "_fold": {"own": true}, "schema_version": 99}),
        ),
        (
            "line ends in text",
            "job:failed",
            json!({"error_message": "a\r\nid: 5\r\ndata: {}\r\n\r\nb"}),
        ),
        (
            "separators in text",
            "job:failed",
            json!({"error_message": "a\u{2028}b\u{2029}c\u{85}d\0e\u{feff}"}),
        ),
        (
            "an error that is an object",
            "job:failed",
            json!({"error_message": {"why": ["so"]}}),
        ),
        (
            "64,000 bytes of error",
            "job:failed",
            json!({"error_message": "x".repeat(64_000)}),
        ),
        (
            "keys of any kind",
            "job:failed",
            json!({"": 1, " ": 2, "a\r\nb": 3, "\u{202e}": 4, "__proto__": {"x": 1}}),
        ),
        ("a hundred lists deep", "job:failed", {
            let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
            json!({"x": serde_json::from_str::<Value>(&deep).expect("JSON")})
        }),
        (
            "1,000 fields",
            "job:failed",
            (0..1000)
                .map(|n| (format!("f{n}"), json!(n)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        ),
        (
            "numbers at their limits",
            "job:cancelled",
            json!({"a": u64::MAX, "b": i64::MIN, "c": 5e-324, "d": f64::MAX, "e": -0.0}),
        ),
    ]
}
