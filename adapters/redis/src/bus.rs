//! The bus: the two public channels, on which each append is announced by its script. What is sent here is
//! announced without an append.
//!
//! Never in here: a pool. One that is busy says nothing of the subscription.

use async_trait::async_trait;
use bytes::Bytes;
use conch_bus_kit::{Received, To, Transport};
use conch_ports::{Carries, Message, Result};
use futures::StreamExt;
use futures::stream::BoxStream;
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
        let channels = [self.keys.every_job(), probes.clone()];
        let connection = self.connections.subscription(SUBSCRIBE, &channels).await?;
        let received = move |message: Msg| {
            if message.get_channel_name() == probes {
                return Received::Probe;
            }
            let bytes = Bytes::copy_from_slice(message.get_payload_bytes());
            Received::Message(Message::public(bytes))
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
