//! Which store and which bus: the newer names, the older ones, and where they contradict each other.

use super::*;

const REDIS: &str = "redis://:secret@cache:6379/1";
const NATS: &str = "nats://conch:secret@bus:4222";

/// Where a program finds Redis; none: it keeps everything in memory.
fn redis_of(program: Program, env: &[(&str, &str)]) -> Option<String> {
    match read(program, &[], env).expect("it works").store {
        Store::Memory(_) => None,
        Store::Redis(redis) => Some(redis.url),
    }
}

#[test]
fn a_store_and_its_own_bus_can_be_named() {
    for url in [
        "rediss://cache",
        " Rediss://cache ",
        "valkey://cache",
        "valkeys://cache",
        "redis+unix:///run/redis.sock",
        "valkey+unix:///run/valkey.sock",
        "unix:///run/redis.sock",
    ] {
        let env = [("STORE_URL", url), ("BUS_URL", url)];
        assert_eq!(redis_of(Program::Api, &env).as_deref(), Some(url));
    }
    for program in [Program::AllInOne, Program::Api, Program::Worker] {
        for rest in [
            &[][..],
            &[("BUS_URL", REDIS)],
            &[("EVENT_BUS", "redis"), ("REDIS_URL", REDIS)],
            // As the existing service's file has them.
            &[("REDIS_HOST", "elsewhere"), ("REDIS_PASSWORD", "other")],
            &[("BUS_URL", ""), ("EVENT_BUS", ""), ("REDIS_URL", "")],
        ] {
            let env = [&[("STORE_URL", REDIS)], rest].concat();
            assert_eq!(redis_of(program, &env).as_deref(), Some(REDIS), "{env:?}");
        }
    }
    for url in ["memory:", " Memory: "] {
        for rest in [("BUS_URL", url), ("EVENT_BUS", "memory")] {
            let memory = [("STORE_URL", url), rest];
            assert_eq!(redis_of(Program::AllInOne, &memory), None);
        }
    }
}

#[test]
fn the_older_names_go_on_working() {
    let url = |env: &[(&str, &str)]| redis_of(Program::AllInOne, env);
    assert_eq!(url(&[]), None);
    assert_eq!(url(&[("REDIS_URL", REDIS)]), None, "it is for another kind");
    let redis = ("EVENT_BUS", "redis");
    let default = "redis://127.0.0.1:6379/0";
    assert_eq!(url(&[redis]).as_deref(), Some(default));
    assert_eq!(url(&[redis, ("REDIS_URL", REDIS)]).as_deref(), Some(REDIS));
    // The bus can be named beside them.
    for env in [
        &[redis, ("REDIS_URL", REDIS), ("BUS_URL", REDIS)][..],
        &[
            redis,
            ("REDIS_HOST", "cache"),
            ("BUS_URL", "redis://cache:6379/0"),
        ],
        &[redis, ("BUS_URL", default)],
        &[("BUS_URL", "memory:")],
    ] {
        read(Program::AllInOne, &[], env).expect("it works");
    }
}

#[test]
fn a_bus_that_is_not_the_store_is_the_only_one_that_is_announced_on() {
    for (env, on_nats) in [
        (&[("STORE_URL", REDIS), ("BUS_URL", NATS)][..], true),
        (
            &[("STORE_URL", REDIS), ("BUS_URL", "tls://a,nats://b:4223")],
            true,
        ),
        (&[("EVENT_BUS", "redis"), ("BUS_URL", " nats://bus ")], true),
        (&[("STORE_URL", "memory:"), ("BUS_URL", NATS)], true),
        (&[("STORE_URL", REDIS), ("BUS_URL", REDIS)], false),
        (&[("STORE_URL", "memory:")], false),
    ] {
        let settings = read(Program::AllInOne, &[], env).expect("it works");
        assert_eq!(matches!(settings.bus, Bus::Nats(_)), on_nats, "{env:?}");
        let announces = match &settings.store {
            Store::Memory(memory) => memory.announces,
            Store::Redis(redis) => redis.announces,
        };
        assert_eq!(announces, !on_nats, "{env:?}");
        assert!(!format!("{settings:?}").contains("secret"), "{settings:?}");
    }
    let nats = [
        ("STORE_URL", REDIS),
        ("BUS_URL", NATS),
        ("CHANNEL_PREFIX", "own"),
        ("NATS_PROBE_SECONDS", "1"),
        ("NATS_TIMEOUT_SECONDS", "2"),
    ];
    let Bus::Nats(nats) = read(Program::Api, &[], &nats).expect("it works").bus else {
        panic!("it names NATS");
    };
    assert_eq!((nats.url.as_str(), nats.prefix.as_str()), (NATS, "own"));
    assert_eq!(nats.kit.probe_interval, Duration::from_secs(1));
    assert_eq!(nats.kit.probe_timeout, Duration::from_secs(2));
}

