//! The reliability report: the long forms are run, and what they came to is written down with the command
//! and the machine beside it. No figure in it comes from anywhere but a run.
//!
//! Each part leaves a summary, one JSON object in `target/reliability/<part>.json`. Parts that other
//! programs run (the simulation, the bad inputs) are read from there; one that is missing is said to be.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::rounds;
use super::sabotage;
use super::scenarios::{self, Scale};
use super::storm::Form;
use crate::process::repository;

/// Writes a line.
macro_rules! say {
    ($text:expr, $($words:tt)+) => {
        writeln!($text, $($words)+).expect("a String has room")
    };
}

// After the macro, which it uses.
mod proofs;

/// Kills of storms and scenarios together, below which a report isn't done.
const KILLS: u64 = 1000;

/// Where the summaries are.
fn directory() -> PathBuf {
    repository().join("target/reliability")
}

/// Leaves a part's summary for the report.
pub fn leave(part: &str, summary: &Value) {
    let directory = directory();
    std::fs::create_dir_all(&directory).expect("target/ is ours");
    let path = directory.join(format!("{part}.json"));
    let written = std::fs::write(path, format!("{summary:#}\n"));
    written.expect("target/reliability is ours");
}

fn summary(part: &str) -> Option<Value> {
    let text = std::fs::read_to_string(directory().join(format!("{part}.json"))).ok()?;
    serde_json::from_str(&text).ok()
}

/// Puts one row of a part's summary in the place of the one of that name.
pub fn leave_row(part: &str, name: &str, row: Value) {
    let mut rows = summary(part).unwrap_or_else(|| json!({}));
    if let Some(rows) = rows.as_object_mut() {
        rows.insert(name.to_owned(), row);
    }
    leave(part, &rows);
}

/// `conch-chaos report`: runs everything, or what `ONLY` names (`scenarios`, `sabotage`, `storms`, `write`:
/// nothing), and writes `docs/reliability.md`.
pub async fn command() -> bool {
    let only = rounds::setting("ONLY");
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    if wanted("scenarios") {
        scenarios::run_all(Scale::Long, None).await;
    }
    if wanted("sabotage") {
        sabotage::hunt_all(1, None).await;
    }
    if wanted("storms") {
        let already = kills_of(summary("scenarios").as_ref());
        let first =
            rounds::setting("SEED").map_or(1, |seed| seed.parse().expect("SEED= is a number"));
        let storms = rounds::rounds_of(first, &Form::long(), |summary| {
            let kills: u64 = summary.classes.values().map(|figures| figures.kills).sum();
            already + kills < KILLS
        })
        .await;
        leave("storms", &storms.json());
    }
    let text = write();
    print!("{text}");
    let written = std::fs::write(repository().join("docs/reliability.md"), &text);
    written.expect("the repository is ours");
    !text.contains("FAILED") && !text.contains("NOT FOUND")
}

/// The rows of a part, by name.
fn rows(part: Option<&Value>) -> Vec<(&str, &Value)> {
    let rows = part.and_then(Value::as_object);
    rows.into_iter()
        .flatten()
        .map(|(name, row)| (name.as_str(), row))
        .collect()
}

fn kills_of(scenarios: Option<&Value>) -> u64 {
    let kills = |row: &Value| row["figures"]["kills"].as_u64().unwrap_or(0);
    rows(scenarios).into_iter().map(|(_, row)| kills(row)).sum()
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':'))
            .map_or("unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let cpu = read("/proc/cpuinfo");
    let cores = cpu.lines().filter(|l| l.starts_with("processor")).count();
    let redis = Command::new("redis-server").arg("--version").output();
    let redis = redis.map_or_else(
        |_| "unknown".to_owned(),
        |output| {
            String::from_utf8_lossy(&output.stdout)
                .split(" sha")
                .next()
                .unwrap_or("")
                .to_owned()
        },
    );
    format!(
        "- processor: {}, {cores} cores, memory {}\n- kernel: {}\n- {redis}\n- programs: debug builds, overflow checks and debug assertions on\n",
        field(&cpu, "model name"),
        field(&read("/proc/meminfo"), "MemTotal"),
        read("/proc/sys/kernel/osrelease").trim(),
    )
}

