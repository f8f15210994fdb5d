//! Settings that can't work: exit code 78 and one line that names the variable and never its value,
//! before anything is bound. And odd ones that work all the same.

use std::time::Duration;

use conch_harness::conch::program;
use conch_harness::{Process, Table};

const API: &str = "conch-api";
const WORKER: &str = "conch-worker";
const ALL_IN_ONE: &str = "conch";

/// Program, variable, value. Where another variable is to be named it stands behind the value.
const REFUSED: &[(&str, &str, &str, &str)] = &[
    (API, "MARE_API_ADDR", "127.0.0.1:99999", ""),
    (API, "MARE_API_ADDR", "127.0.0.1", ""),
    (API, "MARE_API_ADDR", "127.0.0.1:", ""),
    (API, "MARE_API_ADDR", ":16000", ""),
    (API, "MARE_API_ADDR", "127.0.0.1:-1", ""),
    (API, "MARE_API_ADDR", "127.0.0.1:0x50", ""),
    (API, "MARE_API_ADDR", "http://127.0.0.1:16000", ""),
    (API, "MARE_API_ADDR", "off", ""),
    (API, "MARE_API_ADDR", "[::1:16000", ""),
    (API, "MARE_API_ADDR", "[::]:16000", ""),
    (API, "REDIS_URL", "http://:secret@cache", ""),
    (API, "REDIS_URL", "redis://:secret@cache/nodb", ""),
    (API, "REDIS_URL", "127.0.0.1:6379", ""),
    (API, "REDIS_URL", "redis://", ""),
    (API, "REDIS_DB", "-1", ""),
    (API, "REDIS_DB", "0;FLUSHALL", ""),
    (API, "REDIS_PORT", "0", ""),
    (API, "REDIS_PORT", "6379x", ""),
    (API, "REDIS_HOST", "cache:secret@elsewhere", ""),
    (API, "REDIS_HOST", "cache/secret", ""),
    (API, "REDIS_HOST", "cache?secret", ""),
    (API, "REDIS_HOST", "cache secret", ""),
    (API, "CACHE_REDIS_URL", "memcached://secret", ""),
    (API, "RESULT_TTL_SECONDS", "0", ""),
    (API, "RESULT_TTL_SECONDS", "-3600", ""),
    (API, "RESULT_TTL_SECONDS", "inf", ""),
    (API, "RESULT_TTL_SECONDS", "1e400", ""),
    (API, "RESULT_TTL_SECONDS", "1h", ""),
    (API, "HISTORY_LIMIT", "0", ""),
    (API, "HISTORY_LIMIT", "10001", ""),
    (API, "HISTORY_LIMIT", "100.0", ""),
    (API, "HISTORY_LIMIT", "\u{ff11}\u{ff10}", ""),
    (API, "RETENTION_DAYS", "36501", ""),
    (API, "CHANNEL_PREFIX", "a b", ""),
    (API, "CHANNEL_PREFIX", "tri*ton", ""),
    (API, "CHANNEL_PREFIX", "triton\r\nFLUSHALL", ""),
    (
        API,
        "CHANNEL_PREFIX",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "",
    ),
    (API, "AUTH", "jwt", "AUTH_JWT_ALGORITHM"),
    (API, "MARE_API_ADDR", "0.0.0.0:16000", ""),
    (API, "EVENT_BUS", "memory", ""),
    (WORKER, "EVENT_BUS", "memory", ""),
    (API, "EVENT_BUS", "Redis", ""),
    (API, "STORE_URL", "memory:", ""),
    (WORKER, "STORE_URL", "memory:", ""),
    (API, "STORE_URL", "redis", ""),
    (API, "STORE_URL", "127.0.0.1:6379", ""),
    (API, "STORE_URL", "redis://:secret@cache:99999/0", ""),
    (API, "STORE_URL", "rediss://:secret@cache/0#insecure", ""),
    (WORKER, "STORE_URL", "sqlite:/var/lib/secret.db", ""),
    (WORKER, "STORE_URL", "postgres://:secret@db/conch", ""),
    (WORKER, "STORE_URL", "nats://:secret@bus:4222", ""),
    (API, "BUS_URL", "memory:", ""),
    (API, "BUS_URL", "redis://:secret@elsewhere", ""),
    (API, "BUS_URL", "nats://:secret@bus:4222", ""),
    (API, "BUS_URL", "postgres://:secret@db/conch", ""),
    (WORKER, "BUS_URL", "amqp://:secret@bus", ""),
    (API, "POSITION_CHECK_SECONDS", "0", ""),
    (API, "POSITION_CHECK_SECONDS", "NaN", ""),
    (API, "HEARTBEAT_SECONDS", "-0", ""),
    (API, "HEARTBEAT_SECONDS", "31536001", ""),
    (API, "RECORD_LOST_SECONDS", "soon", ""),
    (API, "HEAD_TIMEOUT_SECONDS", "0", ""),
    (API, "HEAD_TIMEOUT_SECONDS", "never", ""),
    (API, "BODY_TIMEOUT_SECONDS", "0", ""),
    (API, "MAX_CONNECTIONS", "0", ""),
    (API, "MAX_CONNECTIONS", "18446744073709551616", ""),
    (API, "HTTP_THREADS", "0", ""),
    (API, "HTTP_THREADS", "1025", ""),
    (API, "LOCAL_RESULTS", "-1", ""),
    (API, "LOCAL_RESULTS", "64M", ""),
    (API, "CORS_ORIGINS", "*.example.com", ""),
    (API, "CORS_ORIGINS", "https://secret@a.example", ""),
    (API, "TRITON_BASE_URL", "triton:8000", ""),
    (API, "TRITON_BASE_URL", ",", ""),
    (API, "TRITON_BASE_URL", "http://", ""),
    (API, "TRITON_BASE_URL", "file:///etc/passwd", ""),
    (API, "TRITON_BASE_URL", "http://127.0.0.1:99999", ""),
    (
        API,
        "TRITON_BASE_URL",
        "http://169.254.169.254",
        "TRITON_TOKEN",
    ),
    (
        API,
        "TRITON_BASE_URL",
        "http://127.0.0.1.secret.example",
        "TRITON_TOKEN",
    ),
    (API, "TRITON_TOKEN", "secret\r\nx: y", ""),
    (API, "TRITON_TOKEN", "s\u{e9}cret", ""),
    (API, "TRITON_TIMEOUT_SECONDS", "0", ""),
    (API, "DRAIN_SECONDS", "-1", ""),
    (API, "INSECURE", "yes", ""),
    (API, "LOG_FORMAT", "JSON", ""),
    (API, "RUST_LOG", "info,conch=loudly", ""),
    (WORKER, "REDIS_URL", "redis://:secret@cache:99999/0", ""),
    (WORKER, "EVENT_BUS", "memory", ""),
    (WORKER, "LEASE_SECONDS", "soon", ""),
    (WORKER, "LEASE_SECONDS", "0", ""),
    (WORKER, "JOB_DEADLINE_SECONDS", "0", ""),
    (WORKER, "TRITON_API_ADDR", "0.0.0.0:8000", "TRITON_TOKEN"),
    (WORKER, "TRITON_API_ADDR", "OFF", ""),
    (WORKER, "WORKER_OPS_ADDR", "8080", ""),
    (WORKER, "WORKER_CONCURRENCY", "0", ""),
    (WORKER, "WORKER_CONCURRENCY", "1025", ""),
    (WORKER, "BUILTIN_PACE_MS", "3600001", ""),
    (WORKER, "GENERATOR", "openai", ""),
    (WORKER, "DEMO_CLIENT", "maybe", ""),
    (WORKER, "MAX_JOBS", "0", ""),
];

