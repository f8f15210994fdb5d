//! A private redis-server on a free port: started, killed, stopped, continued and restarted on the same
//! port and directory. Whatever else listens on 6379 of this machine is none of its business.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::eventually::eventually_blocking;
use crate::{Process, port};

/// What survives a `SIGKILL` of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing.
    None,
    /// Every acknowledged write, as long as the disk keeps up; the kernel has it, the disk within a second.
    EverySec,
    /// Every acknowledged write, on the disk.
    Always,
}

/// A running redis-server.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    persistence: Persistence,
    directory: TempDir,
    process: Process,
}

impl Redis {
    /// Starts one on a free port and waits until it answers.
    ///
    /// # Panics
    /// When no redis-server can be started.
    pub fn start(persistence: Persistence) -> Self {
        let directory = data_directory();
        for _ in 0..5 {
            let port = port::free();
            let mut process = spawn(port, persistence, &directory);
            if answers(port, &mut process) {
                return Self {
                    port,
                    persistence,
                    directory,
                    process,
                };
            }
            assert!(
                process.stdout().contains("Address already in use"),
                "redis-server does not come up\n{}",
                process.last_words()
            );
        }
        panic!("five ports in turn were taken before redis-server could have them");
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What `REDIS_URL` is to say.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port and directory, and waits until it has loaded its data.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = spawn(self.port, self.persistence, &self.directory);
        assert!(
            answers(self.port, &mut self.process),
            "redis-server does not come up again"
        );
    }

    /// `SIGSTOP`: connections stay open and nothing is answered.
    pub fn freeze(&mut self) {
        self.process.signal(Signal::SIGSTOP);
    }

    /// `SIGCONT`.
    pub fn thaw(&mut self) {
        self.process.signal(Signal::SIGCONT);
    }

    /// What `redis-cli` with these arguments prints, without the last line's end.
    ///
    /// # Panics
    /// When redis-cli fails.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(arguments)
            .output()
            .expect("redis-cli is installed with redis-server");
        assert!(
            output.status.success(),
            "redis-cli {arguments:?}: {output:?}"
        );
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned()
    }

    /// Sends a command whose words may be any bytes, which a command line can't carry. The first line of
    /// what Redis answers.
    ///
    /// # Panics
    /// When Redis refuses it, or doesn't answer.
    pub fn send(&self, words: &[&[u8]]) -> String {
        let mut connection =
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("Redis listens");
        let mut command = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            command.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            command.extend_from_slice(word);
            command.extend_from_slice(b"\r\n");
        }
        connection.write_all(&command).expect("Redis reads");
        let mut answer = String::new();
        BufReader::new(connection)
            .read_line(&mut answer)
            .expect("Redis answers");
        assert!(!answer.starts_with('-'), "{answer}");
        answer.trim_end().to_owned()
    }

    /// `redis-cli SUBSCRIBE channel`, in the background; returns once Redis has confirmed it. It prints
    /// `message`, the channel and the payload on a line each.
    ///
    /// # Panics
    /// When it is not confirmed.
    pub fn subscribe(&self, channel: &str) -> Subscription {
        let process = Process::start(
            format!("redis-cli SUBSCRIBE {channel}"),
            Command::new("redis-cli").args(["-p", &self.port.to_string(), "SUBSCRIBE", channel]),
        );
        eventually_blocking("redis-cli is subscribed", || {
            process.stdout().starts_with("subscribe\n").then_some(())
        });
        Subscription {
            channel: channel.to_owned(),
            process,
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        port::give_back(self.port);
    }
}

/// A `redis-cli SUBSCRIBE` that runs.
#[derive(Debug)]
pub struct Subscription {
    channel: String,
    process: Process,
}

impl Subscription {
    /// The messages so far, as they came.
    ///
    /// # Panics
    /// When a message is not on exactly one line.
    pub fn messages(&self) -> Vec<String> {
        let text = self.process.stdout();
        // What is still being written is read the next time.
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        // "subscribe", the channel, "1"; then three lines per message.
        let lines: Vec<&str> = whole.lines().skip(3).collect();
        lines
            .chunks_exact(3)
            .map(|message| {
                assert_eq!(
                    (message[0], message[1]),
                    ("message", self.channel.as_str()),
                    "an event must be one line: {text}"
                );
                message[2].to_owned()
            })
            .collect()
    }
}

/// In memory where the system has a place for that. While a disk is busy with an earlier fsync, a Redis with
/// `everysec` puts its writes off for up to two seconds, and loses them when it is killed then: these tests
/// kill processes, and must not depend on how busy this machine's disk is.
fn data_directory() -> TempDir {
    tempfile::Builder::new()
        .tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a temporary directory can be made")
}

fn spawn(port: u16, persistence: Persistence, directory: &TempDir) -> Process {
    let (append_only, fsync) = match persistence {
        Persistence::None => ("no", "no"),
        Persistence::EverySec => ("yes", "everysec"),
        Persistence::Always => ("yes", "always"),
    };
    Process::start(
        format!("redis-server on {port}"),
        Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", append_only])
            .args(["--appendfsync", fsync])
            .arg("--dir")
            .arg(directory.path()),
    )
}

/// Waits for a `+PONG`; false when the process ends instead.
fn answers(port: u16, process: &mut Process) -> bool {
    eventually_blocking("redis-server answers PING", || {
        if process.ended().is_some() {
            return Some(false);
        }
        (ping(port).as_ref() == Some(b"+PONG")).then_some(true)
    })
}

fn ping(port: u16) -> Option<[u8; 5]> {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    connection
        .set_read_timeout(Some(Duration::from_secs(1)))
        .ok()?;
    connection.write_all(b"PING\r\n").ok()?;
    let mut answer = [0; 5];
    connection.read_exact(&mut answer).ok()?;
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_on_disk_survives_a_kill_and_memory_does_not() {
        for (persistence, kept) in [(Persistence::EverySec, "1"), (Persistence::None, "")] {
            let mut redis = Redis::start(persistence);
            let port = redis.port();
            redis.cli(&["SET", "key", "1"]);
            redis.kill();
            redis.restart();
            assert_eq!(redis.port(), port);
            assert_eq!(redis.cli(&["GET", "key"]), kept, "{persistence:?}");
        }
    }

    #[test]
    fn a_frozen_server_answers_once_it_is_thawed() {
        let mut redis = Redis::start(Persistence::None);
        redis.freeze();
        assert!(ping(redis.port()).is_none());
        redis.thaw();
        assert_eq!(redis.cli(&["PING"]), "PONG");
    }

    #[test]
    fn a_subscription_returns_its_messages() {
        let redis = Redis::start(Persistence::None);
        let subscription = redis.subscribe("a");
        redis.cli(&["PUBLISH", "b", "not this"]);
        redis.cli(&["PUBLISH", "a", r#"{"n":1}"#]);
        redis.cli(&["PUBLISH", "a", r#"{"n":2}"#]);
        let messages = eventually_blocking("both messages", || {
            Some(subscription.messages()).filter(|m| m.len() == 2)
        });
        assert_eq!(messages, [r#"{"n":1}"#, r#"{"n":2}"#]);
    }
}
