//! Where every call of every port waits, before its effect and again before its answer is delivered,
//! until somebody decides what becomes of it.
//!
//! Never in here: a decision. An effect happens once at most, when it is decided and by whoever decides,
//! not in the caller's task: so a caller that went away takes nothing back that it has sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use conch_ports::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::process::Process;

pub(crate) type CallId = u64;

/// Whom a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Peer {
    Store,
    Triton,
    Api(usize),
}

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// On its way there.
    Asked,
    /// On its way back: the effect has happened.
    Answered,
}

/// What is known of a call that waits.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) id: CallId,
    pub(crate) from: Arc<Process>,
    pub(crate) peer: Peer,
    /// The port's method.
    pub(crate) operation: &'static str,
    /// What it is about, without anything that differs between two runs that are alike.
    pub(crate) about: String,
    pub(crate) stage: Stage,
    pub(crate) since: Instant,
    /// Nothing is decided before.
    pub(crate) held_until: Option<Instant>,
    /// Whether anybody still waits for the answer.
    pub(crate) awaited: bool,
}

/// A call's effect with its answer's type taken off.
trait Request: Send {
    /// Does what was asked for. None: the answer comes later, by itself.
    fn carry_out(&mut self, board: &Arc<Board>, call: &Call) -> Option<()>;
    fn answer(&mut self, failure: Option<Error>);
    fn forget_caller(&mut self);
    fn is_awaited(&self) -> bool;
}

/// How an answer comes about.
pub(crate) enum Effect<T: Send + 'static> {
    /// In one step.
    Now(Box<dyn FnOnce() -> Result<T> + Send>),
    /// Some time after.
    Later(Box<dyn FnOnce(Later<T>) + Send>),
}

struct Typed<T: Send + 'static> {
    effect: Option<Effect<T>>,
    answer: Option<Result<T>>,
    reply: Option<oneshot::Sender<Result<T>>>,
}

impl<T: Send + 'static> Request for Typed<T> {
    fn carry_out(&mut self, board: &Arc<Board>, call: &Call) -> Option<()> {
        match self.effect.take() {
            Some(Effect::Now(effect)) => self.answer = Some(effect()),
            Some(Effect::Later(effect)) => {
                effect(Later {
                    board: Arc::clone(board),
                    call: call.clone(),
                    reply: self.reply.take(),
                });
                return None;
            }
            None => {}
        }
        Some(())
    }

    fn answer(&mut self, failure: Option<Error>) {
        let answer = match failure {
            Some(error) => Err(error),
            None => match self.answer.take() {
                Some(answer) => answer,
                None => return,
            },
        };
        if let Some(reply) = self.reply.take() {
            // Whoever asked may have gone.
            drop(reply.send(answer));
        }
    }

    fn forget_caller(&mut self) {
        self.reply = None;
    }

    fn is_awaited(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| !reply.is_closed())
    }
}

/// An answer that comes later. Dropped without one, the connection broke.
pub(crate) struct Later<T: Send + 'static> {
    board: Arc<Board>,
    call: Call,
    reply: Option<oneshot::Sender<Result<T>>>,
}

impl<T: Send + 'static> Later<T> {
    pub(crate) fn answer(mut self, answer: Result<T>) {
        self.put(answer);
    }

    fn put(&mut self, answer: Result<T>) {
        if let Some(reply) = self.reply.take() {
            let request = Typed {
                effect: None,
                answer: Some(answer),
                reply: Some(reply),
            };
            let call = Call {
                stage: Stage::Answered,
                since: Instant::now(),
                held_until: None,
                ..self.call.clone()
            };
            self.board.put(call, Box::new(request));
        }
    }
}

impl<T: Send + 'static> Drop for Later<T> {
    fn drop(&mut self) {
        let broken = failure(ErrorKind::Unavailable, self.call.operation);
        self.put(Err(broken));
    }
}

fn failure(kind: ErrorKind, operation: &'static str) -> Error {
    Error::new(kind, operation, "the simulation says so")
}