fn write() -> String {
    let mut text = String::from(HEAD);
    let date = Command::new("date").arg("-u").arg("+%Y-%m-%d").output();
    let date = date.map_or_else(
        |_| "an unknown day".to_owned(),
        |o| String::from_utf8_lossy(&o.stdout).trim().to_owned(),
    );
    say!(text, "Written on {date} by `make reliability-report`.\n");
    text.push_str(&machine());
    let storms = summary("storms");
    let scenarios = summary("scenarios");
    totals(&mut text, storms.as_ref());
    matrix(&mut text, scenarios.as_ref());
    kills(&mut text, storms.as_ref(), scenarios.as_ref());
    bugs(&mut text, summary("sabotage").as_ref());
    proofs::simulation(&mut text, summary("simulation").as_ref());
    proofs::model(&mut text, summary("simulation").as_ref());
    proofs::bad_input(&mut text, summary("bad-input").as_ref());
    text.push_str(TAIL);
    text
}

/// What a run of several storms and the scenarios came to, by class of the store.
fn totals(text: &mut String, storms: Option<&Value>) {
    text.push_str("\n## Storms\n\n");
    let mut lines: Vec<(String, Value)> = Vec::new();
    if let Some(classes) = storms.and_then(|s| s["classes"].as_object()) {
        for (class, figures) in classes {
            lines.push((format!("storms, Redis `{class}`"), figures.clone()));
        }
    }
    if lines.is_empty() {
        text.push_str("Not run.\n");
        return;
    }
    text.push_str("| | kills | jobs | ends expected | seen | missed | doubled | resets | recovery p50 | p99 | max | T |\n");
    text.push_str(
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for (name, f) in &lines {
        let (ends, recovery) = (&f["terminal"], &f["recovery_ms"]);
        say!(
            text,
            "| {name} | {} | {} | {} | {} | {} | {} | {} | {} ms | {} ms | {} ms | {} ms |",
            f["kills"],
            f["jobs"],
            ends["expected"],
            ends["seen"],
            ends["missed"],
            ends["doubled"],
            f["resets"],
            recovery["p50"],
            recovery["p99"],
            recovery["max"],
            recovery["t"]
        );
    }
    if let Some(storms) = storms {
        let broken = storms["broken"].as_array().map_or(0, Vec::len);
        say!(
            text,
            "\n{} storms, {broken} of which broke an invariant.",
            storms["rounds"]
        );
        if broken > 0 {
            say!(text, "\nFAILED: {:#}", storms["broken"]);
        }
    }
    text.push_str(
        "\nAn end is expected once per watcher of a job that was to end. Recovery is from the moment that the end was due (the last \
         fault healed, the event appended, the watcher connected) to the moment that the watcher had it.\n",
    );
}

fn matrix(text: &mut String, scenarios: Option<&Value>) {
    text.push_str("\n## The fault matrix\n\n");
    let all = rows(scenarios);
    let survived = all
        .iter()
        .filter(|(_, row)| row["survived"] == true)
        .count();
    let known = scenarios::NAMES.len();
    say!(text, "{survived}/{known} scenarios survived at length.\n");
    text.push_str("| scenario | | watchers | kills | resets | recovery p50 | p99 | max |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for name in scenarios::NAMES {
        let row = all
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, row)| *row);
        let Some(row) = row.filter(|row| row["survived"] == true) else {
            let word = if row.is_some() { "FAILED" } else { "not run" };
            say!(text, "| `{name}` | {word} | | | | | | |");
            continue;
        };
        let (f, recovery) = (&row["figures"], &row["figures"]["recovery_ms"]);
        say!(
            text,
            "| `{name}` | survived | {} | {} | {} | {} ms | {} ms | {} ms |",
            f["terminal"]["expected"],
            f["kills"],
            f["resets"],
            recovery["p50"],
            recovery["p99"],
            recovery["max"]
        );
    }
}

