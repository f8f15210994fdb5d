//! Announcements over core NATS, which stores nothing.
//!
//! ```text
//!   <prefix>.jobs.<job>    public: external publishers
//!   <prefix>.own.<job>     our announcements: only writers may publish here
//!   <prefix>.probe.<name>  tests of the link
//! ```
//!
//! One subscription hears them all, `<prefix>.*.*`. So a probe that comes back proves the right to hear the
//! others, and nothing overtakes anything.
//!
//! Never in here: a second client (one that is dropped while its server is away tries to connect for ever),
//! or an address in a message: it may hold a password.

use std::fmt::Display;
use std::future::ready;
use std::path::PathBuf;
use std::sync::Arc;

use async_nats::{Client, ConnectOptions, Event, ServerAddr, client::PublishErrorKind};
use async_trait::async_trait;
use bytes::Bytes;
use conch_bus_kit::{Received, To, Transport};
use conch_ports::{Carries, Error, ErrorKind, EventBus, Message, Result};
use futures::{StreamExt, stream::BoxStream};
use percent_encoding::percent_decode_str;
use tokio::sync::{OnceCell, watch};

pub use conch_bus_kit::{InvalidSettings, Settings as KitSettings};

/// What the adapter takes.
#[derive(Clone)]
pub struct Settings {
    /// Where the servers are: `nats://` or `tls://`, several separated by commas. May hold
    /// `user:password@` or `token@`, the same for all of them. One `tls://` means TLS for all of them.
    pub url: String,
    /// What a credentials file says (a user's JWT and its seed).
    pub credentials: Option<String>,
    /// A PEM file of the authorities to trust, instead of the system's.
    pub authorities: Option<PathBuf>,
    /// What every subject begins with: one token, so without dots.
    pub prefix: String,
    /// How the link is tested, and what waits for it.
    pub kit: conch_bus_kit::Settings,
}

impl Settings {
    /// Makes the bus. Connects to nothing yet: the process must start while NATS is down.
    ///
    /// # Errors
    /// When a setting cannot work.
    pub fn build(self) -> Result<Arc<dyn EventBus>, InvalidSettings> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b"_-:{}".contains(&b);
        if !(1..=64).contains(&self.prefix.len()) || !self.prefix.bytes().all(good) {
            let reason = "must be 1 to 64 characters of A-Z a-z 0-9 _ - : { }";
            return Err(InvalidSettings::new("prefix", reason));
        }
        let parse = |text: &str| {
            let known = text.starts_with("nats://") || text.starts_with("tls://");
            let server: Option<ServerAddr> = text.parse().ok().filter(|_| known);
            let names_a_user =
                |server: &ServerAddr| server.password().is_none() || server.username().is_some();
            server.filter(|server| !server.host().is_empty() && names_a_user(server))
        };
        let servers: Option<Vec<_>> = self.url.split(',').map(parse).collect();
        let reason =
            "must be nats://[user:password@]host[:port] or tls://…, several separated by commas";
        let servers = servers.ok_or(InvalidSettings::new("url", reason))?;
        let link = watch::Sender::new(Link::default());
        Ok(self.kit.clone().bus(Nats {
            options: self.options(&servers, link.clone())?,
            servers,
            prefix: self.prefix,
            client: OnceCell::new(),
            link,
        }))
    }

    fn options(
        &self,
        servers: &[ServerAddr],
        link: watch::Sender<Link>,
    ) -> Result<ConnectOptions, InvalidSettings> {
        let mut options = ConnectOptions::new()
            .name("conch")
            .connection_timeout(self.kit.probe_timeout)
            // Of a connection on which two of them stay without an answer.
            .ping_interval(self.kit.probe_interval)
            .subscription_capacity(self.kit.queue_signals)
            // The addresses that a server tells of the others come without a scheme.
            .require_tls(servers.iter().any(ServerAddr::tls_required))
            .event_callback(move |event| {
                link.send_modify(|link| link.note(event));
                ready(())
            });
        // The client itself doesn't look at what an address says of its user.
        if let Some(server) = servers.iter().find(|server| server.has_user_pass()) {
            let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
            let user = decode(server.username().unwrap_or_default());
            options = match server.password() {
                Some(password) => options.user_and_password(user, decode(password)),
                None => options.token(user),
            };
        }
        if let Some(authorities) = &self.authorities {
            options = options.add_root_certificates(authorities.clone());
        }
        let Some(text) = &self.credentials else {
            return Ok(options);
        };
        let reason = "must be what a NATS credentials file says";
        options
            .credentials(text)
            .map_err(|_| InvalidSettings::new("credentials", reason))
    }
}

