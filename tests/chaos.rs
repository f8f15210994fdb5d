//! Chaos in a short form: every scenario of the fault matrix, two storms, and the proof that the checker
//! finds what is planted. `make chaos` runs the same at length.
//!
//! Each test starts its own processes on its own ports, and leaves its history in `target/chaos`.

#![allow(clippy::print_stdout, clippy::print_stderr)] // A test that fails says why.

use conch_harness::chaos::sabotage::{bugs, hunt};
use conch_harness::chaos::scenarios::{Scale, named, reset_on_nats};
use conch_harness::chaos::storm::{self, Form};
use conch_harness::every_scenario;

macro_rules! tests {
    ($($room:ident { $($name:ident),+ $(,)? }),+ $(,)?) => {
        $(mod $room {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let name = concat!(stringify!($room), "::", stringify!($name));
                named(name, Scale::Short).expect("it is registered").await;
            })+
        })+
    };
}

every_scenario!(tests);

/// One that relies on announcements alone, and one on a store that forgets.
#[tokio::test(flavor = "multi_thread")]
async fn storms_break_nothing() {
    for seed in [4, 9] {
        storm::run(seed, &Form::short(), &format!("test-storm-{seed}"))
            .await
            .expect_clean();
    }
}

/// Bugs that one storm is sure to show; `make chaos WHAT=sabotage` hunts all of them.
mod planted {
    use super::*;

    async fn is_found(bug: &str) {
        let planted = bugs();
        assert!(planted.len() >= 8, "{planted:?}");
        let what = planted.iter().find(|(name, _)| name == bug);
        let (_, what) = what.unwrap_or_else(|| panic!("{bug} is not planted: {planted:?}"));
        let found = hunt(bug, what, 1, 3).await;
        println!(
            "{bug}: found in round {:?}, by {}",
            found.rounds,
            found.laws.join(", ")
        );
        assert!(found.rounds.is_some(), "{bug} was not found: {what}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_announcement_before_the_append_is_found() {
        is_found("announce-before-append").await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_acknowledgement_outside_the_commit_is_found() {
        is_found("acknowledge-apart").await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_idempotency_key_that_is_forgotten_is_found() {
        is_found("key-forgotten").await;
    }

    /// On NATS, which the storms don't use.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_gap_on_nats_that_is_not_told_is_found() {
        let honest = reset_on_nats("bus-reset", None).await;
        honest.expect_clean();
        let broken = reset_on_nats("sabotage-bus-reset", Some("lapsed-dropped")).await;
        let laws = broken.judgement.laws();
        assert!(laws.contains(&"I8"), "{laws:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_submission_that_is_lost_is_found() {
        is_found("submission-lost").await;
    }
}
