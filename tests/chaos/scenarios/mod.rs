//! Every row of the fault matrix (`docs/testing.md`), and what a deploy and a long life do: each a named
//! scenario with real processes, in a short form for every test run and a long one for `make chaos`.
//!
//! A scenario says what happens. Whether it was borne is the checker's to say, and a scenario asserts
//! only what the checker can't know: that the fault really struck, or what a single answer must be.

mod api;
mod bounds;
mod bus;
mod channel;
mod clocks;
mod deploy;
mod network;
mod redis;
mod triton;
mod ttl;
mod worker;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use serde_json::{Value, json};

use super::rounds::setting;
use super::run::Terms;
use super::{Figures, Run, Shape, report};

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Seconds.
    Short,
    /// As the fault matrix says.
    Long,
}

impl Scale {
    /// One number or the other.
    pub(super) fn of<T>(self, short: T, long: T) -> T {
        match self {
            Self::Short => short,
            Self::Long => long,
        }
    }
}

/// Hands the names of all scenarios, with their rooms, to a macro.
#[macro_export]
macro_rules! every_scenario {
    ($with:ident) => {
        $with! {
            redis { killed_with_an_append_only_file, killed_without_persistence, stopped, out_of_memory, cuts_the_subscriber },
            network { an_api_cut_from_redis, half_open_connections, bad_weather_everywhere, watchers_behind_a_bad_network },
            worker { killed_at_every_step, paused_beyond_its_lease },
            api { killed_with_hundreds_of_streams, two_apis_and_two_workers_are_one_system },
            deploy { a_rolling_restart },
            triton { down_slow_and_garbage },
            clocks { an_hour_apart },
            channel { noise, lost_announcements },
            bus { killed, cut_from_some, slow_consumer_cut_off, loses_delays_and_repeats, worker_dies_before_announcing },
            ttl { lifetimes_pass_during_a_stream, finished_jobs_leave_their_records_only },
            bounds { a_watcher_that_never_reads, aborted_streams_leave_nothing },
        }
    };
}

macro_rules! registry {
    ($($room:ident { $($name:ident),+ $(,)? }),+ $(,)?) => {
        /// A scenario by its name, `room::name`; none when there is no such.
        pub fn named(name: &str, scale: Scale) -> Option<LocalBoxFuture<'static, Figures>> {
            match name {
                $($(concat!(stringify!($room), "::", stringify!($name)) => {
                    Some(Box::pin($room::$name(scale)))
                })+)+
                _ => None,
            }
        }

        /// The names of all of them.
        pub const NAMES: &[&str] =
            &[$($(concat!(stringify!($room), "::", stringify!($name))),+),+];
    };
}

every_scenario!(registry);

/// A run of that name with that shape.
async fn start(name: &str, shape: Shape) -> Run {
    start_on(name, shape, Terms::default()).await
}

async fn start_on(name: &str, shape: Shape, terms: Terms) -> Run {
    Run::start(name, shape, terms, 1).await
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// Every connection to NATS is reset while a job runs, with a bug or without one. No position check makes up
/// for what isn't told.
pub async fn reset_on_nats(name: &str, sabotage: Option<&str>) -> super::Verdict {
    bus::reset_without_position_checks(name, sabotage).await
}

/// What a long form came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Which scenario.
    pub name: &'static str,
    /// What was counted; none: it failed, and said why on standard error.
    pub figures: Option<Figures>,
}

impl Outcome {
    /// For other programs.
    pub fn json(&self) -> Value {
        let figures = self.figures.as_ref().map(Figures::json);
        json!({ "scenario": self.name, "survived": self.figures.is_some(), "figures": figures })
    }
}

/// All scenarios at that scale, one after the other, or only one. Long ones leave a row for the report.
pub async fn run_all(scale: Scale, only: Option<&str>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for name in NAMES {
        if only.is_some_and(|only| only != *name) {
            continue;
        }
        let begun = std::time::Instant::now();
        let scenario = named(name, scale).expect("it is registered");
        // One that fails keeps no other from running.
        let figures = AssertUnwindSafe(scenario).catch_unwind().await.ok();
        let word = if figures.is_some() {
            "survived"
        } else {
            "FAILED"
        };
        println!("{name}: {word}, {:.1} s", begun.elapsed().as_secs_f64());
        let outcome = Outcome { name, figures };
        if scale == Scale::Long {
            report::leave_row("scenarios", name, outcome.json());
        }
        outcomes.push(outcome);
    }
    outcomes
}

/// `conch-chaos scenarios`. True: all were borne.
pub async fn command() -> bool {
    let scale = match setting("FORM").as_deref() {
        Some("short") => Scale::Short,
        _ => Scale::Long,
    };
    let outcomes = run_all(scale, setting("ONLY").as_deref()).await;
    let survived = outcomes.iter().filter(|o| o.figures.is_some()).count();
    println!("{survived}/{} scenarios survived", outcomes.len());
    survived == outcomes.len()
}
