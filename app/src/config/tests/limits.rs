//! Limits and quotas: each reaches the component that keeps it.

use super::auth::JWT;
use super::*;

#[test]
fn quotas_go_to_the_store_that_is_chosen() {
    let quotas = |bus, env: &[(&str, &str)]| {
        let env = [env, &[("EVENT_BUS", bus)]].concat();
        match read(Program::AllInOne, &[], &env).expect("valid").store {
            Store::Redis(redis) => redis.quotas,
            Store::Memory(memory) => memory.quotas,
        }
    };
    let default = Quotas {
        queued_jobs: 10_000,
        jobs: 1_000_000,
        clients: 10_000,
        value_propositions: 100,
        foreign_jobs: 10_000,
        foreign_job_kib: 1024,
        foreign_mib: 256,
    };
    assert_eq!(quotas("redis", &[]), default);
    let less = Quotas {
        jobs: 25_000,
        ..default
    };
    assert_eq!(quotas("memory", &[]), less);
    let env = [
        ("MAX_QUEUED_JOBS", "1"),
        ("MAX_JOBS", "2"),
        ("MAX_CLIENTS", "3"),
        ("MAX_VALUE_PROPOSITIONS", "4"),
        ("MAX_FOREIGN_JOBS", "5"),
        ("MAX_FOREIGN_JOB_KIB", "64"),
        ("MAX_FOREIGN_MIB", "7"),
    ];
    for bus in ["redis", "memory"] {
        let set = Quotas {
            queued_jobs: 1,
            jobs: 2,
            clients: 3,
            value_propositions: 4,
            foreign_jobs: 5,
            foreign_job_kib: 64,
            foreign_mib: 7,
        };
        assert_eq!(quotas(bus, &env), set, "{bus}");
    }
}

#[test]
fn limits_are_as_they_are_set() {
    let usual = read(Program::AllInOne, &[], &[]).expect("valid");
    let (server, mare, worker) = (
        usual.server,
        usual.mare.expect("an API"),
        usual.worker.expect("a worker"),
    );
    let seconds = Duration::from_secs;
    assert_eq!(
        (server.max_head, server.head_timeout),
        (57_344, seconds(10))
    );
    assert_eq!(server.write_stall, seconds(30));
    assert_eq!(server.max_connections, 100_000);
    assert_eq!((usual.body.bytes, usual.body.time), (262_144, seconds(30)));
    assert_eq!(mare.hub.stream_lifetime, None);
    assert_eq!(worker.events, EventCap::new(1000));
    assert_eq!(worker.deadline, seconds(86_400));

    let env = [
        ("MAX_HEAD_BYTES", "8192"),
        ("HEAD_TIMEOUT_SECONDS", "1.5"),
        ("MAX_BODY_BYTES", "1024"),
        ("BODY_TIMEOUT_SECONDS", "2"),
        ("WRITE_STALL_SECONDS", "3"),
        ("MAX_CONNECTIONS", "4"),
        ("HTTP_THREADS", "3"),
        ("STREAM_LIFETIME_SECONDS", "5"),
        ("MAX_EVENTS_PER_JOB", "600"),
        ("JOB_DEADLINE_SECONDS", "7"),
        ("GENERATOR", "command"),
        ("GENERATOR_COMMAND", "x"),
        ("GENERATOR_TIMEOUT_SECONDS", "8"),
        ("GENERATOR_OUTPUT_BYTES", "9000"),
    ];
    let set = read(Program::AllInOne, &[], &env).expect("valid");
    let (server, mare, worker) = (
        set.server,
        set.mare.expect("an API"),
        set.worker.expect("a worker"),
    );
    assert_eq!(set.http_threads.get(), 3);
    assert_eq!(server.max_head, 8192);
    assert_eq!(server.head_timeout, Duration::from_millis(1500));
    assert_eq!(
        (server.write_stall, server.max_connections),
        (seconds(3), 4)
    );
    assert_eq!((set.body.bytes, set.body.time), (1024, seconds(2)));
    assert_eq!(mare.hub.stream_lifetime, Some(seconds(5)));
    let cap = EventCap::new(600);
    assert!(matches!(mare.foreign_events, ForeignEvents::Accept { cap: set, .. } if set == cap));
    assert_eq!((worker.events, worker.deadline), (cap, seconds(7)));
    let env = [&env[..], &[("GENERATOR_OUTPUT_BYTES", "1")]].concat();
    let error = read(Program::AllInOne, &[], &env).expect_err("too few");
    assert!(error.to_string().starts_with("GENERATOR_OUTPUT_BYTES"));
    let Generator::Command {
        timeout,
        output_limit,
        ..
    } = worker.generator
    else {
        panic!("it is a command");
    };
    assert_eq!((timeout, output_limit), (seconds(8), 9000));
}

