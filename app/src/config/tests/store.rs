//! Which store and which bus: the newer names, the older ones, and where they contradict each other.

use super::*;

const REDIS: &str = "redis://:secret@cache:6379/1";

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
    let no_bus = "BUS_URL must be the same as STORE_URL, or unset";
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
        (
            Program::Worker,
            &[redis, (BUS, "nats://secret@bus")],
            "BUS_URL names NATS, which isn't built in",
        ),
        (
            Program::Worker,
            &[redis, (BUS, "tls://secret@bus:4222")],
            "BUS_URL names NATS, which isn't built in",
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
