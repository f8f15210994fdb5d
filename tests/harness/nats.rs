//! A private nats-server on a free port, with the users that the documentation names; and as much of its
//! protocol as an outsider needs, so that no client library stands between a test and what the server says.
//!
//! A connection never reconnects by itself: the test decides what a lost one means.

use std::io::{Error, ErrorKind, Result};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::eventually::eventually_blocking;
use crate::{Process, port};

/// No answer takes longer from a server that is well.
const LIMIT: Duration = Duration::from_secs(5);

/// Our programs, an external publisher and a reader, with the least rights that each of them needs: as
/// docs/operations.md has them.
pub const RIGHTS: &str = r#"
authorization { users: [
  { user: conch-worker, password: secret, permissions: {
      publish: ["triton.own.*", "triton.probe.*"], subscribe: ["triton.*.*"] } }
  { user: conch-api, password: secret, permissions: {
      publish: ["triton.own.*", "triton.probe.*"], subscribe: ["triton.*.*"] } }
  { user: publisher, password: secret, permissions: {
      publish: ["triton.jobs.*"], subscribe: { deny: ">" } } }
  { user: reader, password: secret, permissions: {
      publish: { deny: ">" }, subscribe: ["triton.jobs.*", "triton.own.*"] } }
] }
"#;

/// A running nats-server.
#[derive(Debug)]
pub struct Nats {
    port: u16,
    directory: TempDir,
    process: Process,
}

impl Nats {
    /// Starts one on a free port, with that in its configuration (as [`RIGHTS`]), and waits until it answers.
    ///
    /// # Panics
    /// When no nats-server can be started.
    pub fn start(configuration: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        for _ in 0..5 {
            let port = port::free();
            configure(&directory, port, configuration);
            let mut process = spawn(&directory, port);
            if listens(port, &mut process) {
                return Self {
                    port,
                    directory,
                    process,
                };
            }
            let last_words = process.last_words();
            let taken = last_words.contains("address already in use");
            assert!(taken, "nats-server does not come up\n{last_words}");
        }
        panic!("five ports in turn were taken before nats-server could have them");
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What `BUS_URL` is to say for one of the users of [`RIGHTS`].
    pub fn url(&self, user: &str) -> String {
        format!("nats://{user}:secret@127.0.0.1:{}", self.port)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = spawn(&self.directory, self.port);
        assert!(
            listens(self.port, &mut self.process),
            "nats-server does not come up again"
        );
    }

    /// Another configuration, without a restart. Users whose rights it changes may be cut off.
    pub fn reconfigure(&mut self, configuration: &str) {
        configure(&self.directory, self.port, configuration);
        self.process.signal(Signal::SIGHUP);
    }

    /// `SIGSTOP`: connections stay open and nothing is answered.
    pub fn freeze(&mut self) {
        self.process.signal(Signal::SIGSTOP);
    }

    /// `SIGCONT`.
    pub fn thaw(&mut self) {
        self.process.signal(Signal::SIGCONT);
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        port::give_back(self.port);
    }
}

fn file(directory: &TempDir) -> PathBuf {
    directory.path().join("nats.conf")
}

fn configure(directory: &TempDir, port: u16, configuration: &str) {
    let text = format!("listen: \"127.0.0.1:{port}\"\n{configuration}");
    std::fs::write(file(directory), text).expect("the directory is ours");
}

fn spawn(directory: &TempDir, port: u16) -> Process {
    // Debian puts it where not every user's path leads.
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let program = std::env::var("NATS_SERVER_BIN").unwrap_or("nats-server".to_owned());
    Process::start(
        format!("nats-server on {port}"),
        Command::new(program)
            .env("PATH", path)
            .arg("--config")
            .arg(file(directory)),
    )
}

/// Waits until something listens; false when the process ends instead.
fn listens(port: u16, process: &mut Process) -> bool {
    eventually_blocking("nats-server listens", || {
        if process.ended().is_some() {
            return Some(false);
        }
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .is_ok()
            .then_some(true)
    })
}

/// A connection of a program that isn't ours.
#[derive(Debug)]
pub struct Outsider {
    stream: BufReader<TcpStream>,
    /// Messages that came before they were asked for: subject and bytes.
    early: Vec<(String, Vec<u8>)>,
    subscriptions: u32,
}

impl Outsider {
    /// Connects as one of the users of [`RIGHTS`].
    ///
    /// # Errors
    /// When the server is away, or doesn't let it in.
    pub async fn open(port: u16, user: &str) -> Result<Self> {
        let stream = timeout(LIMIT, TcpStream::connect((Ipv4Addr::LOCALHOST, port))).await??;
        let mut outsider = Self {
            stream: BufReader::new(stream),
            early: Vec::new(),
            subscriptions: 0,
        };
        let hello = json!({"verbose": false, "user": user, "pass": "secret", "name": "outsider"});
        outsider
            .say(format!("CONNECT {hello}\r\n").as_bytes())
            .await?;
        outsider.settle().await?;
        Ok(outsider)
    }