/// All calls that wait.
pub(crate) struct Board {
    state: Mutex<State>,
    /// Something new waits.
    pub(crate) arrived: Notify,
}

#[derive(Default)]
struct State {
    next: CallId,
    calls: BTreeMap<CallId, (Call, Box<dyn Request>)>,
}

impl Board {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            arrived: Notify::new(),
        })
    }

    /// Waits for the answer. Cancel-safe: dropped, the call may be carried out or not, now or later.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        from: &Arc<Process>,
        peer: Peer,
        operation: &'static str,
        about: String,
        effect: Effect<T>,
    ) -> Result<T> {
        if from.is_dead() {
            return std::future::pending().await;
        }
        let (reply, answer) = oneshot::channel();
        let id = {
            let mut state = self.state.lock();
            state.next += 1;
            state.next
        };
        let call = Call {
            id,
            from: Arc::clone(from),
            peer,
            operation,
            about,
            stage: Stage::Asked,
            since: Instant::now(),
            held_until: None,
            awaited: true,
        };
        let request = Typed {
            effect: Some(effect),
            answer: None,
            reply: Some(reply),
        };
        self.put(call, Box::new(request));
        match answer.await {
            Ok(answer) => answer,
            // Forgotten: this process is dead.
            Err(_) => std::future::pending().await,
        }
    }

    fn put(&self, call: Call, request: Box<dyn Request>) {
        if call.stage == Stage::Answered && call.from.is_dead() {
            return;
        }
        self.state.lock().calls.insert(call.id, (call, request));
        self.arrived.notify_one();
    }

    /// What waits, in the order in which it was asked.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let state = self.state.lock();
        let seen = state.calls.values().map(|(call, request)| Call {
            awaited: request.is_awaited(),
            ..call.clone()
        });
        seen.collect()
    }

    fn take(&self, id: CallId) -> Option<(Call, Box<dyn Request>)> {
        self.state.lock().calls.remove(&id)
    }

    /// The effect happens. Its answer waits, if anybody waits for it.
    pub(crate) fn carry_out(self: &Arc<Self>, id: CallId) {
        let Some((mut call, mut request)) = self.take(id) else {
            return;
        };
        if request.carry_out(self, &call).is_some() && request.is_awaited() {
            call.stage = Stage::Answered;
            call.since = Instant::now();
            call.held_until = None;
            self.put(call, request);
        }
    }

    /// Whoever asked gets the answer, or the failure in its place. What hasn't happened never will.
    pub(crate) fn deliver(&self, id: CallId, kind: Option<ErrorKind>) {
        if let Some((call, mut request)) = self.take(id) {
            request.answer(kind.map(|kind| failure(kind, call.operation)));
        }
    }

    /// Whoever asked is told that it took too long; what was asked for may still happen.
    pub(crate) fn give_up(&self, id: CallId) {
        let mut state = self.state.lock();
        if let Some((call, request)) = state.calls.get_mut(&id) {
            request.answer(Some(failure(ErrorKind::Timeout, call.operation)));
            if call.stage == Stage::Answered {
                state.calls.remove(&id);
            }
        }
    }

    /// It never arrives, and nobody is told.
    pub(crate) fn discard(&self, id: CallId) {
        drop(self.take(id));
    }

    pub(crate) fn hold(&self, id: CallId, duration: Duration) {
        if let Some((call, _)) = self.state.lock().calls.get_mut(&id) {
            call.held_until = Some(Instant::now() + duration);
        }
    }

    /// The process is dead: no answer reaches it. What it asked for may still happen.
    pub(crate) fn bury(&self, process: &Process) {
        let mut state = self.state.lock();
        let own = |call: &Call| std::ptr::eq(Arc::as_ptr(&call.from), process);
        state
            .calls
            .retain(|_, (call, _)| !(own(call) && call.stage == Stage::Answered));
        for (call, request) in state.calls.values_mut() {
            if own(call) {
                request.forget_caller();
            }
        }
    }
}
