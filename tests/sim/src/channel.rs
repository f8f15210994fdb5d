//! Announcements on their way to each subscriber: late, lost, repeated, out of turn. Who missed some is
//! told so by `Gap`, as the law of the port says.
//!
//! Never in here: a decision.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conch_domain::Timestamp;
use conch_ports::{self as ports, Signal, Signals};
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::history::{self, History, What};
use crate::process::{Process, Role};

pub(crate) type SubscriberId = u64;

/// Messages that wait for one subscriber; beyond them the oldest are lost.
const CAPACITY: usize = 64;

struct Message {
    sent: ports::Message,
    /// Without a number its place among those of its publisher counts.
    numbered: bool,
    /// Stands for what it says.
    mark: u64,
}

struct Subscriber {
    process: Arc<Process>,
    sender: mpsc::UnboundedSender<Signal>,
    waiting: VecDeque<Message>,
    /// It is owed a `Gap` from then on.
    lapsed_at: Option<Instant>,
    /// Nothing reaches it until then.
    cut_until: Option<Instant>,
}

/// What may be decided about one subscriber.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) id: SubscriberId,
    pub(crate) role: Role,
    /// How many messages wait, and which of them may come next.
    pub(crate) waiting: usize,
    pub(crate) numbered: Vec<bool>,
    /// What they say.
    pub(crate) marks: Vec<u64>,
    /// A `Gap` is due.
    pub(crate) lapsed: bool,
}

#[derive(Default)]
struct State {
    next: SubscriberId,
    subscribers: BTreeMap<SubscriberId, Subscriber>,
}

pub(crate) struct Channel {
    history: Arc<History>,
    state: Mutex<State>,
    /// Something new waits.
    pub(crate) arrived: Arc<Notify>,
}

impl Channel {
    pub(crate) fn new(history: Arc<History>) -> Arc<Self> {
        Arc::new(Self {
            history,
            state: Mutex::default(),
            arrived: Arc::new(Notify::new()),
        })
    }

    /// A subscription of this process: `Gap` first, then what is let through.
    pub(crate) fn subscribe(&self, process: &Arc<Process>) -> Signals {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.state.lock();
        state.next += 1;
        let id = state.next;
        let subscriber = Subscriber {
            process: Arc::clone(process),
            sender,
            waiting: VecDeque::new(),
            lapsed_at: Some(Instant::now()),
            cut_until: None,
        };
        state.subscribers.insert(id, subscriber);
        drop(state);
        self.arrived.notify_one();
        stream::unfold(receiver, |mut receiver| async move {
            match receiver.recv().await {
                Some(signal) => Some((signal, receiver)),
                // Its process is dead.
                None => std::future::pending().await,
            }
        })
        .boxed()
    }

    pub(crate) fn publish(&self, sent: &ports::Message) {
        let line = &sent.bytes;
        let numbered = conch_wire::event::decode(line, Timestamp::from_micros(0))
            .is_ok_and(|incoming| incoming.is_numbered());
        let mark = self.mark(line);
        let mut state = self.state.lock();
        let now = Instant::now();
        for subscriber in state.subscribers.values_mut() {
            if subscriber.cut_until.is_some_and(|until| until > now) {
                continue;
            }
            if subscriber.waiting.len() == CAPACITY {
                subscriber.waiting.pop_front();
                subscriber.lapsed_at.get_or_insert(now);
            }
            let message = Message {
                sent: sent.clone(),
                numbered,
                mark,
            };
            subscriber.waiting.push_back(message);
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// Every subscriber loses what is on its way, and is told.
    pub(crate) fn interrupt_all(&self) {
        let ids: Vec<_> = self.state.lock().subscribers.keys().copied().collect();
        for id in ids {
            self.interrupt(id, Duration::ZERO);
        }
    }

    /// Cut off for a while: what is on its way, and what comes meanwhile, is lost.
    pub(crate) fn interrupt(&self, id: SubscriberId, duration: Duration) {
        if let Some(subscriber) = self.state.lock().subscribers.get_mut(&id) {
            let back = Instant::now() + duration;
            subscriber.waiting.clear();
            subscriber.cut_until = Some(back);
            subscriber.lapsed_at = Some(back);
        }
        self.arrived.notify_one();
    }

    pub(crate) fn interrupt_process(&self, role: Option<Role>, duration: Duration) {
        let of = |subscriber: &Subscriber| role.is_none_or(|role| subscriber.process.role == role);
        let ids: Vec<_> = {
            let state = self.state.lock();
            let own = state.subscribers.iter().filter(|(_, s)| of(s));
            own.map(|(id, _)| *id).collect()
        };
        for id in ids {
            self.interrupt(id, duration);
        }
    }

    pub(crate) fn bury(&self, process: &Process) {
        let mut state = self.state.lock();
        state
            .subscribers
            .retain(|_, subscriber| !std::ptr::eq(Arc::as_ptr(&subscriber.process), process));
    }

    /// What may be decided.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let now = Instant::now();
        let state = self.state.lock();
        let line = |(id, subscriber): (&SubscriberId, &Subscriber)| {
            let cut = subscriber.cut_until.is_some_and(|until| until > now);
            Line {
                id: *id,
                role: subscriber.process.role,
                waiting: if cut { 0 } else { subscriber.waiting.len() },
                numbered: subscriber.waiting.iter().map(|m| m.numbered).collect(),
                marks: subscriber.waiting.iter().map(|m| m.mark).collect(),
                lapsed: !cut && subscriber.lapsed_at.is_some_and(|at| at <= now),
            }
        };
        state.subscribers.iter().map(line).collect()
    }

    /// When something is due by itself.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let state = self.state.lock();
        let due = state.subscribers.values().filter_map(|s| s.lapsed_at);
        due.min()
    }

