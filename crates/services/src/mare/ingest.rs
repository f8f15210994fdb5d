//! What comes in on the channels. An announcement is a hint; one that came on a channel of our own, sealed, is
//! the hub's to judge. An event of a program that knows no logs (law 6) is offered to its job's log, and
//! streamed from there.
//!
//! Nothing in here trusts a byte of what it gets, and nothing in here streams it.

mod results;

use std::sync::Arc;
use std::time::Duration;

use backon::Retryable;
use bytes::Bytes;
use conch_domain::{EventCap, EventKind, Illegal, JobId, Position};
use conch_ports::{Channel, Error, ErrorKind, JobLog, Message, Signal, Signals};
use conch_wire::announcement::Numbered;
use conch_wire::envelope::Sealed;
use conch_wire::event::{self, Incoming};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Clock;
use crate::append::patience;
use crate::mare::backlog::{Backlog, Bounds, Due, Heard};
use crate::mare::folds::Folds;
use crate::mare::hub::Hub;
use crate::mare::lookup::Lookup;
use crate::mare::offer::{InLog, NoRoom, Offered, Origins, Source, offer};

/// Events of different jobs that are offered at the same time; those of one job go one by one.
const LANES: usize = 16;
/// Jobs of our own whose end is to be cached elsewhere that wait for it.
const ENDS: usize = 1024;
/// For how long an event is offered to a store that is out of reach, and an owed job's log is read there.
const PATIENCE: Duration = Duration::from_secs(30);
/// Once no event was over the quota for as long, the next one that is begins another overflow.
const OVERFLOW_LINGERS: Duration = Duration::from_mins(1);

/// Whether events of programs that know no logs are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignEvents {
    /// They get a place in their job's log.
    Accept {
        /// Bytes that one may have; a longer one is dropped.
        max_bytes: usize,
        /// How many a job takes; further ones are dropped.
        cap: EventCap,
    },
    /// They are dropped: only the log speaks.
    Ignore,
}

/// What an announcement is told to.
#[derive(Clone)]
pub struct Listeners {
    /// Watched jobs are read again.
    pub hub: Hub,
    /// Finished jobs that it keeps are doubted.
    pub lookup: Lookup,
    /// Set where the result cache is not the log's own store: the results of jobs that end are then
    /// put there by a lookup.
    pub cache_results: bool,
}

impl Listeners {
    /// Something may have been appended.
    fn hint(&self, job_id: &JobId, sequence: Option<u64>) {
        self.lookup.hint(job_id);
        self.hub.hint(job_id, sequence);
    }

    /// An event that should be in a log was announced. Its public copy comes after the sealed one.
    fn hear_numbered(
        &self,
        job_id: &JobId,
        position: Position,
        ends_it: bool,
        ends: &mpsc::Sender<JobId>,
    ) {
        self.hear_place(job_id, position);
        self.cache_end(job_id, ends_it, ends);
    }

    /// An event is said to be in a log at this place.
    fn hear_place(&self, job_id: &JobId, position: Position) {
        self.lookup.hint(job_id);
        if !self.hub.knows(job_id.as_str(), position) {
            self.hub.hint(job_id, Some(position.sequence));
        }
    }

    fn hear_sealed(&self, sealed: &Sealed, ends: &mpsc::Sender<JobId>) {
        self.lookup.hint(&sealed.job_id);
        let outcome = self.hub.join(sealed).as_str();
        metrics::counter!("conch_sealed_announcements_total", "outcome" => outcome).increment(1);
        self.cache_end(&sealed.job_id, sealed.ends, ends);
    }

    fn cache_end(&self, job_id: &JobId, ends_it: bool, ends: &mpsc::Sender<JobId>) {
        if self.cache_results && ends_it {
            // Without room for it the result is cached by the first who asks for it.
            drop(ends.try_send(job_id.clone()));
        }
    }

    fn lapsed(&self) {
        self.lookup.lapsed();
        self.hub.lapsed();
    }

    /// `turns` says that the job may have ended, or gone on after an end. It may be forged: it only causes a
    /// look at the log.
    async fn cache_result(&self, job_id: &JobId, turns: bool) {
        if turns
            && self.cache_results
            && let Err(error) = self.lookup.cache_result(job_id).await
        {
            tracing::warn!(job.id = %job_id, %error, "the result could not be cached");
        }
    }
}

/// Whether more foreign jobs are announced than there may be. It is told of once, however many events
/// are dropped for it.
#[derive(Default)]
struct Overflow {
    latest: Mutex<Option<Instant>>,
}

impl Overflow {
    /// One more event is over the quota. Whether it is the first one of an overflow.
    fn begins(&self) -> bool {
        let before = self.latest.lock().replace(Instant::now());
        before.is_none_or(|before| before.elapsed() >= OVERFLOW_LINGERS)
    }
}

