//! Announcements, those that could not be sent included.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conch_bus_kit::Settings;
use conch_domain::{JobId, Position};
use conch_ports::{Announcement, ErrorKind, EventBus, Signal};
use tokio::time::{Instant, sleep};

use crate::fake::{Fake, Sending, next};
use crate::observed::counts;

const EPOCH: &str = "5f3a9c1e";

/// An event whose line, which says its type, has so many bytes.
fn event(job: &str, sequence: u64, length: usize) -> Announcement {
    Announcement {
        job_id: JobId::parse(job).expect("a job id"),
        position: Some(Position {
            epoch: EPOCH.parse().expect("an epoch"),
            sequence,
        }),
        line: line(length),
        secret: None,
    }
}

fn line(length: usize) -> Bytes {
    let mut line = br#"{"event_type":"job:progress","padding":"#.to_vec();
    line.resize(length - 1, b'7');
    line.push(b'}');
    Bytes::from(line)
}

fn ephemeral(length: usize) -> Announcement {
    Announcement {
        job_id: JobId::parse("j-1").expect("a job id"),
        position: None,
        line: line(length),
        secret: None,
    }
}

fn short(job: &str, sequence: u64) -> (String, String) {
    let line = format!(
        r#"{{"event_type":"job:progress","job_id":"{job}","sequence":{sequence},"epoch":"{EPOCH}"}}"#
    );
    (job.to_owned(), line)
}

fn whole(job: &str, length: usize) -> (String, String) {
    let line = String::from_utf8(line(length).to_vec()).expect("text");
    (job.to_owned(), line)
}

/// Announces an event that can't be sent.
async fn fails(bus: &Arc<dyn EventBus>, announcement: &Announcement) -> ErrorKind {
    bus.announce(announcement)
        .await
        .expect_err("it fails")
        .kind()
}

