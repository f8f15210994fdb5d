//! Sealed announcements: taken in without a read where they join on, and nothing but a hint otherwise.

use bytes::Bytes;
use conch_domain::{EventKind, LogSecret, Position};
use conch_ports::Announcement;
use conch_wire::envelope::seal;
use serde_json::json;

use crate::world::{Eyes, POSITION_CHECK, World, Writer, data, ids, job_id, secret, started};

const CLOSING: &str = ": Connection closing - job completed";

/// Sends bytes on the channel of our own.
async fn send_on_our_own(world: &World, bytes: Bytes) {
    let announcement = Announcement {
        job_id: job_id("j"),
        position: None,
        line: bytes,
        secret: None,
    };
    let sent = world.memory.bus().announce(&announcement).await;
    sent.expect("memory takes it");
    world.has_heard().await;
}

fn reads(world: &World) -> u64 {
    world.faults.calls("job_log.read")
}

fn line(job_id: &str, at: Position, kind: &str) -> String {
    json!({"event_type": kind, "timestamp": "2027-01-15T08:00:01Z", "job_id": job_id, "status": "running",
        "progress": 42, "sequence": at.sequence, "epoch": at.epoch.to_string(), "event_id": "made-up"})
    .to_string()
}

fn at(place: &str) -> Position {
    place.parse().expect("a position")
}

fn sealed(secret: LogSecret, last: Position, lines: &[String]) -> Bytes {
    seal(&secret, &job_id("j"), last, lines)
}

#[tokio::test(start_paused = true)]
async fn what_joins_on_is_delivered_without_a_read() {
    let (world, mut job, mut eyes) = World::watched().await;
    let before = reads(&world);
    for n in 3..=40 {
        job.progress(n).await;
        assert_eq!(ids(&eyes.events(1).await), [format!("0000abcd-{n}")]);
    }
    job.complete().await;
    assert_eq!(ids(&eyes.rest().await), ["0000abcd-41", CLOSING]);
    assert_eq!(reads(&world), before);
    // What it was told is what the log says.
    let mut late = world.watch("j", Some("0000abcd-38")).await;
    let seen = ids(&late.rest().await);
    assert_eq!(seen[..3], ["0000abcd-39", "0000abcd-40", "0000abcd-41"]);
}

#[tokio::test(start_paused = true)]
async fn an_external_job_s_events_are_delivered_without_a_read_but_for_its_first_and_its_end() {
    let world = World::new();
    let mut job = world.external_job("j");
    job.append(started()).await;
    let mut eyes = world.watch("j", None).await;
    assert_eq!(ids(&eyes.events(1).await), ["0000abcd-1"]);
    let before = reads(&world);
    for n in 2..=20 {
        job.progress(n).await;
        assert_eq!(ids(&eyes.events(1).await), [format!("0000abcd-{n}")]);
    }
    assert_eq!(reads(&world), before);
    // Triton may have said whose it is in the step that ends it: its first event named no creation.
    job.complete().await;
    assert_eq!(ids(&eyes.rest().await), ["0000abcd-21", CLOSING]);
    assert!(reads(&world) > before);
}