/// Listens to `signals`, which are of the bus that `log` announces on, until `shutdown` or until they end.
///
/// # Panics
/// When a lane did: the events of its jobs would be dropped from then on.
pub async fn run(
    log: Arc<dyn JobLog>,
    mut signals: Signals,
    listeners: Listeners,
    foreign: ForeignEvents,
    clock: Clock,
    shutdown: CancellationToken,
) {
    let stop = shutdown.child_token();
    let mut tasks = JoinSet::new();
    let overflow = Arc::new(Overflow::default());
    let no_room = Arc::new(NoRoom::default());
    let cap = match foreign {
        ForeignEvents::Accept { cap, .. } => cap,
        ForeignEvents::Ignore => EventCap::default(),
    };
    let backlog = Arc::new(Backlog::new(Bounds::default()));
    let folds = Arc::new(Folds::default());
    for _ in 0..LANES {
        let lane = Lane {
            log: Arc::clone(&log),
            listeners: listeners.clone(),
            overflow: Arc::clone(&overflow),
            no_room: Arc::clone(&no_room),
            cap,
            backlog: Arc::clone(&backlog),
            folds: Arc::clone(&folds),
        };
        tasks.spawn(lane.run(stop.clone()));
    }
    let (ends, ended) = mpsc::channel(ENDS);
    tasks.spawn(results::keep_caching(
        Arc::clone(&log),
        listeners.lookup.clone(),
        ended,
        stop.clone(),
    ));
    let mut gone = None;
    loop {
        let signal = tokio::select! {
            biased;
            () = shutdown.cancelled() => None,
            Some(ended) = tasks.join_next() => {
                gone = ended.err();
                stop.cancel();
                None
            }
            signal = signals.next() => signal,
        };
        match signal {
            Some(Signal::Gap) => listeners.lapsed(),
            Some(Signal::Message(message)) => {
                hear(
                    message, &listeners, foreign, &backlog, &folds, &ends, &clock,
                );
            }
            None => break,
        }
    }
    drop(ends);
    backlog.close();
    while let Some(ended) = tasks.join_next().await {
        gone = gone.or(ended.err());
    }
    if let Some(panic) = gone.and_then(|error| error.try_into_panic().ok()) {
        std::panic::resume_unwind(panic);
    }
}

const DROPPED: &str = "conch_channel_events_dropped_total";

fn dropped(reason: &'static str) {
    metrics::counter!(DROPPED, "reason" => reason).increment(1);
}

fn read(bytes: &Bytes, clock: &Clock) -> Option<Incoming> {
    if bytes.len() > event::MAX_EVENT_BYTES {
        dropped("oversize");
        return None;
    }
    match event::decode(bytes, clock()) {
        Ok(incoming) => Some(incoming),
        Err(error) => {
            dropped("malformed");
            tracing::debug!(%error, bytes = bytes.len(), "dropped what is no event");
            None
        }
    }
}

/// Takes an announcement: a hint if it has a number, else an event that waits to be offered.
fn hear(
    message: Message,
    listeners: &Listeners,
    foreign: ForeignEvents,
    backlog: &Backlog,
    folds: &Folds,
    ends: &mpsc::Sender<JobId>,
    clock: &Clock,
) {
    let Message { channel, bytes } = message;
    // By the channel, never by what it says of itself.
    if channel == Channel::Own
        && let Some(sealed) = Sealed::read(&bytes)
    {
        folds.hear(&sealed);
        return listeners.hear_sealed(&sealed, ends);
    }
    if bytes.len() <= event::MAX_EVENT_BYTES
        && let Some(numbered) = Numbered::glance(&bytes)
        && let Ok(job_id) = JobId::parse(&numbered.job_id)
    {
        return listeners.hear_numbered(&job_id, numbered.position, numbered.ends, ends);
    }
    let Some(incoming) = read(&bytes, clock) else {
        return;
    };
    let job_id = &incoming.event.job_id;
    if let (Some(sequence), Some(epoch)) = (incoming.sequence, incoming.epoch) {
        let position = Position { epoch, sequence };
        let ends_it = incoming.event.kind.is_terminal();
        return listeners.hear_numbered(job_id, position, ends_it, ends);
    }
    if channel == Channel::Own {
        // Of our own programs, and in no log. No part of Mare reads such events yet.
        return dropped("ephemeral");
    }
    match foreign {
        ForeignEvents::Ignore => return dropped("ignored"),
        ForeignEvents::Accept { max_bytes, .. } if bytes.len() > max_bytes => {
            tracing::debug!(job.id = %job_id, bytes = bytes.len(), "external event dropped");
            return dropped("oversize");
        }
        ForeignEvents::Accept { .. } => {}
    }
    // Its bytes as they came: what they say is several times as large.
    let heard = Heard {
        line: bytes,
        received_at: clock(),
    };
    let lost = backlog.push(job_id, &incoming.event.kind, heard);
    metrics::counter!(DROPPED, "reason" => "superseded").increment(lost.superseded as u64);
    metrics::counter!(DROPPED, "reason" => "overflow").increment(lost.overflow as u64);
}

