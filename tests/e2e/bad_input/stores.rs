//! Keys of ours, broken by hand: what can't be read is said to be so, nothing is made of it, nobody else
//! is disturbed, and once it is mended all is there.

use conch_harness::conch::Plan;
use conch_harness::sse::{Stream, assert_whole};
use conch_harness::{Pair, Persistence, Redis, Table};
use serde_json::Value;

/// What may be wrong with a job's keys.
struct Breakage<'a> {
    redis: &'a Redis,
    id: &'a str,
    other_id: &'a str,
}

impl Breakage<'_> {
    fn state(&self) -> String {
        format!("triton:state:{}", self.id)
    }

    fn log(&self) -> String {
        format!("triton:log:{}", self.id)
    }

    /// The fold that the other job's state holds.
    fn fold_of(&self, id: &str) -> String {
        self.redis
            .cli(&["HGET", &format!("triton:state:{id}"), "fold"])
    }

    fn set_fold(&self, fold: &[u8]) {
        let state = self.state();
        self.redis.send(&[b"HSET", state.as_bytes(), b"fold", fold]);
    }

    fn at(&self, position: &str) {
        let mut fold: Value = serde_json::from_str(&self.fold_of(self.id)).expect("JSON");
        fold["_fold"]["position"] = position.into();
        self.set_fold(fold.to_string().as_bytes());
    }

    /// Puts this line into the log in the place of its third event.
    fn line(&self, line: &[u8]) {
        let log = self.log();
        let later = self.redis.cli(&["--json", "XRANGE", &log, "3-0", "+"]);
        let later: Value = serde_json::from_str(&later).expect("JSON");
        let later = later.as_array().expect("a list");
        for entry in later {
            self.redis
                .cli(&["XDEL", &log, entry[0].as_str().expect("an id")]);
        }
        // An id that was used is not to be had again while the stream remembers it.
        self.redis.cli(&["XSETID", &log, "2-0"]);
        self.redis.send(&[
            b"XADD",
            log.as_bytes(),
            b"3-0",
            b"line",
            line,
            b"event_id",
            b"x",
        ]);
        for entry in &later[1..] {
            let id = entry[0].as_str().expect("an id");
            let line = entry[1][1].as_str().expect("a line");
            self.redis
                .cli(&["XADD", &log, id, "line", line, "event_id", "x"]);
        }
    }
}

/// Which way of breaking, and how.
type Row = (&'static str, fn(&Breakage<'_>));

