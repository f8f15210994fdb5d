//! The bus: announces through a transport, and sends again what could not be sent.
//!
//! Never waits for a server that is out of reach: after one announcement that failed, the next only leave
//! their place here until one gets through. Of each job the newest place is kept, for a bounded number of
//! jobs; what is sent later is the place alone, which makes a listener read the log.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use conch_domain::{JobId, Position};
use conch_ports::{Announcement, BusId, Carries, Error, ErrorKind, EventBus, Result, Signals};
use conch_wire::announcement::shorten;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::{Settings, To, Transport, subscription};

const ANNOUNCE: &str = "event_bus.announce";
const PING: &str = "event_bus.ping";
/// Jobs whose newest place waits to be announced.
const MAX_OWED: usize = 4096;

/// A bus over a transport.
pub(crate) struct Bus<T> {
    id: BusId,
    sender: Arc<Sender<T>>,
    /// Sends what is owed. Begins with the first debt.
    payer: OnceLock<AbortOnDropHandle<()>>,
}

/// What the bus shares with the task that sends what is owed.
struct Sender<T> {
    transport: Arc<T>,
    settings: Settings,
    debts: Mutex<Debts>,
    /// There is something to send.
    owed: Notify,
    /// A subscription of ours was made, so the server is back.
    back: Arc<Notify>,
}

/// What could not be announced.
#[derive(Default)]
struct Debts {
    /// The newest of each job, in its short form.
    places: BTreeMap<JobId, Bytes>,
    /// The job whose place is being sent just now.
    paying: Option<JobId>,
    /// Whether the last one failed. Then something is owed, and the payer tries.
    down: bool,
}

impl<T: Transport> Bus<T> {
    pub(crate) fn new(transport: T, settings: Settings) -> Self {
        Self {
            id: BusId::new(),
            sender: Arc::new(Sender {
                transport: Arc::new(transport),
                settings,
                debts: Mutex::default(),
                owed: Notify::new(),
                back: Arc::default(),
            }),
            payer: OnceLock::new(),
        }
    }

    async fn announce_event(&self, announcement: &Announcement, position: Position) -> Result<()> {
        let (sender, Announcement { job_id, line, .. }) = (&self.sender, announcement);
        let short = || shorten(line, job_id, position);
        if !sender.debts.lock().may_send(job_id) {
            self.owe(job_id, short());
            let message = "is out of reach: the event is announced once it is back";
            return Err(sender.error(ErrorKind::Unavailable, message));
        }
        let carries = self.carries();
        let fits = carries.lines && line.len() <= carries.max_bytes;
        let bytes = if fits { line.clone() } else { short() };
        let sent = sender.send(job_id, bytes).await;
        match &sent {
            Ok(()) => {}
            Err(error) if error.is_retryable() => {
                sender.debts.lock().down = true;
                self.owe(job_id, short());
            }
            Err(_) => sender.dropped("refused"),
        }
        sent
    }

    async fn announce_ephemeral(&self, announcement: &Announcement) -> Result<()> {
        let (carries, sender) = (self.carries(), &self.sender);
        let Announcement { job_id, line, .. } = announcement;
        if !carries.ephemeral || line.len() > carries.max_bytes {
            let message = "carries no such ephemeral event";
            return Err(sender.error(ErrorKind::Refused, message));
        }
        if sender.debts.lock().down {
            return Err(sender.error(ErrorKind::Unavailable, "is out of reach"));
        }
        sender.send(job_id, line.clone()).await
    }

    /// Keeps a place, and has the task that sends it run.
    fn owe(&self, job_id: &JobId, place: Bytes) {
        self.payer.get_or_init(|| {
            let sender = Arc::clone(&self.sender);
            AbortOnDropHandle::new(tokio::spawn(sender.pay()))
        });
        if !self.sender.debts.lock().owe(job_id, place) {
            self.sender.dropped("overflow");
        }
        self.sender.owed.notify_one();
    }
}