/// Two settings that can't both be meant, and the one that is named.
const CONTRADICTORY: &[([(&str, &str); 2], &str)] = &[
    (
        [("STORE_URL", IN_REDIS), ("EVENT_BUS", "memory")],
        "EVENT_BUS",
    ),
    (
        [("STORE_URL", "memory:"), ("EVENT_BUS", "redis")],
        "EVENT_BUS",
    ),
    (
        [("STORE_URL", "memory:"), ("REDIS_URL", IN_REDIS)],
        "REDIS_URL",
    ),
    (
        [
            ("STORE_URL", IN_REDIS),
            ("REDIS_URL", "redis://:secret@cache/2"),
        ],
        "REDIS_URL",
    ),
    ([("STORE_URL", "memory:"), ("BUS_URL", IN_REDIS)], "BUS_URL"),
    ([("STORE_URL", IN_REDIS), ("BUS_URL", "memory:")], "BUS_URL"),
];

const IN_REDIS: &str = "redis://:secret@cache/1";

/// What works though it looks odd: the program goes on to the next setting, which can't.
const TAKEN: &[(&str, &str, &str)] = &[
    (API, "RESULT_TTL_SECONDS", " 60 "),
    (API, "RESULT_TTL_SECONDS", "1e2"),
    (API, "RESULT_TTL_SECONDS", ""),
    (API, "HISTORY_LIMIT", "007"),
    (API, "MARE_API_ADDR", "localhost:0"),
    (API, "REDIS_URL", "redis+unix:///run/redis.sock"),
    (API, "STORE_URL", " Valkey+Unix:///run/valkey.sock "),
    (API, "STORE_URL", ""),
    (API, "BUS_URL", "redis://127.0.0.1:6379/0"),
    (API, "REDIS_PASSWORD", "a@b/c?d#e%f \u{e9}"),
    (API, "REDIS_PORT", "tcp://10.0.0.1:6379"),
    (API, "CORS_ORIGINS", ","),
    (API, "LOCAL_RESULTS", "0"),
    (
        API,
        "TRITON_BASE_URL",
        " http://127.0.0.1:1 ,, http://localhost:2/ ",
    ),
    (API, "MARE_API_ADR", "127.0.0.1:1"),
    (WORKER, "TRITON_API_ADDR", "off"),
    (WORKER, "GENERATOR_COMMAND", "'"),
];

