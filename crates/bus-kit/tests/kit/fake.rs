//! A server and the link to it, with a switch for each thing that can go wrong.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use conch_bus_kit::{Received, Settings, To, Transport};
use conch_domain::JobId;
use conch_ports::{Carries, Channel, Error, ErrorKind, EventBus, Message, Result, Signal, Signals};
use futures::StreamExt;
use futures::channel::mpsc;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

/// What becomes of what is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sending {
    Works,
    /// So many are taken; the next hang.
    Takes(usize),
    /// Fails at once.
    Fails,
    /// Is not answered.
    Hangs,
    /// Is forbidden.
    Refused,
    /// Is taken, and nobody hears of it.
    Swallowed,
}

/// The server and the link. Clones are the same.
#[derive(Clone)]
pub(crate) struct Fake {
    state: Arc<Mutex<State>>,
    own: watch::Sender<Sending>,
    probes: watch::Sender<Sending>,
}

struct State {
    up: bool,
    listening_hangs: bool,
    carries: Carries,
    complaint: Option<String>,
    listeners: Vec<(String, mpsc::UnboundedSender<Received>)>,
    taken: Vec<(JobId, Bytes)>,
    listens: usize,
}

impl Fake {
    pub(crate) fn new() -> Self {
        let carries = Carries {
            lines: true,
            ephemeral: true,
            external: true,
            max_bytes: 1024,
            shared: true,
        };
        Self {
            state: Arc::new(Mutex::new(State {
                up: true,
                listening_hangs: false,
                carries,
                complaint: None,
                listeners: Vec::new(),
                taken: Vec::new(),
                listens: 0,
            })),
            own: watch::channel(Sending::Works).0,
            probes: watch::channel(Sending::Works).0,
        }
    }

    pub(crate) fn bus(&self) -> Arc<dyn EventBus> {
        Settings::default().bus(self.clone())
    }

    pub(crate) fn carries(&self, change: impl FnOnce(&mut Carries)) {
        change(&mut self.state.lock().carries);
    }

    /// What becomes of announcements from now on, and of those that hang.
    pub(crate) fn announcing(&self, how: Sending) {
        self.own.send_replace(how);
    }

    /// What becomes of probes from now on.
    pub(crate) fn probing(&self, how: Sending) {
        self.probes.send_replace(how);
    }

    pub(crate) fn complain(&self, text: &str) {
        self.state.lock().complaint = Some(text.to_owned());
    }

    pub(crate) fn hang_listeners(&self, hang: bool) {
        self.state.lock().listening_hangs = hang;
    }

    /// Ends every stream, and refuses others until it is up.
    pub(crate) fn go_down(&self) {
        let mut state = self.state.lock();
        state.up = false;
        state.listeners.clear();
    }

    pub(crate) fn come_up(&self) {
        self.state.lock().up = true;
    }

    /// Ends every stream, and takes others.
    pub(crate) fn cut(&self) {
        self.state.lock().listeners.clear();
    }

    /// How many streams were asked for.
    pub(crate) fn listens(&self) -> usize {
        self.state.lock().listens
    }

    /// How many of them are still read.
    pub(crate) fn listeners(&self) -> usize {
        let state = self.state.lock();
        let open = state.listeners.iter().filter(|(_, l)| !l.is_closed());
        open.count()
    }

    /// Somebody sends this to everybody.
    pub(crate) fn publish(&self, channel: Channel, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        let received = Received::Message(Message { channel, bytes });
        for (_, listener) in &self.state.lock().listeners {
            // Whoever has left hears nothing.
            drop(listener.unbounded_send(received.clone()));
        }
    }

    /// A probe of each stream comes once more than it was sent.
    pub(crate) fn repeat_the_probes(&self) {
        for (_, listener) in &self.state.lock().listeners {
            drop(listener.unbounded_send(Received::Probe));
        }
    }

    /// The announcements that the server took, oldest first.
    pub(crate) fn taken(&self) -> Vec<(String, String)> {
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).expect("text");
        let state = self.state.lock();
        let taken = state.taken.iter();
        taken
            .map(|(job, bytes)| (job.to_string(), text(bytes)))
            .collect()
    }

    fn take(&self, to: To<'_>, bytes: &Bytes) {
        match to {
            To::Own(job_id) => {
                self.state
                    .lock()
                    .taken
                    .push((job_id.clone(), bytes.clone()));
                self.publish(Channel::Own, bytes.clone());
            }
            To::Probe(name) => {
                for (probe, listener) in &self.state.lock().listeners {
                    if probe == name {
                        drop(listener.unbounded_send(Received::Probe));
                    }
                }
            }
        }
    }
}

#[async_trait]
impl Transport for Fake {
    fn name(&self) -> &'static str {
        "Fake"
    }

    fn carries(&self) -> Carries {
        self.state.lock().carries
    }

    async fn listen(&self, probe: &str) -> Result<BoxStream<'static, Received>> {
        let hangs = {
            let mut state = self.state.lock();
            state.listens += 1;
            if !state.up {
                return Err(failure(ErrorKind::Unavailable));
            }
            state.listening_hangs
        };
        if hangs {
            std::future::pending::<()>().await;
        }
        let (sender, receiver) = mpsc::unbounded();
        self.state.lock().listeners.push((probe.to_owned(), sender));
        Ok(receiver.boxed())
    }

    async fn send(&self, to: To<'_>, bytes: Bytes) -> Result<()> {
        let switch = match to {
            To::Own(_) => &self.own,
            To::Probe(_) => &self.probes,
        };
        let mut switch = switch.subscribe();
        let how = *switch
            .wait_for(|how| !matches!(how, Sending::Hangs | Sending::Takes(0)))
            .await
            .expect("the switch is there");
        match how {
            Sending::Fails => return Err(failure(ErrorKind::Unavailable)),
            Sending::Refused => return Err(failure(ErrorKind::Refused)),
            Sending::Swallowed => return Ok(()),
            Sending::Takes(more) => self.announcing(Sending::Takes(more - 1)),
            Sending::Works | Sending::Hangs => {}
        }
        self.take(to, &bytes);
        Ok(())
    }

    fn complaint(&self) -> Option<String> {
        self.state.lock().complaint.clone()
    }
}

fn failure(kind: ErrorKind) -> Error {
    Error::new(kind, "event_bus.fake", "as the test wants it")
}

/// The next signal. Time is paused: a minute goes by at once when nothing happens.
pub(crate) async fn next(signals: &mut Signals) -> Signal {
    timeout(Duration::from_mins(1), signals.next())
        .await
        .expect("a signal in time")
        .expect("a subscription never ends")
}

/// That nothing comes for so long.
pub(crate) async fn nothing(signals: &mut Signals, time: Duration) {
    let early = timeout(time, signals.next()).await;
    assert!(early.is_err(), "{early:?}");
}

pub(crate) fn message(channel: Channel, text: &'static str) -> Signal {
    let bytes = Bytes::from_static(text.as_bytes());
    Signal::Message(Message { channel, bytes })
}