/// Faults by process and by what was announced last.
fn kills(text: &mut String, storms: Option<&Value>, scenarios: Option<&Value>) {
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    let classes = storms.and_then(|s| s["classes"].as_object());
    let storms = classes.into_iter().flat_map(|c| c.values());
    let scenarios = rows(scenarios).into_iter().map(|(_, row)| &row["figures"]);
    for figures in storms.chain(scenarios) {
        for (name, count) in figures["faults"].as_object().into_iter().flatten() {
            *counted.entry(name.clone()).or_default() += count.as_u64().unwrap_or(0);
        }
    }
    if counted.is_empty() {
        return;
    }
    let mut processes: BTreeMap<&str, BTreeMap<&str, u64>> = BTreeMap::new();
    let mut others: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, count) in &counted {
        let (what, phase) = name.split_once(" after ").unwrap_or((name, ""));
        if let Some(process) = what.strip_prefix("kill ") {
            *processes
                .entry(process)
                .or_default()
                .entry(phase)
                .or_default() += count;
        } else {
            *others.entry(what).or_default() += count;
        }
    }
    text.push_str("\n## Kills by process and phase\n\nThe phase is the kind of the event that was announced last.\n\n");
    let phases: std::collections::BTreeSet<&str> =
        processes.values().flat_map(|p| p.keys().copied()).collect();
    say!(
        text,
        "| phase | {} |",
        processes.keys().copied().collect::<Vec<_>>().join(" | ")
    );
    say!(text, "| --- |{}", " ---: |".repeat(processes.len()));
    for phase in phases {
        let cells: Vec<String> = processes
            .values()
            .map(|p| p.get(phase).copied().unwrap_or(0).to_string())
            .collect();
        say!(text, "| `{phase}` | {} |", cells.join(" | "));
    }
    let sums: Vec<String> = processes
        .values()
        .map(|p| p.values().sum::<u64>().to_string())
        .collect();
    say!(text, "| all | {} |", sums.join(" | "));
    let others: Vec<String> = others
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    say!(text, "\nOther faults: {}.", others.join(", "));
}

fn bugs(text: &mut String, sabotage: Option<&Value>) {
    text.push_str("\n## Planted bugs\n\n");
    let bugs = rows(sabotage);
    if bugs.is_empty() {
        text.push_str("Not run.\n");
        return;
    }
    let found = bugs
        .iter()
        .filter(|(_, bug)| !bug["rounds"].is_null())
        .count();
    say!(
        text,
        "{found}/{} found, each in storms that were made for none of them.\n",
        bugs.len()
    );
    text.push_str(
        "| bug | what it is | storms needed | invariants broken |\n| --- | --- | ---: | --- |\n",
    );
    for (_, bug) in bugs {
        let laws = bug["laws"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        let laws: Vec<&str> = laws.collect();
        let rounds = bug["rounds"]
            .as_u64()
            .map_or("NOT FOUND".to_owned(), |n| n.to_string());
        let (name, what) = (
            bug["bug"].as_str().unwrap_or(""),
            bug["what"].as_str().unwrap_or(""),
        );
        say!(
            text,
            "| `{name}` | {what} | {rounds} | {} |",
            laws.join(", ")
        );
    }
}

const HEAD: &str = "# Reliability

What Conch promises is in [operations.md](operations.md#what-redis-promises), and how the tests try to break it in [testing.md](testing.md#chaos). This page has the results.
All figures are from runs on one machine; `target/reliability` has them as JSON. Running one part again replaces only its own rows.

";

const TAIL: &str = "
## What is not covered

- Failover to a replica, Redis Cluster and Sentinel: only kills and restarts of one server.
- Power failures, and disks that lose acknowledged writes or can't keep up: processes are killed, but the kernel keeps running, and Redis writes to memory. So `everysec` and `always` give the same results here.
- Several machines, regions, and packet loss below TCP: the network is a proxy on one machine.
- Two faults at the very same moment occur here only by chance; the simulation searches for them systematically.
- A store that has forgotten one of our jobs (no persistence) can't tell a forged event about it from an external publisher's until the job's worker has restored it: streams that a forged end closed in the meantime stay closed, and a job without a worker is not restored.
- The browsers in these tests are simulated according to the standard; real ones are tested in `tests/interop`.
";