/// Lets everything happen that can.
async fn settle() {
    sleep(Duration::from_mins(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_line_goes_whole_where_it_fits() {
    let fake = Fake::new();
    let bus = fake.bus();
    bus.announce(&event("j-1", 1, 1024)).await.unwrap();
    bus.announce(&event("j-1", 2, 1025)).await.unwrap();
    // What a server takes may change while it runs.
    fake.carries(|carries| carries.max_bytes = 2048);
    bus.announce(&event("j-1", 3, 1025)).await.unwrap();
    fake.carries(|carries| carries.lines = false);
    bus.announce(&event("j-1", 4, 50)).await.unwrap();
    let expected = [
        whole("j-1", 1024),
        short("j-1", 2),
        whole("j-1", 1025),
        short("j-1", 4),
    ];
    assert_eq!(fake.taken(), expected);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_that_no_listener_would_take() {
    let fake = Fake::new();
    fake.carries(|carries| carries.max_bytes = 1 << 30);
    let settings = Settings {
        max_message: 100,
        ..Settings::default()
    };
    let bus = settings.bus(fake.clone());
    assert_eq!(bus.carries().max_bytes, 100);
    bus.announce(&event("j-1", 1, 101)).await.unwrap();
    assert_eq!(fake.taken(), [short("j-1", 1)]);
}

#[tokio::test(start_paused = true)]
async fn ephemeral_events_go_only_where_they_are_carried() {
    let fake = Fake::new();
    let bus = fake.bus();
    bus.announce(&ephemeral(60)).await.unwrap();
    assert_eq!(fails(&bus, &ephemeral(1025)).await, ErrorKind::Refused);
    fake.carries(|carries| carries.ephemeral = false);
    assert_eq!(fails(&bus, &ephemeral(50)).await, ErrorKind::Refused);
    settle().await;
    assert_eq!(fake.taken(), [whole("j-1", 60)]);
}

#[tokio::test(start_paused = true)]
async fn an_ephemeral_event_that_cannot_be_sent_is_gone() {
    let fake = Fake::new();
    let bus = fake.bus();
    fake.announcing(Sending::Fails);
    assert_eq!(fails(&bus, &ephemeral(50)).await, ErrorKind::Unavailable);
    fails(&bus, &event("j-1", 1, 50)).await;
    fake.announcing(Sending::Hangs);
    let began = Instant::now();
    assert_eq!(fails(&bus, &ephemeral(50)).await, ErrorKind::Unavailable);
    assert_eq!(began.elapsed(), Duration::ZERO);
    fake.announcing(Sending::Works);
    settle().await;
    assert_eq!(fake.taken(), [short("j-1", 1)]);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_sent_follows_as_the_newest_place_of_each_job() {
    let fake = Fake::new();
    let bus = fake.bus();
    fake.announcing(Sending::Fails);
    for (job, sequence) in [("j-2", 1), ("j-1", 7), ("j-2", 2), ("j-2", 3)] {
        let kind = fails(&bus, &event(job, sequence, 50)).await;
        assert_eq!(kind, ErrorKind::Unavailable);
    }
    settle().await;
    assert_eq!(fake.taken(), []);
    fake.announcing(Sending::Works);
    // Nobody announces anything more.
    settle().await;
    assert_eq!(fake.taken(), [short("j-1", 7), short("j-2", 3)]);
    bus.announce(&event("j-2", 4, 50)).await.unwrap();
    settle().await;
    assert_eq!(fake.taken()[2..], [whole("j-2", 50)]);

    // Another outage.
    fake.announcing(Sending::Fails);
    fails(&bus, &event("j-2", 5, 50)).await;
    fake.announcing(Sending::Works);
    settle().await;
    assert_eq!(fake.taken()[3..], [short("j-2", 5)]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_costs_one_announcement_its_time_out_and_the_next_nothing() {
    let fake = Fake::new();
    let bus = fake.bus();
    fake.announcing(Sending::Hangs);
    let began = Instant::now();
    assert_eq!(fails(&bus, &event("j-1", 1, 50)).await, ErrorKind::Timeout);
    assert_eq!(began.elapsed(), Settings::default().send_timeout);
    let began = Instant::now();
    for sequence in 1..100 {
        let kind = fails(&bus, &event("j-2", sequence, 50)).await;
        assert_eq!(kind, ErrorKind::Unavailable);
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    // A newer event of the job whose place is on its way just now.
    sleep(Duration::from_millis(1)).await;
    fails(&bus, &event("j-1", 2, 50)).await;
    settle().await;
    fake.announcing(Sending::Works);
    settle().await;
    assert_eq!(fake.taken(), [short("j-1", 2), short("j-2", 99)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_is_sent_as_soon_as_messages_flow_again() {
    let fake = Fake::new();
    let settings = Settings {
        backoff_cap: Duration::from_hours(1),
        ..Settings::default()
    };
    let bus = settings.bus(fake.clone());
    fake.announcing(Sending::Fails);
    fails(&bus, &event("j-1", 1, 50)).await;
    sleep(Duration::from_hours(5)).await;
    fake.announcing(Sending::Works);
    let mut signals = bus.subscribe();
    assert_eq!(next(&mut signals).await, Signal::Gap);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(fake.taken(), [short("j-1", 1)]);

    // After a success the pauses begin anew, also without a subscription.
    drop(signals);
    fake.announcing(Sending::Fails);
    fails(&bus, &event("j-2", 1, 50)).await;
    sleep(Duration::from_millis(1)).await;
    fake.announcing(Sending::Works);
    sleep(Duration::from_millis(200)).await;
    assert_eq!(fake.taken()[1..], [short("j-2", 1)]);
}

#[tokio::test(start_paused = true)]
async fn an_event_never_overtakes_an_earlier_one_of_its_job() {
    let fake = Fake::new();
    let bus = fake.bus();
    fake.announcing(Sending::Fails);
    for job in ["j-1", "j-2", "j-3"] {
        fails(&bus, &event(job, 1, 50)).await;
    }
    // The first gets through, so the link is up; the second is on its way.
    fake.announcing(Sending::Takes(1));
    while fake.taken().is_empty() {
        sleep(Duration::from_millis(1)).await;
    }
    sleep(Duration::from_millis(1)).await;
    let began = Instant::now();
    let kind = fails(&bus, &event("j-2", 2, 50)).await;
    assert_eq!(
        (kind, began.elapsed()),
        (ErrorKind::Unavailable, Duration::ZERO)
    );
    // What is owed of the third job is covered by a later event, which need not wait.
    fake.announcing(Sending::Works);
    bus.announce(&event("j-3", 2, 50)).await.unwrap();
    settle().await;
    let expected = [
        short("j-1", 1),
        whole("j-3", 50),
        short("j-2", 1),
        short("j-2", 2),
    ];
    assert_eq!(fake.taken(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_no_outage() {
    let (recorder, counts) = counts();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let fake = Fake::new();
    let bus = fake.bus();
    fake.announcing(Sending::Refused);
    for sequence in 1..=2 {
        let kind = fails(&bus, &event("j-1", sequence, 50)).await;
        assert_eq!(kind, ErrorKind::Refused);
    }
    fake.announcing(Sending::Works);
    bus.announce(&event("j-1", 3, 50)).await.unwrap();
    settle().await;
    assert_eq!(fake.taken(), [whole("j-1", 50)]);
    let counter = "conch_announcements_dropped_total{bus=\"Fake\",reason=\"refused\"} 2\n";
    assert!(counts.render().contains(counter), "{}", counts.render());
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_and_refused_is_given_up() {
    let (recorder, counts) = counts();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let fake = Fake::new();
    let bus = fake.bus();
    fake.announcing(Sending::Fails);
    fails(&bus, &event("j-1", 1, 50)).await;
    fake.announcing(Sending::Refused);
    settle().await;
    fake.announcing(Sending::Works);
    bus.announce(&event("j-2", 1, 50)).await.unwrap();
    settle().await;
    assert_eq!(fake.taken(), [whole("j-2", 50)]);
    let counter = "conch_announcements_dropped_total{bus=\"Fake\",reason=\"refused\"} 1\n";
    assert!(counts.render().contains(counter), "{}", counts.render());
}

#[tokio::test(start_paused = true)]
async fn the_jobs_that_are_owed_are_bounded() {
    let (recorder, counts) = counts();
    let _counting = metrics::set_default_local_recorder(&recorder);
    let fake = Fake::new();
    let bus = fake.bus();
    fake.announcing(Sending::Hangs);
    for job in 0..4100 {
        fails(&bus, &event(&format!("j-{job}"), 1, 50)).await;
    }
    // A job that is known needs no room.
    fails(&bus, &event("j-7", 2, 50)).await;
    fake.announcing(Sending::Works);
    settle().await;
    let taken = fake.taken();
    assert!((4096..=4097).contains(&taken.len()), "{}", taken.len());
    assert!(taken.contains(&short("j-7", 2)));
    let dropped = 4100 - taken.len();
    let counter = format!(
        "conch_announcements_dropped_total{{bus=\"Fake\",reason=\"overflow\"}} {dropped}\n"
    );
    assert!(counts.render().contains(&counter), "{}", counts.render());
}

#[tokio::test(start_paused = true)]
async fn a_ping_that_hangs_is_given_up() {
    let fake = Fake::new();
    let bus = fake.bus();
    bus.ping().await.unwrap();
    fake.probing(Sending::Hangs);
    let began = Instant::now();
    let error = bus.ping().await.expect_err("nothing answers");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(began.elapsed(), Settings::default().probe_timeout);
}

#[tokio::test]
async fn each_bus_has_an_identity_of_its_own() {
    let (one, other) = (Fake::new().bus(), Fake::new().bus());
    assert_eq!(one.id(), one.id());
    assert_ne!(one.id(), other.id());
}
