//! What comes in on the channels. An announcement is a hint and nothing more; an event of a program
//! that knows no logs (law 6) is offered to its job's log, and streamed from there.
//!
//! Nothing in here trusts a byte of what it gets, and nothing in here streams it.

mod results;

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use backon::Retryable;
use bytes::Bytes;
use conch_domain::{EventCap, EventKind, Illegal, JobId};
use conch_ports::{ErrorKind, EventBus, Signal, Signals};
use conch_wire::event::{self, Incoming};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::append::patience;
use crate::hub::Hub;
use crate::lookup::Lookup;
use crate::offer::{Offered, Source, offer};
use crate::{Clock, entropy};

/// Events of different jobs that are offered at the same time; those of one job go one by one.
const LANES: usize = 16;
/// Foreign events that wait per lane; more are dropped and counted.
const LANE_LENGTH: usize = 1024;
/// For how long an event is offered to a store that is out of reach.
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

    fn lapsed(&self) {
        self.lookup.lapsed();
        self.hub.lapsed();
    }

    /// `turns` says that the job may have ended, or gone on after an end. It may be forged: it only makes
    /// somebody look.
    async fn tell(&self, job_id: &JobId, sequence: Option<u64>, turns: bool) {
        self.hint(job_id, sequence);
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

/// Listens to `signals`, which are `bus`'s, until `shutdown` or until they end.
///
/// # Panics
/// When a lane did: the events of its jobs would be dropped from then on.
pub async fn run(
    bus: Arc<dyn EventBus>,
    mut signals: Signals,
    listeners: Listeners,
    foreign: ForeignEvents,
    clock: Clock,
    shutdown: CancellationToken,
) {
    let stop = shutdown.child_token();
    let mut tasks = JoinSet::new();
    let overflow = Arc::new(Overflow::default());
    let cap = match foreign {
        ForeignEvents::Accept { cap, .. } => cap,
        ForeignEvents::Ignore => EventCap::default(),
    };
    let lanes: Vec<_> = (0..LANES)
        .map(|_| {
            let (sender, events) = mpsc::channel(LANE_LENGTH);
            tasks.spawn(lane(
                Arc::clone(&bus),
                listeners.clone(),
                Arc::clone(&overflow),
                cap,
                events,
                stop.clone(),
            ));
            sender
        })
        .collect();
    let (ends, ended) = mpsc::channel(LANE_LENGTH);
    tasks.spawn(results::keep_caching(
        Arc::clone(&bus),
        listeners.lookup.clone(),
        ended,
        stop.clone(),
    ));
    // Not known to those who choose job ids.
    let salt = entropy::seed();
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
            Some(Signal::Lapsed) => listeners.lapsed(),
            Some(Signal::Message(bytes)) => {
                let Some(incoming) = read(&bytes, &clock) else {
                    continue;
                };
                let job_id = incoming.event.job_id.clone();
                if incoming.is_numbered() {
                    listeners.hint(&job_id, incoming.sequence);
                    if listeners.cache_results && incoming.event.kind.is_terminal() {
                        // Without room for it the result is cached by the first who asks for it.
                        drop(ends.try_send(job_id));
                    }
                    continue;
                }
                match foreign {
                    ForeignEvents::Ignore => {
                        dropped("ignored");
                        continue;
                    }
                    ForeignEvents::Accept { max_bytes, .. } if bytes.len() > max_bytes => {
                        dropped("oversize");
                        tracing::debug!(job.id = %job_id, bytes = bytes.len(), "foreign event dropped");
                        continue;
                    }
                    ForeignEvents::Accept { .. } => {}
                }
                let lane = BuildHasherDefault::<DefaultHasher>::default().hash_one((salt, &job_id));
                let lane = lane as usize % LANES;
                if lanes[lane].try_send(incoming).is_err() {
                    dropped("overflow");
                    // The job's end is still learned from Triton.
                    listeners.hub.hint(&job_id, None);
                }
            }
            None => break,
        }
    }
    drop((lanes, ends));
    while let Some(ended) = tasks.join_next().await {
        gone = gone.or(ended.err());
    }
    if let Some(panic) = gone.and_then(|error| error.try_into_panic().ok()) {
        std::panic::resume_unwind(panic);
    }
}

fn dropped(reason: &'static str) {
    metrics::counter!("conch_channel_events_dropped_total", "reason" => reason).increment(1);
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

/// Offers the foreign events of its jobs, one by one, in the order in which they came.
async fn lane(
    bus: Arc<dyn EventBus>,
    listeners: Listeners,
    overflow: Arc<Overflow>,
    cap: EventCap,
    mut events: mpsc::Receiver<Incoming>,
    shutdown: CancellationToken,
) {
    while let Some(incoming) = events.recv().await {
        let job_id = &incoming.event.job_id;
        let kind = &incoming.event.kind;
        let turns = kind.is_terminal() || matches!(kind, EventKind::Started { .. });
        let attempt = || async {
            let source = Source::Publisher(cap);
            offer(&bus, &incoming.event, source, |job| incoming.adopt(job)).await
        };
        let backoff = patience(Some(PATIENCE));
        let offered = tokio::select! {
            biased;
            offered = attempt.retry(backoff).when(conch_ports::Error::is_retryable) => offered,
            () = shutdown.cancelled() => return,
        };
        match offered {
            Ok(Offered::Appended(at) | Offered::Duplicate(at)) => {
                listeners.tell(job_id, Some(at.sequence), turns).await;
            }
            Ok(Offered::Illegal(illegal)) => {
                dropped("illegal");
                tracing::debug!(job.id = %job_id, reason = %illegal, "foreign event dropped");
                // Perhaps because another instance appended it first, which announces nothing.
                if !matches!(illegal, Illegal::Ended(_)) {
                    listeners.hub.hint(job_id, None);
                }
            }
            Ok(Offered::OwnJob) => {
                dropped("own_job");
                tracing::warn!(
                    job.id = %job_id,
                    event.kind = incoming.event.kind.event_type(),
                    "an event that no log confirms was announced for a job of our own: dropped"
                );
            }
            Err(error) if error.kind() == ErrorKind::QuotaExceeded => {
                dropped("quota");
                if overflow.begins() {
                    tracing::warn!(job.id = %job_id, %error, "events of further foreign jobs are dropped until there is room");
                }
            }
            Err(error) => {
                dropped("store_unreachable");
                tracing::warn!(job.id = %job_id, %error, "foreign event dropped");
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
