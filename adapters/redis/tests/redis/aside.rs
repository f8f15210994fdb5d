//! Keys of ours that something else has written to: one such key holds up no other job and no list.

use std::time::Duration;

use conch_domain::{Category, Job};
use conch_ports::{Appended, JobFilter, Paging, PutTemplate, Sweep, Swept};
use conch_redis::Stores;

use crate::jobs::{
    client, commit, held, job_id, progress, submission, template, value_proposition,
};
use crate::server::Server;

const MINUTE: Duration = Duration::from_mins(1);

const ALL: Paging = Paging {
    page: 1,
    page_size: 100,
};

async fn claimed(stores: &Stores) -> Option<String> {
    let token = conch_conformance::build::token();
    let lease = stores.queue.claim("w", &token, MINUTE).await.unwrap();
    lease.map(|lease| lease.job_id.to_string())
}

async fn swept(stores: &Stores) -> Swept {
    let sweep = Sweep {
        from: 0,
        limit: 100,
        grace: MINUTE,
    };
    stores.queue.sweep(&sweep).await.unwrap()
}

/// Lets a lease end that runs.
fn run_out(server: &Server, id: &str) {
    let _: u64 = server.run(&["HSET", &format!("triton:queue:entry:{id}"), "until", "1"]);
    let _: u64 = server.run(&["ZADD", "triton:queue:leases", "1", id]);
}

/// Whatever is wrong with what belongs to the job at the head, the next one is claimed, and so is that one.
#[tokio::test]
async fn whatever_is_written_over_the_head_of_the_queue_all_jobs_are_claimed() {
    let ways: &[&[&[&str]]] = &[
        &[&["SET", "triton:queue:entry:j-1", "x"]],
        &[
            &["DEL", "triton:queue:entry:j-1"],
            &["RPUSH", "triton:queue:entry:j-1", "x"],
        ],
        &[&["HSET", "triton:queue:entry:j-1", "attempts", "many"]],
        &[&["SET", "triton:state:j-1", "x"]],
        &[&["SET", "triton:catalogue:job:j-1", "x"]],
        &[&["SET", "triton:queue:ready", "x"]],
        &[&["SET", "triton:queue:leases", "x"]],
        &[&["ZADD", "triton:queue:ready", "0", "no id: \r\n"]],
        &[&["ZADD", "triton:queue:ready", "0", "unknown"]],
        &[&["DEL", "triton:queue:ready"]],
        &[&["SET", "triton:queue:clients", "x"]],
        &[&["DEL", "triton:queue:clients"]],
        &[&["ZADD", "triton:queue:clients", "0", "nobody"]],
        &[&["ZADD", "triton:queue:clients", "0", "no id: \r\n"]],
        &[&["SET", "triton:queue:due:c-1", "x"]],
        &[&["DEL", "triton:queue:due:c-1"]],
        &[&["ZADD", "triton:queue:due:c-1", "0", "unknown"]],
        &[&["SET", "triton:queue:later", "x"]],
        &[&["ZADD", "triton:queue:later", "0", "unknown"]],
        &[&["ZADD", "triton:queue:later", "0", "j-1"]],
        &[&["DEL", "triton:queue:entry:j-1"]],
    ];
    for way in ways {
        let server = Server::start();
        let stores = server.stores();
        for id in ["j-1", "j-2"] {
            stores.queue.submit(submission(id)).await.unwrap();
        }
        for words in *way {
            let _: redis::Value = server.run(words);
        }
        stores.queue.next_due().await.unwrap();
        stores.queue.submit(submission("j-3")).await.unwrap();
        let mut found = Vec::new();
        for _ in 0..2 {
            while let Some(id) = claimed(&stores).await {
                found.push(id);
            }
            swept(&stores).await;
        }
        found.sort();
        assert_eq!(found, ["j-1", "j-2", "j-3"], "{way:?}");
    }
}

/// A held job whose entry is lost is taken back; one that only lost the end of its lease stays its worker's.
#[tokio::test]
async fn whatever_is_written_over_a_held_job_it_goes_on() {
    let ways: &[&[&str]] = &[
        &["SET", "triton:queue:entry:j-1", "x"],
        &["HSET", "triton:queue:entry:j-1", "token", "no token: \r\n"],
        &["DEL", "triton:queue:entry:j-1"],
        &["SET", "triton:queue:leases", "x"],
        &["DEL", "triton:queue:leases"],
    ];
    for way in ways {
        let server = Server::start();
        let stores = server.stores();
        stores.queue.submit(submission("j-1")).await.unwrap();
        let token = conch_conformance::build::token();
        let lease = stores.queue.claim("w", &token, MINUTE).await.unwrap();
        let lease = lease.unwrap().lease;
        let started = held(
            commit(&submission("j-1").commit.job, progress(1)),
            &lease.token,
        );
        let appended = stores.log.append(started).await.unwrap();
        assert_eq!(appended, Appended::Appended);
        let _: redis::Value = server.run(way);
        let token_is_known = way[1] == "triton:queue:leases";
        let renewed = stores.queue.renew(&lease, MINUTE).await.unwrap();
        assert_eq!(renewed, token_is_known, "{way:?}");
        if token_is_known {
            assert_eq!(swept(&stores).await.found, [], "{way:?}");
            assert_eq!(stores.queue.expired(10).await.unwrap(), [], "{way:?}");
            continue;
        }
        if way[0] == "HSET" {
            // Garbage where a token belongs shows once its lease has run out.
            run_out(&server, "j-1");
        }
        assert_eq!(stores.queue.expired(10).await.unwrap(), [], "{way:?}");
        assert_eq!(swept(&stores).await.found, [job_id("j-1")], "{way:?}");
        assert!(!stores.queue.renew(&lease, MINUTE).await.unwrap());
        let expired = stores.queue.expired(10).await.unwrap();
        assert_eq!(expired.len(), 1, "{way:?}");
    }
}

