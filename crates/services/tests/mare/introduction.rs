//! How streams that name no jobs learn of a job: by what its log says now, once, whoever announced it
//! and whatever the announcement said.

use std::time::Duration;

use conch_domain::EventKind;
use conch_services::mare::hub::Selection;

use crate::world::{
    Eyes, POSITION_CHECK, World, completed, data, ids, named, queued, started, told,
};

/// A stream over everything, in a world that has heard what was announced so far.
async fn everything(world: &World) -> Eyes {
    world.has_heard().await;
    let mut eyes = world.watch_many(Selection::default(), None).await;
    assert!(eyes.until_idle().await.is_empty(), "nothing to begin with");
    eyes
}

/// Until nobody remembers the topics of jobs that nobody watches.
async fn topics_are_gone(world: &World) {
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if world.hub.topics() == 0 {
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_forged_announcement_of_an_ended_job_shows_its_state_once() {
    // The first, one in between, the terminal one, one from the future, no number at all.
    for (forged, kind) in [
        (1, "job:snapshot"),
        (2, "job:snapshot"),
        (4, "job:completed"),
        (9, "job:snapshot"),
        (u64::MAX, "job:snapshot"),
        (0, "job:snapshot"),
    ] {
        let world = World::new();
        let mut job = world.job("j");
        job.start().await;
        job.progress(50).await;
        job.complete().await;
        let mut eyes = everything(&world).await;
        world.forge("j", forged);
        let seen = eyes.until_idle().await;
        assert_eq!(told(&seen), [format!("j {kind} 4")], "{forged}");
        assert_eq!(data(&seen[0])["status"], "completed");
        assert_ne!(data(&seen[0])["reset"], true);
        // Never again, whatever is forged, and whether or not its topic lives.
        for alive in [true, false] {
            for again in 0..6 {
                world.forge("j", again);
                if !alive {
                    topics_are_gone(&world).await;
                }
            }
            assert!(eyes.until_idle().await.is_empty(), "{forged} {alive}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_whole_log_forged_number_by_number_is_still_one_state() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    job.progress(50).await;
    job.complete().await;
    let mut eyes = everything(&world).await;
    for sequence in 1..=4 {
        world.forge("j", sequence);
    }
    assert_eq!(told(&eyes.until_idle().await), ["j job:completed 4"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_went_on_before_its_log_was_read_is_introduced_as_it_is() {
    let world = World::new();
    let mut eyes = everything(&world).await;
    let mut job = world.job("j");
    job.start().await;
    assert_eq!(told(&eyes.events(1).await), ["j job:started 2"]);
    job.progress(50).await;
    job.complete().await;
    let seen = eyes.until_idle().await;
    assert_eq!(told(&seen), ["j job:progress 3", "j job:completed 4"]);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_job_whose_earlier_announcements_were_lost_is_the_event_itself() {
    let world = World::new();
    let mut eyes = everything(&world).await;
    world.faults.lose_announcements(|_, sequence| sequence < 4);
    let mut job = world.job("j");
    job.start().await;
    job.progress(50).await;
    job.complete().await;
    assert_eq!(told(&eyes.until_idle().await), ["j job:completed 4"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_watched_by_name_first_and_announced_later_is_introduced() {
    let world = World::new();
    let mut eyes = everything(&world).await;
    world.faults.hold_announcements();
    let mut job = world.job("j");
    job.start().await;
    let mut by_name = world.watch("j", None).await;
    by_name.events(2).await;
    assert!(eyes.until_idle().await.is_empty(), "not announced yet");
    let begun = tokio::time::Instant::now();
    world.faults.release_announcements();
    assert_eq!(told(&eyes.events(1).await), ["j job:started 2"]);
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "by the announcement"
    );
    // The feed follows it from here on, though the one who named it goes.
    drop(by_name);
    world.faults.lose_announcements(|_, _| true);
    job.progress(50).await;
    job.complete().await;
    let rest = eyes.events(2).await;
    assert_eq!(told(&rest), ["j job:progress 3", "j job:completed 4"]);
    assert!(eyes.until_idle().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_end_that_was_seen_by_name_first_is_introduced_when_it_is_announced() {
    let world = World::new();
    let mut eyes = everything(&world).await;
    world.faults.hold_announcements();
    let mut job = world.job("j");
    job.start().await;
    job.complete().await;
    // Its topic lingers, and has read all there is.
    world.watch("j", None).await.rest().await;
    assert_eq!(world.hub.topics(), 1);
    world.faults.release_announcements();
    let begun = tokio::time::Instant::now();
    assert_eq!(told(&eyes.events(1).await), ["j job:completed 3"]);
    assert!(begun.elapsed() < Duration::from_secs(1), "{begun:?}");
    assert!(eyes.until_idle().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_end_that_was_seen_by_name_and_never_announced_is_found_in_tritons_list() {
    let world = World::new();
    let mut eyes = everything(&world).await;
    world.faults.lose_announcements(|_, _| true);
    let mut job = world.job("j");
    job.start().await;
    job.complete().await;
    world.triton.set_job(job.job.clone());
    let begun = tokio::time::Instant::now();
    // Whoever comes back again and again keeps the topic.
    let comes_back = async {
        loop {
            world.watch("j", None).await.rest().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let seen = tokio::select! {
        seen = eyes.events(1) => seen,
        () = comes_back => unreachable!("it never ends"),
    };
    assert_eq!(data(&seen[0])["status"], "completed");
    assert!(begun.elapsed() <= POSITION_CHECK, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_end_that_was_told_is_not_looked_at_again_though_the_list_has_it() {
    let world = World::new();
    let mut eyes = everything(&world).await;
    world.faults.lose_announcements(|_, _| true);
    let mut job = world.job("j");
    job.start().await;
    job.complete().await;
    world.triton.set_job(job.job.clone());
    assert_eq!(told(&eyes.events(1).await), ["j job:snapshot 3"]);
    topics_are_gone(&world).await;
    let before = (
        world.faults.calls("job_log.read"),
        world.triton.calls("jobs"),
    );
    tokio::time::sleep(POSITION_CHECK).await;
    assert!(world.triton.calls("jobs") > before.1, "the list was read");
    assert_eq!(world.faults.calls("job_log.read"), before.0);
}

#[tokio::test(start_paused = true)]
async fn who_began_with_a_job_is_not_introduced_to_it() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    world.triton.set_job(job.job.clone());
    let mut one = world.watch_many(Selection::default(), None).await;
    let mut two = world.watch_many(named(&["j"]), None).await;
    for eyes in [&mut one, &mut two] {
        assert_eq!(told(&eyes.until_idle().await), ["j job:snapshot 2"]);
    }
    world.forge("j", 1);
    world.forge("j", 2);
    for eyes in [&mut one, &mut two] {
        assert!(eyes.until_idle().await.is_empty());
    }
    job.progress(50).await;
    for eyes in [&mut one, &mut two] {
        assert_eq!(told(&eyes.until_idle().await), ["j job:progress 3"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_was_told_and_begins_anew_unwatched_is_introduced_as_a_reset() {
    let world = World::new();
    let mut eyes = everything(&world).await;
    let mut job = world.job("j");
    job.append(queued()).await;
    job.append(started()).await;
    let before_the_end = job.job.clone();
    job.append(completed()).await;
    assert_eq!(told(&eyes.events(1).await), ["j job:completed 3"]);
    topics_are_gone(&world).await;
    // The store forgets, its worker still runs the job, and comes further than the lost log had.
    world.faults.wipe();
    world.faults.hold_announcements();
    job.job = before_the_end;
    let kind = EventKind::CancelRequested { reason: None };
    job.begin_again("0000ffff", kind).await;
    for progress in [10, 20, 30] {
        job.progress(progress).await;
    }
    world.faults.release_announcements();
    let seen = eyes.events(1).await;
    assert_eq!(told(&seen), ["j job:snapshot 4"]);
    assert_eq!(data(&seen[0])["reset"], true);
    assert_eq!(data(&seen[0])["requested"], "0000abcd-3");
    job.complete().await;
    assert_eq!(told(&eyes.events(1).await), ["j job:completed 5"]);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_was_called_lost_and_turns_up_again_is_news() {
    let world = World::new();
    let mut eyes = everything(&world).await;
    let mut job = world.job("j");
    job.start().await;
    eyes.events(1).await;
    world.faults.wipe();
    let seen = eyes.events(1).await;
    assert_eq!(data(&seen[0])["error_code"], "record-lost");
    topics_are_gone(&world).await;
    // As long as the log that was told, and of the same incarnation.
    world.faults.hold_announcements();
    let kind = EventKind::CancelRequested { reason: None };
    job.begin_again("0000abcd", kind).await;
    job.complete().await;
    world.faults.release_announcements();
    assert_eq!(told(&eyes.events(1).await), ["j job:completed 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_one_stream_began_with_is_made_known_to_those_that_missed_it() {
    let world = World::new();
    let mut missed_it = everything(&world).await;
    world.faults.lose_announcements(|_, _| true);
    let mut job = world.job("j");
    job.start().await;
    world.triton.set_job(job.job.clone());
    let begun = tokio::time::Instant::now();
    let mut began_with_it = world.watch_many(Selection::default(), None).await;
    assert_eq!(told(&began_with_it.events(1).await), ["j job:snapshot 2"]);
    assert_eq!(told(&missed_it.events(1).await), ["j job:snapshot 2"]);
    assert!(begun.elapsed() <= POSITION_CHECK, "{:?}", begun.elapsed());
    assert!(began_with_it.until_idle().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_log_that_lost_its_tail_and_goes_on_is_told_to_its_end() {
    let world = World::new();
    let mut eyes = everything(&world).await;
    let mut job = world.job("j");
    job.start().await;
    let at_two = job.job.clone();
    job.progress(50).await;
    job.progress(60).await;
    assert_eq!(told(&eyes.events(1).await), ["j job:progress 4"]);
    // Nobody follows it while the store falls back, and nobody knows better than the log.
    drop(eyes);
    topics_are_gone(&world).await;
    assert!(world.faults.cut_log(&job.job.id, 2));
    let mut eyes = everything(&world).await;
    job.job = at_two;
    job.append(completed()).await;
    let seen = eyes.events(1).await;
    assert_eq!(data(&seen[0])["status"], "completed");
    assert_eq!(data(&seen[0])["reset"], true, "what was told is gone");
}

#[tokio::test(start_paused = true)]
async fn without_a_stream_over_everything_an_announcement_of_any_job_costs_no_read() {
    let world = World::new();
    let mut job = world.job("j");
    job.start().await;
    let mut eyes = world.watch_many(named(&["j"]), None).await;
    eyes.until_idle().await;
    let mut other = world.job("other");
    let before = world.faults.calls("job_log.read");
    other.start().await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(world.faults.calls("job_log.read"), before);
    assert_eq!(ids(&eyes.until_idle().await), [""; 0]);
}
