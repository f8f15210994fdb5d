//! Who gets in, who has to go, and in which order what waits is due.

use super::state::Job;
use super::weight::OVERHEAD;
use super::*;

const BOUNDS: Bounds = Bounds {
    bytes: 20_000,
    bytes_per_job: 8_000,
};

fn id(name: &str) -> JobId {
    JobId::parse(name).unwrap()
}

fn at() -> Timestamp {
    Timestamp::from_micros(0)
}

fn progress() -> EventKind {
    progress_of(1)
}

fn progress_of(progress: u8) -> EventKind {
    EventKind::Progress {
        progress,
        completed_templates: 0,
        total_templates: 7,
        message: None,
    }
}

fn other() -> EventKind {
    EventKind::Other {
        event_type: "data:generated".to_owned(),
    }
}

fn started() -> EventKind {
    EventKind::Started { started_at: at() }
}

fn end() -> EventKind {
    EventKind::Cancelled {
        template_ids: Vec::new(),
        completed_at: at(),
    }
}

fn push(backlog: &Backlog, job: &str, kind: &EventKind, text: &str) -> Dropped {
    let heard = Heard {
        line: Bytes::copy_from_slice(text.as_bytes()),
        received_at: at(),
    };
    let dropped = backlog.push(&id(job), kind, heard);
    check(backlog);
    dropped
}

/// What is counted is what is there, and within its bounds.
fn check(backlog: &Backlog) {
    let state = backlog.state.lock();
    let of = |job: &Job| job.events.iter().map(Waiting::cost).sum::<usize>();
    assert!(state.jobs.values().all(|job| job.bytes == of(job)));
    assert!(
        state
            .jobs
            .values()
            .all(|job| of(job) <= BOUNDS.bytes_per_job)
    );
    let sum: usize = state.jobs.values().map(|job| of(job) + OVERHEAD).sum();
    assert_eq!(state.bytes, sum);
    assert!(sum <= BOUNDS.bytes, "{sum}");
}

/// All that is due, in its order, as one worker would take it.
fn all(backlog: &Backlog) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        let taken = backlog.state.lock().take();
        let Some((job_id, due)) = taken else {
            assert_eq!(backlog.state.lock().bytes, 0, "nothing is left");
            return told;
        };
        told.push(match due {
            Due::Event(heard) => {
                let text =
                    String::from_utf8_lossy(&heard.line[..heard.line.len().min(8)]).into_owned();
                format!("{job_id} {text}")
            }
            Due::Owed => format!("{job_id} owed"),
        });
        backlog.done(&job_id);
        check(backlog);
    }
}

#[test]
fn superseded_progress_takes_one_place_and_the_end_comes_after_it() {
    let backlog = Backlog::new(BOUNDS);
    push(&backlog, "j", &started(), "started");
    let mut superseded = 0;
    for number in 0..3000 {
        let dropped = push(&backlog, "j", &progress(), &format!("p{number}"));
        assert_eq!(dropped.overflow, 0);
        superseded += dropped.superseded;
    }
    push(&backlog, "j", &end(), "end");
    assert_eq!(superseded, 2999);
    assert_eq!(all(&backlog), ["j started", "j p2999", "j end"]);
}

#[test]
fn late_progress_takes_no_place_of_what_says_more() {
    let backlog = Backlog::new(BOUNDS);
    for (percent, superseded) in [(40, 0), (80, 1), (20, 0), (20, 1), (60, 1)] {
        let dropped = push(&backlog, "j", &progress_of(percent), &percent.to_string());
        assert_eq!((dropped.superseded, dropped.overflow), (superseded, 0));
    }
    // Of the run that goes on after the failure.
    push(&backlog, "j", &started(), "started");
    push(&backlog, "j", &progress_of(30), "30");
    assert_eq!(all(&backlog), ["j 80", "j 60", "j started", "j 30"]);
}

#[test]
fn each_job_has_its_turn() {
    let backlog = Backlog::new(BOUNDS);
    for number in 0..9 {
        push(&backlog, "chatty", &other(), &format!("{number}"));
    }
    push(&backlog, "quiet", &started(), "started");
    push(&backlog, "quiet", &end(), "end");
    let told = all(&backlog);
    assert_eq!(told[1], "quiet started");
    assert_eq!(told[3], "quiet end");
    assert_eq!(told.len(), 11);
}

