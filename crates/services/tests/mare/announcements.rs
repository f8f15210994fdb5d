//! Announcements that are lost, late, repeated or interrupted: what comes of them on a stream of one job.

use std::time::Duration;

use conch_ports::Announcement;

use crate::world::{POSITION_CHECK, World, ids, job_id, queued, started};

const CLOSING: &str = ": Connection closing - job completed";

#[tokio::test(start_paused = true)]
async fn a_lost_announcement_is_made_up_for_by_the_position_check() {
    let (world, mut job, mut eyes) = World::watched().await;
    world.faults.lose_announcements(|_, _| true);
    let begun = tokio::time::Instant::now();
    job.complete().await;
    assert_eq!(ids(&eyes.rest().await), ["0000abcd-3", CLOSING]);
    assert!(begun.elapsed() <= POSITION_CHECK, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn whichever_announcement_is_lost_every_watcher_gets_every_event_in_time() {
    for lost in 1..=6 {
        let world = World::new();
        let mut job = world.job("j");
        world
            .faults
            .lose_announcements(move |_, sequence| sequence == lost);
        job.append(queued()).await;
        let mut eyes = vec![world.watch("j", None).await, world.watch("j", None).await];
        for step in 2..=6 {
            let begun = tokio::time::Instant::now();
            match step {
                2 => job.append(started()).await,
                6 => job.complete().await,
                _ => job.progress(step * 10).await,
            }
            for eye in &mut eyes {
                let before = if step == 2 { 2 } else { 1 };
                let seen = ids(&eye.events(before).await);
                assert_eq!(seen[before - 1], format!("0000abcd-{step}"), "lost {lost}");
            }
            assert!(
                begun.elapsed() <= POSITION_CHECK,
                "{lost}: {:?}",
                begun.elapsed()
            );
        }
        for eye in &mut eyes {
            assert_eq!(ids(&eye.rest().await), [CLOSING; 0]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_subscription_is_made_up_for_at_once() {
    let (world, mut job, mut eyes) = World::watched().await;
    world.faults.disconnect_subscribers();
    job.complete().await;
    let begun = tokio::time::Instant::now();
    world.faults.reconnect_subscribers();
    assert_eq!(ids(&eyes.rest().await), ["0000abcd-3", CLOSING]);
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn repeated_and_late_announcements_show_nothing_twice() {
    let world = World::new();
    let mut job = world.job("j");
    world.faults.repeat_announcements(3);
    world.faults.hold_announcements();
    job.start().await;
    let mut eyes = world.watch("j", None).await;
    job.progress(10).await;
    world.faults.release_announcements();
    job.complete().await;
    let seen = eyes.rest().await;
    let expected = [
        "0000abcd-1",
        "0000abcd-2",
        "0000abcd-3",
        "0000abcd-4",
        CLOSING,
    ];
    assert_eq!(ids(&seen), expected);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_watchers_cost_one_read() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = Vec::new();
    for _ in 0..1000 {
        eyes.push(world.watch("j", None).await);
    }
    for eye in &mut eyes {
        eye.events(2).await;
    }
    let before = world.faults.calls("job_log.read");
    job.complete().await;
    for eye in &mut eyes {
        assert_eq!(ids(&eye.rest().await), ["0000abcd-3", CLOSING]);
    }
    let reads = world.faults.calls("job_log.read") - before;
    assert!(reads <= 2, "{reads} reads for one event");
    assert_eq!(world.hub.watchers(), 1000);
    drop(eyes);
    assert_eq!(world.hub.watchers(), 0);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(
        world.hub.topics(),
        0,
        "the topic went with its last watcher"
    );
}

/// What arrives of an event that the bus can't carry.
fn short(line: &[u8], id: &str, sequence: u64) -> bytes::Bytes {
    let position = conch_domain::Position {
        epoch: "0000abcd".parse().expect("an epoch"),
        sequence,
    };
    conch_wire::announcement::shorten(line, &job_id(id), position)
}

#[tokio::test(start_paused = true)]
async fn a_place_alone_shows_the_event_at_once() {
    let (world, mut job, mut eyes) = World::watched().await;
    world.faults.lose_announcements(|_, _| true);
    let begun = tokio::time::Instant::now();
    job.complete().await;
    let line = br#"{"event_type":"job:completed"}"#;
    let announcement = Announcement {
        job_id: job_id("j"),
        position: None,
        line: short(line, "j", 3),
        secret: None,
    };
    world.faults.lose_no_announcements();
    let announced = world.memory.bus().announce(&announcement).await;
    announced.expect("memory takes it");
    assert_eq!(ids(&eyes.rest().await), ["0000abcd-3", CLOSING]);
    assert!(
        begun.elapsed() < Duration::from_millis(500),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_place_alone_begins_no_log_whoever_sends_it() {
    let world = World::new();
    world.has_heard().await;
    let queued = br#"{"event_type":"job:queued"}"#;
    world.faults.announce_raw(short(queued, "public", 1));
    let announcement = Announcement {
        job_id: job_id("own"),
        position: None,
        line: short(queued, "own", 1),
        secret: None,
    };
    let announced = world.memory.bus().announce(&announcement).await;
    announced.expect("memory takes it");
    // What has no number does.
    world
        .faults
        .announce_raw(&br#"{"event_type":"job:queued","job_id":"external"}"#[..]);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(world.faults.calls("job_log.append"), 1);
    for (id, has_log) in [("public", false), ("own", false), ("external", true)] {
        let log = world.memory.log().read(&job_id(id), 0, 0).await;
        assert_eq!(log.expect("memory answers").is_some(), has_log, "{id}");
    }
}
