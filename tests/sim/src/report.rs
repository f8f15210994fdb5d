//! The tables that people read, and the same figures for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::campaign::{Campaign, Found};
use crate::check::PROMISED;
use crate::explore::Explored;
use crate::planted::Planted;

/// Everything that was found out.
#[derive(Debug, Default)]
pub struct Report {
    /// Runs by chance.
    pub campaign: Campaign,
    /// Small systems.
    pub explored: Vec<Explored>,
    /// Each planted bug, with the seeds that it took, and the small system that shows it.
    pub planted: Vec<(Planted, Option<Found>, Option<Explored>)>,
}

fn promised() -> u64 {
    PROMISED.as_millis() as u64
}

/// What so many of a thousand stay below.
fn share(sorted: &[u64], of_a_thousand: usize) -> u64 {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get(last * of_a_thousand / 1000)
        .copied()
        .unwrap_or(0)
}

fn times(sorted: &[u64]) -> Value {
    json!({"p50": share(sorted, 500), "p99": share(sorted, 990), "max": share(sorted, 1000)})
}

impl Campaign {
    /// From the last fault to the last watcher's end, in virtual milliseconds.
    fn took(&self) -> Vec<u64> {
        self.recoveries.iter().map(|(took, _)| *took).collect()
    }

    fn within(&self, bound: impl Fn(&(u64, u64)) -> u64) -> usize {
        self.recoveries
            .iter()
            .filter(|recovery| recovery.0 <= bound(recovery))
            .count()
    }
}

impl Report {
    /// How often streams were told that their job went on after a failure.
    pub fn reopened(&self) -> u64 {
        self.campaign.counts.reopened
    }

    /// Whether nothing went wrong, and every planted bug was found.
    pub fn is_good(&self) -> bool {
        let model = self
            .explored
            .iter()
            .all(|explored| explored.violations.is_empty());
        let found = self.planted.iter().all(|(_, found, _)| found.is_some());
        self.campaign.failures.is_empty() && model && found
    }

    /// The tables.
    pub fn tables(&self) -> String {
        let mut out = String::new();
        self.write_campaign(&mut out)
            .and_then(|()| self.write_explored(&mut out))
            .and_then(|()| self.write_planted(&mut out))
            .expect("a string takes all that is written");
        out
    }

    fn write_campaign(&self, out: &mut String) -> std::fmt::Result {
        let campaign = &self.campaign;
        if campaign.seeds == 0 {
            return Ok(());
        }
        let counts = &campaign.counts;
        let hours = campaign.virtual_time.as_secs_f64() / 3600.0;
        writeln!(out, "By chance")?;
        for (what, number) in [
            ("seeds", campaign.seeds),
            ("decisions", campaign.decisions),
            ("jobs", counts.jobs),
            ("streams", counts.streams),
            ("ends told on streams", counts.ends_seen),
            ("programs killed", counts.crashes),
            ("programs drained", counts.drains),
            ("calls failed or held up", counts.disturbances),
            ("losses of the store", counts.losses),
            ("resets told", counts.resets),
            ("jobs told to go on after a failure", counts.reopened),
            ("lost records told", counts.records_lost),
        ] {
            writeln!(out, "  {number:>12}  {what}")?;
        }
        writeln!(out, "  {hours:>12.1}  virtual hours")?;
        for (what, times) in [
            (
                "the last fault to the last watcher's end",
                self.campaign.took(),
            ),
            (
                "a job's end in its log to the last watcher's end",
                campaign.tellings.clone(),
            ),
        ] {
            let (p50, p99, most) = (share(&times, 500), share(&times, 990), share(&times, 1000));
            writeln!(
                out,
                "  {p50:>5} {p99:>6} {most:>6} ms  p50, p99, max from {what}"
            )?;
        }
        writeln!(
            out,
            "  {} of {} within T = {} ms; {} within T and the work that was left",
            campaign.within(|_| promised()),
            campaign.recoveries.len(),
            promised(),
            campaign.within(|(_, bound)| *bound),
        )?;
        writeln!(
            out,
            "  {:>12}  seeds that broke an invariant",
            campaign.failures.len()
        )?;
        for (seed, violations) in campaign.failures.iter().take(20) {
            writeln!(out, "    SEED={seed} make sim")?;
            for violation in violations.iter().take(3) {
                writeln!(out, "      {violation}")?;
            }
        }
        writeln!(out)
    }

