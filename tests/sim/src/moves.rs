//! What can be decided at one moment of a run, and what each decision does.

use std::fmt;
use std::time::Duration;

use conch_domain::JobId;
use conch_ports::ErrorKind;

use crate::board::{Call, CallId};
use crate::channel::{Line, SubscriberId};
use crate::process::Role;

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Move {
    /// What was asked for happens.
    CarryOut(CallId),
    /// The answer arrives.
    Deliver(CallId),
    /// The call fails in the place of the effect, or of the answer.
    Fail(CallId, ErrorKind),
    /// Whoever asked gives up; the request is still on its way.
    GiveUp(CallId),
    /// A request that nobody waits for is lost.
    Discard(CallId),
    /// Nothing becomes of the call for a while.
    Hold(CallId, Duration),
    /// An announcement arrives; `again`: and will once more.
    Announce {
        to: SubscriberId,
        index: usize,
        again: bool,
    },
    /// An announcement is lost.
    LoseAnnouncement {
        to: SubscriberId,
        index: usize,
        told_after: Option<Duration>,
    },
    /// A subscriber is told that it may have missed some.
    Lapse(SubscriberId),
    /// A subscriber is cut off.
    Interrupt(SubscriberId, Duration),
    Crash(Role),
    /// A program dies, and what it has sent arrives when its leases have run out.
    CrashLate(Role),
    Drain(Role),
    Start(Role),
    /// A client's connection breaks.
    Cut(usize),
    /// The store loses something.
    Lose(Lost),
    BackUp,
    /// The store restarts and loses nothing.
    RestartStore,
    /// The store is out of reach for a while, for one or for all.
    Unreachable(Option<Role>, Duration),
    /// Time passes.
    Wait(Duration),
}

/// What the store loses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lost {
    Everything,
    SinceBackup,
    Tail(JobId, usize),
}

/// What there is to decide about.
pub(crate) struct View {
    /// Calls that may be decided now.
    pub(crate) calls: Vec<Call>,
    /// Of them, those whose peer is out of reach.
    pub(crate) unreachable: Vec<CallId>,
    pub(crate) lines: Vec<Line>,
    pub(crate) up: Vec<Role>,
    pub(crate) down: Vec<Role>,
    /// Clients with a connection.
    pub(crate) connected: Vec<usize>,
    /// Jobs whose tail could be lost, with how much of it.
    pub(crate) losable: Vec<(JobId, usize)>,
    pub(crate) has_backup: bool,
    /// Whether the faults are over.
    pub(crate) healed: bool,
    /// Stands for all that can be seen of the system's state, if that was asked for.
    pub(crate) state: u64,
}

impl View {
    /// Whether anything waits to be decided.
    pub(crate) fn is_idle(&self) -> bool {
        let nothing = |line: &Line| line.waiting == 0 && !line.lapsed;
        self.calls.is_empty() && self.lines.iter().all(nothing)
    }

    pub(crate) fn call(&self, id: CallId) -> Option<&Call> {
        self.calls.iter().find(|call| call.id == id)
    }

    /// A decision in words.
    pub(crate) fn say(&self, decided: &Move) -> String {
        let call = |id: &CallId| self.call(*id).map_or_else(String::new, ToString::to_string);
        let line = |id: &SubscriberId| {
            let line = self.lines.iter().find(|line| line.id == *id);
            line.map_or_else(String::new, |line| format!("{:?}", line.role))
        };
        match decided {
            Move::CarryOut(id) => format!("carried out: {}", call(id)),
            Move::Deliver(id) => format!("answered:    {}", call(id)),
            Move::Fail(id, kind) => format!("FAILS ({kind:?}): {}", call(id)),
            Move::GiveUp(id) => format!("GIVEN UP: {}", call(id)),
            Move::Discard(id) => format!("lost:        {}", call(id)),
            Move::Hold(id, long) => format!("held for {} ms: {}", long.as_millis(), call(id)),
            Move::Announce { to, index, again } => {
                let again = if *again { ", and again" } else { "" };
                format!("announcement {index} to {}{again}", line(to))
            }
            Move::LoseAnnouncement {
                to,
                index,
                told_after,
            } => {
                let told = if told_after.is_some() {
                    ""
                } else {
                    ", in silence"
                };
                format!("LOST announcement {index} to {}{told}", line(to))
            }
            Move::Lapse(to) => format!("gap to {}", line(to)),
            Move::Interrupt(to, _) => format!("SUBSCRIPTION CUT: {}", line(to)),
            other => format!("{other:?}"),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = if self.awaited { "" } else { " [nobody waits]" };
        write!(
            f,
            "{} {} {}{left}",
            self.from.name, self.operation, self.about
        )
    }
}

/// Whoever decides.
pub(crate) trait Chooser {
    /// One decision of those that the view allows.
    fn choose(&mut self, view: &View) -> Move;

    /// Whether it wants to know in which state the system is.
    fn wants_state(&self) -> bool {
        false
    }
}
