//! Cached results that no program of ours wrote: whatever stands under the key, a lookup answers what the
//! log says, and the next one finds the cache mended.

use conch_harness::conch::Plan;
use conch_harness::{Conch, Pair, Persistence, Redis, Table};
use serde_json::{Value, json};

/// Runs a job to its end; its id and its object.
async fn ended_job(api: &Conch) -> (String, Value) {
    let mare = api.mare();
    let job_id = mare.submit(&mare.new_client("Fabrikam Health").await).await;
    let job = mare.until_status(&job_id, "completed").await;
    (job_id, job)
}

/// What is no result of that job, `whole` being one.
fn unusable(job_id: &str, other_id: &str, whole: &Value) -> Vec<(String, Vec<u8>)> {
    let text = whole.to_string();
    let changed = |field: &str, value: Value| {
        let mut changed = whole.clone();
        changed[field] = value;
        changed.to_string().into_bytes()
    };
    let without = |field: &str| {
        let mut less = whole.clone();
        less.as_object_mut().expect("an object").remove(field);
        less.to_string().into_bytes()
    };
    let mut rows: Vec<(String, Vec<u8>)> = (0..10)
        .map(|tenths| {
            let cut = text.len() * tenths / 10;
            (
                format!("cut at {cut} bytes"),
                text.as_bytes()[..cut].to_vec(),
            )
        })
        .collect();
    let more = [
        ("cut by a byte", text.as_bytes()[..text.len() - 1].to_vec()),
        ("trailing bytes", format!("{text} x").into_bytes()),
        ("two of them", format!("{text}{text}").into_bytes()),
        ("a BOM", format!("\u{feff}{text}").into_bytes()),
        ("words", b"hello".to_vec()),
        ("null", b"null".to_vec()),
        ("a number", b"7".to_vec()),
        ("a list", format!("[{text}]").into_bytes()),
        ("a string", json!(text).to_string().into_bytes()),
        ("an empty object", b"{}".to_vec()),
        ("not UTF-8", b"{\"id\":\"\xff\"}".to_vec()),
        ("NULs", vec![0; 1000]),
        ("a pickle", b"\x80\x04\x95\x1c\0\0\0\0\0\0\0}\x94".to_vec()),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec()),
        ("10,000 lists deep", vec![b'['; 10_000]),
        ("10 MB of blanks", vec![b' '; 10_000_000]),
        (
            "10 MB of a result",
            changed("filler", json!("x".repeat(10_000_000))),
        ),
        (
            "of another job",
            text.replace(job_id, other_id).into_bytes(),
        ),
        ("of two jobs", changed("id", json!(other_id))),
        ("of no job that can be", changed("job_id", json!("a b"))),
        ("no status", without("status")),
        (
            "a status of later days",
            changed("status", json!("archived")),
        ),
        ("a status that is a number", changed("status", json!(3))),
        ("a status that is null", changed("status", json!(null))),
        (
            "a status in capitals",
            changed("status", json!("COMPLETED")),
        ),
        ("a job that runs", changed("status", json!("running"))),
        (
            "templates that are no list",
            changed("template_ids", json!("t-1")),
        ),
        (
            "templates that are a number",
            changed("template_ids", json!(7)),
        ),
        (
            "an old schema",
            json!({"jobId": job_id, "state": "done", "templates": []})
                .to_string()
                .into_bytes(),
        ),
    ];
    rows.extend(more.map(|(name, blob)| (name.to_owned(), blob)));
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_result_s_key() {
    let redis = Redis::start(Persistence::None);
    let worker = Plan::worker(&redis).start().await;
    let api = Plan::api(&redis, &worker.triton_url())
        // Or the process would know the answer itself.
        .env("LOCAL_RESULTS", "0");
    let system = Pair {
        api: api.start().await,
        worker,
        redis,
    };
    let (api, redis) = (&system.api, &system.redis);
    let mare = api.mare();
    let (job_id, truth) = ended_job(api).await;
    let (other_id, _) = ended_job(api).await;
    let key = format!("triton:job:result:{job_id}");
    let mut table = Table::of("cached results");

    for (name, blob) in unusable(&job_id, &other_id, &truth) {
        let claim = async {
            redis.send(&[b"SET", key.as_bytes(), &blob]);
            assert_eq!(mare.job(&job_id).await, truth);
            let mended = redis.cli(&["GET", &key]);
            let mended: Value = serde_json::from_str(&mended).expect("JSON");
            assert_eq!(mended, truth, "the cache is mended");
            assert_ne!(redis.cli(&["PTTL", &key]), "-1", "and not for ever");
        };
        table.row(&name, claim).await;
    }
    for (kind, command) in [
        ("a list", &["RPUSH", "x"][..]),
        ("a hash", &["HSET", "status", "completed"]),
        ("a set", &["SADD", "x"]),
        ("a sorted set", &["ZADD", "1", "x"]),
        ("a stream", &["XADD", "*", "a", "b"]),
    ] {
        let claim = async {
            redis.cli(&["DEL", &key]);
            let words = [&command[..1], &[key.as_str()], &command[1..]].concat();
            redis.cli(&words);
            for _ in 0..2 {
                assert_eq!(mare.job(&job_id).await, truth);
            }
        };
        table.row(kind, claim).await;
    }

    // What other programs may well write: completed, never an error.
    let five = json!({
        "job_id": job_id,
        "status": "completed",
        "template_ids": truth["template_ids"],
        "template_count": 7,
        "generation_duration_ms": 5,
    });
    let mut odd = truth.clone();
    odd["progress"] = json!("100");
    odd["attempt"] = json!({"x": 1});
    odd["client_id"] = json!(["c"]);
    odd["started_at"] = json!("yesterday");
    odd["error_message"] = json!(7);
    odd["template_count"] = json!(-1);
    for (name, blob) in [
        ("the five fields of old", five.to_string()),
        ("spread over lines", format!("{truth:#}")),
        ("with fields of later days", {
            let mut more = truth.clone();
            more["later"] = json!({"x": [1, 2.50]});
            more.to_string()
        }),
        (
            "the same key twice",
            five.to_string().replacen('{', "{\"status\":\"failed\",", 1),
        ),
        ("fields of other types", odd.to_string()),
        ("an id that is a number", {
            let mut odd = truth.clone();
            odd["job_id"] = json!(7);
            odd.to_string()
        }),
    ] {
        let claim = async {
            redis.send(&[b"SET", key.as_bytes(), blob.as_bytes()]);
            let job = mare.job(&job_id).await;
            assert_eq!(job["status"], "completed", "{job}");
            assert_eq!(job["template_ids"], truth["template_ids"], "{job}");
            assert_eq!(job["template_count"], 7, "{job}");
            for field in truth.as_object().expect("an object").keys() {
                assert!(job.get(field).is_some(), "{field}: {job}");
            }
            assert!(job["progress"].is_u64() && job["attempt"].is_u64(), "{job}");
            for field in ["client_id", "started_at", "error_message"] {
                assert!(job[field].is_null() || job[field].is_string(), "{job}");
            }
        };
        table.row(name, claim).await;
    }
    let claim = async {
        for blob in ["hello", "{}"] {
            redis.send(&[b"SET", b"triton:job:result:nobody", blob.as_bytes()]);
            let answer = mare.get("/jobs/nobody").await;
            answer.expect_problem(404, "job-not-found");
        }
    };
    table.row("of a job that nobody knows", claim).await;
    table.end(&[&system.api, &system.worker]).await;
}