/// The entry says when a lease ends. A list of leases that says something else is put right; one that lost the
/// lease lengthens it for no worker; and a lease of an earlier build, which has its end in the list alone, ends
/// as well.
#[tokio::test]
async fn a_lease_ends_when_its_entry_says() {
    const ENTRY: &str = "triton:queue:entry:j-1";
    const LEASES: &str = "triton:queue:leases";
    let server = Server::start();
    let stores = server.stores();
    stores.queue.submit(submission("j-1")).await.unwrap();
    let token = conch_conformance::build::token();
    let lease = stores.queue.claim("w", &token, MINUTE).await.unwrap();
    let lease = lease.unwrap().lease;
    let renewed = async || stores.queue.renew(&lease, MINUTE).await.unwrap();
    let expired = async || stores.queue.expired(9).await.unwrap();
    let listed = || server.run::<Option<f64>>(&["ZSCORE", LEASES, "j-1"]);
    let noted = || server.run::<Option<f64>>(&["HGET", ENTRY, "until"]);
    assert_eq!(noted(), listed());

    let _: u64 = server.run(&["ZADD", LEASES, "1", "j-1"]);
    assert_eq!(expired().await, []);
    assert_eq!(listed(), noted(), "put right");
    let _: u64 = server.run(&["ZREM", LEASES, "j-1"]);
    assert_eq!(swept(&stores).await.found, [job_id("j-1")]);
    assert_eq!(listed(), noted(), "no grace");

    // As an earlier build left it.
    let _: u64 = server.run(&["HDEL", ENTRY, "until"]);
    assert_eq!(expired().await, []);
    assert!(renewed().await);
    assert_eq!(noted(), listed());
    let _: u64 = server.run(&["HDEL", ENTRY, "until"]);
    let _: u64 = server.run(&["ZADD", LEASES, "1", "j-1"]);
    assert!(!renewed().await);
    assert_eq!(expired().await, std::slice::from_ref(&lease));
    let _: u64 = server.run(&["ZREM", LEASES, "j-1"]);
    assert!(renewed().await, "its end is lost: it still runs");

    let _: u64 = server.run(&["HSET", ENTRY, "until", "1"]);
    assert!(!renewed().await, "though it is listed for a minute");
    let _: u64 = server.run(&["ZREM", LEASES, "j-1"]);
    assert_eq!(swept(&stores).await.found, [job_id("j-1")]);
    assert_eq!(expired().await, [lease]);
}

#[tokio::test]
async fn what_was_set_aside_is_kept_for_an_operator_within_a_bound() {
    let server = Server::start();
    let stores = server.stores();
    for n in 0..130 {
        let id = format!("j-{n}");
        let _: String = server.run(&["SET", &format!("triton:queue:entry:{id}"), "x"]);
        stores.queue.submit(submission(&id)).await.unwrap();
    }
    let names: Vec<String> = server.run(&["ZRANGE", "triton:set-aside", "0", "-1"]);
    assert_eq!(names.len(), 100);
    for name in &names {
        let kept: String = server.run(&["GET", name]);
        assert_eq!(kept, "x");
        assert!(server.run::<i64>(&["TTL", name]) > 0, "for a while");
    }
    let all: Vec<String> = server.run(&["KEYS", "triton:set-aside:triton:*"]);
    assert_eq!(all.len(), 100);
}

/// A record that can't be read is left out of lists, keeps no other from being listed, counted or submitted,
/// and an index entry without a record is taken out.
#[tokio::test]
async fn a_broken_record_takes_no_list_with_it() {
    let server = Server::start();
    let stores = server.stores();
    for n in 1..=7 {
        let id = format!("j-{n}");
        stores.queue.submit(submission(&id)).await.unwrap();
    }
    let listed = async |paging| {
        let page = stores.catalogue.jobs(&JobFilter::default(), paging).await;
        let page = page.unwrap();
        let ids = page.items.iter().map(|job: &Job| job.id.to_string());
        (page.total, ids.collect::<Vec<_>>())
    };
    let _: String = server.run(&["SET", "triton:catalogue:job:j-2", "x"]);
    let _: u64 = server.run(&["HSET", "triton:catalogue:job:j-3", "body", "{"]);
    let _: u64 = server.run(&["DEL", "triton:catalogue:job:j-4"]);
    let (total, ids) = listed(ALL).await;
    assert_eq!((total, ids), (6, vec_of(&["j-1", "j-5", "j-6", "j-7"])));
    // Pages are told by what stands in the index: none repeats and none leaves out.
    let mut seen = Vec::new();
    for page in 1..=3 {
        let (total, ids) = listed(Paging { page, page_size: 2 }).await;
        assert_eq!(total, 6);
        seen.extend(ids);
    }
    assert_eq!(seen, vec_of(&["j-1", "j-5", "j-6", "j-7"]));
    stores.queue.submit(submission("j-8")).await.unwrap();
    assert_eq!(listed(ALL).await.0, 7);
}