#[test]
fn callers_are_limited_where_there_are_callers() {
    let limits = |with_auth: bool, env: &[(&str, &str)]| {
        let auth: &[(&str, &str)] = if with_auth { &JWT } else { &[] };
        let settings = read(Program::Api, &[], &[auth, env].concat()).expect("valid");
        let mare = settings.mare.expect("an API");
        let submissions = mare.submissions_per_minute.map(NonZeroU32::get);
        (mare.hub.max_streams_per_caller, submissions)
    };
    assert_eq!(limits(true, &[]), (Some(100), Some(60)));
    assert_eq!(limits(false, &[]), (None, None));
    let set = [
        ("MAX_STREAMS_PER_CALLER", "7"),
        ("SUBMISSIONS_PER_MINUTE", "8"),
    ];
    assert_eq!(limits(true, &set), (Some(7), Some(8)));
    // Streams of everybody are no caller's; submissions of everybody can be too many.
    assert_eq!(limits(false, &set), (None, Some(8)));
    let off = set.map(|(name, _)| (name, "0"));
    for with_auth in [true, false] {
        assert_eq!(limits(with_auth, &off), (None, None));
    }
    let warnings = source(Program::Api, &[], &set).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("MAX_STREAMS_PER_CALLER"),
        "{warnings:?}"
    );
}

#[test]
fn watched_jobs_are_limited_with_and_without_authentication() {
    for auth in [&[][..], &JWT] {
        for (value, most) in [(None, Some(5000)), (Some("7"), Some(7)), (Some("0"), None)] {
            let set = value.map(|value| ("MAX_WATCHED_JOBS_PER_CALLER", value));
            let env: Vec<_> = auth.iter().copied().chain(set).collect();
            let settings = read(Program::Api, &[], &env).expect("valid");
            let mare = settings.mare.expect("an API");
            assert_eq!(mare.hub.max_watched_jobs_per_caller, most, "{env:?}");
        }
    }
}

#[test]
fn external_events_have_a_maximum_size() {
    let external = |env: &[(&str, &str)]| {
        let settings = read(Program::Api, &[], env).expect("valid");
        settings.mare.expect("an API").foreign_events
    };
    let cap = EventCap::default();
    let max = |max_bytes| ForeignEvents::Accept { max_bytes, cap };
    assert_eq!(external(&[]), max(65_536));
    let set = ("MAX_EVENT_BYTES", "262144");
    assert_eq!(external(&[set]), max(262_144));
    assert_eq!(external(&[set, ("FOREIGN_EVENTS", "accept")]), max(262_144));
    let ignore = [set, ("FOREIGN_EVENTS", "ignore")];
    assert_eq!(external(&ignore), ForeignEvents::Ignore);
}

/// The refusal names a setting, which its reader must be able to find.
#[test]
fn every_quota_has_its_setting() {
    for quota in Quota::ALL {
        let row = SETTINGS.iter().find(|s| s.name == quota.setting());
        assert!(row.is_some(), "{quota:?}");
    }
}
