//! A process's one subscription (law 9), heard by several of its parts.
//!
//! ```text
//!   bus.subscribe() ─► run ─┬─► queue ─► a listener
//!                           └─► queue ─► another, at its own pace
//! ```
//!
//! Each listener is promised what [`EventBus`](conch_ports::EventBus) promises its subscriber:
//! `Gap` first, and after everything that it may have missed. Never in here: a wait for a
//! listener. One that lags loses messages and is told so; it holds up no other and grows nothing.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use conch_ports::{Signal, Signals};
use futures::future::join_all;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// How much waits for one listener at most.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Signals, at least 1.
    pub signals: usize,
    /// Bytes of messages. They are shared, so two listeners that lag alike cost no more than one.
    pub bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            signals: 8192,
            bytes: 32 * 1024 * 1024,
        }
    }
}

impl Settings {
    /// Shares `signals`. Nothing flows until [`Subscription::run`].
    pub fn build(self, signals: Signals) -> Subscription {
        Subscription {
            settings: self,
            signals,
            queues: Vec::new(),
        }
    }
}

/// One subscription for several listeners. Dropped, it ends what they hear, after what waits for them.
pub struct Subscription {
    settings: Settings,
    signals: Signals,
    queues: Vec<Arc<Queue>>,
}

impl Subscription {
    /// One more listener, with a queue of its own; `name` is for whoever looks at the counters.
    pub fn listener(&mut self, name: &'static str) -> Signals {
        let queue = Arc::new(Queue {
            name,
            settings: self.settings.clone(),
            deaf: CancellationToken::new(),
            state: Mutex::default(),
        });
        self.queues.push(Arc::clone(&queue));
        Listener(queue).boxed()
    }

    /// Passes on what the bus says, until it says no more or all listeners are gone.
    pub async fn run(mut self) -> Ended {
        let deaf: Vec<_> = self.queues.iter().map(|queue| queue.deaf.clone()).collect();
        let nobody_listens = join_all(deaf.iter().map(CancellationToken::cancelled));
        tokio::pin!(nobody_listens);
        loop {
            tokio::select! {
                biased;
                _ = &mut nobody_listens => return Ended::WithListeners,
                signal = self.signals.next() => match signal {
                    Some(signal) => self.queues.iter().for_each(|queue| queue.offer(&signal)),
                    None => return Ended::WithBus,
                },
            }
        }
    }
}

/// Why a subscription has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The bus says no more.
    WithBus,
    /// All listeners are gone.
    WithListeners,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.queues.iter().for_each(|queue| queue.end());
    }
}

/// What waits for one listener.
struct Queue {
    name: &'static str,
    settings: Settings,
    /// The listener is gone.
    deaf: CancellationToken,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Signal>,
    /// Bytes of the messages in it.
    bytes: usize,
    /// Something was left out: a `Gap` is due, once the listener has taken what waits, so that
    /// one overflow is one `Gap`.
    owed: bool,
    /// Nothing more comes.
    over: bool,
    waker: Option<Waker>,
}

impl Queue {
    fn offer(&self, signal: &Signal) {
        let mut state = self.state.lock();
        if self.deaf.is_cancelled() {
            return;
        }
        let bytes = match signal {
            // One that is still to be taken covers this one.
            Signal::Gap if state.owed || state.waiting.back() == Some(signal) => return,
            Signal::Gap => 0,
            Signal::Message(message) => message.bytes.len(),
        };
        let fits = state.waiting.len() < self.settings.signals
            && state.bytes + bytes <= self.settings.bytes;
        // The `Gap` that is owed comes after this message, and covers it.
        if state.owed || !fits {
            state.owed = true;
            metrics::counter!("conch_signals_dropped_total", "listener" => self.name).increment(1);
        } else {
            state.bytes += bytes;
            state.waiting.push_back(signal.clone());
        }
        state.wake();
    }

    fn end(&self) {
        let mut state = self.state.lock();
        state.over = true;
        state.wake();
    }
}

impl State {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn take(&mut self) -> Option<Signal> {
        let signal = self.waiting.pop_front();
        if let Some(Signal::Message(message)) = &signal {
            self.bytes -= message.bytes.len();
        }
        signal.or_else(|| std::mem::take(&mut self.owed).then_some(Signal::Gap))
    }
}

/// The queue's other end.
struct Listener(Arc<Queue>);

impl Stream for Listener {
    type Item = Signal;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Signal>> {
        let mut state = self.0.state.lock();
        match state.take() {
            Some(signal) => Poll::Ready(Some(signal)),
            None if state.over => Poll::Ready(None),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.deaf.cancel();
        // Under the lock of an offer that is under way: nothing is put in after this.
        *self.0.state.lock() = State::default();
    }
}
