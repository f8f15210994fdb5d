//! A worker's claims: several under way while the queue has jobs and the worker has room, none while the
//! queue is known to be empty.
//!
//! Never in here: a claim whose answer is dropped, which would block its job; what becomes of a claimed job.

use std::time::Duration;

use conch_domain::LeaseToken;
use conch_ports::{Claimed, Result};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::entropy;
use crate::worker::job_in_hand::Context;

/// Most claims under way. Each takes a round trip: one at a time can't fill many slots.
const MAX_UNDER_WAY: usize = 8;
/// First wait after a claim that failed; doubles up to [`RETRY_CAP`].
const RETRY: Duration = Duration::from_millis(100);
/// Longest wait after claims that failed.
const RETRY_CAP: Duration = Duration::from_secs(5);
/// Shortest wait after a claim that found nothing.
const PAUSE: Duration = Duration::from_millis(20);

/// The claims of one worker.
pub(crate) struct Claims {
    context: Context,
    under_way: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// Each may hold a lease already, so each keeps its slot until it is answered.
    unanswered: Vec<Asking>,
    /// Jobs claimed since a claim last found nothing or failed: as many claims may be under way.
    in_a_row: usize,
    /// When the queue is asked again after a claim that found nothing or failed.
    rests_until: Option<Instant>,
    outage: Outage,
}

/// A job that was claimed, and the moment before it was asked for.
pub(crate) type Answered = (Claimed, Instant);

struct Answer {
    asking: Asking,
    since: Instant,
    found: Result<Found>,
}

enum Found {
    Job(Box<Claimed>),
    NothingFor(Duration),
}

/// A claim until it is answered. Asked again under the same token, so that a lease whose answer was lost
/// is the answer, and not another job's.
struct Asking {
    token: LeaseToken,
    first: Instant,
}

impl Asking {
    fn new() -> Self {
        Self {
            token: LeaseToken::from_uuid(entropy::random_uuid()),
            first: Instant::now(),
        }
    }

    /// Under another token when a lease of the first try would have run out: its job is another's then.
    fn renewed(self, lease: Duration) -> Self {
        if Instant::now() >= self.first + lease {
            return Self::new();
        }
        self
    }
}

impl Claims {
    pub(crate) fn new(context: Context) -> Self {
        Self {
            context,
            under_way: FuturesUnordered::new(),
            unanswered: Vec::new(),
            in_a_row: 0,
            rests_until: None,
            outage: Outage::default(),
        }
    }

    /// Starts as many claims as there may be; `free` is the number of slots without a job.
    pub(crate) fn start(&mut self, free: usize) {
        if self
            .rests_until
            .is_some_and(|until| until <= Instant::now())
        {
            self.rests_until = None;
        }
        while let Some(asking) = self.next(free) {
            let context = self.context.clone();
            self.under_way.push(Box::pin(async move {
                let since = Instant::now();
                let found = claim(&context, &asking.token).await;
                Answer {
                    asking,
                    since,
                    found,
                }
            }));
        }
    }

    /// What is claimed next, if anything is.
    fn next(&mut self, free: usize) -> Option<Asking> {
        let under_way = self.under_way.len();
        let rests = self.rests_until.is_some();
        let most = if self.outage.is_on() {
            usize::from(!rests)
        } else if self.unanswered.is_empty() {
            if rests { 0 } else { self.in_a_row.max(1) }
        } else {
            // That another claim found nothing says nothing about a lease that these hold.
            usize::MAX
        };
        if under_way >= most.min(free).min(MAX_UNDER_WAY) {
            return None;
        }
        let lease = self.context.settings.lease;
        let unanswered = self.unanswered.pop();
        Some(unanswered.map_or_else(Asking::new, |asking| asking.renewed(lease)))
    }

    /// The next answer to a claim; none: none is under way. A job in it must be run. Cancel-safe.
    pub(crate) async fn answered(&mut self) -> Option<Option<Answered>> {
        let answer = self.under_way.next().await?;
        Some(self.take_in(answer))
    }

    fn take_in(&mut self, answer: Answer) -> Option<Answered> {
        match answer.found {
            Ok(Found::Job(claimed)) => {
                self.outage.over();
                self.in_a_row += 1;
                self.rests_until = None;
                Some((*claimed, answer.since))
            }
            Ok(Found::NothingFor(wait)) => {
                self.outage.over();
                self.in_a_row = 0;
                self.rests_until = Some(Instant::now() + wait);
                None
            }
            Err(error) => {
                self.unanswered.push(answer.asking);
                self.in_a_row = 0;
                // Of claims that failed together, the first one counts.
                if !(self.outage.is_on() && self.rests_until.is_some()) {
                    self.rests_until = Some(Instant::now() + self.outage.wait_after(&error));
                }
                None
            }
        }
    }

    /// Waits until the queue is to be asked again; for ever if no pause is set. Cancel-safe.
    pub(crate) fn rested(&self) -> impl Future<Output = ()> + use<> {
        let until = self.rests_until;
        async move {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Whether an announcement makes the queue worth asking before its time.
    pub(crate) fn can_be_woken(&self) -> bool {
        self.rests_until.is_some() && !self.outage.is_on()
    }

    /// Something may be claimable.
    pub(crate) fn wake(&mut self) {
        self.rests_until = None;
    }
}

async fn claim(context: &Context, token: &LeaseToken) -> Result<Found> {
    let settings = &context.settings;
    let queue = &context.deps.queue;
    let answer = queue.claim(&settings.name, token, settings.lease).await?;
    if let Some(claimed) = answer {
        return Ok(Found::Job(Box::new(claimed)));
    }
    let poll = entropy::shortened(settings.poll);
    let due = queue.next_due().await?.unwrap_or(poll);
    Ok(Found::NothingFor(due.clamp(PAUSE.min(poll), poll)))
}

/// A time without a queue: logged once, waited through with growing pauses.
#[derive(Default)]
struct Outage {
    failures: u32,
}

impl Outage {
    fn is_on(&self) -> bool {
        self.failures > 0
    }

    fn wait_after(&mut self, error: &conch_ports::Error) -> Duration {
        if !self.is_on() {
            tracing::warn!(%error, "no job can be claimed; tried again until one can");
        }
        let wait = RETRY.saturating_mul(1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        entropy::shortened(wait.min(RETRY_CAP))
    }

    fn over(&mut self) {
        if self.is_on() {
            tracing::info!("jobs can be claimed again");
            self.failures = 0;
        }
    }
}
