//! The store's clock, kept by this machine's: all processes on one store stamp by one clock, however
//! wrong their own ones are. A resume of a stream over many jobs compares times of several of them.
//!
//! Never in here: a wait for the store before the time is told. Until it has answered once, the time is
//! this machine's own; whoever would stamp events by that can wait for [`StoreClock::known`].

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use conch_domain::Timestamp;
use conch_ports::{JobLog, Result};
use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;

use crate::Clock;

/// How often the store is asked.
const INTERVAL: Duration = Duration::from_secs(10);
/// How soon it is asked again at the start.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// How soon it is asked again after it didn't answer.
const RETRY: Duration = Duration::from_secs(1);
/// An answer that took longer says too little.
const SLOW_MICROS: i64 = 500_000;
/// What is worth a line in the log.
const WORTH_TELLING_MICROS: i64 = 2_000_000;

/// Tells the store's time; a cheap handle.
#[derive(Clone)]
pub struct StoreClock {
    local: Clock,
    /// Microseconds by which the store is ahead.
    offset: Arc<AtomicI64>,
    /// Whether the store has told its time.
    known: Arc<SetOnce<()>>,
}

impl StoreClock {
    /// Tells `local`'s time until the store has answered.
    pub fn new(local: Clock) -> Self {
        Self {
            local,
            offset: Arc::default(),
            known: Arc::default(),
        }
    }

    /// The time, for whoever needs it. May go back a little when the store is asked again.
    pub fn clock(&self) -> Clock {
        let (local, offset) = (Arc::clone(&self.local), Arc::clone(&self.offset));
        Arc::new(move || plus(local(), offset.load(Ordering::Relaxed)))
    }

    /// Waits until the store has told its time once. Cancel-safe.
    pub async fn known(&self) {
        self.known.wait().await;
    }

    /// Asks the store until it has told its time, but not for longer than `within`.
    pub async fn begin(&self, log: &dyn JobLog, within: Duration) {
        let asking = async {
            while !matches!(self.set(log).await, Ok(true)) {
                tokio::time::sleep(FIRST_RETRY).await;
            }
        };
        if tokio::time::timeout(within, asking).await.is_err() {
            tracing::debug!("the store's clock can't be read yet");
        }
    }

    /// Asks the store once; false: it took too long for its answer to say anything. Cancel-safe.
    ///
    /// # Errors
    /// When it is out of reach; the time goes on as before.
    pub async fn set(&self, log: &dyn JobLog) -> Result<bool> {
        let asked = (self.local)();
        let told = log.now().await?;
        let heard = (self.local)();
        let took = heard.as_micros() - asked.as_micros();
        // A clock that was set meanwhile shows as a negative time.
        let useful = (0..=SLOW_MICROS).contains(&took);
        if useful {
            let offset = told.as_micros() + took / 2 - heard.as_micros();
            let before = self.offset.swap(offset, Ordering::Relaxed);
            metrics::gauge!("conch_clock_offset_seconds").set(offset as f64 / 1e6);
            if (offset - before).abs() > WORTH_TELLING_MICROS {
                tracing::warn!(
                    offset_ms = offset / 1000,
                    "this machine's clock differs from the store's: events are stamped by the store's"
                );
            }
            // Known it stays, whoever says so first.
            drop(self.known.set(()));
        }
        Ok(useful)
    }

    /// Asks again and again, until `shutdown`.
    pub async fn keep(self, log: Arc<dyn JobLog>, shutdown: CancellationToken) {
        let mut wait = if self.known.initialized() {
            INTERVAL
        } else {
            RETRY
        };
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = match self.set(&*log).await {
                Ok(true) => INTERVAL,
                Ok(false) => RETRY,
                Err(error) => {
                    tracing::debug!(%error, "the store's clock can't be read now");
                    RETRY
                }
            };
        }
    }
}

fn plus(time: Timestamp, micros: i64) -> Timestamp {
    Timestamp::from_micros(time.as_micros().saturating_add(micros))
}
