//! Streams and lookups of who may see some clients' jobs only (I10): another client's job is as absent,
//! whatever is asked and whatever is down; and streams end when credentials do.

use std::time::Duration;

use conch_domain::{Caller, EventKind, Identity, Job, JobStatus, Timestamp};
use conch_ports::{Document, ErrorKind, ResultCache};
use conch_services::access::Access;
use conch_services::hub::{Attached, Next, Selection, Settings};
use conch_services::lookup::Events;
use conch_services::submissions::SubmissionRate;
use futures::FutureExt;

use crate::world::{Eyes, Seen, World, caller, client_id, clock, data, ids, job_id, name};

const CLOSING: &str = ": Connection closing - job completed";

/// Who may see c1's jobs for longer than any test takes.
fn c1() -> Caller {
    caller(&["c1"], Timestamp::from_micros(i64::MAX))
}

async fn watch_as(world: &World, caller: &Caller, id: &str, cursor: Option<&str>) -> Eyes {
    match world.hub.watch_as(caller, &job_id(id), cursor).await {
        Attached::Stream(watcher) => Eyes(watcher),
        other => panic!("expected a stream, got {}", name(&other)),
    }
}

/// Longer than anything is waited for, but a job that is to come.
const LONG: Duration = Duration::from_mins(5);

/// All that whoever attaches is told, heartbeats and the time in it left out.
pub(crate) async fn told(attached: Attached) -> (&'static str, Vec<Seen>) {
    let name = name(&attached);
    let (Attached::Stream(watcher) | Attached::Full(watcher)) = attached else {
        return (name, Vec::new());
    };
    let mut eyes = Eyes(watcher);
    let mut seen = Vec::new();
    let rest = async {
        loop {
            let (mut new, next) = eyes.look().await;
            seen.append(&mut new);
            if next == Next::End {
                break;
            }
        }
    };
    let ended = tokio::time::timeout(LONG, rest).await;
    seen.retain(|seen| !matches!(seen, Seen::Line(line) if line.starts_with(": keep-alive") || line.starts_with("retry:")));
    if ended.is_err() {
        seen.push(Seen::Line("goes on".to_owned()));
    }
    for event in &mut seen {
        if let Seen::Event(_, data) = event {
            data["timestamp"] = serde_json::Value::Null;
        }
    }
    (name, seen)
}

/// What is wrong with Triton while somebody attaches.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Triton {
    Answers,
    Fails,
    Hangs,
}

impl Triton {
    pub(crate) const ALL: [Self; 3] = [Self::Answers, Self::Fails, Self::Hangs];

    /// Puts a world in that state, from which it recovers after five seconds.
    pub(crate) fn befall(self, world: &World) {
        match self {
            Self::Answers => return,
            Self::Fails => world.triton.fail(ErrorKind::Unavailable),
            Self::Hangs => world.triton.hang(),
        }
        let triton = world.triton.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            triton.heal();
        });
    }
}

