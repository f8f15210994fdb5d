//! The position check of topics that don't read their logs on silence: whether these have moved on, one
//! question for hundreds of them. What has moved is then read by its own topic.
//!
//! Never in here: Triton. An announcement that was lost is made up for in time, however slow it is.

use std::sync::Arc;
use std::time::Duration;

use conch_domain::Position;
use conch_ports::MAX_POSITIONS;
use tokio::time::MissedTickBehavior;

use super::Shared;
use super::asking::positions;
use super::topic::Topic;

/// Checks once per position check, until the shutdown.
pub(super) async fn keep_checking(shared: Arc<Shared>) {
    let period = shared.settings.position_check.max(Duration::from_millis(1));
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let checked = async {
            ticks.tick().await;
            check(&shared).await;
        };
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            () = checked => {}
        }
    }
}

async fn check(shared: &Shared) {
    let mut topics: Vec<_> = shared.topics.lock().values().cloned().collect();
    topics.retain(|topic| topic.is_checked_with_others());
    topics.sort_unstable_by(|a, b| a.job_id.cmp(&b.job_id));
    for topics in topics.chunks(MAX_POSITIONS) {
        let job_ids: Vec<_> = topics.iter().map(|topic| topic.job_id.clone()).collect();
        match positions(shared, &job_ids).await {
            Ok(positions) => {
                for (topic, position) in topics.iter().zip(positions) {
                    compare(topic, position);
                }
            }
            Err(error) => tracing::debug!(%error, "silent jobs could not be looked for together"),
        }
    }
}

/// Has the topic read its log if that ends at `position` and the topic elsewhere.
fn compare(topic: &Topic, position: Option<Position>) {
    match position {
        // Of an ended job whose log is gone there is nothing to read.
        None => topic.was_looked_for(),
        Some(position) => {
            if topic.is_to_come() || topic.state().head() != Some(position) {
                topic.hint.notify_one();
            }
        }
    }
}