#[test]
fn what_is_for_nats_alone_is_pointed_out_without_it() {
    let warnings = |env: &[(&str, &str)]| source(Program::Worker, &[], env).warnings.join("\n");
    let credentials = ("NATS_CREDENTIALS", "secret");
    let said = warnings(&[("STORE_URL", REDIS), credentials]);
    assert_eq!(
        said,
        "NATS_CREDENTIALS is set and BUS_URL names no NATS: passed over NATS_CREDENTIALS"
    );
    assert_eq!(warnings(&[("BUS_URL", NATS), credentials]), "");
}

/// Program, what is set, and the one line that is said.
type Refusal<'a> = (Program, &'a [(&'a str, &'a str)], &'a str);

#[test]
fn a_store_or_bus_that_cannot_work_is_refused_in_a_line_that_says_why() {
    const STORE: &str = "STORE_URL";
    const BUS: &str = "BUS_URL";
    let redis = (STORE, REDIS);
    let memory = (STORE, "memory:");
    let unknown = "STORE_URL must be `memory:` or the URL of Redis, redis://… or rediss://…";
    let no_redis = "STORE_URL must be redis://[user:password@]host[:port][/database], rediss://… for TLS, \
                    or redis+unix:///path";
    let alone = "STORE_URL names a store that processes can't share: only `conch run`, which is one process, \
                 can use it";
    let no_bus =
        "BUS_URL must be the same as STORE_URL, the URL of NATS, nats://… or tls://…, or unset";
    let no_nats = "BUS_URL must be nats://[user:password@]host[:port] or tls://…, several separated by commas";
    let other_redis =
        "BUS_URL names a Redis that isn't the store, which isn't built in: leave it unset";
    let deaf = "BUS_URL can be `memory:` only where the store is too: no other process would hear of an event";
    let kinds = "EVENT_BUS contradicts STORE_URL: leave EVENT_BUS unset";
    let addresses =
        "REDIS_URL contradicts STORE_URL: leave REDIS_URL unset, or set both to the same URL";
    let table: &[Refusal] = &[
        // What no store is.
        (Program::Api, &[(STORE, "secret")], unknown),
        (Program::Api, &[(STORE, "memory")], unknown),
        (Program::Api, &[(STORE, "memory:secret")], unknown),
        (Program::Api, &[(STORE, "kafka://secret")], unknown),
        (Program::Api, &[(STORE, "http://secret@cache")], unknown),
        (Program::Api, &[(STORE, "cache:6379")], unknown),
        (
            Program::Api,
            &[(STORE, "redis://:secret@cache:99999")],
            no_redis,
        ),
        (Program::Api, &[(STORE, "redis:secret")], no_redis),
        (
            Program::Api,
            &[(STORE, "sqlite:secret.db")],
            "STORE_URL names SQLite, which isn't built in",
        ),
        (
            Program::Api,
            &[(STORE, "postgres://secret@db")],
            "STORE_URL names PostgreSQL, which isn't built in",
        ),
        (
            Program::Api,
            &[(STORE, "PostgreSQL://secret@db")],
            "STORE_URL names PostgreSQL, which isn't built in",
        ),
        (
            Program::Api,
            &[(STORE, "nats://secret@bus")],
            "STORE_URL names NATS, which is a bus and keeps nothing: it belongs in BUS_URL",
        ),
        // What several processes can't share.
        (Program::Api, &[memory], alone),
        (Program::Worker, &[memory], alone),
        // What contradicts the older names.
        (Program::AllInOne, &[memory, ("EVENT_BUS", "redis")], kinds),
        (Program::AllInOne, &[redis, ("EVENT_BUS", "memory")], kinds),
        (
            Program::AllInOne,
            &[redis, ("EVENT_BUS", "kafka")],
            "EVENT_BUS must be `memory` or `redis`",
        ),
        (
            Program::Worker,
            &[redis, ("REDIS_URL", "redis://:secret@cache:6379/2")],
            addresses,
        ),
        (
            Program::AllInOne,
            &[memory, ("REDIS_URL", REDIS)],
            addresses,
        ),
        // What no bus is, and what doesn't go with the store.
        (Program::Api, &[(BUS, "secret")], no_bus),
        (Program::Api, &[redis, (BUS, "kafka://secret")], no_bus),
        (
            Program::Api,
            &[redis, (BUS, "sqlite:secret")],
            "BUS_URL names SQLite, which is a store and no bus: it belongs in STORE_URL",
        ),
        (Program::Worker, &[redis, (BUS, "nats://")], no_nats),
        (
            Program::Worker,
            &[redis, (BUS, "nats://secret@bus:99999")],
            no_nats,
        ),
        (
            Program::Worker,
            &[redis, (BUS, "nats://bus,redis://secret@bus")],
            no_nats,
        ),
        (
            Program::Worker,
            &[redis, (BUS, NATS), ("CHANNEL_PREFIX", "secret.triton")],
            "CHANNEL_PREFIX must be 1 to 64 characters of A-Z a-z 0-9 _ - : { }",
        ),
        (
            Program::Worker,
            &[redis, (BUS, NATS), ("NATS_CREDENTIALS", "secret")],
            "NATS_CREDENTIALS must be what a NATS credentials file says",
        ),
        (
            Program::Worker,
            &[redis, (BUS, NATS), ("NATS_CA_FILE", "/dev/null/secret.pem")],
            "NATS_CA_FILE names a file that can't be read: Not a directory (os error 20)",
        ),
        (
            Program::Worker,
            &[redis, (BUS, NATS), ("NATS_CA_FILE", "Cargo.toml")],
            "NATS_CA_FILE names a file that holds no certificates in PEM",
        ),
        (
            Program::Worker,
            &[redis, (BUS, NATS), ("NATS_PROBE_SECONDS", "secret")],
            "NATS_PROBE_SECONDS must be a number of seconds from 0.01 to 31536000",
        ),
        (
            Program::Worker,
            &[redis, (BUS, "postgres://secret@db")],
            "BUS_URL names PostgreSQL, which isn't built in",
        ),
        (
            Program::Api,
            &[redis, (BUS, "redis://:secret@other")],
            other_redis,
        ),
        (Program::Api, &[(BUS, REDIS)], other_redis),
        (Program::AllInOne, &[memory, (BUS, REDIS)], other_redis),
        (Program::Api, &[redis, (BUS, "memory:")], deaf),
        (Program::AllInOne, &[redis, (BUS, "memory:")], deaf),
    ];
    for (program, env, said) in table {
        let error = read(*program, &[], env).expect_err(said).to_string();
        assert_eq!(error, *said, "{program:?} {env:?}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn what_a_named_store_makes_useless_is_pointed_out() {
    let warnings = |env: &[(&str, &str)]| source(Program::Worker, &[], env).warnings.join("\n");
    let password = ("REDIS_PASSWORD", "secret");
    let said = warnings(&[("STORE_URL", REDIS), password]);
    assert_eq!(
        said,
        "REDIS_PASSWORD is set and STORE_URL says where the store is: passed over REDIS_PASSWORD"
    );
    assert_eq!(warnings(&[password]), "");
    let authority = ("REDIS_CA_FILE", "ca.pem");
    for address in ["STORE_URL", "BUS_URL"] {
        assert_eq!(warnings(&[(address, "rediss://cache"), authority]), "");
    }
    let said = warnings(&[("STORE_URL", REDIS), authority]);
    assert!(said.contains("nothing is encrypted"), "{said}");
}

#[test]
fn only_a_short_names_nearest_neighbours_are_misspellings_of_it() {
    let warnings = |name: &str| {
        source(Program::Worker, &[], &[(name, "x")])
            .warnings
            .join("\n")
    };
    assert_eq!(warnings("BASE_URL"), "");
    assert!(warnings("BUSS_URL").contains("BUS_URL meant"));
    assert!(warnings("STORE_URI").contains("STORE_URL meant"));
}
