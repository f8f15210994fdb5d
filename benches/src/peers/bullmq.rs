//! BullMQ in Node, as `bullmq/peer.mjs` runs it, from outside.
//!
//! The program is one process for all orders, loaded before the first, so that no figure has a start in it.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::process::{Process, free_address, installed};

/// No order takes this long.
const PATIENCE: Duration = Duration::from_mins(3);

/// The running program.
pub(crate) struct BullMq {
    process: Process,
    control: BufReader<TcpStream>,
}

impl BullMq {
    /// Starts it on a Redis; `bodies` has a result per line.
    pub(crate) fn start(redis: SocketAddr, bodies: &Path, directory: &Path) -> Result<Self> {
        let program = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/bullmq/peer.mjs"));
        let modules = program.with_file_name("node_modules");
        ensure!(
            modules.is_dir(),
            "{} is missing: scripts/set-up bench",
            modules.display()
        );
        let control = free_address()?;
        let mut command = Command::new(installed("node", "nodejs")?);
        command
            .arg(program)
            .arg(redis.port().to_string())
            .arg(control.port().to_string())
            .arg(bodies);
        let mut process = Process::start("bullmq", command, directory)?;
        process.listening(control)?;
        let stream = TcpStream::connect(control)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            process,
            control: BufReader::new(stream),
        })
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Gives an order and answers the figure of that name when it has been carried out.
    pub(crate) fn order(&mut self, order: &serde_json::Value, figure: &str) -> Result<f64> {
        self.control
            .get_mut()
            .write_all(format!("{order}\n").as_bytes())?;
        let mut line = String::new();
        self.control
            .read_line(&mut line)
            .with_context(|| format!("BullMQ's answer to {order}"))?;
        let answer: serde_json::Value = serde_json::from_str(&line)
            .with_context(|| format!("BullMQ answered {line:?} to {order}"))?;
        let failed = answer["failed"].as_u64().unwrap_or(0);
        ensure!(failed == 0, "{failed} of BullMQ's jobs failed");
        answer[figure]
            .as_f64()
            .with_context(|| format!("BullMQ answered {line:?} to {order}"))
    }
}