struct Nats {
    servers: Vec<ServerAddr>,
    options: ConnectOptions,
    prefix: String,
    client: OnceCell<Client>,
    link: watch::Sender<Link>,
}

/// What the client tells of its connection, which it replaces by itself.
#[derive(Default)]
struct Link {
    down: bool,
    /// How often messages may have been lost.
    losses: u64,
    /// The latest since it connected.
    complaint: Option<String>,
}

impl Link {
    fn note(&mut self, event: Event) {
        match event {
            Event::Connected => (self.down, self.complaint) = (false, None),
            Event::Disconnected | Event::Closed => {
                (self.down, self.losses) = (true, self.losses + 1);
            }
            Event::SlowConsumer(_) => self.losses += 1,
            Event::ServerError(error) => {
                if self.complaint.is_none() {
                    tracing::warn!(%error, "NATS refuses something");
                }
                self.complaint = Some(error.to_string());
            }
            Event::ClientError(error) => self.complaint = Some(error.to_string()),
            Event::LameDuckMode | Event::Draining => {}
        }
    }
}

impl Nats {
    /// The client, if it is connected. Waits only for the first connection of all.
    async fn connected(&self) -> Result<&Client> {
        let connect = || self.options.clone().connect(&self.servers[..]);
        let client = self.client.get_or_try_init(connect).await;
        let client = client.map_err(|error| failed(ErrorKind::Unavailable, error))?;
        let link = self.link.borrow();
        if link.down {
            let why = link.complaint.as_deref().unwrap_or("it disconnected");
            return Err(failed(ErrorKind::Unavailable, why));
        }
        Ok(client)
    }
}

#[async_trait]
impl Transport for Nats {
    fn name(&self) -> &'static str {
        "NATS"
    }

    fn carries(&self) -> Carries {
        let max_bytes = self.client.get().map_or(usize::MAX, Client::max_payload);
        Carries {
            lines: true,
            ephemeral: true,
            external: true,
            max_bytes,
            shared: true,
        }
    }

    async fn listen(&self, probe: &str) -> Result<BoxStream<'static, Received>> {
        let client = self.connected().await?;
        let mut link = self.link.subscribe();
        let losses = link.borrow().losses;
        let lost = async move { drop(link.wait_for(|link| link.losses != losses).await) };
        let messages = client.subscribe(format!("{}.*.*", self.prefix)).await;
        let messages = messages.map_err(|error| failed(ErrorKind::Unavailable, error))?;
        let (prefix, probe) = (format!("{}.", self.prefix), probe.to_owned());
        Ok(messages
            .filter_map(move |message| ready(received(&message, &prefix, &probe)))
            .take_until(Box::pin(lost))
            .boxed())
    }

    async fn send(&self, to: To<'_>, bytes: Bytes) -> Result<()> {
        let client = self.connected().await?;
        let subject = match to {
            To::Own(job_id) => format!("{}.own.{job_id}", self.prefix),
            To::Probe(name) => format!("{}.probe.{name}", self.prefix),
        };
        let published = client.publish(subject, bytes).await;
        published.map_err(|error| match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => failed(ErrorKind::Refused, error),
            _ => failed(ErrorKind::Unavailable, error),
        })
    }

    fn complaint(&self) -> Option<String> {
        self.link.borrow().complaint.clone()
    }
}

fn received(message: &async_nats::Message, prefix: &str, probe: &str) -> Option<Received> {
    let (kind, name) = message.subject.strip_prefix(prefix)?.split_once('.')?;
    // A copy: what was read together would stay in memory together.
    let bytes = || Bytes::copy_from_slice(&message.payload);
    match kind {
        "jobs" => Some(Received::Message(Message::public(bytes()))),
        "own" => Some(Received::Message(Message::own(bytes()))),
        _ => (kind == "probe" && name == probe).then_some(Received::Probe),
    }
}

fn failed(kind: ErrorKind, why: impl Display) -> Error {
    Error::new(kind, "event_bus.nats", format!("NATS is of no use: {why}"))
}