#[async_trait]
impl<T: Transport> EventBus for Bus<T> {
    fn id(&self) -> BusId {
        self.id
    }

    fn carries(&self) -> Carries {
        let carries = self.sender.transport.carries();
        let max_bytes = carries.max_bytes.min(self.sender.settings.max_message);
        Carries {
            max_bytes,
            ..carries
        }
    }

    async fn announce(&self, announcement: &Announcement) -> Result<()> {
        match announcement.position {
            Some(position) => self.announce_event(announcement, position).await,
            None => self.announce_ephemeral(announcement).await,
        }
    }

    fn subscribe(&self) -> Signals {
        let sender = &self.sender;
        let (transport, back) = (Arc::clone(&sender.transport), Arc::clone(&sender.back));
        subscription::signals(transport, sender.settings.clone(), back)
    }

    async fn ping(&self) -> Result<()> {
        let sender = &self.sender;
        timeout(sender.settings.probe_timeout, sender.transport.ping())
            .await
            .unwrap_or_else(|_| {
                let name = sender.transport.name();
                let message = format!("{name} did not answer in time");
                Err(Error::new(ErrorKind::Timeout, PING, message))
            })
    }
}

impl<T: Transport> Sender<T> {
    async fn send(&self, job_id: &JobId, bytes: Bytes) -> Result<()> {
        let sent = self.transport.send(To::Own(job_id), bytes);
        timeout(self.settings.send_timeout, sent)
            .await
            .unwrap_or_else(|_| {
                Err(self.error(ErrorKind::Timeout, "did not take an announcement in time"))
            })
    }

    /// Sends what is owed, for as long as the bus lives.
    async fn pay(self: Arc<Self>) {
        let mut pauses = self.settings.pauses();
        loop {
            let next = self.debts.lock().next();
            let Some((job_id, place)) = next else {
                self.owed.notified().await;
                continue;
            };
            let failed = self.send(&job_id, place.clone()).await.err();
            let again = failed.as_ref().is_some_and(Error::is_retryable);
            if failed.is_some() && !again {
                self.dropped("refused");
            }
            self.debts.lock().settle(job_id, place, again);
            if again {
                let pause = pauses.next().unwrap_or(self.settings.backoff_cap);
                // Either way it is time to try again.
                drop(timeout(pause, self.back.notified()).await);
            } else {
                pauses = self.settings.pauses();
            }
        }
    }

    fn dropped(&self, reason: &'static str) {
        let bus = self.transport.name();
        metrics::counter!("conch_announcements_dropped_total", "bus" => bus, "reason" => reason)
            .increment(1);
    }

    fn error(&self, kind: ErrorKind, what: &str) -> Error {
        let name = self.transport.name();
        Error::new(kind, ANNOUNCE, format!("{name} {what}"))
    }
}

impl Debts {
    /// Whether an event of that job may be sent at once. What is owed of the job is covered by it.
    fn may_send(&mut self, job_id: &JobId) -> bool {
        // One that is being sent just now might arrive after it.
        let may_send = !self.down && self.paying.as_ref() != Some(job_id);
        if may_send {
            self.places.remove(job_id);
        }
        may_send
    }

    /// Keeps a place; false when too many jobs are owed.
    fn owe(&mut self, job_id: &JobId, place: Bytes) -> bool {
        let has_room = self.places.len() < MAX_OWED || self.places.contains_key(job_id);
        if has_room {
            self.places.insert(job_id.clone(), place);
        }
        has_room
    }

    /// What to send next; [`Debts::settle`] it.
    fn next(&mut self) -> Option<(JobId, Bytes)> {
        let (job_id, place) = self.places.pop_first()?;
        self.paying = Some(job_id.clone());
        Some((job_id, place))
    }

    /// Notes what became of it: whether it has to be sent again.
    fn settle(&mut self, job_id: JobId, place: Bytes, again: bool) {
        self.paying = None;
        self.down = again;
        if again {
            // Not over one that came meanwhile and is newer.
            self.places.entry(job_id).or_insert(place);
        }
    }
}
