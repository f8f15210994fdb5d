//! Templates that come with the commit of their events: sent ahead, and kept by it or not at all.

use std::sync::Arc;
use std::time::Duration;

use conch_conformance::build::{self, together, with_templates};
use conch_domain::{Category, EventKind, Job, JobId, Template};
use conch_ports::{
    Appended, Commit, ErrorKind, Fence, Lease, Paging, PutTemplate, Signal, TemplateFilter,
};
use conch_redis::Stores;
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::jobs::{commit, held, job_id, progress, submission, template};
use crate::server::Server;

const PLACES: &str = "triton:catalogue:places:j-1";

fn key(template: &Template) -> String {
    format!("triton:catalogue:template:{}", template.id)
}

fn made(place: u32) -> Template {
    template(&format!("t-{place}"), "j-1", place, Category::RoiFocused)
}

pub(crate) fn template_completed(template: &Template) -> EventKind {
    EventKind::TemplateCompleted {
        template_id: template.id.clone(),
        template_index: template.index,
        total_templates: 7,
        name: template.name.clone(),
        category: template.category.as_str().to_owned(),
        target_audience: template.target_audience.as_str().to_owned(),
    }
}

/// The commit of a template with its event and the progress that it means.
pub(crate) fn step(job: &Job, template: &Template, lease: &Lease) -> Commit {
    let completed = commit(job, template_completed(template));
    let percent = u8::try_from(template.index * 10).expect("few");
    let progress = commit(&completed.job, progress(percent));
    let both = together([completed, progress]);
    held(with_templates([template], both), &lease.token)
}

/// A job that a worker holds.
async fn claimed(stores: &Stores) -> (Job, Lease) {
    let queued = submission("j-1");
    let job = queued.commit.job.clone();
    stores.queue.submit(queued).await.unwrap();
    let minute = Duration::from_mins(1);
    let lease = stores.queue.claim("w", &build::token(), minute).await;
    (job, lease.unwrap().unwrap().lease)
}

/// Two events that only move a job on: what follows is usual.
async fn moved_on(stores: &Stores, job: &Job, lease: &Lease) -> Job {
    let mut job = job.clone();
    for sequence in 1..=2 {
        let next = held(commit(&job, progress(sequence)), &lease.token);
        job = next.job.clone();
        stores.log.append(next).await.unwrap();
    }
    job
}

async fn listed(stores: &Stores) -> Vec<Template> {
    let paging = Paging {
        page: 1,
        page_size: 100,
    };
    let all = TemplateFilter::default();
    stores
        .catalogue
        .templates(&all, paging)
        .await
        .unwrap()
        .items
}

/// Nothing that could be read has changed; a body may wait.
async fn is_untouched(server: &Server, stores: &Stores, job: &Job, template: &Template) {
    let log = stores.log.read(&job.id, 0, 9).await.unwrap().unwrap();
    assert_eq!(log.job, *job);
    assert_eq!(stores.catalogue.template(&template.id).await.unwrap(), None);
    let of_it = stores.catalogue.templates_of(&job.id).await.unwrap();
    assert_eq!((of_it, listed(stores).await), (vec![], vec![]));
    assert!(!server.run::<bool>(&["EXISTS", PLACES]));
    let waits: i64 = server.run(&["PTTL", &key(template)]);
    assert!(waits == -2 || (1..=600_000).contains(&waits), "{waits}");
}

#[tokio::test]
async fn a_repeated_commit_leaves_its_templates_for_ever() {
    let server = Server::start();
    let stores = server.stores();
    let (job, lease) = claimed(&stores).await;
    let template = made(1);
    let step = step(&job, &template, &lease);
    let answer = stores.log.append(step.clone()).await.unwrap();
    assert_eq!(answer, Appended::Appended);
    for _ in 0..2 {
        assert_eq!(server.run::<i64>(&["PTTL", &key(&template)]), -1);
        let body: String = server.run(&["GET", &key(&template)]);
        assert_eq!(body, template.object.as_json());
        let found = stores.catalogue.template(&template.id).await.unwrap();
        assert_eq!(found.as_ref(), Some(&template));
        let again = stores.log.append(step.clone()).await.unwrap();
        assert_eq!(again, Appended::Duplicate(step.first()));
    }
    assert_eq!(listed(&stores).await, [template]);
}

