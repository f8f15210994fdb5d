//! The baseline: a line per path with its instructions, and the compiler that they were counted with.
//!
//! Never written but by `check --update`.

use std::{collections::BTreeMap, fmt::Write as _, fs, process::Command};

use anyhow::{Context as _, Result, ensure};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/baseline.txt");
const HEADER: &str =
    "# Instructions per event, or per job; `make bench-guard UPDATE=1` writes this file.\n";
const COMPILER: &str = "# counted with ";

/// What was counted before.
pub(crate) struct Baseline {
    counts: BTreeMap<String, u64>,
    compiler: String,
}

impl Baseline {
    /// Reads the file.
    pub(crate) fn read() -> Result<Self> {
        let text = fs::read_to_string(FILE).with_context(|| format!("reading {FILE}"))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut baseline = Self {
            counts: BTreeMap::new(),
            compiler: String::new(),
        };
        for line in text.lines() {
            if let Some(compiler) = line.strip_prefix(COMPILER) {
                compiler.clone_into(&mut baseline.compiler);
            } else if !line.starts_with('#') {
                let (name, count) = line
                    .split_once(' ')
                    .with_context(|| format!("the baseline has the line {line:?}"))?;
                let count = count
                    .trim()
                    .parse()
                    .with_context(|| format!("the baseline has the line {line:?}"))?;
                ensure!(count > 0, "the baseline of {name} is 0");
                baseline.counts.insert(name.to_owned(), count);
            }
        }
        Ok(baseline)
    }

    /// What a path came to.
    pub(crate) fn count(&self, name: &str) -> Result<u64> {
        let count = self.counts.get(name).copied();
        count.with_context(|| format!("the baseline has no line for {name}"))
    }

    /// Says so where the counts are another compiler's.
    pub(crate) fn compiler_differs(&self) -> Result<Option<String>> {
        let compiler = compiler()?;
        Ok((compiler != self.compiler).then(|| {
            format!(
                "The baseline was counted with {}, and this is {compiler}: counts of two compilers differ.",
                self.compiler
            )
        }))
    }

    /// Replaces the file; answers its text.
    pub(crate) fn write(counts: &[(&str, u64)]) -> Result<String> {
        let mut text = format!("{HEADER}{COMPILER}{}\n", compiler()?);
        for (name, count) in counts {
            writeln!(text, "{name} {count}")?;
        }
        fs::write(FILE, &text).with_context(|| format!("writing {FILE}"))?;
        Ok(text)
    }
}

fn compiler() -> Result<String> {
    let output = Command::new("rustc")
        .arg("--version")
        .output()
        .context("asking rustc for its version")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::Baseline;

    #[test]
    fn lines_are_read_and_what_is_none_is_refused() {
        let text = "# Instructions\n# counted with rustc 1\nappend 120\njob 7000\n";
        let baseline = Baseline::parse(text).expect("a baseline");
        assert_eq!(baseline.count("job").expect("a line"), 7000);
        assert_eq!(baseline.compiler, "rustc 1");
        assert!(baseline.count("deliver").is_err());
        for wrong in ["append", "append x", "append 0", ""] {
            assert!(Baseline::parse(&format!("{wrong}\n")).is_err(), "{wrong}");
        }
    }
}
