//! The machine that a run happened on: its processor, kernel, memory, and the time stolen from it.
//!
//! Reads `/proc` and asks programs for their versions. It must never guess: what can't be read is
//! said to be unknown.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use crate::report;

/// The facts that stand at the head of a report.
pub(crate) fn describe() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |text: &str, name: &str| -> Option<String> {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let unknown = || "unknown".to_owned();
    let cores = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let memory = field(&meminfo, "MemTotal")
        .and_then(|text| text.trim_end_matches(" kB").parse::<f64>().ok())
        .map_or_else(unknown, |kib| format!("{:.1} GiB", kib / 1024.0 / 1024.0));
    report::facts(&[
        (
            "processor",
            field(&cpuinfo, "model name").unwrap_or_else(unknown),
        ),
        ("cores", cores.to_string()),
        (
            "load average at the end",
            read_line("/proc/loadavg").unwrap_or_else(unknown),
        ),
        ("memory", memory),
        (
            "kernel",
            read_line("/proc/sys/kernel/osrelease").unwrap_or_else(unknown),
        ),
        ("redis-server", version("redis-server", &["--version"])),
        ("node", version("node", &["--version"])),
        ("nginx", version("nginx", &["-v"])),
        (
            "nchan",
            version(
                "dpkg-query",
                &["-W", "-f", "${Version}", "libnginx-mod-nchan"],
            ),
        ),
    ])
}

/// The first line that a program prints about its version, or `unknown`.
fn version(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        return "unknown".to_owned();
    };
    // nginx says its version on standard error.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines()
        .next()
        .filter(|line| !line.is_empty())
        .unwrap_or("unknown")
        .to_owned()
}

fn read_line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// The processor time of the whole machine at one moment, in clock ticks.
#[derive(Clone, Copy)]
pub(crate) struct Steal {
    stolen: u64,
    total: u64,
}

impl Steal {
    /// Reads the first line of `/proc/stat`.
    pub(crate) fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
        let line = text.lines().next().context("/proc/stat is empty")?;
        // cpu user nice system idle iowait irq softirq steal guest guest_nice; the last two are
        // contained in the first two.
        let ticks: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|word| word.parse().ok())
            .collect();
        let stolen = *ticks.get(7).context("/proc/stat has no steal column")?;
        Ok(Self {
            stolen,
            total: ticks.iter().sum(),
        })
    }

    /// The share of the machine's time, in per cent, that the hypervisor took since `earlier`.
    pub(crate) fn percent_since(self, earlier: Self) -> f64 {
        let total = self.total.saturating_sub(earlier.total).max(1);
        100.0 * self.stolen.saturating_sub(earlier.stolen) as f64 / total as f64
    }
}