#[tokio::test]
async fn an_orphan_is_in_no_answer_and_runs_out() {
    let server = Server::start();
    let stores = server.stores();
    let (job, lease) = claimed(&stores).await;
    let template = made(1);
    let lost = Commit {
        fence: Fence::Held(build::token()),
        ..step(&job, &template, &lease)
    };
    assert_eq!(stores.log.append(lost).await.unwrap(), Appended::Fenced);
    let waits: i64 = server.run(&["PTTL", &key(&template)]);
    assert!((500_000..=600_000).contains(&waits), "{waits}");
    is_untouched(&server, &stores, &job, &template).await;

    // Who holds the lease keeps it all the same.
    let answer = stores.log.append(step(&job, &template, &lease)).await;
    assert_eq!(answer.unwrap(), Appended::Appended);
    assert_eq!(server.run::<i64>(&["PTTL", &key(&template)]), -1);
    assert_eq!(listed(&stores).await, [template]);
}

/// Also where the bodies are there already: taking a time to live off is never refused.
#[tokio::test]
async fn a_full_redis_keeps_nothing_of_a_commit() {
    for is_usual in [false, true] {
        a_full_redis_keeps_nothing(is_usual).await;
    }
}

async fn a_full_redis_keeps_nothing(is_usual: bool) {
    let server = Server::start();
    let stores = server.stores();
    let (mut job, lease) = claimed(&stores).await;
    if is_usual {
        job = moved_on(&stores, &job, &lease).await;
    }
    let template = made(1);
    for is_staged in [false, true] {
        let step = step(&job, &template, &lease);
        if is_staged {
            let lost = Commit {
                fence: Fence::Held(build::token()),
                ..step.clone()
            };
            assert_eq!(stores.log.append(lost).await.unwrap(), Appended::Fenced);
        }
        let _: String = server.run(&["CONFIG", "SET", "maxmemory", "1"]);
        let error = stores.log.append(step.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{error}");
        let _: String = server.run(&["CONFIG", "SET", "maxmemory", "0"]);
        is_untouched(&server, &stores, &job, &template).await;
    }
    let step = step(&job, &template, &lease);
    stores.log.append(step.clone()).await.unwrap();
    // A commit that is known needs no room.
    let _: String = server.run(&["CONFIG", "SET", "maxmemory", "1"]);
    let again = stores.log.append(step.clone()).await.unwrap();
    assert_eq!(again, Appended::Duplicate(step.first()));
    assert_eq!(server.run::<i64>(&["PTTL", &key(&template)]), -1);
}

#[tokio::test]
async fn a_body_that_may_not_be_written_is_no_template() {
    let server = Server::start();
    let stores = server.stores();
    let (job, lease) = claimed(&stores).await;
    let template = made(1);
    let _: String = server.run(&["ACL", "SETUSER", "default", "-set"]);
    let error = stores.log.append(step(&job, &template, &lease)).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Refused);
    let _: String = server.run(&["ACL", "SETUSER", "default", "+set"]);
    is_untouched(&server, &stores, &job, &template).await;
}

#[tokio::test]
async fn scripts_that_redis_forgot_are_loaded_with_the_bodies() {
    let server = Server::start();
    let stores = server.stores();
    let (job, lease) = claimed(&stores).await;
    let _: String = server.run(&["SCRIPT", "FLUSH"]);
    let template = made(1);
    let answer = stores.log.append(step(&job, &template, &lease)).await;
    assert_eq!(answer.unwrap(), Appended::Appended);
    assert_eq!(listed(&stores).await, [template]);
}