/// What a program that ends by itself had to say.
struct Ended {
    code: Option<i32>,
    printed: String,
    said: String,
}

async fn run(name: &'static str, env: &[(&str, &str)], flags: &[String]) -> Ended {
    let mut command = program(name);
    command.args(flags).envs(env.iter().copied());
    let wait = move || {
        let mut process = Process::start(name, &mut command);
        let status = process.wait(Duration::from_secs(20));
        Ended {
            code: status.code(),
            printed: process.stdout(),
            said: process.stderr(),
        }
    };
    tokio::task::spawn_blocking(wait).await.expect("it ends")
}

/// Checks that it ended for that setting.
fn names(ended: &Ended, named: &str, value: &str) {
    let said = &ended.said;
    assert_eq!(ended.code, Some(78), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(said.starts_with(&format!("{named} ")), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    let is_secret = value.contains("secret");
    let shown = said.contains("secret") || is_secret && said.contains(value);
    assert!(!shown, "a value is never shown: {said}");
    assert_eq!(ended.printed, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn that_cannot_work() {
    let mut table = Table::of("settings");
    let refused = REFUSED.iter().map(|(name, variable, value, other)| {
        let claim = async move {
            let named = if other.is_empty() { variable } else { other };
            names(&run(name, &[(variable, value)], &[]).await, named, value);
            // A flag is no other than its variable, and wins over it.
            let flag = format!("--{}={value}", variable.to_lowercase().replace('_', "-"));
            let ended = run(name, &[(variable, "")], &[flag]).await;
            names(&ended, named, value);
        };
        (format!("{variable}={value}"), claim)
    });
    table.rows(refused).await;
    let contradictory = CONTRADICTORY.iter().map(|(settings, named)| {
        let claim = async move {
            let ended = run(ALL_IN_ONE, settings, &["run".to_owned()]).await;
            names(&ended, named, "secret");
        };
        let settings = settings.map(|(variable, value)| format!("{variable}={value}"));
        (settings.join(" and "), claim)
    });
    table.rows(contradictory).await;
    let taken = TAKEN.iter().map(|(name, variable, value)| {
        let claim = async move {
            let last = ("DRAIN_SECONDS", "x");
            let ended = run(name, &[(variable, value), last], &[]).await;
            names(&ended, last.0, value);
        };
        (format!("{variable}={value}, taken"), claim)
    });
    table.rows(taken).await;
    let claim = async {
        let ended = run(API, &[], &["--no-such-setting=1".to_owned()]).await;
        assert_eq!(ended.code, Some(2), "{}", ended.said);
    };
    table.row("a flag that there is not", claim).await;
    table.end(&[]).await;
}
