//! Every event that ever stood in a log, and where each log stood at each moment. I1 and I5 are judged
//! while it is written.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde_json::Value;

use super::Violation;
use crate::fold::Fold;
use crate::history::{Change, Fault, Job, Millis, Record, What};

pub(crate) struct Entry {
    pub(crate) line: Bytes,
    pub(crate) event: Value,
    pub(crate) at: Millis,
    /// The state after it.
    pub(crate) after: Fold,
}

/// One incarnation of a log.
pub(crate) struct Epoch {
    pub(crate) base: Option<Fold>,
    /// All that ever stood in it, what was lost included.
    pub(crate) entries: BTreeMap<u64, Entry>,
}

impl Epoch {
    /// The state after `sequence`.
    pub(crate) fn fold(&self, sequence: u64) -> Option<Fold> {
        if sequence == 0 {
            return Some(self.base.clone().unwrap_or_else(Fold::initial));
        }
        self.entries.get(&sequence).map(|entry| entry.after.clone())
    }
}

/// Where a log stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) epoch: String,
    pub(crate) sequence: u64,
    pub(crate) oldest: u64,
}

#[derive(Default)]
pub(crate) struct JobLog {
    pub(crate) epochs: BTreeMap<String, Epoch>,
    /// Where it stood from then on; none: there was none.
    pub(crate) heads: Vec<(Millis, Option<Head>)>,
    /// Epochs after whose failure the job went on.
    went_on: BTreeSet<String>,
    /// Epochs in which it did.
    going_on: BTreeSet<String>,
}

impl JobLog {
    pub(crate) fn head(&self) -> Option<&Head> {
        self.heads.last().and_then(|(_, head)| head.as_ref())
    }

    /// Where it stood at some moment between the two.
    pub(crate) fn heads_between(
        &self,
        from: Millis,
        to: Millis,
    ) -> impl Iterator<Item = Option<&Head>> {
        let before = self.heads.iter().rposition(|(at, _)| *at <= from);
        let initial = before.is_none().then_some(None);
        let since = self.heads.iter().skip(before.unwrap_or(0));
        let during = since.take_while(move |(at, _)| *at <= to);
        initial
            .into_iter()
            .chain(during.map(|(_, head)| head.as_ref()))
    }

    pub(crate) fn entry(&self, epoch: &str, sequence: u64) -> Option<&Entry> {
        self.epochs.get(epoch)?.entries.get(&sequence)
    }

    pub(crate) fn fold(&self, epoch: &str, sequence: u64) -> Option<Fold> {
        self.epochs.get(epoch)?.fold(sequence)
    }

    /// Whether the job went on after `epoch`, in which it had failed: no loss, but an epoch of its own for
    /// another run of its publisher's.
    pub(crate) fn went_on_from(&self, epoch: &str) -> bool {
        self.went_on.contains(epoch)
    }

    /// Whether it went on in `epoch` after a failure.
    pub(crate) fn is_going_on_in(&self, epoch: &str) -> bool {
        self.going_on.contains(epoch)
    }

    /// The state now.
    pub(crate) fn state(&self) -> Option<Fold> {
        let head = self.head()?;
        self.fold(&head.epoch, head.sequence)
    }
}

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) jobs: BTreeMap<Job, JobLog>,
    /// When the store lost something, and of which job if not of all.
    pub(crate) losses: Vec<(Millis, Option<Job>)>,
}

impl Ledger {
    /// Whether the store lost something of the job until then.
    pub(crate) fn lost_of(&self, job: &str, until: Millis) -> bool {
        self.lost_between(job, 0, until)
    }

    /// Whether the store lost something of the job between the two.
    pub(crate) fn lost_between(&self, job: &str, from: Millis, to: Millis) -> bool {
        self.losses
            .iter()
            .any(|(at, of)| (from..=to).contains(at) && of.as_ref().is_none_or(|of| of == job))
    }

