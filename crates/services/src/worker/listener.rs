//! What a worker hears: an announcement wakes the task that it concerns, and does nothing more.
//!
//! Never in here: trust in a message. Any program may have announced anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use conch_domain::{EventKind, JobId};
use conch_ports::{Signal, Signals};
use conch_wire::event;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::Clock;

/// The types of events that make a worker look.
const HEARD: [&str; 3] = ["job:queued", "job:retrying", "job:cancel_requested"];

/// Who in this worker wants to hear of which announcements.
#[derive(Default)]
pub(crate) struct Ears {
    running: Mutex<BTreeMap<JobId, Arc<Notify>>>,
    /// Something may be claimable.
    pub(crate) queue: Notify,
}

impl Ears {
    /// Passes on what the bus says, until it says no more. Nothing in a message is believed: it only
    /// makes a task look.
    pub(crate) async fn listen(&self, mut signals: Signals, clock: Clock) {
        while let Some(signal) = signals.next().await {
            match signal {
                Signal::Gap => {
                    self.queue.notify_one();
                    for look in self.running.lock().values() {
                        look.notify_one();
                    }
                }
                // Most of what is announced is progress, much of it this worker's own.
                Signal::Message(message) if event::is_none_of(&message.bytes, &HEARD) => {}
                Signal::Message(message) => {
                    let Ok(incoming) = event::decode(&message.bytes, clock()) else {
                        continue;
                    };
                    match incoming.event.kind {
                        EventKind::Queued { .. } | EventKind::Retrying { .. } => {
                            self.queue.notify_one();
                        }
                        EventKind::CancelRequested { .. } => {
                            if let Some(look) = self.running.lock().get(&incoming.event.job_id) {
                                look.notify_one();
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}

/// Takes a job off the list of those that run here, however its run ends.
pub(crate) struct Listed {
    ears: Arc<Ears>,
    job_id: JobId,
    /// Notified when the job's end may have been requested.
    pub(crate) look: Arc<Notify>,
}

impl Listed {
    /// Puts the job on the list.
    pub(crate) fn new(ears: &Arc<Ears>, job_id: JobId) -> Self {
        let look = Arc::new(Notify::new());
        let known = ears
            .running
            .lock()
            .insert(job_id.clone(), Arc::clone(&look));
        // A job whose lease this worker lost may come back before its old run has noticed.
        drop(known);
        Self {
            ears: Arc::clone(ears),
            job_id,
            look,
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut running = self.ears.running.lock();
        if running
            .get(&self.job_id)
            .is_some_and(|look| Arc::ptr_eq(look, &self.look))
        {
            running.remove(&self.job_id);
        }
    }
}
