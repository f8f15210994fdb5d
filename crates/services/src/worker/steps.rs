//! The steps of an attempt that are not in its job's log yet, and which of them go into the next commit.
//!
//! Never in here: a commit (`commits`), or another order than that of the steps.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use conch_domain::{EventKind, Job, Template};
use conch_ports::{MAX_COMMIT_EVENTS, QueueEffect, Result};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::append::Outcome;

/// Most bytes of templates in a commit that has more than one: a store takes them as one request.
const MAX_BYTES: usize = 256 * 1024;
/// Most steps that wait for the next commit: further templates are begun when it is under way.
const MAX_PENDING: usize = MAX_COMMIT_EVENTS / 2;
/// Once a commit takes that long, no further template is begun before its answer: what it costs may be lost.
const SLOW: Duration = Duration::from_millis(500);

/// A step of an attempt.
pub(crate) enum Step {
    /// An event.
    Event(EventKind),
    /// How far the job is, as of the step before.
    Progress,
    /// That a template is made, which is kept in the same commit, and how far the job is with it.
    Template(Arc<Template>),
    /// The same of one that is kept already.
    Kept(Arc<Template>),
}

impl Step {
    pub(crate) fn events(&self) -> usize {
        match self {
            Self::Event(_) | Self::Progress => 1,
            Self::Template(_) | Self::Kept(_) => 2,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Template(template) => template.object.as_json().len(),
            _ => 0,
        }
    }

    pub(crate) fn template(&self) -> Option<&Arc<Template>> {
        match self {
            Self::Template(template) | Self::Kept(template) => Some(template),
            Self::Event(_) | Self::Progress => None,
        }
    }
}

/// A step, and what the attempt was at when it took it.
pub(crate) struct Pending {
    pub(crate) step: Step,
    /// The template that is made next.
    pub(crate) making: Option<u32>,
    /// What becomes of the job's queue entry.
    pub(crate) effect: QueueEffect,
}

/// The steps that are not in the log yet.
#[derive(Default)]
pub(crate) struct Steps {
    pub(crate) pending: VecDeque<Pending>,
    /// Never locked: the mutex only makes the future `Sync`.
    under_way: Option<Mutex<BoxFuture<'static, Answer>>>,
    /// When the commit that is under way began, or the latest one.
    since: Option<Instant>,
    /// How many of the pending steps are committed one at a time: the store refused them as a group.
    pub(crate) apart: usize,
    /// The store had forgotten the job, and no commit has succeeded since.
    pub(crate) has_recovered: bool,
}

/// What became of a commit.
pub(crate) struct Answer {
    /// The fold of the log, as far as it was seen.
    pub(crate) job: Job,
    /// The steps that were in it.
    pub(crate) group: Vec<Pending>,
    /// The numbers of the events that were left out, too.
    pub(crate) outcome: Result<(Outcome, Vec<usize>)>,
}

impl Steps {
    /// The answer to the commit that is under way; for ever where none is. Cancel-safe; must be passed to
    /// `settle`.
    pub(crate) async fn answered(&mut self) -> Answer {
        let Some(under_way) = &mut self.under_way else {
            return std::future::pending().await;
        };
        let answer = under_way.get_mut().await;
        self.under_way = None;
        answer
    }

    /// Whether a commit is under way.
    pub(crate) fn is_committing(&self) -> bool {
        self.under_way.is_some()
    }

    /// Begins this commit.
    pub(crate) fn begin(&mut self, commit: BoxFuture<'static, Answer>) {
        self.since = Some(Instant::now());
        self.under_way = Some(Mutex::new(commit));
    }

    /// Whether the log is too far behind for another template to be begun.
    pub(crate) fn is_behind(&self) -> bool {
        let is_slow = self.since.is_some_and(|since| since.elapsed() >= SLOW);
        self.pending.len() >= MAX_PENDING || self.under_way.is_some() && is_slow
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.under_way.is_none() && self.pending.is_empty()
    }

    /// Puts these steps back at the front, in their order.
    pub(crate) fn again(&mut self, group: Vec<Pending>) {
        for step in group.into_iter().rev() {
            self.pending.push_front(step);
        }
    }

    /// The steps of the next commit.
    pub(crate) fn group(&mut self) -> Vec<Pending> {
        let (mut group, mut events, mut bytes) = (Vec::new(), 0, 0);
        while let Some(next) = self.pending.front() {
            events += next.step.events();
            bytes += next.step.bytes();
            let is_full = events > MAX_COMMIT_EVENTS || bytes > MAX_BYTES || self.apart > 0;
            if is_full && !group.is_empty() {
                break;
            }
            group.extend(self.pending.pop_front());
        }
        self.apart = self.apart.saturating_sub(1);
        group
    }
}
