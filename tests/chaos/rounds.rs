//! Storm after storm, and what they came to together.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::Figures;
use super::schedule::{Form, Schedule};
use super::storm::run;

/// `conch-chaos storm`: one seed after the other. True: none broke anything.
pub async fn command() -> bool {
    let form = match setting("FORM").as_deref() {
        Some("short") => Form::short(),
        _ => Form::long(),
    };
    let first =
        setting("SEED").map_or_else(fresh_seed, |seed| seed.parse().expect("SEED= is a number"));
    let rounds = setting("ROUNDS").map(|n| n.parse::<u64>().expect("ROUNDS= is a number"));
    let minutes = setting("MINUTES").map(|n| n.parse::<f64>().expect("MINUTES= is a number"));
    let until = Instant::now() + Duration::from_secs_f64(minutes.unwrap_or(5.0) * 60.0);
    let summary = rounds_of(first, &form, |summary| match rounds {
        Some(rounds) => summary.rounds < rounds,
        None => summary.rounds == 0 || Instant::now() < until,
    })
    .await;
    let rounds = summary.rounds;
    println!(
        "{rounds} rounds, {} of them broke something",
        summary.broken.len()
    );
    summary.broken.is_empty()
}

/// A variable that isn't empty.
pub(super) fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |now| now.as_secs() % 1_000_000)
}

/// What several storms came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// How many.
    pub rounds: u64,
    /// By class of the store.
    pub classes: BTreeMap<&'static str, Figures>,
    /// The seeds that broke something, and what.
    pub broken: Vec<(u64, String)>,
}

impl Summary {
    /// For other programs.
    pub fn json(&self) -> Value {
        let classes: Map<String, Value> = self
            .classes
            .iter()
            .map(|(class, figures)| ((*class).to_owned(), figures.json()))
            .collect();
        json!({ "rounds": self.rounds, "classes": classes, "broken": self.broken })
    }
}

/// Storms from a seed on, for as long as is wanted; each is told of on standard output.
pub(super) async fn rounds_of(first: u64, form: &Form, more: impl Fn(&Summary) -> bool) -> Summary {
    let mut summary = Summary::default();
    while more(&summary) {
        let seed = first + summary.rounds;
        let schedule = Schedule::new(seed, form);
        print!("{schedule}");
        let verdict = run(seed, form, &format!("storm-{seed}")).await;
        let figures = &verdict.judgement.figures;
        println!(
            "  {} kills, {} jobs, ends {}/{} seen, {} doubled, {} resets, recovery p99 {:.0} ms",
            figures.kills,
            figures.jobs,
            figures.seen,
            figures.expected,
            figures.doubled,
            figures.resets,
            figures.recovery(0.99)
        );
        if verdict.judgement.violations.is_empty() {
            drop(std::fs::remove_file(&verdict.path));
        } else {
            let told = verdict.judgement.told();
            println!("  BROKEN, see {}\n{told}", verdict.path.display());
            summary.broken.push((seed, told));
        }
        summary
            .classes
            .entry(schedule.shape.class())
            .or_default()
            .add(figures);
        summary.rounds += 1;
    }
    summary
}
