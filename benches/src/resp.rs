//! As much of Redis's protocol as a foreign publisher needs: commands out, a reply in.
//!
//! A blocking connection of its own, so that no client library stands between a publish and its
//! time stamp. It must never be used by anything but this bench.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

/// No command of ours takes this long.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to Redis.
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).context("connecting to redis")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Sends a command in one write and doesn't wait for its reply.
    pub(crate) fn send(&mut self, command: &[&[u8]]) -> Result<()> {
        let mut bytes = Vec::new();
        encode(&mut bytes, command);
        self.stream
            .get_mut()
            .write_all(&bytes)
            .context("writing to redis")
    }

    /// Sends `commands` encoded commands in one write and reads as many replies.
    pub(crate) fn pipeline(&mut self, encoded: &[u8], commands: usize) -> Result<()> {
        self.stream
            .get_mut()
            .write_all(encoded)
            .context("writing to redis")?;
        for _ in 0..commands {
            self.reply()?;
        }
        Ok(())
    }

    /// Reads one reply as text: a status, a number or a string; an absent value is `None`.
    pub(crate) fn reply(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        self.stream
            .read_line(&mut line)
            .context("reading from redis")?;
        let line = line.trim_end();
        match line.split_at_checked(1) {
            Some(("+" | ":", rest)) => Ok(Some(rest.to_owned())),
            Some(("$", "-1")) => Ok(None),
            Some(("$", length)) => {
                let length: usize = length.parse().context("a length from redis")?;
                let mut bytes = vec![0; length + 2];
                self.stream
                    .read_exact(&mut bytes)
                    .context("reading from redis")?;
                bytes.truncate(length);
                Ok(Some(String::from_utf8(bytes).context("text from redis")?))
            }
            Some(("-", error)) => bail!("redis answered an error: {error}"),
            _ => bail!("redis answered {line:?}, which isn't understood here"),
        }
    }

    /// Sends a command and reads its reply.
    pub(crate) fn call(&mut self, command: &[&[u8]]) -> Result<Option<String>> {
        self.send(command)?;
        self.reply()
    }

    /// Publishes and answers how many subscriptions it reached.
    pub(crate) fn publish(&mut self, channel: &str, payload: &[u8]) -> Result<u64> {
        let reached = self.call(&[b"PUBLISH", channel.as_bytes(), payload])?;
        reached
            .context("PUBLISH has a reply")?
            .parse()
            .context("PUBLISH answers a number")
    }

    /// How many commands the server has carried out since it started.
    pub(crate) fn commands_processed(&mut self) -> Result<u64> {
        let info = self
            .call(&[b"INFO", b"stats"])?
            .context("INFO has a reply")?;
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("total_commands_processed:"));
        line.context("INFO has no total_commands_processed")?
            .trim()
            .parse()
            .context("a number")
    }

    /// How many scripts the server has run, and how many commands, those within scripts included.
    pub(crate) fn calls(&mut self) -> Result<Calls> {
        let info = self
            .call(&[b"INFO", b"commandstats"])?
            .context("INFO has a reply")?;
        calls(&info)
    }
}

/// Adds a command to `bytes` as Redis reads it.
pub(crate) fn encode(bytes: &mut Vec<u8>, command: &[&[u8]]) {
    bytes.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
    for word in command {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
}

/// What a server has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    /// Scripts and functions run.
    pub scripts: u64,
    /// Commands, those within scripts included; but none that only looks at the server.
    pub commands: u64,
}

/// Reads `cmdstat_get:calls=7,usec=…` and the like.
fn calls(info: &str) -> Result<Calls> {
    let mut all = Calls::default();
    for line in info.lines() {
        let Some((name, figures)) = line
            .strip_prefix("cmdstat_")
            .and_then(|line| line.split_once(':'))
        else {
            continue;
        };
        let count = figures
            .split(',')
            .find_map(|figure| figure.strip_prefix("calls="))
            .with_context(|| format!("no calls in {line:?}"))?;
        let count: u64 = count
            .parse()
            .with_context(|| format!("calls in {line:?}"))?;
        match name {
            "info" => continue,
            "eval" | "evalsha" | "eval_ro" | "evalsha_ro" | "fcall" | "fcall_ro" => {
                all.scripts += count;
            }
            _ => {}
        }
        all.commands += count;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::{Calls, calls};

    #[test]
    fn scripts_and_all_commands_are_counted_but_not_the_looks_at_them() {
        let info = "# Commandstats\r\ncmdstat_info:calls=9,usec=1\r\ncmdstat_evalsha:calls=2,usec=40,usec_per_call=20.00\r\ncmdstat_client|id:calls=1,usec=1\r\ncmdstat_xadd:calls=5,usec=7\r\n";
        let expected = Calls {
            scripts: 2,
            commands: 8,
        };
        assert_eq!(calls(info).unwrap(), expected);
        assert!(calls("cmdstat_get:usec=1").is_err());
    }
}