    /// Reads what the store's observer wrote down.
    pub(crate) fn read(records: &[Record]) -> (Self, Vec<Violation>) {
        let mut ledger = Self::default();
        let mut found = Vec::new();
        for record in records {
            match &record.what {
                What::Log { job, change } => {
                    let lost = ledger.lost_of(job, record.at);
                    let log = ledger.jobs.entry(job.clone()).or_default();
                    log.take(record.at, job, change, lost, &mut found);
                }
                What::Fault(Fault::Wiped | Fault::WentBack { .. }) => {
                    ledger.losses.push((record.at, None));
                }
                // A tail that is lost makes every log doubtful.
                What::Fault(Fault::Cut(_)) => ledger.losses.push((record.at, None)),
                _ => {}
            }
        }
        (ledger, found)
    }
}

impl JobLog {
    fn take(
        &mut self,
        at: Millis,
        job: &str,
        change: &Change,
        lost: bool,
        found: &mut Vec<Violation>,
    ) {
        let mut blame = |invariant, what: String| {
            let what = format!("{job}: {what}");
            found.push(Violation {
                invariant,
                at,
                what,
            });
        };
        let mut head = self.head().cloned();
        match change {
            Change::Began { epoch, base } => {
                let mut base = base.clone();
                if let Some(before) = &head {
                    // Only a job of another publisher's goes on, and only after a failure.
                    let state = self.fold(&before.epoch, before.sequence);
                    let failed = state.filter(|state| state.status == "failed");
                    if let Some(failed) = failed
                        && job.starts_with('f')
                        && before.epoch != *epoch
                    {
                        // An end whose start was missed closes the run that is known to have begun; a start
                        // that wasn't replaces it.
                        base = base.or(Some(Fold {
                            started_at: failed.started_at,
                            ..Fold::initial()
                        }));
                        self.went_on.insert(before.epoch.clone());
                        self.going_on.insert(epoch.clone());
                    } else if !lost {
                        blame("I5", format!("epoch {epoch} began though nothing was lost"));
                    }
                }
                self.epochs.entry(epoch.clone()).or_insert_with(|| Epoch {
                    base,
                    entries: BTreeMap::new(),
                });
                head = Some(Head {
                    epoch: epoch.clone(),
                    sequence: 0,
                    oldest: 1,
                });
            }
            Change::Grew { sequence, line } => {
                let Some(head) = &mut head else {
                    return;
                };
                let again = self.entry(&head.epoch, *sequence).is_some();
                if *sequence != head.sequence + 1 && !again {
                    blame("I1", format!("{sequence} came after {}", head.sequence));
                }
                head.sequence = *sequence;
                let epoch = head.epoch.clone();
                if let Some(what) = self.append(&epoch, *sequence, line, at) {
                    blame(if again { "I5" } else { "I1" }, what);
                }
            }
            Change::Rewritten { sequence } => {
                blame("I1", format!("{sequence} is another event than it was"));
            }
            Change::Shrank { to } => {
                if !lost {
                    blame("I1", format!("it shrank to {to} though nothing was lost"));
                }
                if let Some(head) = &mut head {
                    head.sequence = *to;
                }
            }
            Change::Trimmed { oldest } => {
                if let Some(head) = &mut head {
                    head.oldest = *oldest;
                }
            }
            Change::Gone => {
                if !lost {
                    blame("I1", "it is gone though nothing was lost".to_owned());
                }
                head = None;
            }
            Change::State { state } => {
                let own = head.as_ref().and_then(|h| self.fold(&h.epoch, h.sequence));
                if own.as_ref() != Some(state) {
                    blame(
                        "I6",
                        format!("its state is {state:?}, its events say {own:?}"),
                    );
                }
            }
        }
        self.heads.push((at, head));
    }

    /// Takes an event in; some: what is wrong with it.
    fn append(&mut self, epoch: &str, sequence: u64, line: &Bytes, at: Millis) -> Option<String> {
        let of = self.epochs.get_mut(epoch)?;
        if let Some(known) = of.entries.get(&sequence) {
            let same = known.line == *line;
            return (!same).then(|| format!("{epoch}-{sequence} was given out twice"));
        }
        let event: Value = serde_json::from_slice(line).unwrap_or_default();
        // One that was trimmed away before it was looked at: what follows can't be folded.
        let before = of.fold(sequence - 1).unwrap_or_else(Fold::initial);
        let after = before.then(&event);
        let entry = Entry {
            line: line.clone(),
            event,
            at,
            after,
        };
        of.entries.insert(sequence, entry);
        None
    }
}
