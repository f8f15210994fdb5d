//! The settings as operators write them.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::os::unix::ffi::OsStringExt;

use conch_domain::EventCap;
use conch_ports::{Quota, Quotas};
use conch_services::mare::ingest::ForeignEvents;

use super::*;

mod auth;
mod files;
mod limits;
mod store;

fn read(program: Program, flags: &[&str], env: &[(&str, &str)]) -> Result<Settings, Error> {
    crate::install_tls();
    Settings::new(program, &source(program, flags, env))
}

fn source(program: Program, flags: &[&str], env: &[(&str, &str)]) -> Source {
    let matches = command(Command::new("test"), program)
        .try_get_matches_from(std::iter::once(&"test").chain(flags))
        .expect("the flags exist");
    let env = env.iter().map(|(n, v)| (n.into(), v.into()));
    Source::read(program, &matches, env, EnvFile::default()).expect("all of it is text")
}

#[test]
fn defaults_work_for_every_program() {
    for program in [Program::AllInOne, Program::Api, Program::Worker] {
        let settings = read(program, &[], &[]).expect("defaults work");
        assert_eq!(settings.mare.is_some(), program != Program::Worker);
        assert_eq!(settings.worker.is_some(), program != Program::Api);
        let memory = matches!(settings.store, Store::Memory(_));
        assert_eq!(memory, program == Program::AllInOne);
    }
}