/// Nor do the templates of a job, a client's value propositions, or a list of clients.
#[tokio::test]
async fn a_string_under_any_record_is_left_out() {
    use conch_conformance::build;
    let server = Server::start();
    let catalogue = server.stores().catalogue;
    let (one, two) = (build::client("a", 0), build::client("a", 1));
    let values = [
        build::value_proposition(&one.id, 0),
        build::value_proposition(&one.id, 1),
    ];
    for client in [&one, &two] {
        catalogue.create_client(client).await.unwrap();
    }
    for value in &values {
        assert!(catalogue.add_value_proposition(value).await.unwrap());
    }
    let value = format!("triton:catalogue:value-proposition:{}", values[0].id);
    let _: String = server.run(&["SET", &value, "x"]);
    let left = catalogue.value_propositions(&one.id).await.unwrap();
    assert_eq!(left.as_deref(), Some(&values[1..]), "a submission's source");
    let client = format!("triton:catalogue:client:{}", two.id);
    let _: String = server.run(&["SET", &client, "x"]);
    let every = conch_ports::ClientFilter::default();
    let clients = catalogue.clients(&every, ALL).await.unwrap();
    assert_eq!(clients.items, std::slice::from_ref(&one));
}

fn vec_of(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

/// One of each record that has an index.
async fn fill(stores: &Stores) {
    let catalogue = &stores.catalogue;
    let client = client("c-1", Some("industry"), 0);
    catalogue.create_client(&client).await.unwrap();
    let value = value_proposition("v-1", "c-1", 0);
    assert!(catalogue.add_value_proposition(&value).await.unwrap());
    stores.queue.submit(submission("j-1")).await.unwrap();
    let token = conch_conformance::build::token();
    let lease = stores.queue.claim("w", &token, MINUTE).await.unwrap();
    let lease = lease.unwrap().lease;
    let started = commit(&submission("j-1").commit.job, progress(1));
    let published = stores.log.append(held(started, &token)).await.unwrap();
    assert_eq!(published, Appended::Appended);
    let made = template("t-1", "j-1", 1, Category::RoiFocused);
    let put = catalogue.put_template(&made, &lease).await.unwrap();
    assert_eq!(put, PutTemplate::Stored);
}

/// Nor does a string under an index, or under the list by retention, hold anything up: it is set aside, and
/// what comes next is listed.
#[tokio::test]
async fn a_string_under_an_index_is_set_aside() {
    let stores = |server: &Server| {
        let mut settings = server.settings();
        settings.retention = Some(MINUTE);
        settings.build().unwrap()
    };
    let whole = Server::start();
    fill(&stores(&whole)).await;
    let mut indexes: Vec<String> = whole.run(&["KEYS", "triton:catalogue:*"]);
    indexes.retain(|key| whole.run::<String>(&["TYPE", key]) == "zset");
    assert_eq!(indexes.len(), 1 + 2 + 1 + 5 + 2, "{indexes:?}");
    for index in indexes {
        let server = Server::start();
        let _: String = server.run(&["SET", &index, "x"]);
        fill(&stores(&server)).await;
        let aside = format!("triton:set-aside:{index}");
        assert_eq!(server.run::<String>(&["GET", &aside]), "x");
        let listed = |server: &Server| server.run::<Vec<String>>(&["ZRANGE", &index, "0", "-1"]);
        assert_eq!(listed(&server), listed(&whole), "{index}");
    }
}

/// However wrong the state of one log is, where the others end is told.
#[tokio::test]
async fn whatever_is_written_over_a_state_the_other_positions_are_told() {
    let server = Server::start();
    let stores = server.stores();
    let ids: Vec<_> = ["j-1", "j-2", "j-3"].map(job_id).into();
    for id in ["j-1", "j-2", "j-3"] {
        stores.queue.submit(submission(id)).await.unwrap();
    }
    let told = stores.log.positions(&ids).await.unwrap();
    assert!(told.iter().all(Option::is_some));
    let way = |field, value| ["HSET", "triton:state:j-2", field, value];
    for over in [
        &way("epoch", "one two") as &[_],
        &way("epoch", "0000 abc"),
        &way("sequence", "many"),
        &["HDEL", "triton:state:j-2", "epoch"],
        &["DEL", "triton:state:j-2"],
        &["RPUSH", "triton:state:j-2", "x"],
    ] {
        let _: u64 = server.run(over);
        let left = stores.log.positions(&ids).await.unwrap();
        assert_eq!(left, [told[0], None, told[2]], "{over:?}");
    }
}
