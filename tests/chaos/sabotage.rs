//! The proof of the checker: each planted bug (`tests/sabotage`) is let loose in storms until the
//! checker objects. The same storms, seed by seed, in which the true programs broke nothing.
//!
//! Never a storm made for one bug: whoever plants another needn't touch anything here.

use serde_json::{Value, json};

use super::storm::{self, Form};
use super::{report, rounds};
use crate::conch::program;

/// Storms after which a bug counts as not found.
const ROUNDS: u64 = 12;

/// How a bug was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its name.
    pub bug: String,
    /// What it is.
    pub what: String,
    /// The storms that it took; none: it wasn't found.
    pub rounds: Option<u64>,
    /// The invariants that it broke.
    pub laws: Vec<&'static str>,
}

impl Found {
    /// For other programs.
    pub fn json(&self) -> Value {
        json!({ "bug": self.bug, "what": self.what, "rounds": self.rounds, "laws": self.laws })
    }
}

/// Name and description of every planted bug, as the program lists them.
///
/// # Panics
/// When that program wasn't built.
pub fn bugs() -> Vec<(String, String)> {
    let output = program("conch-sabotaged").arg("list").output();
    let output = output.expect("`make test` and `make chaos` build it");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, what)| (name.to_owned(), what.to_owned()))
        .collect()
}

/// Lets one bug loose, seed after seed, until it is found.
pub async fn hunt(bug: &str, what: &str, first: u64, rounds: u64) -> Found {
    let form = Form {
        sabotage: Some(bug.to_owned()),
        ..Form::short()
    };
    for round in 1..=rounds {
        let verdict = storm::run(first + round - 1, &form, &format!("sabotage-{bug}")).await;
        let laws = verdict.judgement.laws();
        if !laws.is_empty() {
            if rounds::setting("TELL").is_some() {
                println!("{}", verdict.judgement.told());
            }
            return Found {
                bug: bug.to_owned(),
                what: what.to_owned(),
                rounds: Some(round),
                laws,
            };
        }
    }
    Found {
        bug: bug.to_owned(),
        what: what.to_owned(),
        rounds: None,
        laws: Vec::new(),
    }
}

/// Hunts every bug, or only one; each is told of on standard output, and leaves a row for the report.
pub async fn hunt_all(first: u64, only: Option<&str>) -> Vec<Found> {
    let rounds =
        rounds::setting("ROUNDS").map_or(ROUNDS, |n| n.parse().expect("ROUNDS= is a number"));
    let mut found = Vec::new();
    for (bug, what) in bugs() {
        if only.is_some_and(|only| only != bug) {
            continue;
        }
        let hunted = hunt(&bug, &what, first, rounds).await;
        match hunted.rounds {
            Some(rounds) => println!(
                "{bug}: found in round {rounds}, by {}",
                hunted.laws.join(", ")
            ),
            None => println!("{bug}: NOT FOUND in {rounds} rounds"),
        }
        report::leave_row("sabotage", &bug, hunted.json());
        found.push(hunted);
    }
    found
}

/// `conch-chaos sabotage`. True: all were found, and the wrapper without a bug breaks nothing.
pub async fn command() -> bool {
    let seed = rounds::setting("SEED").map_or(1, |seed| seed.parse().expect("SEED= is a number"));
    let found = hunt_all(seed, rounds::setting("ONLY").as_deref()).await;
    let honest = hunt("none", "", seed, 3).await;
    if honest.rounds.is_some() {
        println!("without a bug: broke {}", honest.laws.join(", "));
    }
    let all = found.iter().filter(|f| f.rounds.is_some()).count();
    println!("{all}/{} planted bugs found", found.len());
    all == found.len() && honest.rounds.is_none()
}
