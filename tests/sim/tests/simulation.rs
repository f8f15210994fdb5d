//! A part of `make sim` for every test run: a few hundred seeds, the beginning of each small system, some
//! of the planted bugs; and that a seed repeats to the letter.

use std::time::Duration;

use conch_sim::planted::Planted;
use conch_sim::{Report, explore_all, find, replay, run_seeds};

fn seeds_from(first: u64) {
    let report = Report {
        campaign: run_seeds(first, 120),
        ..Report::default()
    };
    assert_eq!(report.campaign.seeds, 120);
    assert!(report.is_good(), "\n{}", report.tables());
    assert!(report.reopened() > 0, "some jobs go on after a failure");
}

#[test]
fn seeds_break_no_invariant() {
    seeds_from(1);
}

#[test]
fn more_seeds_break_no_invariant() {
    seeds_from(1001);
}

#[test]
fn small_systems_break_no_invariant() {
    let report = Report {
        explored: explore_all(500, Duration::from_mins(1)),
        ..Report::default()
    };
    let states: u64 = report.explored.iter().map(|one| one.states).sum();
    assert!(states > 3000, "\n{}", report.tables());
    assert!(report.is_good(), "\n{}", report.tables());
}

#[test]
fn a_seed_repeats_to_the_letter() {
    for seed in [3, 17, 60, 76, 131, 466, 1127, 2139, 4333, 11_645] {
        let first = replay(seed, None);
        let again = std::thread::spawn(move || replay(seed, None));
        let again = again.join().expect("no run panics");
        let differs = first.lines.iter().zip(&again.lines).find(|(a, b)| a != b);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first, again, "seed {seed}");
        assert!(first.lines.len() > 100, "seed {seed} does something");
        assert_eq!(first.violations, [] as [String; 0], "seed {seed}");
    }
}

/// Those that show soon; all of them are looked for by `make sim`.
#[test]
fn planted_bugs_are_found() {
    for planted in [
        Planted::AnnouncedBeforeAppend,
        Planted::FenceForgotten,
        Planted::DuplicatesAppended,
        Planted::TerminalNotLast,
        Planted::ResumeOffByOne,
        Planted::ResultBeforeAppend,
        Planted::ResetNotTold,
        Planted::LeaseNeverTakenBack,
        Planted::KeyForgotten,
        Planted::AcknowledgedUnstored,
        Planted::SealUnread,
        Planted::GapJoined,
        Planted::DuplicateUnannounced,
        Planted::SubmissionUnannounced,
    ] {
        let found = find(planted, 1, 300);
        assert!(found.is_some(), "{}: not in 300 seeds", planted.name());
    }
}
