//! A steady flow of events: one thread publishes at a fixed rate, whatever becomes of the events, while
//! the caller's reads what its watchers receive.
//!
//! It must never let a slow server slow the rate down and then report the rate as kept: a flow that can't
//! be kept up fails.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{process::monotonic_nanos, watchers::Watchers};

/// After the last event, so long may its deliveries take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A flow may take so much longer than planned.
const LATE: f64 = 1.1;

/// Where events come from.
pub(crate) trait Source: Send {
    /// Publishes the nth event, and waits for whatever a publisher waits for.
    fn publish(&mut self, number: usize) -> Result<()>;
}

/// How many events, how fast.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Events per second.
    pub per_second: f64,
    /// For how long.
    pub duration: Duration,
}

impl Pace {
    /// How many events that makes.
    pub(crate) fn events(self) -> usize {
        (self.per_second * self.duration.as_secs_f64()).round() as usize
    }
}

/// Publishes at `pace` while `watchers` read, until each event has been received `each` times; answers
/// the latencies in nanoseconds, sorted.
pub(crate) fn run(
    watchers: &mut Watchers,
    each: usize,
    pace: Pace,
    source: &mut dyn Source,
) -> Result<Vec<u64>> {
    let expected = pace.events() * each;
    let published = AtomicUsize::new(0);
    let since = monotonic_nanos()?;
    thread::scope(|scope| {
        let publisher = scope.spawn(|| publish(pace, source, &published));
        let mut end = None;
        let mut latencies = watchers.receive(since, |received| {
            if !publisher.is_finished() {
                return Ok(false);
            }
            let end = *end.get_or_insert_with(Instant::now);
            ensure!(
                published.load(Ordering::Acquire) < pace.events() || end.elapsed() < PATIENCE,
                "{received} of {expected} deliveries were made {PATIENCE:?} after the last event"
            );
            // A publisher that failed says why, below.
            Ok(received >= expected || published.load(Ordering::Acquire) < pace.events())
        })?;
        publisher.join().ok().context("the publisher panicked")??;
        latencies.sort_unstable();
        Ok(latencies)
    })
}

/// Publishes at `pace` and nobody reads.
pub(crate) fn unwatched(pace: Pace, source: &mut dyn Source) -> Result<()> {
    publish(pace, source, &AtomicUsize::new(0))
}

fn publish(pace: Pace, source: &mut dyn Source, published: &AtomicUsize) -> Result<()> {
    let begun = Instant::now();
    for number in 0..pace.events() {
        let due = Duration::from_secs_f64(number as f64 / pace.per_second);
        thread::sleep(due.saturating_sub(begun.elapsed()));
        source
            .publish(number)
            .with_context(|| format!("event {number}"))?;
        published.store(number + 1, Ordering::Release);
    }
    let took = begun.elapsed().as_secs_f64();
    ensure!(
        took <= pace.duration.as_secs_f64() * LATE,
        "{} events were to take {:?} and took {took:.1} s: the publisher waits for the server",
        pace.events(),
        pace.duration
    );
    Ok(())
}