/// A way to a server on which the first bodies go astray: under another key.
async fn astray(server: &Server, mut times: usize) -> (String, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("redis://{}/0", listener.local_addr().unwrap());
    let to = server.port;
    let task = tokio::spawn(async move {
        // The first connection is the shared one.
        let (client, _) = listener.accept().await.unwrap();
        let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let back = async { drop(tokio::io::copy(&mut from_server, &mut to_client).await) };
        let forth = async {
            let mut bytes = vec![0; 1 << 20];
            loop {
                let read = from_client.read(&mut bytes).await.unwrap_or(0);
                if read == 0 {
                    break;
                }
                let name = b"SET\r\n$29\r\ntriton:catalogue:template:";
                let found = bytes[..read].windows(name.len()).position(|at| at == name);
                if let Some(at) = found.filter(|_| times > 0) {
                    times -= 1;
                    bytes[at + 10] = b'T';
                }
                to_server.write_all(&bytes[..read]).await.unwrap();
            }
        };
        tokio::join!(back, forth);
    });
    (url, AbortOnDropHandle::new(task))
}

#[tokio::test]
async fn bodies_that_are_gone_before_their_commit_are_sent_again() {
    let server = Server::start();
    let direct = server.stores();
    let (job, lease) = claimed(&direct).await;
    let job = moved_on(&direct, &job, &lease).await;
    let template = made(1);
    for (times, answer) in [(9, None), (2, Some(Appended::Appended))] {
        let (url, _way) = astray(&server, times).await;
        let mut settings = server.settings();
        settings.url = url;
        let stores = settings.build().unwrap();
        let found = stores.log.append(step(&job, &template, &lease)).await;
        if let Some(answer) = answer {
            assert_eq!(found.unwrap(), answer);
            continue;
        }
        let error = found.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().contains("evict"), "{error}");
        is_untouched(&server, &direct, &job, &template).await;
    }
    assert_eq!(listed(&direct).await, [template]);
}

