//! The channels as programs see them that aren't ours: Redis' channel of all events, or NATS' subjects.
//!
//! Never in here: what is said on them.

use std::io::Result;

use crate::Resp;
use crate::nats::Outsider;
use crate::resp::Reply;

const EVERY_JOB: &str = "triton:jobs:all";
/// Where our own programs announce what is sealed.
const SEALED: &str = "triton:bus:events";

/// Where events are announced, by its port.
#[derive(Debug, Clone, Copy)]
pub(super) enum Channel {
    Redis(u16),
    Nats(u16),
}

/// Listens to every event.
pub(super) enum Listener {
    Redis(Resp),
    Nats(Outsider),
}

impl Channel {
    pub(super) async fn listen(self) -> Result<Listener> {
        Ok(match self {
            Self::Redis(port) => {
                let mut channel = Resp::open(port).await?;
                channel.say(&["SUBSCRIBE", EVERY_JOB]).await?;
                Listener::Redis(channel)
            }
            Self::Nats(port) => {
                let mut reader = Outsider::open(port, "reader").await?;
                reader.subscribe("triton.own.*").await?;
                reader.subscribe("triton.jobs.*").await?;
                Listener::Nats(reader)
            }
        })
    }

    /// Publishes a job's event where external publishers do; whoever listens hears it.
    pub(super) async fn publish(self, job: &str, line: &[u8]) -> Result<()> {
        match self {
            Self::Redis(port) => {
                let mut resp = Resp::open(port).await?;
                let one = format!("triton:jobs:{job}");
                resp.ask(&[b"PUBLISH", EVERY_JOB.as_bytes(), line]).await?;
                resp.ask(&[b"PUBLISH", one.as_bytes(), line]).await?;
                Ok(())
            }
            Self::Nats(port) => {
                let mut publisher = Outsider::open(port, "publisher").await?;
                // Nothing else is a part of a subject.
                let in_a_name = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
                let name = if job.chars().all(in_a_name) {
                    job
                } else {
                    "odd"
                };
                publisher
                    .publish(&format!("triton.jobs.{name}"), line)
                    .await
            }
        }
    }

    /// Publishes on Redis where our own programs announce what is sealed, as one that was given a right to it.
    pub(super) async fn seal(self, message: &[u8]) {
        if let Self::Redis(port) = self
            && let Ok(mut resp) = Resp::open(port).await
        {
            // Whether it arrives is the forger's own trouble.
            drop(resp.ask(&[b"PUBLISH", SEALED.as_bytes(), message]).await);
        }
    }

    /// The port of the Redis whose channels these are.
    pub(super) fn redis(self) -> Option<u16> {
        match self {
            Self::Redis(port) => Some(port),
            Self::Nats(_) => None,
        }
    }

    /// Publishes where only our own programs may: true when that was let through.
    pub(super) async fn impersonate(self, job: &str, line: &[u8]) -> bool {
        let Self::Nats(port) = self else {
            return false;
        };
        let Ok(mut publisher) = Outsider::open(port, "publisher").await else {
            return false;
        };
        let subject = format!("triton.own.{job}");
        publisher.publish(&subject, line).await.is_ok()
    }
}

impl Listener {
    /// The next event's bytes.
    pub(super) async fn next(&mut self) -> Result<Vec<u8>> {
        match self {
            Self::Redis(channel) => loop {
                let message = channel.next().await?;
                if let Some(Reply::Text(line)) = message.items().get(2) {
                    return Ok(line.clone());
                }
            },
            Self::Nats(reader) => Ok(reader.next().await?.1),
        }
    }
}
