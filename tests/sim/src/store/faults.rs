//! What is done to the store as a whole: it forgets, goes back, restarts.

use bytes::Bytes;
use conch_domain::JobId;

use super::{Store, at_once};
use crate::history::{Fault, What};

impl Store {
    pub(crate) fn wipe(&self) {
        self.faults.wipe();
        self.notes.lock().backup = None;
        self.history.note(What::Fault(Fault::Wiped));
        self.look_at_all();
    }

    pub(crate) fn back_up(&self) {
        let backup = self.faults.back_up();
        self.notes.lock().backup = Some((self.history.now(), backup));
        self.history.note(What::Fault(Fault::BackedUp));
    }

    /// False when there is no backup.
    pub(crate) fn go_back(&self) -> bool {
        let to = {
            let notes = self.notes.lock();
            let Some((at, backup)) = &notes.backup else {
                return false;
            };
            self.faults.restart_from(backup);
            *at
        };
        self.history.note(What::Fault(Fault::WentBack { to }));
        self.look_at_all();
        true
    }

    /// Loses the last events of a job that somebody runs, if that is all that is lost with them.
    pub(crate) fn cut(&self, id: &JobId, count: usize) {
        if self.faults.cut_log(id, count) {
            self.faults.doubt_logs();
            let job = self.history.job(id);
            self.history.note(What::Fault(Fault::Cut(job)));
            self.look_at_all();
        }
    }

    pub(crate) fn restart(&self) {
        self.faults.interrupt_subscription();
        self.history.note(What::Fault(Fault::Restarted));
        self.pass_on();
    }

    /// The store's restart lost the end of a log, and nobody notices: only for planted bugs.
    pub(crate) fn cut_unnoticed(&self, id: &JobId, count: usize) {
        if self.faults.cut_log(id, count) {
            let job = self.history.job(id);
            self.history.note(What::Fault(Fault::Cut(job)));
            self.look_at_all();
        }
    }

    /// How many events of an unfinished job's log can be lost alone: those that changed no queue entry.
    pub(crate) fn can_lose(&self, id: &JobId) -> usize {
        let Ok(Some(log)) = at_once(self.log.read(id, 0, 2000)) else {
            return 0;
        };
        let keeps = |line: &Bytes| {
            let event = serde_json::from_slice::<serde_json::Value>(line).unwrap_or_default();
            matches!(
                event["event_type"].as_str(),
                Some("job:progress" | "job:template_completed" | "job:template_failed")
            )
        };
        if log.job.status.is_terminal() {
            return 0;
        }
        log.entries
            .iter()
            .rev()
            .take_while(|e| keeps(&e.line))
            .count()
    }
}