    fn write_explored(&self, out: &mut String) -> std::fmt::Result {
        if self.explored.is_empty() {
            return Ok(());
        }
        writeln!(out, "Small systems, all decisions")?;
        writeln!(out, "  {:>9} {:>7} {:>10}", "states", "paths", "decisions")?;
        for explored in &self.explored {
            let all = if explored.exhausted {
                " (all of it)"
            } else {
                ""
            };
            let Explored {
                name,
                runs,
                states,
                decisions,
                ..
            } = explored;
            writeln!(out, "  {states:>9} {runs:>7} {decisions:>10}  {name}{all}")?;
            for violation in explored.violations.iter().take(3) {
                writeln!(out, "      {violation}")?;
            }
        }
        let states: u64 = self.explored.iter().map(|explored| explored.states).sum();
        let broken: usize = self
            .explored
            .iter()
            .map(|explored| explored.violations.len())
            .sum();
        writeln!(out, "  {states:>9} distinct states, {broken} violations")?;
        writeln!(out)
    }

    fn write_planted(&self, out: &mut String) -> std::fmt::Result {
        if self.planted.is_empty() {
            return Ok(());
        }
        writeln!(out, "Planted bugs")?;
        writeln!(
            out,
            "  {:>7} {:>7}  {:<44} first sign",
            "seeds", "paths", "bug"
        )?;
        for (planted, found, explored) in &self.planted {
            let seeds = found
                .as_ref()
                .map_or("-".to_owned(), |found| found.seeds.to_string());
            let paths = explored
                .as_ref()
                .map_or("-".to_owned(), |explored| explored.runs.to_string());
            let sign = found
                .as_ref()
                .map_or("NOT FOUND", |found| found.violation.as_str());
            let sign: String = sign.chars().take(90).collect();
            writeln!(
                out,
                "  {seeds:>7} {paths:>7}  {:<44} {sign}",
                planted.name()
            )?;
        }
        let found = self
            .planted
            .iter()
            .filter(|(_, found, _)| found.is_some())
            .count();
        writeln!(out, "  {found} of {} found", self.planted.len())?;
        writeln!(out)
    }

    /// The figures for programs.
    pub fn summary(&self) -> Value {
        let campaign = &self.campaign;
        let counts = &campaign.counts;
        let explored: Vec<Value> = self
            .explored
            .iter()
            .map(|explored| {
                json!({
                    "name": explored.name,
                    "states": explored.states,
                    "paths": explored.runs,
                    "decisions": explored.decisions,
                    "exhausted": explored.exhausted,
                    "violations": explored.violations,
                })
            })
            .collect();
        let planted: Vec<Value> = self
            .planted
            .iter()
            .map(|(planted, found, explored)| {
                json!({
                    "name": planted.name(),
                    "found": found.is_some(),
                    "seeds": found.as_ref().map(|found| found.seeds),
                    "violation": found.as_ref().map(|found| &found.violation),
                    "paths": explored.as_ref().map(|explored| explored.runs),
                })
            })
            .collect();
        json!({
            "seeds": campaign.seeds,
            "virtual_hours": campaign.virtual_time.as_secs_f64() / 3600.0,
            "decisions": campaign.decisions,
            "jobs": counts.jobs,
            "streams": counts.streams,
            "ends_told": counts.ends_seen,
            "kills": counts.crashes,
            "drains": counts.drains,
            "disturbances": counts.disturbances,
            "losses": counts.losses,
            "resets": counts.resets,
            "reopened": counts.reopened,
            "records_lost": counts.records_lost,
            "promised_ms": promised(),
            "recovery_ms": times(&campaign.took()),
            "telling_ms": times(&campaign.tellings),
            "failures": campaign.failures,
            "states": self.explored.iter().map(|explored| explored.states).sum::<u64>(),
            "explored": explored,
            "planted": planted,
            "good": self.is_good(),
        })
    }
}
