//! This program again, one path of it, under callgrind.

use std::{path::Path as File, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::Path;

/// The instructions that a path took, all its times together.
pub(crate) fn count(path: Path) -> Result<u64> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("callgrind.out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--toggle-collect={}", path.function()))
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(std::env::current_exe().context("finding this program's own path")?)
        .args(["run", path.name()])
        .output()
        .context("starting valgrind: scripts/set-up guard")?;
    ensure!(
        output.status.success(),
        "{} under callgrind ended with {}:\n{}",
        path.name(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let count = total(&file)?;
    ensure!(
        count > 0,
        "{} was never entered: is it inlined or renamed?",
        path.function()
    );
    Ok(count)
}

/// The line `totals: 123` of callgrind's file.
fn total(file: &File) -> Result<u64> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let total = line.context("callgrind wrote no totals")?;
    total.trim().parse().context("callgrind's totals")
}