    /// Publishes, and returns once the server has it.
    ///
    /// # Errors
    /// When the server refuses, or is away.
    pub async fn publish(&mut self, subject: &str, bytes: &[u8]) -> Result<()> {
        let head = format!("PUB {subject} {}\r\n", bytes.len());
        self.say(&[head.as_bytes(), bytes, b"\r\n"].concat())
            .await?;
        self.settle().await
    }

    /// Subscribes, and returns once the server knows.
    ///
    /// # Errors
    /// When the server refuses, or is away.
    pub async fn subscribe(&mut self, subject: &str) -> Result<()> {
        self.subscriptions += 1;
        let subscribe = format!("SUB {subject} {}\r\n", self.subscriptions);
        self.say(subscribe.as_bytes()).await?;
        self.settle().await
    }

    /// The next message of what it has subscribed to: its subject and its bytes. Waits for as long as it takes.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn next(&mut self) -> Result<(String, Vec<u8>)> {
        if !self.early.is_empty() {
            return Ok(self.early.remove(0));
        }
        loop {
            if let Said::Message(subject, bytes) = self.hear().await? {
                return Ok((subject, bytes));
            }
        }
    }

    /// Until the server has done all that it was told.
    async fn settle(&mut self) -> Result<()> {
        self.say(b"PING\r\n").await?;
        let settled = async {
            let mut refused = None;
            loop {
                match self.hear().await? {
                    Said::Message(subject, bytes) => self.early.push((subject, bytes)),
                    Said::Refused(why) => refused = Some(why),
                    Said::Pong => break,
                    Said::Else => {}
                }
            }
            refused.map_or(Ok(()), |why| {
                Err(Error::new(ErrorKind::PermissionDenied, why))
            })
        };
        timeout(LIMIT, settled).await?
    }

    async fn say(&mut self, bytes: &[u8]) -> Result<()> {
        timeout(LIMIT, self.stream.get_mut().write_all(bytes)).await?
    }

    async fn hear(&mut self) -> Result<Said> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["MSG", subject, .., length] => {
                let length: usize = length.parse().map_err(Error::other)?;
                // And the line's end.
                let mut bytes = vec![0; length + 2];
                self.stream.read_exact(&mut bytes).await?;
                bytes.truncate(length);
                Ok(Said::Message(subject.to_owned(), bytes))
            }
            ["PING"] => {
                self.say(b"PONG\r\n").await?;
                Ok(Said::Else)
            }
            ["PONG"] => Ok(Said::Pong),
            ["-ERR", ..] => Ok(Said::Refused(line.trim_end().to_owned())),
            _ => Ok(Said::Else),
        }
    }
}

/// What the server says.
enum Said {
    Message(String, Vec<u8>),
    Pong,
    Refused(String),
    Else,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_one_publishes_another_hears_byte_for_byte() {
        let nats = Nats::start(RIGHTS);
        let mut reader = Outsider::open(nats.port(), "reader").await.unwrap();
        reader.subscribe("triton.jobs.*").await.unwrap();
        let mut publisher = Outsider::open(nats.port(), "publisher").await.unwrap();
        let sent: [&[u8]; 3] = [b"{\"n\":1}", b"", b"two\r\nlines\0\xff"];
        for bytes in sent {
            publisher.publish("triton.jobs.j-1", bytes).await.unwrap();
        }
        for bytes in sent {
            let heard = reader.next().await.unwrap();
            assert_eq!(heard, ("triton.jobs.j-1".to_owned(), bytes.to_vec()));
        }
    }

    #[test]
    fn the_rights_are_those_that_are_documented() {
        let documented = include_str!("../../docs/operations.md");
        assert!(documented.contains(RIGHTS.trim()));
    }

    #[tokio::test]
    async fn no_user_may_do_more_than_is_said() {
        let nats = Nats::start(RIGHTS);
        let mut publisher = Outsider::open(nats.port(), "publisher").await.unwrap();
        for refused in [
            publisher.publish("triton.own.j-1", b"forged").await,
            publisher.subscribe("triton.jobs.*").await,
        ] {
            let error = refused.expect_err("it may not");
            assert!(
                error.to_string().contains("Permissions Violation"),
                "{error}"
            );
        }
        let mut reader = Outsider::open(nats.port(), "reader").await.unwrap();
        let refused = reader.publish("triton.jobs.j-1", b"").await;
        assert!(refused.is_err());
        assert!(Outsider::open(nats.port(), "nobody").await.is_err());
    }

    #[tokio::test]
    async fn it_is_killed_frozen_restarted_and_configured_anew() {
        let mut nats = Nats::start(RIGHTS);
        let mut reader = Outsider::open(nats.port(), "reader").await.unwrap();
        nats.kill();
        assert!(reader.next().await.is_err());
        assert!(Outsider::open(nats.port(), "reader").await.is_err());
        nats.restart();
        let mut reader = Outsider::open(nats.port(), "reader").await.unwrap();
        nats.freeze();
        let silence = Duration::from_millis(200);
        let frozen = timeout(silence, Outsider::open(nats.port(), "reader")).await;
        assert!(frozen.is_err(), "{frozen:?}");
        nats.thaw();
        reader.subscribe("triton.own.*").await.unwrap();
        nats.reconfigure("");
        crate::eventually::eventually("every user is let in", async || {
            Outsider::open(nats.port(), "nobody").await.ok()
        })
        .await;
    }
}
