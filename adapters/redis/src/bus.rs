//! The bus: the two public channels and the one of our own, on which each append is announced by its script.
//! What is sent here is announced without an append, on the public ones.
//!
//! Never in here: a pool. One that is busy says nothing of the subscription. Nor a look into a message: which
//! channel it came on is all that says whose it is.

use async_trait::async_trait;
use bytes::Bytes;
use conch_bus_kit::{Received, To, Transport};
use conch_ports::{Carries, ErrorKind, Message, Result};
use futures::StreamExt;
use futures::stream::BoxStream;
use redis::aio::PubSub;
use redis::{Msg, Script};

use crate::connection::{Connections, failed};
use crate::keys::Keys;

const SUBSCRIBE: &str = "event_bus.subscribe";
const ANNOUNCE: &str = "event_bus.announce";
/// Longest message, in bytes. The kit takes no longer one from any bus.
const MAX_BYTES: usize = 1024 * 1024;

pub(crate) struct Channels {
    connections: Connections,
    keys: Keys,
    announce: Script,
}

impl Channels {
    pub(crate) fn new(connections: Connections, keys: Keys) -> Self {
        Self {
            connections,
            keys,
            announce: Script::new(include_str!("lua/announce.lua")),
        }
    }

    /// Without the last of the channels where this user has no right to it: then all is heard on the others, and
    /// read from the log.
    async fn subscribe(&self, channels: &[String; 3]) -> Result<PubSub> {
        let all = self.connections.subscription(SUBSCRIBE, channels).await;
        match all {
            Err(error) if error.kind() == ErrorKind::Refused => {
                let subscription = self.connections.subscription(SUBSCRIBE, &channels[..2]);
                let subscription = subscription.await?;
                tracing::warn!(
                    channel = channels[2],
                    "the Redis user may not use this channel, so each event is read from the log: see docs/operations.md"
                );
                Ok(subscription)
            }
            done => done,
        }
    }
}

#[async_trait]
impl Transport for Channels {
    fn name(&self) -> &'static str {
        "Redis"
    }

    fn carries(&self) -> Carries {
        Carries {
            lines: true,
            // There is no channel yet that our own programs alone may use.
            ephemeral: false,
            external: true,
            max_bytes: MAX_BYTES,
            shared: true,
        }
    }

    /// On a connection of its own.
    async fn listen(&self, probe: &str) -> Result<BoxStream<'static, Received>> {
        let probes = self.keys.probe(probe);
        let sealed = self.keys.sealed();
        let channels = [self.keys.every_job(), probes.clone(), sealed.clone()];
        let connection = self.subscribe(&channels).await?;
        let received = move |message: Msg| {
            let channel = message.get_channel_name();
            if channel == probes {
                return Received::Probe;
            }
            let bytes = Bytes::copy_from_slice(message.get_payload_bytes());
            Received::Message(if channel == sealed {
                Message::own(bytes)
            } else {
                Message::public(bytes)
            })
        };
        Ok(connection.into_on_message().map(received).boxed())
    }

    async fn send(&self, to: To<'_>, bytes: Bytes) -> Result<()> {
        match to {
            To::Own(job_id) => {
                let mut call = self.announce.prepare_invoke();
                call.arg(self.keys.every_job())
                    .arg(self.keys.one_job(job_id))
                    .arg(&bytes[..]);
                // Once more does no harm: an announcement may be repeated.
                self.connections.script_shared(ANNOUNCE, &call).await
            }
            To::Probe(name) => {
                let mut command = redis::cmd("PUBLISH");
                command.arg(self.keys.probe(name)).arg(&bytes[..]);
                let published = self.connections.run_shared(SUBSCRIBE, &command).await?;
                published.map_err(|error| failed(SUBSCRIBE, error))
            }
        }
    }

    async fn ping(&self) -> Result<()> {
        self.connections.ping("event_bus.ping").await
    }
}