#[test]
fn a_setting_that_cannot_work_is_named_and_its_value_is_not() {
    for (program, name, value, named) in [
        (
            Program::Api,
            "MARE_API_ADDR",
            "127.0.0.1:99999",
            "MARE_API_ADDR",
        ),
        (
            Program::Api,
            "MARE_API_ADDR",
            "[::ffff:10.0.0.1]:16000",
            "MARE_API_ADDR",
        ),
        (
            Program::Worker,
            "TRITON_API_ADDR",
            "[::ffff:0.0.0.0]:8000",
            "TRITON_TOKEN",
        ),
        (
            Program::Api,
            "MARE_API_ADDR",
            "secret-host",
            "MARE_API_ADDR",
        ),
        (
            Program::Api,
            "MARE_API_ADDR",
            "0.0.0.0:16000",
            "MARE_API_ADDR",
        ),
        (Program::Api, "REDIS_URL", "http://x:secret@y", "REDIS_URL"),
        (
            Program::Api,
            "RESULT_TTL_SECONDS",
            "0",
            "RESULT_TTL_SECONDS",
        ),
        (Program::Api, "HISTORY_LIMIT", "-1", "HISTORY_LIMIT"),
        (Program::Api, "EVENT_BUS", "memory", "EVENT_BUS"),
        (Program::Api, "EVENT_BUS", "kafka", "EVENT_BUS"),
        (Program::Api, "FOREIGN_EVENTS", "maybe", "FOREIGN_EVENTS"),
        (Program::Api, "CORS_ORIGINS", "*,http://a", "CORS_ORIGINS"),
        (
            Program::Api,
            "TRITON_BASE_URL",
            "ftp://secret",
            "TRITON_BASE_URL",
        ),
        (
            Program::Api,
            "TRITON_BASE_URL",
            "http://triton:8000",
            "TRITON_TOKEN",
        ),
        (
            Program::Api,
            "TRITON_BASE_URL",
            "http://ann:secret@triton:8000",
            "TRITON_BASE_URL",
        ),
        (Program::Api, "TRITON_TOKEN", "se cret", "TRITON_TOKEN"),
        (Program::Api, "REDIS_PORT", "99999", "REDIS_PORT"),
        (Program::Api, "RUST_LOG", "secret=secret=x", "RUST_LOG"),
        (
            Program::Worker,
            "TRITON_API_ADDR",
            "0.0.0.0:8000",
            "TRITON_TOKEN",
        ),
        (Program::Worker, "LEASE_SECONDS", "NaN", "LEASE_SECONDS"),
        (Program::Worker, "TEMPLATE_TRIES", "0", "TEMPLATE_TRIES"),
        (Program::Worker, "TEMPLATE_TRIES", "11", "TEMPLATE_TRIES"),
        (Program::Worker, "GENERATOR", "command", "GENERATOR_COMMAND"),
        (Program::Api, "MAX_FOREIGN_JOBS", "0", "MAX_FOREIGN_JOBS"),
        (Program::Api, "MAX_EVENT_BYTES", "262145", "MAX_EVENT_BYTES"),
        (Program::Api, "MAX_EVENT_BYTES", "10", "MAX_EVENT_BYTES"),
        (Program::Api, "MAX_HEAD_BYTES", "8191", "MAX_HEAD_BYTES"),
        (Program::Worker, "MAX_HEAD_BYTES", "65537", "MAX_HEAD_BYTES"),
        (
            Program::Api,
            "HEAD_TIMEOUT_SECONDS",
            "0",
            "HEAD_TIMEOUT_SECONDS",
        ),
        (Program::Api, "MAX_BODY_BYTES", "0", "MAX_BODY_BYTES"),
        (
            Program::Worker,
            "BODY_TIMEOUT_SECONDS",
            "never",
            "BODY_TIMEOUT_SECONDS",
        ),
        (
            Program::Api,
            "WRITE_STALL_SECONDS",
            "-1",
            "WRITE_STALL_SECONDS",
        ),
        (
            Program::Api,
            "MAX_STREAMS_PER_CALLER",
            "-1",
            "MAX_STREAMS_PER_CALLER",
        ),
        (
            Program::Api,
            "MAX_WATCHED_JOBS_PER_CALLER",
            "many",
            "MAX_WATCHED_JOBS_PER_CALLER",
        ),
        (
            Program::Api,
            "STREAM_LIFETIME_SECONDS",
            "0.5",
            "STREAM_LIFETIME_SECONDS",
        ),
        (
            Program::Api,
            "SUBMISSIONS_PER_MINUTE",
            "1.5",
            "SUBMISSIONS_PER_MINUTE",
        ),
        (
            Program::Worker,
            "MAX_EVENTS_PER_JOB",
            "99",
            "MAX_EVENTS_PER_JOB",
        ),
        (Program::Worker, "LOG_FORMAT", "xml", "LOG_FORMAT"),
        (Program::Worker, "MAX_QUEUED_JOBS", "0", "MAX_QUEUED_JOBS"),
        (Program::Worker, "MAX_JOBS", "lots", "MAX_JOBS"),
        (Program::Worker, "MAX_CLIENTS", "-1", "MAX_CLIENTS"),
        (
            Program::AllInOne,
            "MAX_VALUE_PROPOSITIONS",
            "1e3",
            "MAX_VALUE_PROPOSITIONS",
        ),
    ] {
        let error = read(program, &[], &[(name, value)])
            .expect_err(name)
            .to_string();
        assert!(error.starts_with(named), "{name}={value}: {error}");
        assert!(!error.contains("secret"), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn a_token_and_credentials_in_the_address_contradict_each_other() {
    let base = |base| ("TRITON_BASE_URL", base);
    let token = ("TRITON_TOKEN", "secret");
    let local = base("http://ann:secret@127.0.0.1:8000");
    let remote = base("http://ann:secret@triton:8000");
    for env in [&[local, token][..], &[remote, token], &[remote]] {
        for program in [Program::Api, Program::AllInOne] {
            let error = read(program, &[], env).expect_err("it can't work");
            let error = error.to_string();
            assert!(error.starts_with("TRITON_BASE_URL "), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
    for env in [&[local][..], &[base("http://triton:8000"), token]] {
        read(Program::Api, &[], env).expect("it works");
    }
}

#[test]
fn a_generator_command_that_cannot_be_split_is_refused() {
    let env = [("GENERATOR", "command"), ("GENERATOR_COMMAND", "'secret")];
    let error = read(Program::Worker, &[], &env).expect_err("refused");
    assert!(
        error.to_string().starts_with("GENERATOR_COMMAND"),
        "{error}"
    );
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[test]
fn flags_win_over_variables_and_empty_means_unset() {
    let env = [("MARE_API_ADDR", "127.0.0.1:1"), ("HISTORY_LIMIT", "")];
    let settings = read(Program::Api, &["--mare-api-addr", "127.0.0.1:2"], &env).expect("valid");
    assert_eq!(settings.mare.expect("an API").address.port(), 2);
    let open = ["--mare-api-addr=0.0.0.0:2", "--insecure"];
    assert!(read(Program::Api, &open, &[]).is_ok());
}

#[test]
fn an_ipv4_address_written_as_ipv6_is_the_same_address() {
    let loopback = |port| format!("[::ffff:127.0.0.1]:{port}");
    let (mare, triton, ops) = (loopback(16_000), loopback(8000), loopback(9000));
    let env = [
        ("MARE_API_ADDR", mare.as_str()),
        ("TRITON_API_ADDR", &triton),
        ("MARE_OPS_ADDR", &ops),
        ("WORKER_OPS_ADDR", &ops),
        ("TRITON_BASE_URL", "http://[::ffff:127.0.0.1]:8000"),
    ];
    let settings = read(Program::AllInOne, &[], &env).expect("loopback needs no credentials");
    let (mare, worker) = (
        settings.mare.expect("an API"),
        settings.worker.expect("a worker"),
    );
    assert_eq!(mare.address, SocketAddr::from(([127, 0, 0, 1], 16_000)));
    assert_eq!(
        worker.address,
        Some(SocketAddr::from(([127, 0, 0, 1], 8000)))
    );
    let ops = Some(SocketAddr::from(([127, 0, 0, 1], 9000)));
    assert_eq!((mare.ops_address, worker.ops_address), (ops, ops));
    // Pages under names of other machines are kept out, as on any loopback address.
    for hosts in [mare.hosts, worker.hosts] {
        assert!(matches!(hosts, Hosts::Loopback(_)), "{hosts:?}");
    }
}

/// What AUTH=jwt needs.
#[test]
fn no_secret_is_shown() {
    let env = [
        ("TRITON_TOKEN", "hunter2"),
        ("STORE_URL", "redis://:hunter3@x/0"),
        ("CACHE_REDIS_URL", "redis://:hunter4@y/0"),
        ("AUTH", "jwt"),
        ("AUTH_JWT_ALGORITHM", "HS256"),
        ("AUTH_JWT_SECRET", "hunter5 hunter5 hunter5 hunter5 hunter5"),
        ("AUTH_JWT_ISSUER", "i"),
        ("AUTH_JWT_AUDIENCE", "a"),
    ];
    for program in [Program::Api, Program::Worker] {
        let shown = format!("{:?}", read(program, &[], &env).expect("valid"));
        assert!(!shown.contains("hunter"), "{shown}");
    }
}

/// Programs that are started inherit what isn't marked.
#[test]
fn what_may_hold_a_secret_is_marked() {
    let marked = |s: &&Setting| s.secret;
    let names: Vec<_> = SETTINGS.iter().filter(marked).map(|s| s.name).collect();
    let secrets = [
        "TRITON_BASE_URL",
        "TRITON_TOKEN",
        "STORE_URL",
        "BUS_URL",
        "NATS_CREDENTIALS",
        "REDIS_URL",
        "REDIS_PASSWORD",
        "CACHE_REDIS_URL",
        "AUTH_JWT_SECRET",
    ];
    assert_eq!(names, secrets);
    for setting in SETTINGS {
        let telling = ["_URL", "_TOKEN", "_SECRET", "_PASSWORD", "_CREDENTIALS"];
        let tells = telling.iter().any(|end| setting.name.ends_with(end));
        assert!(setting.secret || !tells, "{}", setting.name);
    }
}

#[test]
fn redis_from_its_parts() {
    let url = |env: &[(&str, &str)]| match read(Program::Api, &[], env).expect("valid").store {
        Store::Redis(redis) => redis.url,
        Store::Memory(_) => panic!("conch-api has no memory backend"),
    };
    assert_eq!(url(&[]), "redis://127.0.0.1:6379/0");
    let parts = [
        ("REDIS_HOST", "cache"),
        ("REDIS_DB", "3"),
        ("REDIS_PASSWORD", "p@ss/word"),
    ];
    assert_eq!(url(&parts), "redis://:p%40ss%2Fword@cache:6379/3");
    assert_eq!(url(&[("REDIS_HOST", "::1")]), "redis://[::1]:6379/0");
    assert_eq!(
        url(&[("REDIS_URL", "redis://a/1"), ("REDIS_HOST", "b")]),
        "redis://a/1"
    );
}

#[test]
fn a_setting_that_is_no_text_is_not_as_good_as_unset() {
    let read = |program, flags: &[&str], name: &str| {
        let matches = command(Command::new("test"), program)
            .get_matches_from(std::iter::once(&"test").chain(flags));
        let odd = OsString::from_vec(b"secret\xff".to_vec());
        Source::read(program, &matches, [(name.into(), odd)], EnvFile::default())
    };
    for setting in SETTINGS {
        for program in setting.who {
            let error = read(*program, &[], setting.name).expect_err(setting.name);
            let said = format!("{} must be UTF-8 text", setting.name);
            assert_eq!(error.to_string(), said);
        }
    }
    // Somebody else's, another program's, and one that a flag stands in for.
    assert!(read(Program::Api, &[], "HOME").is_ok());
    assert!(read(Program::Worker, &[], "AUTH").is_ok());
    assert!(read(Program::Api, &["--auth=off"], "AUTH").is_ok());
}

#[test]
fn odd_variables_are_pointed_out() {
    let env = [
        ("REDIS_PORT", "tcp://10.0.0.1:6379"),
        ("TRITON_SERVICE_HOST", "10.0.0.2"),
        ("TRITON_PORT_8000_TCP_ADDR", "10.0.0.2"),
        ("WORKER_CONCURENCY", "4"),
        ("HOME", "/"),
        ("PATH", "/bin"),
    ];
    let source = source(Program::Worker, &[], &env);
    let warnings = source.warnings.join("\n");
    for part in [
        "REDIS_PORT",
        "TRITON_SERVICE_HOST",
        "WORKER_CONCURRENCY meant",
    ] {
        assert!(warnings.contains(part), "{part} in {warnings}");
    }
    assert_eq!(source.warnings.len(), 2, "{warnings}");
    crate::install_tls();
    assert!(Settings::new(Program::Worker, &source).is_ok());
}

#[test]
fn in_one_process_the_gateway_follows_triton() {
    let settings = read(
        Program::AllInOne,
        &[],
        &[("TRITON_API_ADDR", "127.0.0.1:8123")],
    )
    .expect("valid");
    let shown = format!("{:?}", settings.mare.expect("an API").gateway);
    assert!(shown.contains("http://127.0.0.1:8123"), "{shown}");
}

#[test]
fn the_readme_lists_every_setting_with_its_default() {
    let readme = include_str!("../../../README.md");
    for setting in SETTINGS {
        let row = readme
            .lines()
            .find(|line| line.starts_with(&format!("| `{}` |", setting.name)))
            .unwrap_or_else(|| panic!("{} has no row", setting.name));
        assert!(
            row.contains(&setting.default.replace('`', "")) || row.contains(setting.default),
            "{row}"
        );
        assert!(row.contains(setting.help), "{row}");
    }
}

/// The bounds and intervals if they are not set: readers and operators rely on these.
#[test]
fn defaults_are_the_documented_ones() {
    let api = read(Program::Api, &[], &[]).expect("valid");
    let hub = api.mare.expect("an API").hub;
    assert_eq!(hub.heartbeat, Duration::from_secs(4));
    assert_eq!(hub.position_check, Duration::from_secs(10));
    assert_eq!(hub.retry_ms, 2000);
    assert_eq!(hub.max_watched_jobs_per_caller, Some(5000));
    assert_eq!(hub.max_streams_per_caller, None, "no caller is identified");
    let worker = read(Program::Worker, &[], &[]).expect("valid");
    let worker = worker.worker.expect("a worker");
    assert_eq!((worker.max_attempts, worker.template_tries), (3, 3));
    assert_eq!(worker.lease, Duration::from_secs(30));
    assert_eq!(worker.sweep, Duration::from_secs(10));
}

#[test]
fn each_default_in_the_table_is_what_a_program_does_without_it() {
    // Some matter only beside others.
    let others = [
        ("AUTH", "jwt"),
        ("AUTH_JWT_ALGORITHM", "HS256"),
        ("AUTH_JWT_SECRET", "0123456789abcdef0123456789abcdef"),
        ("AUTH_JWT_ISSUER", "https://issuer.example"),
        ("AUTH_JWT_AUDIENCE", "mare"),
        ("GENERATOR", "command"),
        ("GENERATOR_COMMAND", "cat"),
    ];
    for (program, others) in [Program::Api, Program::Worker, Program::AllInOne]
        .into_iter()
        .flat_map(|program| [(program, &[][..]), (program, &others[..])])
    {
        let told = |env: &[_]| format!("{:?}", read(program, &[], env).expect("valid"));
        let unset = told(others);
        for Setting { name, default, .. } in SETTINGS.iter().filter(|s| s.who.contains(&program)) {
            // Other defaults are described in words.
            let is_value = !default.is_empty() && !default.contains(' ');
            if is_value && others.iter().all(|(other, _)| other != name) {
                let env = [others, &[(*name, *default)]].concat();
                assert_eq!(told(&env), unset, "{program:?} {name}");
            }
        }
    }
}

#[test]
fn every_interval_is_a_setting() {
    let env = [
        ("REDIS_TIMEOUT_SECONDS", "0.5"),
        ("REDIS_PROBE_SECONDS", "0.25"),
        ("REDIS_BACKOFF_CAP_SECONDS", "0.2"),
        ("HISTORY_TTL_SECONDS", "7"),
        ("TRITON_COOL_DOWN_SECONDS", "0.6"),
        ("STREAM_RETRY_SECONDS", "0.1"),
        ("WRITE_STALL_SECONDS", "3"),
        ("MAX_ATTEMPTS", "9"),
        ("TEMPLATE_TRIES", "10"),
        ("QUEUE_SWEEP_SECONDS", "0.5"),
        ("RETRY_BACKOFF_SECONDS", "0.05"),
        ("RETRY_BACKOFF_CAP_SECONDS", "0.4"),
    ];
    let millis = Duration::from_millis;
    let api = read(Program::Api, &[], &env).expect("valid");
    assert_eq!(api.server.write_stall, Duration::from_secs(3));
    let mare = api.mare.expect("an API");
    assert_eq!(mare.hub.retry_ms, 100);
    assert_eq!(mare.gateway.breaker_cool_down, millis(600));
    let Store::Redis(redis) = api.store else {
        panic!("conch-api has no memory backend")
    };
    assert_eq!(redis.connect_timeout, millis(500));
    assert_eq!(redis.response_timeout, millis(500));
    assert_eq!(redis.probe_timeout, millis(750));
    assert_eq!(redis.probe_interval, millis(250));
    assert_eq!(redis.backoff_cap, millis(200));
    assert_eq!(redis.finished_ttl, Duration::from_secs(7));
    let worker = read(Program::Worker, &[], &env).expect("valid");
    let worker = worker.worker.expect("a worker");
    assert_eq!((worker.max_attempts, worker.template_tries), (9, 10));
    assert_eq!(worker.sweep, millis(500));
    assert_eq!(
        (worker.backoff, worker.backoff_cap),
        (millis(50), millis(400))
    );
}
