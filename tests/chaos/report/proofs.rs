//! What was proved apart from processes: the simulation, the small systems that it explores, the tables of
//! bad input. Each part's own program ran it and left its figures; one that is missing is said to be.

use std::fmt::Write as _;

use serde_json::Value;

/// A part that nobody ran.
fn not_run(text: &mut String, how: &str) {
    say!(text, "Not run: `{how}`.");
}

fn entries<'a>(part: &'a Value, name: &str) -> &'a [Value] {
    part[name].as_array().map_or(&[], Vec::as_slice)
}

/// Runs by chance on virtual time, and the bugs planted there.
pub(super) fn simulation(text: &mut String, summary: Option<&Value>) {
    text.push_str("\n## Simulation on virtual time\n\n");
    let Some(run) = summary.filter(|run| run["seeds"].as_u64() > Some(0)) else {
        return not_run(text, "make sim");
    };
    text.push_str("| | |\n| --- | ---: |\n");
    for (name, what) in [
        ("seeds", "seeds"),
        ("decisions", "decisions"),
        ("jobs", "jobs"),
        ("streams", "streams"),
        ("ends_told", "ends told on streams"),
        ("kills", "programs killed"),
        ("drains", "programs drained"),
        ("disturbances", "calls failed or held up"),
        ("losses", "losses of the store"),
    ] {
        say!(text, "| {what} | {} |", run[name]);
    }
    let hours = run["virtual_hours"].as_f64().unwrap_or(0.0);
    say!(text, "| virtual hours | {hours:.1} |");
    let broken = run["failures"].as_array().map_or(0, Vec::len);
    let word = if broken == 0 { "" } else { " FAILED" };
    say!(text, "| seeds that broke an invariant | {broken}{word} |");
    let told = &run["telling_ms"];
    say!(
        text,
        "| from an end in its log to its last watcher, p50 / p99 / max | {} / {} / {} ms |",
        told["p50"],
        told["p99"],
        told["max"]
    );
    say!(text, "| T | {} ms |", run["promised_ms"]);
    let bugs = entries(run, "planted");
    let found = bugs.iter().filter(|bug| bug["found"] == true).count();
    let word = if found == bugs.len() {
        ""
    } else {
        ": NOT FOUND"
    };
    say!(
        text,
        "\n{found}/{} bugs planted there were found{word}.\n",
        bugs.len()
    );
    text.push_str(
        "| bug | seeds needed | paths of small systems needed |\n| --- | ---: | ---: |\n",
    );
    for bug in bugs {
        let count = |name: &str| {
            bug[name]
                .as_u64()
                .map_or("–".to_owned(), |count| count.to_string())
        };
        let name = bug["name"].as_str().unwrap_or("");
        say!(text, "| {name} | {} | {} |", count("seeds"), count("paths"));
    }
}

/// Small systems, every decision at some points of a run.
pub(super) fn model(text: &mut String, summary: Option<&Value>) {
    text.push_str("\n## Small systems, all decisions\n\n");
    let systems = summary.map_or(&[][..], |run| entries(run, "explored"));
    if systems.is_empty() {
        return not_run(text, "make sim");
    }
    text.push_str("| system | distinct states | paths | decisions | violations |\n| --- | ---: | ---: | ---: | ---: |\n");
    for system in systems {
        let broken = entries(system, "violations").len();
        let word = if broken == 0 { "" } else { " FAILED" };
        say!(
            text,
            "| {} | {} | {} | {} | {broken}{word} |",
            system["name"].as_str().unwrap_or(""),
            system["states"],
            system["paths"],
            system["decisions"],
        );
    }
    let states: u64 = systems.iter().filter_map(|s| s["states"].as_u64()).sum();
    say!(text, "| all | {states} | | | |");
}

/// Tables of what no honest program sends.
pub(super) fn bad_input(text: &mut String, summary: Option<&Value>) {
    text.push_str("\n## Bad input\n\n");
    let Some(tables) = summary else {
        return not_run(text, "cargo test -p conch-tests --test e2e bad_input");
    };
    let word = if tables["passed"] == tables["rows"] {
        ""
    } else {
        ": FAILED"
    };
    say!(
        text,
        "{}/{} rows were answered as specified, and no process panicked{word}.\n",
        tables["passed"],
        tables["rows"]
    );
    text.push_str("| kind | rows | as specified |\n| --- | ---: | ---: |\n");
    for (kind, counts) in tables["by_kind"].as_object().into_iter().flatten() {
        say!(
            text,
            "| {kind} | {} | {} |",
            counts["rows"],
            counts["passed"]
        );
    }
}