/// Whether the store, and not Triton, is out of reach. A slow Triton must not hold the tasks that offer
/// external events, and one more try at a full store would cost it a request.
fn is_of_store_out_of_reach(error: &Error) -> bool {
    let is_out_of_reach = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout);
    is_out_of_reach && error.operation().starts_with("job_log.")
}

/// Offers external events, one by one of each job, in the order in which they came.
struct Lane {
    log: Arc<dyn JobLog>,
    listeners: Listeners,
    overflow: Arc<Overflow>,
    no_room: Arc<NoRoom>,
    cap: EventCap,
    backlog: Arc<Backlog>,
    folds: Arc<Folds>,
}

impl Lane {
    async fn run(self, shutdown: CancellationToken) {
        loop {
            let due = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                due = self.backlog.next() => due,
            };
            let Some((job_id, due)) = due else {
                return;
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = self.settle(&job_id, due) => {}
            }
            self.backlog.done(&job_id);
        }
    }

    async fn settle(&self, job_id: &JobId, due: Due) {
        match due {
            Due::Event(heard) => match event::decode(&heard.line, heard.received_at) {
                Ok(incoming) => self.offer(incoming).await,
                Err(error) => tracing::error!(%error, "an event that was read can't be read again"),
            },
            Due::Owed => {
                self.make_up_for(job_id).await;
                self.listeners.hint(job_id, None);
            }
        }
    }

    /// Brings the log of a job whose events found no room up to what Triton knows, for as long as an event
    /// would be offered to a store that is out of reach.
    async fn make_up_for(&self, job_id: &JobId) {
        let made_up = (|| self.listeners.lookup.make_up_for(job_id))
            .retry(patience(Some(PATIENCE)))
            .when(is_of_store_out_of_reach)
            .await;
        if let Err(error) = made_up {
            tracing::warn!(job.id = %job_id, %error, "events of this job found no room, and what became of it can't be asked now");
        }
    }

    async fn offer(&self, incoming: Incoming) {
        let (log, listeners) = (&self.log, &self.listeners);
        let job_id = &incoming.event.job_id;
        let kind = &incoming.event.kind;
        let turns = kind.is_terminal() || matches!(kind, EventKind::Started { .. });
        let attempt = || async {
            let origins = Origins::Asked(listeners.lookup.origins(), &self.no_room);
            let source = Source::Publisher(self.cap);
            let (event, folds) = (&incoming.event, Some(&*self.folds));
            offer(log, event, source, origins, folds, |job| {
                incoming.adopt(job)
            })
            .await
        };
        let offered = attempt
            .retry(patience(Some(PATIENCE)))
            .when(Error::is_retryable)
            .await;
        match offered {
            Ok(Offered::Appended(appended)) => {
                let InLog { job, line } = *appended;
                listeners.lookup.hint(job_id);
                listeners.hub.join_appended(&job, &line);
                listeners.cache_result(job_id, turns).await;
            }
            // The fold that is kept is brought up to it by its seal, if there is one.
            Ok(Offered::Duplicate(at)) => {
                listeners.hear_place(job_id, at);
                listeners.cache_result(job_id, turns).await;
            }
            Ok(Offered::Illegal(Illegal::Behind)) => dropped("superseded"),
            Ok(Offered::Illegal(illegal)) => {
                dropped("illegal");
                tracing::debug!(job.id = %job_id, reason = %illegal, "external event dropped");
                // Perhaps because another instance appended it first, which announces nothing.
                if !matches!(illegal, Illegal::Ended(_)) {
                    listeners.hub.hint(job_id, None);
                }
            }
            Ok(Offered::OwnJob) => {
                dropped("own_job");
                tracing::warn!(
                    job.id = %job_id,
                    event.kind = kind.event_type(),
                    "an event that no log confirms was announced for a job of our own: dropped"
                );
            }
            Err(error) if error.kind() == ErrorKind::QuotaExceeded => {
                dropped("quota");
                if self.overflow.begins() {
                    tracing::warn!(job.id = %job_id, %error, "events of further foreign jobs are dropped until there is room");
                }
            }
            Err(error) => {
                dropped("store_unreachable");
                tracing::warn!(job.id = %job_id, %error, "external event dropped");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_overflow_is_told_of_once() {
        let overflow = Overflow::default();
        assert!(overflow.begins());
        for _ in 0..100 {
            tokio::time::advance(OVERFLOW_LINGERS / 2).await;
            assert!(!overflow.begins(), "it goes on");
        }
        tokio::time::advance(OVERFLOW_LINGERS).await;
        assert!(overflow.begins(), "another one");
    }
}