#[test]
fn what_matters_makes_room_among_what_does_not() {
    let backlog = Backlog::new(BOUNDS);
    let large = "x".repeat(1000);
    // Three jobs take all there is, each within its own bound.
    for job in ["a", "b", "c"] {
        for _ in 0..6 {
            push(&backlog, job, &other(), &large);
        }
        if job == "a" {
            let one_more = push(&backlog, "a", &other(), &large);
            assert_eq!(one_more.overflow, 1, "its own bound");
        }
    }
    // A neighbour finds room where most is taken, even for what may be dropped.
    let dropped = push(&backlog, "quiet", &other(), "a word");
    assert!(dropped.overflow > 0, "{dropped:?}");
    for job in ["d", "e", "f", "g"] {
        push(&backlog, job, &started(), &large);
        push(&backlog, job, &end(), &large);
    }
    let told = all(&backlog);
    assert!(told.contains(&"quiet a word".to_owned()), "{told:?}");
    for job in ["d", "e", "f", "g"] {
        let of = told.iter().filter(|line| line.starts_with(job)).count();
        assert_eq!(of, 2, "{told:?}");
    }
}

#[test]
fn what_matters_has_room_also_where_its_own_job_takes_most() {
    let backlog = Backlog::new(BOUNDS);
    let large = "x".repeat(1000);
    for job in ["a", "b"] {
        for _ in 0..5 {
            push(&backlog, job, &other(), &large);
        }
    }
    push(&backlog, "mine", &started(), &"x".repeat(6000));
    let dropped = push(&backlog, "mine", &end(), &large);
    assert!(dropped.overflow > 0, "{dropped:?}");
    let told = all(&backlog);
    let mine: Vec<_> = told
        .iter()
        .filter(|line| line.starts_with("mine"))
        .collect();
    assert_eq!(mine, ["mine xxxxxxxx", "mine xxxxxxxx"]);
}

#[test]
fn a_mebibyte_of_a_job_and_sixteen_of_all_wait_and_no_more() {
    let backlog = Backlog::default();
    let line = Bytes::from(vec![b'x'; 64 << 10]);
    let push = |job: &str| {
        let line = line.clone();
        let received_at = at();
        backlog.push(&id(job), &other(), Heard { line, received_at })
    };
    let fitted = (0..20).filter(|_| push("j").overflow == 0).count();
    assert_eq!(fitted, 15);
    for job in 1..20 {
        for _ in 0..15 {
            push(&format!("j-{job}"));
        }
    }
    let bytes = backlog.state.lock().bytes;
    assert!((15 << 20..=16 << 20).contains(&bytes), "{bytes}");
}

#[test]
fn an_end_that_finds_no_room_is_owed() {
    let backlog = Backlog::new(BOUNDS);
    let large = "s".repeat(2000);
    for _ in 0..9 {
        push(&backlog, "j", &started(), &large);
    }
    assert_eq!(push(&backlog, "j", &end(), &large).overflow, 1);
    for job in ["k", "l", "m", "n"] {
        for _ in 0..3 {
            push(&backlog, job, &started(), &large);
        }
        push(&backlog, job, &end(), &large);
    }
    let told = all(&backlog);
    for job in ["j", "m", "n"] {
        let last = told.iter().rfind(|line| line.starts_with(job));
        assert_eq!(last, Some(&format!("{job} owed")), "{told:?}");
    }
}

#[tokio::test]
async fn one_event_of_a_job_is_out_at_a_time() {
    let backlog = Backlog::new(BOUNDS);
    push(&backlog, "j", &started(), "one");
    push(&backlog, "j", &end(), "two");
    let (first, _) = backlog.next().await.expect("one is due");
    assert!(
        backlog.state.lock().take().is_none(),
        "the other waits for it"
    );
    push(&backlog, "j", &other(), "three");
    assert!(backlog.state.lock().take().is_none());
    backlog.done(&first);
    assert!(backlog.next().await.is_some());
    backlog.close();
    assert!(backlog.next().await.is_none());
}