    /// Lets a message through; with `again` it stays as well.
    pub(crate) fn deliver(&self, id: SubscriberId, index: usize, again: bool) {
        let mut state = self.state.lock();
        let Some(subscriber) = state.subscribers.get_mut(&id) else {
            return;
        };
        let Some(message) = subscriber.waiting.get(index) else {
            return;
        };
        let sent = message.sent.clone();
        if !again {
            subscriber.waiting.remove(index);
        }
        let to = subscriber.process.role;
        let signal = self.read(&sent.bytes);
        self.history.note(What::Signalled { to, signal });
        drop(subscriber.sender.send(Signal::Message(sent)));
    }

    /// Loses a message. The subscriber is told after `told_after`; none: never.
    pub(crate) fn lose(&self, id: SubscriberId, index: usize, told_after: Option<Duration>) {
        let mut state = self.state.lock();
        if let Some(subscriber) = state.subscribers.get_mut(&id)
            && subscriber.waiting.remove(index).is_some()
            && let Some(after) = told_after
        {
            let at = Instant::now() + after;
            // One that is on its way must not come before the loss.
            subscriber.lapsed_at = Some(subscriber.lapsed_at.map_or(at, |known| known.max(at)));
        }
    }

    pub(crate) fn lapse(&self, id: SubscriberId) {
        let mut state = self.state.lock();
        if let Some(subscriber) = state.subscribers.get_mut(&id) {
            subscriber.lapsed_at = None;
            subscriber.cut_until = None;
            let to = subscriber.process.role;
            let signal = history::Signal::Gap;
            self.history.note(What::Signalled { to, signal });
            drop(subscriber.sender.send(Signal::Gap));
        }
    }

    /// The same for the same event in runs that are alike.
    fn mark(&self, line: &Bytes) -> u64 {
        let mut hasher = DefaultHasher::new();
        match self.read(line) {
            history::Signal::Numbered {
                job,
                epoch,
                sequence,
                forged,
            } => {
                let epoch = self.history.epoch(&job, &epoch);
                (job, epoch, sequence, forged).hash(&mut hasher);
            }
            _ => line.len().hash(&mut hasher),
        }
        hasher.finish()
    }

    fn read(&self, line: &Bytes) -> history::Signal {
        let event: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
        let id = event["job_id"].as_str().and_then(|id| id.parse().ok());
        match (id, event["epoch"].as_str(), event["sequence"].as_u64()) {
            (Some(id), Some(epoch), Some(sequence)) => history::Signal::Numbered {
                job: self.history.job(&id),
                epoch: epoch.to_owned(),
                sequence,
                forged: event["forged"] == true || event["events"][0]["forged"] == true,
            },
            _ => history::Signal::Other,
        }
    }
}