/// A world in which j, if it is there at all, is c2's and has ended or not.
async fn world(foreign: Option<JobStatus>) -> World {
    let world = World::new();
    if let Some(status) = foreign {
        let mut job = world.job_of("j", "c2");
        job.start().await;
        if status.is_terminal() {
            job.complete().await;
        }
        world.triton.set_job(job.job.clone());
        // Its own client watches it, so its topic is there.
        let mut theirs = world.watch("j", None).await;
        theirs.events(1).await;
        tokio::spawn(async move { while theirs.frames().await.1 == Next::More {} });
    }
    world
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_a_foreign_job_is_that_of_an_absent_one() {
    for triton in Triton::ALL {
        for cursor in [
            None,
            Some("nonsense"),
            Some("0000abcd-1"),
            // The end of the foreign job.
            Some("0000abcd-3"),
            Some("0000abcd-99"),
            Some("lost-0"),
        ] {
            let mut answers = Vec::new();
            for job in [None, Some(JobStatus::Running), Some(JobStatus::Completed)] {
                let world = world(job).await;
                triton.befall(&world);
                let attached = world.hub.watch_as(&c1(), &job_id("j"), cursor).await;
                answers.push(told(attached).await);
            }
            let absent = &answers[0];
            for foreign in &answers[1..] {
                assert_eq!(foreign, absent, "{triton:?} {cursor:?}");
            }
            let lost = absent.1.iter().any(|seen| matches!(seen, Seen::Event(id, data) if id == "lost-0" && data["job_id"] == "j"));
            assert_eq!(
                lost,
                cursor.is_some_and(|c| c.starts_with("0000")),
                "{absent:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn ones_own_job_is_there_as_ever() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = watch_as(&world, &c1(), "j", None).await;
    assert_eq!(ids(&eyes.events(2).await), ["0000abcd-1", "0000abcd-2"]);
    job.complete().await;
    assert_eq!(ids(&eyes.rest().await), ["0000abcd-3", CLOSING]);
    let nobody = caller(&[], Timestamp::from_micros(i64::MAX));
    let attached = world.hub.watch_as(&nobody, &job_id("j"), None).await;
    assert_eq!(name(&attached), "Unknown");
}

/// Both stores are down when somebody attaches, so that nothing is known of the job until later.
#[tokio::test(start_paused = true)]
async fn a_job_that_becomes_known_later_is_looked_at_then() {
    for (client, cursor) in [
        ("c1", None),
        ("c2", None),
        ("c2", Some("0000abcd-1")),
        ("c2", Some("nonsense")),
    ] {
        let world = World::new();
        let mut job = world.job_of("j", client);
        job.start().await;
        world.triton.fail(ErrorKind::Unavailable);
        let read = "event_bus.read";
        let before = conch_memory::When::Before;
        world
            .faults
            .fail_next(read, 10, ErrorKind::Unavailable, before);
        let mut eyes = watch_as(&world, &c1(), "j", cursor).await;
        world.triton.heal();
        if client == "c1" {
            assert_eq!(ids(&eyes.events(2).await), ["0000abcd-1", "0000abcd-2"]);
            continue;
        }
        let begun = tokio::time::Instant::now();
        let rest = eyes.rest().await;
        if cursor == Some("0000abcd-1") {
            assert_eq!(ids(&rest)[0], "lost-0", "{rest:?}");
            assert_eq!(data(&rest[0])["job_id"], "j");
            assert_eq!(data(&rest[0])["client_id"], serde_json::Value::Null);
            assert!(begun.elapsed() >= Settings::default().record_lost_after);
        } else {
            assert_eq!(
                rest,
                [],
                "it ends, and the reconnect is told that there is none"
            );
        }
    }
}

/// The log can be read again in the moment in which somebody has waited long enough. Whether it is
/// then read before the stream begins is left to chance, hence the rounds.
#[tokio::test(start_paused = true)]
async fn a_job_that_becomes_known_in_the_last_moment_of_attaching_is_looked_at_too() {
    for _ in 0..20 {
        let world = World::new();
        let mut job = world.job_of("j", "c2");
        job.start().await;
        job.complete().await;
        world.triton.hang();
        let read = "event_bus.read";
        let before = conch_memory::When::Before;
        world
            .faults
            .fail_next(read, 1000, ErrorKind::Unavailable, before);
        let faults = world.memory.faults();
        tokio::spawn(async move {
            let patience = Settings::default().attach_patience;
            tokio::time::sleep(patience.mul_f64(0.999)).await;
            faults.fail_no_more();
        });
        let at_its_end = Some("0000abcd-3");
        let attached = world.hub.watch_as(&c1(), &job_id("j"), at_its_end).await;
        assert_eq!(name(&attached), "Stream", "as for an absent one");
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_begins_anew_as_another_client_s_is_hidden() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = watch_as(&world, &c1(), "j", None).await;
    eyes.events(2).await;
    let mut theirs = world.watch("j", None).await;
    theirs.events(2).await;
    world.faults.wipe();
    let mut usurper = world.job_of("j", "c2");
    usurper
        .begin_again("0000ffff", crate::world::queued())
        .await;
    assert_eq!(data(&theirs.events(1).await[0])["client_id"], "c2");
    usurper.append(crate::world::started()).await;
    usurper.complete().await;
    let rest = eyes.rest().await;
    assert_eq!(ids(&rest)[0], "lost-0", "{rest:?}");
    assert!(!format!("{rest:?}").contains("c2"), "{rest:?}");
}

fn named(ids: &[&str]) -> Selection {
    Selection {
        job_ids: ids.iter().map(|id| job_id(id)).collect(),
        client_ids: Vec::new(),
    }
}

async fn many_as(world: &World, caller: &Caller, selection: Selection) -> Eyes {
    match world.hub.watch_many_as(caller, selection, None).await {
        Attached::Stream(watcher) => Eyes(watcher),
        other => panic!("expected a stream, got {}", name(&other)),
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_over_many_shows_ones_own_jobs_and_no_others() {
    let world = World::new();
    let (mut ours, mut theirs) = (world.job("ours"), world.job_of("theirs", "c2"));
    ours.start().await;
    theirs.start().await;
    for job in [&ours, &theirs] {
        world.triton.set_job(job.job.clone());
    }
    let everything = many_as(&world, &c1(), Selection::default()).await;
    let of_both = Selection {
        job_ids: Vec::new(),
        client_ids: vec![client_id("c1"), client_id("c2")],
    };
    let of_both = many_as(&world, &c1(), of_both).await;
    let of_another = Selection {
        job_ids: Vec::new(),
        client_ids: vec![client_id("c2")],
    };
    let mut nothing = many_as(&world, &c1(), of_another).await;
    // Whoever sees all of them holds all of their topics.
    let mut all = many_as(&world, &Caller::unrestricted(), Selection::default()).await;
    all.events(2).await;
    let mut eyes = [everything, of_both];
    for eye in &mut eyes {
        let begun = eye.events(1).await;
        assert_eq!(data(&begun[0])["job_id"], "ours");
    }
    theirs.progress(10).await;
    let mut new = world.job_of("new", "c2");
    new.start().await;
    all.events(2).await;
    ours.progress(20).await;
    theirs.complete().await;
    ours.complete().await;
    for eye in &mut eyes {
        let seen = eye.events(2).await;
        assert!(seen.iter().all(|s| data(s)["job_id"] == "ours"), "{seen:?}");
        assert_eq!(data(&seen[1])["event_type"], "job:completed");
    }
    nothing.frames().await;
    assert_eq!(nothing.frames().await.0, [": keep-alive\n"]);
}

#[tokio::test(start_paused = true)]
async fn an_id_on_a_stream_over_many_tells_nothing_of_others_events() {
    let world = World::new();
    let mut all = many_as(&world, &Caller::unrestricted(), Selection::default()).await;
    let mut eyes = many_as(&world, &c1(), Selection::default()).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let event = |job: &str, client: &str, second: &str| {
        format!(
            r#"{{"event_type":"data:x","job_id":"{job}","client_id":"{client}","timestamp":"2027-01-15T08:00:{second}"}}"#
        )
    };
    world.faults.announce_raw(event("f", "c2", "04.5"));
    let theirs = ids(&all.events(1).await)[0].clone();
    assert_eq!(theirs, "m-1800000004500");
    // Of an earlier moment, but heard of later.
    world.faults.announce_raw(event("g", "c1", "01"));
    let seen = eyes.events(1).await;
    assert_eq!(ids(&seen), ["m-1800000001000"], "the moment of its own");
}

/// Others were so busy that the stream has to begin again: its states are given under what it had
/// before.
#[tokio::test(start_paused = true)]
async fn nor_does_one_that_begins_again() {
    let world = World::new();
    let mut theirs = ["x", "y", "z"].map(|id| world.job_of(id, "c2"));
    let mut ours = ["one", "other"].map(|id| world.job(id));
    for job in ours.iter_mut().chain(&mut theirs) {
        job.start().await;
        world.triton.set_job(job.job.clone());
    }
    let mut eyes = many_as(&world, &c1(), Selection::default()).await;
    eyes.events(2).await;
    let before = tokio::time::Instant::now();
    let begun = clock()().as_millis();
    for round in 0..1500_u32 {
        tokio::time::advance(Duration::from_millis(1)).await;
        for job in &mut theirs {
            let kind = EventKind::TemplateFailed {
                template_index: round,
                total_templates: 7,
                error_message: "x".to_owned(),
            };
            job.append(kind).await;
            tokio::task::yield_now().await;
        }
        if round < 10 {
            let looked = eyes.frames().now_or_never();
            assert!(looked.is_none(), "it is none of its business");
        }
    }
    assert!(before.elapsed() > Duration::from_secs(1));
    let states = eyes.events(2).await;
    assert!(
        states
            .iter()
            .all(|s| data(s)["event_type"] == "job:snapshot")
    );
    assert_eq!(ids(&states)[0], format!("m-{begun}"), "{states:?}");
}

#[tokio::test(start_paused = true)]
async fn naming_a_foreign_job_is_naming_an_unknown_one() {
    for triton in Triton::ALL {
        for with in [&["j"][..], &["j", "ours"]] {
            let mut answers = Vec::new();
            for foreign in [None, Some(JobStatus::Running), Some(JobStatus::Completed)] {
                let world = world(foreign).await;
                let mut ours = world.job("ours");
                ours.start().await;
                ours.complete().await;
                triton.befall(&world);
                let attached = world.hub.watch_many_as(&c1(), named(with), None).await;
                let (name, mut seen) = told(attached).await;
                for seen in &mut seen {
                    if let Seen::Event(id, data) = seen {
                        "m".clone_into(id);
                        data["created_at"] = serde_json::Value::Null;
                    }
                }
                answers.push((name, seen));
            }
            assert_eq!(answers[1], answers[0], "{triton:?} {with:?}");
            assert_eq!(answers[2], answers[0], "{triton:?} {with:?}");
        }
    }
}

/// What is asked in place of a hidden job is asked for the one who named it.
#[tokio::test(start_paused = true)]
async fn naming_another_s_jobs_spends_ones_own_questions() {
    let world = World::new();
    let [ours, theirs] = ["c1", "c2"].map(|client| {
        let identity = Identity {
            issuer: "i".to_owned(),
            subject: client.to_owned(),
        };
        let is_theirs = caller(&[client], Timestamp::from_micros(i64::MAX));
        let (clients, scopes) = (is_theirs.clients().clone(), is_theirs.scopes());
        Caller::new(identity, clients, scopes, Timestamp::from_micros(i64::MAX))
    });
    let ids: Vec<String> = (0..150).map(|n| format!("j{n}")).collect();
    for id in &ids {
        world.job_of(id, "c2").start().await;
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let _watched = many_as(&world, &theirs, named(&ids)).await;
    let asking = async |caller: &Caller, id: &str| {
        let begun = tokio::time::Instant::now();
        let attached = world.hub.watch_as(caller, &job_id(id), None).await;
        assert_eq!(name(&attached), "Unknown");
        begun.elapsed()
    };
    let attached = world.hub.watch_many_as(&ours, named(&ids), None).await;
    assert_ne!(name(&attached), "Full");
    assert!(asking(&theirs, "absent").await.is_zero());
    assert!(!asking(&ours, "absent-too").await.is_zero());
}

#[tokio::test(start_paused = true)]
async fn the_loss_of_a_foreign_record_is_not_told() {
    let world = World::new();
    let (mut ours, mut theirs) = (world.job("ours"), world.job_of("theirs", "c2"));
    ours.start().await;
    theirs.start().await;
    for job in [&ours, &theirs] {
        world.triton.set_job(job.job.clone());
    }
    let mut eyes = many_as(&world, &c1(), Selection::default()).await;
    let mut all = many_as(&world, &Caller::unrestricted(), Selection::default()).await;
    eyes.events(1).await;
    all.events(2).await;
    world.faults.wipe();
    for id in ["ours", "theirs"] {
        world.triton.forget_job(&job_id(id));
    }
    let lost = all.events(2).await;
    assert!(lost.iter().all(|s| data(s)["error_code"] == "record-lost"));
    let seen = eyes.events(1).await;
    assert_eq!(data(&seen[0])["job_id"], "ours");
    // The other's came before or after: either way nothing but heartbeats is left.
    assert_eq!(eyes.frames().await.0, [": keep-alive\n"]);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_of_a_foreign_job_is_that_of_an_absent_one() {
    for triton in Triton::ALL {
        let mut answers = Vec::new();
        for foreign in [None, Some(JobStatus::Running), Some(JobStatus::Completed)] {
            let world = world(foreign).await;
            triton.befall(&world);
            let clients = c1().clients().clone();
            let job = world.lookup.job_seen_by(&clients, &job_id("j")).await;
            let events = world.lookup.events_seen_by(&clients, &job_id("j"), 0).await;
            answers.push((
                job.map_err(|e| e.to_string()),
                events.map_err(|e| e.to_string()),
            ));
        }
        assert_eq!(answers[1], answers[0], "{triton:?}");
        assert_eq!(answers[2], answers[0], "{triton:?}");
        if !matches!(triton, Triton::Fails) {
            assert_eq!(answers[0], (Ok(None), Ok(Events::Unknown)));
        }
    }
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    job.complete().await;
    let clients = c1().clients().clone();
    let found = world.lookup.job_seen_by(&clients, &job_id("j")).await;
    assert!(found.expect("an answer").is_some());
    let events = world.lookup.events_seen_by(&clients, &job_id("j"), 0).await;
    assert!(matches!(events.expect("an answer"), Events::Kept(lines) if lines.len() == 3));
}

/// What the store and Triton are asked for each of these, as often as it is asked.
fn asked(world: &World) -> [u64; 4] {
    [
        world.faults.calls("result_cache.get"),
        world.faults.calls("event_bus.read"),
        world.triton.calls("job"),
        world.triton.calls("template"),
    ]
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_another_tenant_s_record_is_what_is_asked_for_an_absent_one() {
    #[derive(Debug, Clone, Copy)]
    enum Is {
        Absent,
        InItsLog,
        InTheCache,
        KeptHere,
        KnownToTriton,
    }
    for is in [
        Is::InItsLog,
        Is::InTheCache,
        Is::KeptHere,
        Is::KnownToTriton,
        Is::Absent,
    ] {
        let world = World::new();
        let mut job = world.job_of("j", "c2");
        match is {
            Is::Absent => {}
            Is::InItsLog => job.start().await,
            Is::InTheCache | Is::KeptHere => {
                job.start().await;
                job.complete().await;
            }
            Is::KnownToTriton => world.triton.set_job({
                let other = world.job_of("other", "c2");
                let mut known = (*other.job).clone();
                known.id = job_id("j");
                known.client_id = Some(client_id("c2"));
                Job::restore(known)
            }),
        }
        world.has_heard().await;
        if matches!(is, Is::KeptHere) {
            let found = world.lookup.job(&job_id("j")).await;
            assert!(found.expect("an answer").is_some());
        }
        let clients = c1().clients().clone();
        let before = asked(&world);
        let found = world.lookup.job_seen_by(&clients, &job_id("j")).await;
        assert_eq!(found.expect("an answer"), None);
        let after_job = asked(&world);
        let events = world.lookup.events_seen_by(&clients, &job_id("j"), 0).await;
        assert_eq!(events.expect("an answer"), Events::Unknown);
        let after_events = asked(&world);
        let diff = |a: [u64; 4], b: [u64; 4]| std::array::from_fn(|i| b[i] - a[i]);
        let of_the_job: [u64; 4] = diff(before, after_job);
        let of_the_events: [u64; 4] = diff(after_job, after_events);
        assert_eq!(of_the_job, [1, 1, 1, 0], "{is:?}");
        assert_eq!(of_the_events, [0, 1, 1, 0], "{is:?}");
    }
    let world = World::new();
    let access = Access::new(world.triton.clone(), SubmissionRate::unlimited());
    let theirs = Document::from_json(r#"{"id":"t1","client_id":"c2"}"#);
    world
        .triton
        .set_template("t1".parse().expect("an id"), theirs);
    for id in ["t1", "absent"] {
        let before = asked(&world);
        let found = access.template(&c1(), &id.parse().expect("an id")).await;
        assert_eq!(found.expect("an answer"), None);
        assert_eq!(asked(&world)[3], before[3] + 1, "{id}");
    }
}

/// The Python edge caches five fields, and not whose the job is.
#[tokio::test(start_paused = true)]
async fn a_cached_result_that_does_not_say_whose_it_is_is_looked_into_further() {
    for (client, seen) in [("c1", true), ("c2", false)] {
        let world = World::new();
        let mut job = world.job_of("j", client);
        job.start().await;
        let five = r#"{"job_id":"j","status":"completed","template_ids":[],"template_count":0,"generation_duration_ms":1}"#;
        let put = world.memory.put(&job_id("j"), five.into()).await;
        put.expect("memory answers");
        let clients = c1().clients().clone();
        for _ in 0..2 {
            let found = world.lookup.job_seen_by(&clients, &job_id("j")).await;
            assert_eq!(found.expect("an answer").is_some(), seen, "{client}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_within_a_second_of_its_credentials() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    world.triton.set_job(job.job.clone());
    let begun = clock()();
    let since = tokio::time::Instant::now();
    for (lives, cursor) in [(7000, None), (7001, Some("0000abcd-2")), (100_400, None)] {
        let caller = caller(&["c1"], begun.plus_millis(lives));
        let one = watch_as(&world, &caller, "j", cursor).await;
        let many = many_as(&world, &caller, named(&["j"])).await;
        let open_ended = many_as(&world, &caller, Selection::default()).await;
        for mut eyes in [one, many, open_ended] {
            let mut last = Vec::new();
            loop {
                let (frames, next) = eyes.frames().await;
                last.extend(frames);
                if next == Next::End {
                    break;
                }
            }
            let last = last.pop().expect("it says why");
            assert_eq!(last, conch_wire::sse::AUTH_EXPIRED);
            let late = since.elapsed().as_millis() as i64 - lives;
            assert!((0..=1100).contains(&late), "{lives}: {late} ms late");
        }
        assert_eq!(world.hub.watchers(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_late_or_goes_early_is_no_trouble() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let now = clock()();
    // Gone before its time.
    let early = watch_as(&world, &caller(&["c1"], now.plus_millis(500)), "j", None).await;
    drop(early);
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Its time was over before it came.
    let mut late = watch_as(&world, &caller(&["c1"], now.plus_millis(500)), "j", None).await;
    let told = loop {
        let (frames, next) = late.frames().await;
        if next == Next::End {
            break frames;
        }
    };
    assert_eq!(told.last(), Some(&conch_wire::sse::AUTH_EXPIRED));
    // Who needs no credentials goes on.
    let mut eyes = world.watch("j", None).await;
    eyes.events(2).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(eyes.frames().now_or_never().is_some(), "a heartbeat");
    job.complete().await;
    assert_eq!(ids(&eyes.rest().await), ["0000abcd-3", CLOSING]);
}