const ROWS: &[Row] = &[
    ("an empty fold", |b| b.set_fold(b"")),
    ("half a fold", |b| {
        let fold = b.fold_of(b.id);
        b.set_fold(&fold.as_bytes()[..fold.len() / 2]);
    }),
    ("a fold of words", |b| b.set_fold(b"hello")),
    ("a fold that is not UTF-8", |b| b.set_fold(b"\xff\xfe")),
    ("a fold 10,000 lists deep", |b| b.set_fold(&[b'['; 10_000])),
    ("a fold of 10 MB", |b| b.set_fold(&vec![b' '; 10_000_000])),
    ("a fold without its inner part", |b| {
        let fold = b.fold_of(b.id);
        b.set_fold(fold.replace("\"_fold\"", "\"_folt\"").as_bytes());
    }),
    ("another job's fold", |b| {
        b.set_fold(b.fold_of(b.other_id).as_bytes());
    }),
    ("a status of later days", |b| {
        let fold = b.fold_of(b.id);
        b.set_fold(fold.replace("\"completed\"", "\"archived\"").as_bytes());
    }),
    ("a fold at no place", |b| b.at("nowhere")),
    ("a fold at 2^64 - 1", |b| {
        b.at("5f3a9c1e-18446744073709551615");
    }),
    ("a fold at 2^64", |b| b.at("5f3a9c1e-18446744073709551616")),
    ("a fold at 2^53", |b| b.at("5f3a9c1e-9007199254740992")),
    ("a fold behind its events", |b| b.at("5f3a9c1e-1")),
    ("a fold at 0", |b| b.at("5f3a9c1e-0")),
    ("a state without a fold's place", |b| {
        b.redis.cli(&["HDEL", &b.state(), "sequence"]);
        b.at("x");
    }),
    ("a state that is a string", |b| {
        b.redis.cli(&["SET", &b.state(), "x"]);
    }),
    ("a log that is a list", |b| {
        b.redis.cli(&["DEL", &b.log()]);
        b.redis.cli(&["RPUSH", &b.log(), "x"]);
    }),
    ("an event less", |b| {
        b.redis.cli(&["XDEL", &b.log(), "3-0"]);
    }),
    ("an event more", |b| {
        b.redis
            .cli(&["XADD", &b.log(), "*", "line", "{}", "event_id", "x"]);
    }),
    ("an event that is no JSON", |b| b.line(b"hello")),
    ("an event that is empty", |b| b.line(b"")),
    ("an event that is a list", |b| b.line(b"[]")),
    ("an event with line ends", |b| b.line(b"{\n\"id\":1}")),
    ("an event that is not UTF-8", |b| {
        b.line(b"{\"x\":\"\xff\"}");
    }),
    ("an event cut in half", |b| {
        b.line(b"{\"event_type\":\"job:pro");
    }),
    ("an event that ends a frame", |b| {
        b.line(b"{}\n\ndata: {\"status\":\"completed\"}\n\n");
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_broken() {
    let redis = Redis::start(Persistence::None);
    let worker = Plan::worker(&redis).start().await;
    let api = Plan::api(&redis, &worker.triton_url())
        .env("LOCAL_RESULTS", "0")
        .env("HEARTBEAT_SECONDS", "0.2");
    let system = Pair {
        api: api.start().await,
        worker,
        redis,
    };
    let mare = system.api.mare();
    let client_id = mare.new_client("Fabrikam Health").await;
    let other_id = mare.submit(&client_id).await;
    mare.until_status(&other_id, "completed").await;
    let other = mare.subscribe(&other_id).await.read_to_end().await;
    let mut table = Table::of("broken logs");
    let mut jobs = Vec::new();
    for row in ROWS {
        jobs.push((row, mare.submit(&client_id).await));
    }
    for (_, id) in &jobs {
        mare.until_status(id, "completed").await;
    }
    // Longer than a topic outlives its watchers: none of them has been watched.
    let redis = &system.redis;
    let rows = jobs.iter().map(|((name, break_it), id)| {
        let (mare, other_id, other) = (&mare, &other_id, &other);
        let claim = async move {
            let keys = [format!("triton:state:{id}"), format!("triton:log:{id}")];
            let copies = keys.clone().map(|key| format!("copy:{key}"));
            for (key, copy) in keys.iter().zip(&copies) {
                assert_eq!(redis.cli(&["COPY", key, copy]), "1");
            }
            redis.cli(&["DEL", &format!("triton:job:result:{id}")]);
            break_it(&Breakage {
                redis,
                id,
                other_id,
            });

            let history = mare.get(&format!("/jobs/{id}/events")).await;
            let problem = history.expect_problem(500, "store-bad-response");
            let said = problem["detail"].as_str().expect("it says what is wrong");
            assert!(said.contains("can't be read"), "{said}");
            // Which key it is, and in which Redis, is the log's to say.
            assert!(
                !said.contains("Redis") && !said.contains("triton:"),
                "{said}"
            );
            // The job's record is elsewhere, and Triton has it.
            assert_eq!(mare.job(id).await["status"], "completed");
            // A stream waits, and tells nothing that isn't so.
            let mut stream = Stream::open(&mare.subscribe_url(id), None).await;
            assert_eq!(stream.until_comment("keep-alive").await, []);
            // Nobody else is disturbed.
            assert_eq!(mare.subscribe(other_id).await.read_to_end().await, *other);

            for (key, copy) in keys.iter().zip(&copies) {
                assert_eq!(redis.cli(&["COPY", copy, key, "REPLACE"]), "1");
            }
            let events = stream.read_to_end().await;
            assert_whole(&events, 1);
            assert_eq!(events.len(), other.len());
        };
        ((*name).to_owned(), claim)
    });
    table.rows(rows).await;
    table.end(&[&system.api, &system.worker]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_and_the_queue() {
    let redis = Redis::start(Persistence::None);
    let worker = Plan::worker(&redis).start().await;
    let api = Plan::api(&redis, &worker.triton_url()).start().await;
    let system = Pair { api, worker, redis };
    let (mare, redis) = (system.api.mare(), &system.redis);
    let client_id = mare.new_client("Fabrikam Health").await;
    let run = async || {
        let id = mare.submit(&client_id).await;
        mare.until_status(&id, "completed").await;
        id
    };
    let first = run().await;
    let broken = mare.new_client("Broken").await;
    let template = mare
        .get(&format!("/templates?job_id={first}"))
        .await
        .json(200);
    let template_id = template["templates"][0]["id"]
        .as_str()
        .expect("text")
        .to_owned();
    let mut table = Table::of("broken records");

    for (name, key, list, one) in [
        (
            "a client",
            format!("client:{broken}"),
            "/clients".to_owned(),
            format!("/clients/{broken}"),
        ),
        (
            "a job",
            format!("job:{first}"),
            "/jobs".to_owned(),
            String::new(),
        ),
        (
            "a template",
            format!("template:{template_id}"),
            "/templates".to_owned(),
            format!("/templates/{template_id}"),
        ),
    ] {
        let key = format!("triton:catalogue:{key}");
        let is_text = key.contains(":template:");
        let read = || {
            if is_text {
                redis.cli(&["GET", &key])
            } else {
                redis.cli(&["HGET", &key, "body"])
            }
        };
        let write = |body: &[u8]| {
            if is_text {
                redis.send(&[b"SET", key.as_bytes(), body])
            } else {
                redis.send(&[b"HSET", key.as_bytes(), b"body", body])
            }
        };
        for (what, body) in [
            ("empty", &b""[..]),
            ("words", b"hello"),
            ("not UTF-8", b"\xff\xfe"),
            ("a list", b"[]"),
            ("an empty object", b"{}"),
            ("half of it", b"{\"id\":\"x\",\"na"),
            ("10,000 lists deep", &[b'['; 10_000]),
        ] {
            let claim = async {
                let whole = read();
                let before = mare.get(&list).await.json(200);
                write(body);
                // The list has all but that one, and says how many there are.
                let after = mare.get(&list).await.json(200);
                let count =
                    |page: &Value| page[list.trim_start_matches('/')].as_array().map(Vec::len);
                assert_eq!(after["total"], before["total"]);
                assert_eq!(count(&after).map(|n| n + 1), count(&before));
                if !one.is_empty() {
                    let answer = mare.get(&one).await;
                    answer.expect_problem(502, "upstream-bad-response");
                }
                write(whole.as_bytes());
                assert_eq!(mare.get(&list).await.json(200), before);
            };
            table.row(&format!("{name}: {what}"), claim).await;
        }
        let claim = async {
            let before = mare.get(&list).await.json(200);
            redis.cli(&["RENAME", &key, "copy"]);
            redis.cli(&["RPUSH", &key, "x"]);
            let after = mare.get(&list).await.json(200);
            let count = |page: &Value| page[list.trim_start_matches('/')].as_array().map(Vec::len);
            assert_eq!(count(&after).map(|n| n + 1), count(&before));
            run().await;
            redis.cli(&["RENAME", "copy", &key]);
        };
        table.row(&format!("{name}: a list of Redis'"), claim).await;
    }

    let claim = async {
        for id in ["a b", "", "../x", "not-a-job", "\u{202e}"] {
            redis.cli(&["ZADD", "triton:queue:ready", "0", id]);
        }
        run().await;
        assert_eq!(redis.cli(&["ZCARD", "triton:queue:ready"]), "0");
    };
    table.row("made-up jobs in the queue", claim).await;
    let claim = async {
        redis.cli(&["ZADD", "triton:queue:leases", "0", "a b"]);
        redis.cli(&[
            "HSET",
            "triton:queue:entry:a b",
            "token",
            "not a token!",
            "attempts",
            "x",
        ]);
        run().await;
    };
    table.row("a made-up lease", claim).await;
    let claim = async {
        // One whose fold can't be read waits for whoever mends it, and holds no other up.
        let id = "0197a0c1-7a10-7543-9ccc-9e638f717388";
        redis.cli(&[
            "HSET",
            &format!("triton:state:{id}"),
            "epoch",
            "5f3a9c1e",
            "sequence",
            "1",
            "fold",
            "hello",
        ]);
        redis.cli(&["ZADD", "triton:queue:ready", "0", id]);
        run().await;
        run().await;
    };
    table
        .row("a job in the queue that can't be read", claim)
        .await;
    let claim = async {
        redis.cli(&["SET", "triton:queue:entry:x", "x"]);
        redis.cli(&["ZADD", "triton:queue:leases", "0", "x"]);
        run().await;
        redis.cli(&["DEL", "triton:queue:entry:x"]);
    };
    table.row("an entry of another type", claim).await;
    let claim = async {
        let id = "0197a0c1-7a10-7543-9ccc-9e638f717389";
        redis.cli(&["SET", &format!("triton:queue:entry:{id}"), "x"]);
        redis.cli(&["ZADD", "triton:queue:ready", "0", id]);
        run().await;
        assert_eq!(redis.cli(&["ZCARD", "triton:queue:ready"]), "0");
    };
    table
        .row("an entry of another type at the queue's head", claim)
        .await;
    let claim = async {
        redis.cli(&["RENAME", "triton:catalogue:jobs", "copy"]);
        redis.cli(&["SET", "triton:catalogue:jobs", "x"]);
        let listed = mare.get("/jobs").await.json(200);
        assert_eq!(listed["total"], 0, "{listed}");
        let aside = "triton:set-aside:triton:catalogue:jobs";
        assert_eq!(redis.cli(&["GET", aside]), "x");
        run().await;
        redis.cli(&["RENAME", "copy", "triton:catalogue:jobs"]);
        run().await;
    };
    table.row("an index of another type", claim).await;
    table.end(&[&system.api, &system.worker]).await;
}