/// What is made up is never streamed; that it makes the topic read its log is all.
async fn is_a_hint(what: &str, is_read: bool, make: impl FnOnce(&Writer) -> Bytes) {
    let (world, mut job, mut eyes) = World::watched().await;
    let before = reads(&world);
    send_on_our_own(&world, make(&job)).await;
    world.has_heard().await;
    assert_eq!(reads(&world) > before, is_read, "{what}: read");
    job.progress(50).await;
    let seen = eyes.events(1).await;
    assert_eq!(ids(&seen), ["0000abcd-3"], "{what}");
    assert_eq!(data(&seen[0])["progress"], 50, "{what}");
    job.complete().await;
    assert_eq!(ids(&eyes.rest().await), ["0000abcd-4", CLOSING], "{what}");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_join_on_is_a_hint() {
    let progress = |place: &str| line("j", at(place), "job:progress");
    let right = |place: &'static str, lines: Vec<String>| {
        move |_: &Writer| sealed(secret(1), at(place), &lines)
    };
    is_a_hint("another secret", true, |_| {
        sealed(secret(9), at("0000abcd-3"), &[progress("0000abcd-3")])
    })
    .await;
    let gap = right("0000abcd-4", vec![progress("0000abcd-4")]);
    is_a_hint("a gap", true, gap).await;
    let ahead = right("0000abcd-4", vec![progress("0000abcd-3")]);
    is_a_hint("another place than its line", true, ahead).await;
    let old = right("0000abcc-3", vec![progress("0000abcc-3")]);
    is_a_hint("another epoch", true, old).await;
    let known = right("0000abcd-2", vec![progress("0000abcd-2")]);
    is_a_hint("one that is known", false, known).await;
    let overlap = vec![progress("0000abcd-2"), progress("0000abcd-3")];
    is_a_hint("an overlap", true, right("0000abcd-3", overlap)).await;
    let elsewhere = right("0000abcd-3", vec![progress("0000abcd-4")]);
    is_a_hint("a line of another place", true, elsewhere).await;
    let other = line("k", at("0000abcd-3"), "job:progress");
    is_a_hint("another job's", true, right("0000abcd-3", vec![other])).await;
    let again = line("j", at("0000abcd-3"), "job:started");
    is_a_hint("an illegal one", true, right("0000abcd-3", vec![again])).await;
    let timeless = progress("0000abcd-3").replace("2027-01-15T08:00:01Z", "yesterday");
    is_a_hint(
        "one without a time",
        true,
        right("0000abcd-3", vec![timeless]),
    )
    .await;
    is_a_hint("no seal", true, |_| {
        Bytes::from(line("j", at("0000abcd-3"), "job:progress"))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_right_seal_on_a_public_channel_is_a_hint() {
    let (world, mut job, mut eyes) = World::watched().await;
    let line = line("j", at("0000abcd-3"), "job:progress");
    let sealed = sealed(secret(1), at("0000abcd-3"), &[line]);
    let before = reads(&world);
    world
        .faults
        .announce_raw(String::from_utf8(sealed.to_vec()).expect("UTF-8"));
    world.has_heard().await;
    assert!(reads(&world) > before);
    job.progress(50).await;
    assert_eq!(data(&eyes.events(1).await[0])["progress"], 50);
}

#[tokio::test(start_paused = true)]
async fn a_new_epoch_has_a_new_secret() {
    let (world, mut job, mut eyes) = World::watched().await;
    let again = EventKind::Progress {
        progress: 10,
        completed_templates: 0,
        total_templates: 7,
        message: None,
    };
    job.begin_again("0000bcde", again).await;
    let seen = eyes.events(1).await;
    assert_eq!(ids(&seen), ["0000bcde-1"]);
    let before = reads(&world);
    let forged = line("j", at("0000bcde-2"), "job:progress");
    send_on_our_own(&world, sealed(secret(1), at("0000bcde-2"), &[forged])).await;
    assert!(reads(&world) > before, "the old secret opens nothing");
    let before = reads(&world);
    job.progress(50).await;
    assert_eq!(data(&eyes.events(1).await[0])["progress"], 50);
    assert_eq!(reads(&world), before, "the new one does");
}

/// A read that began before an event was appended finds an older log than the topic's, were the event
/// delivered meanwhile: every watcher would be reset.
#[tokio::test(start_paused = true)]
async fn what_comes_during_a_read_waits_for_the_next_one() {
    let settings = conch_memory::Settings::default();
    let world = World::with_a_distant_store(settings);
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = world.watch("j", None).await;
    eyes.events(2).await;
    for n in 0..20 {
        // A read is under way when the event comes.
        world.forge("j", 30);
        world.has_heard().await;
        job.progress(n + 3).await;
        let seen = eyes.events(1).await;
        assert_eq!(ids(&seen), [format!("0000abcd-{}", n + 3)]);
        assert_eq!(data(&seen[0])["event_type"], "job:progress", "no reset");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_was_lost_is_made_up_for_by_the_next() {
    let (world, mut job, mut eyes) = World::watched().await;
    world.faults.lose_announcements(|_, sequence| sequence == 3);
    job.progress(30).await;
    let begun = tokio::time::Instant::now();
    job.progress(40).await;
    assert_eq!(ids(&eyes.events(2).await), ["0000abcd-3", "0000abcd-4"]);
    assert!(begun.elapsed() < POSITION_CHECK / 10);
    let before = reads(&world);
    job.progress(50).await;
    assert_eq!(ids(&eyes.events(1).await), ["0000abcd-5"]);
    assert_eq!(reads(&world), before, "it joins on again");
}

/// A log that an earlier build began has no secret: each event is announced as it is, and read.
#[tokio::test(start_paused = true)]
async fn a_log_without_a_secret_is_read() {
    let world = World::new();
    let mut job = world.job("j");
    job.job = conch_domain::Job::restore(conch_domain::JobRecord {
        secret: None,
        ..(*job.job).clone()
    });
    job.start().await;
    let mut eyes: Eyes = world.watch("j", None).await;
    eyes.events(2).await;
    for n in 3..=6 {
        let before = reads(&world);
        job.progress(n).await;
        assert_eq!(ids(&eyes.events(1).await), [format!("0000abcd-{n}")]);
        assert!(reads(&world) > before);
    }
}