#[tokio::test]
async fn templates_go_with_their_retention_and_leave_no_index_behind() {
    let server = Server::start();
    let mut settings = server.settings();
    settings.retention = Some(Duration::from_millis(600));
    let stores = settings.build().unwrap();
    let (job, lease) = claimed(&stores).await;
    let job = moved_on(&stores, &job, &lease).await;
    let (committed, put) = (made(1), made(2));
    stores
        .log
        .append(step(&job, &committed, &lease))
        .await
        .unwrap();
    stores.catalogue.put_template(&put, &lease).await.unwrap();
    assert_eq!(listed(&stores).await, [put.clone(), committed.clone()]);
    timeout(Duration::from_secs(10), async {
        while !listed(&stores).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("they go");
    for template in [&committed, &put] {
        let found = stores.catalogue.template(&template.id).await.unwrap();
        assert_eq!(found, None);
    }
    let left: Vec<String> = server.run(&["KEYS", "triton:catalogue:template*"]);
    assert_eq!(left, [""; 0]);
    let due: Vec<String> = server.run(&["ZRANGE", "triton:catalogue:retention", "0", "-1"]);
    assert!(
        due.iter().all(|entry| !entry.contains("template")),
        "{due:?}"
    );
    assert!(server.run::<i64>(&["PTTL", PLACES]) > 0);
}

#[tokio::test]
async fn a_template_of_an_earlier_build_is_read_as_ever() {
    let server = Server::start();
    let stores = server.stores();
    let (job, lease) = claimed(&stores).await;
    let old = made(1);
    let client = "triton:catalogue:templates:client:c-1:category:roi-focused";
    let kind = "audience:Medical-Management";
    let indexes = [
        format!("triton:catalogue:templates:category:roi-focused:{kind}"),
        format!("{client}:{kind}"),
    ];
    let _: u64 = server.run(&[
        "HSET",
        &key(&old),
        "body",
        old.object.as_json(),
        "member",
        old.id.as_str(),
        "indexes",
        &indexes.join(" "),
    ]);
    let _: u64 = server.run(&["HSET", PLACES, "1", old.id.as_str()]);
    for index in &indexes {
        let _: u64 = server.run(&["ZADD", index, "1", old.id.as_str()]);
    }
    let found = stores.catalogue.template(&old.id).await.unwrap();
    assert_eq!(found.as_ref(), Some(&old));
    assert_eq!(listed(&stores).await, std::slice::from_ref(&old));
    let rival = template("rival", "j-1", 1, Category::Comprehensive);
    let answer = stores.log.append(step(&job, &rival, &lease)).await.unwrap();
    assert_eq!(answer, Appended::PlaceTaken(1));
    let next = made(2);
    stores.log.append(step(&job, &next, &lease)).await.unwrap();
    let of_it = stores.catalogue.templates_of(&job_id("j-1")).await.unwrap();
    assert_eq!(of_it, [old, next]);
}

/// One that is put back has one end, also where an earlier build stored it, and noted that otherwise.
#[tokio::test]
async fn what_an_earlier_build_noted_of_an_end_is_replaced() {
    let server = Server::start();
    let mut settings = server.settings();
    settings.retention = Some(Duration::from_hours(48));
    let stores = settings.build().unwrap();
    let (_, lease) = claimed(&stores).await;
    let template = made(1);
    let key = key(&template);
    let _: u64 = server.run(&["HSET", &key, "body", template.object.as_json()]);
    let _: u64 = server.run(&["ZADD", "triton:catalogue:retention", "9e15", &key]);
    let put = stores.catalogue.put_template(&template, &lease).await;
    assert_eq!(put.unwrap(), PutTemplate::Stored);
    let due: Vec<String> = server.run(&["ZRANGE", "triton:catalogue:retention", "0", "-1"]);
    let of_it: Vec<_> = due.iter().filter(|entry| entry.contains(&key)).collect();
    assert!(
        matches!(of_it[..], [entry] if entry.starts_with(&format!("{key} "))),
        "{due:?}"
    );
}

/// Whatever is written over what lists a template, it is kept, listed and told of, of a job that has moved on as
/// usual before.
#[tokio::test]
async fn a_broken_list_keeps_no_template_away() {
    let kind = "category:roi-focused:audience:Medical-Management";
    let index = format!("triton:catalogue:templates:{kind}");
    let of_client = format!("triton:catalogue:templates:client:c-1:{kind}");
    for broken in [
        None,
        Some(&index),
        Some(&of_client),
        Some(&PLACES.to_owned()),
    ] {
        let server = Server::start();
        let stores = server.stores();
        let (mut job, lease) = claimed(&stores).await;
        job = moved_on(&stores, &job, &lease).await;
        if let Some(broken) = broken {
            server.set(broken, b"x");
        }
        let template = made(1);
        let mut signals = stores.bus.subscribe();
        signals.next().await;
        let step = step(&job, &template, &lease);
        let answer = stores.log.append(step.clone()).await.unwrap();
        assert_eq!(answer, Appended::Appended, "{broken:?}");
        let mut heard = Vec::new();
        while heard.len() < step.events.len() {
            if let Some(Signal::Message(message)) = signals.next().await
                && message.bytes.starts_with(b"{\"event_type\"")
            {
                heard.push(message.bytes);
            }
        }
        let lines: Vec<_> = step.events.iter().map(|event| event.line.clone()).collect();
        assert_eq!(heard, lines, "{broken:?}");
        assert_eq!(
            listed(&stores).await,
            std::slice::from_ref(&template),
            "{broken:?}"
        );
        let filter = TemplateFilter {
            client_id: Some(template.client_id.clone()),
            ..TemplateFilter::default()
        };
        let paging = Paging {
            page: 1,
            page_size: 9,
        };
        let page = stores.catalogue.templates(&filter, paging).await.unwrap();
        assert_eq!(page.items, std::slice::from_ref(&template), "{broken:?}");
        let of_it = stores.catalogue.templates_of(&job.id).await.unwrap();
        assert_eq!(of_it, [template], "{broken:?}");
        let aside: bool = server.run(&["EXISTS", "triton:set-aside"]);
        assert_eq!(aside, broken.is_some());
    }
}

/// The usual append refuses whatever any other does.
#[tokio::test]
async fn what_only_moves_a_job_on_is_looked_at_like_the_rest() {
    const STATE: &str = "triton:state:j-1";
    const ENTRY: &str = "triton:queue:entry:j-1";
    let server = Server::start();
    let stores = server.stores();
    let (job, lease) = claimed(&stores).await;
    let job = moved_on(&stores, &job, &lease).await;
    let next = held(commit(&job, progress(3)), &lease.token);
    let append = async |commit: Commit| stores.log.append(commit).await.unwrap();
    let set = |key: &str, field: &str, value: &str| {
        let before: String = server.run(&["HGET", key, field]);
        let _: u64 = server.run(&["HSET", key, field, value]);
        before
    };

    let stranger = held(next.clone(), &build::token());
    assert_eq!(append(stranger).await, Appended::Fenced);
    let end = set(ENTRY, "until", "1");
    assert_eq!(append(next.clone()).await, Appended::Fenced, "run out");
    set(ENTRY, "until", &end);
    for (field, value, answer) in [
        ("run", "another", Appended::Doubtful(job.position)),
        ("ended", "1", Appended::Ended),
    ] {
        let before = set(STATE, field, value);
        assert_eq!(append(next.clone()).await, answer, "{field}");
        set(STATE, field, &before);
    }
    let conflict = Appended::Conflict(Some(job.position));
    let ahead = held(commit(&next.job, progress(4)), &lease.token);
    assert_eq!(append(ahead.clone()).await, conflict, "a place left out");
    let anew = job.with_epoch("0a0b0c0d".parse().unwrap());
    let anew = conch_domain::Job::restore(conch_domain::JobRecord {
        position: conch_domain::Position {
            sequence: job.position.sequence,
            ..anew.position
        },
        ..(*anew).clone()
    });
    let anew = held(commit(&anew, progress(3)), &lease.token);
    assert_eq!(append(anew).await, conflict, "another epoch");
    let known = build::with_event_id(
        &commit(&submission("j-1").commit.job, progress(1)).events[0].event_id,
        next.clone(),
    );
    let first = conch_domain::Position {
        sequence: 2,
        ..job.position
    };
    assert_eq!(append(known.clone()).await, Appended::Duplicate(first));
    let mut torn = together([next.clone(), ahead]);
    torn.events[1].event_id = known.events[0].event_id.clone();
    let torn = stores.log.append(torn).await.unwrap_err();
    assert_eq!(torn.kind(), ErrorKind::Refused, "{torn}");

    let log = stores.log.read(&job.id, 0, 9).await.unwrap().unwrap();
    assert_eq!(
        (log.job, log.entries.len()),
        (job, 3),
        "nothing was written"
    );
    assert_eq!(append(next).await, Appended::Appended);
}

/// A place whose template can't be read is given to the next.
#[tokio::test]
async fn a_broken_template_holds_no_place() {
    let server = Server::start();
    let stores = server.stores();
    let (job, lease) = claimed(&stores).await;
    let first = made(1);
    let job = {
        let step = step(&job, &first, &lease);
        stores.log.append(step.clone()).await.unwrap();
        step.job
    };
    let id: &JobId = &job.id;
    let mut log = job.clone();
    for (n, broken) in ["no JSON", ""].into_iter().enumerate() {
        server.set(&key(&first), broken.as_bytes());
        let next = template(&format!("next-{n}"), "j-1", 1, Category::RoiFocused);
        let again = held(commit(&log, progress(50 + n as u8)), &lease.token);
        let again = Commit {
            templates: vec![Arc::new(next.clone())],
            ..again
        };
        let answer = stores.log.append(again.clone()).await.unwrap();
        assert_eq!(answer, Appended::Appended, "{broken:?}");
        assert_eq!(stores.catalogue.templates_of(id).await.unwrap(), [next]);
        log = again.job;
        let _: u64 = server.run(&["HSET", PLACES, "1", first.id.as_str()]);
    }
}
