//! What a topic's pump hears while it waits, be it for time to pass or for Triton: one list, so that
//! it is never deaf to any of it.
//!
//! Never in here: what it does about it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Shared;
use super::calls::Reason;
use super::state::Phase;
use super::topic::Topic;
use crate::entropy;

/// How long a topic without an interest stays for an announcement that came just now.
const GRACE: Duration = Duration::from_secs(1);
/// Over which time the re-reads after an interruption are spread.
const SPREAD_MS: u64 = 250;

/// Why a pump that waited goes on, or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// The last interest is gone, and the topic is off the map.
    Gone,
    /// A new interest came before it was.
    Returned,
    /// It was called for that.
    Called(Reason),
    /// It has waited for long enough.
    Waited,
    /// There is nothing to do: the next call starts another pump.
    AtRest,
}

/// Waits for a reason to look at the log again, `most` at most and half of it at least. Cancel-safe.
pub(super) async fn listen(shared: &Shared, topic: &Arc<Topic>, most: Duration) -> Heard {
    let wait = entropy::lengthened(most / 2);
    tokio::select! {
        // First: a job that is never silent must not keep a topic that nobody watches.
        biased;
        heard = left(shared, topic) => heard,
        reason = topic.calls.next(&[Reason::Hint, Reason::Stale]) => Heard::Called(reason),
        () = tokio::time::sleep(wait) => Heard::Waited,
    }
}

/// What a pump that has nothing to do was called for. Waits only while there is no interest. Cancel-safe.
pub(super) async fn rest(shared: &Shared, topic: &Arc<Topic>) -> Heard {
    let any = [
        Reason::Hint,
        Reason::Stale,
        Reason::Revived,
        Reason::Silence,
    ];
    loop {
        // Before the interests are counted: the last one that goes after that calls again.
        topic.calls.take(Reason::Idle);
        if topic.interest.load(Ordering::Acquire) == 0 {
            return tokio::select! {
                biased;
                heard = left(shared, topic) => heard,
                reason = topic.calls.next(&any) => Heard::Called(reason),
            };
        }
        if let Some(reason) = topic.calls.take_first(&any) {
            return Heard::Called(reason);
        }
        if topic.calls.rest() {
            return Heard::AtRest;
        }
    }
}

/// After an interruption all topics have to be read again, but not all at once. Whether there was one.
pub(super) async fn spread_out(topic: &Topic) -> bool {
    let follows_gap = topic.lapsed.swap(false, Ordering::AcqRel);
    if follows_gap {
        let spread = entropy::up_to(SPREAD_MS);
        tokio::time::sleep(Duration::from_millis(spread)).await;
    }
    follows_gap
}

/// Waits until there has been no interest for the linger time:
/// [`Heard::Gone`], and the topic is off the map, or [`Heard::Returned`]. Cancel-safe.
pub(super) async fn left(shared: &Shared, topic: &Arc<Topic>) -> Heard {
    if topic.interest.load(Ordering::Acquire) > 0 {
        topic.calls.next(&[Reason::Idle]).await;
    }
    // What was never found is not worth keeping: a caller can ask for any id.
    let linger = match topic.state().phase {
        Phase::Loading | Phase::Lost => Duration::ZERO,
        Phase::Live | Phase::Ended(_) | Phase::EndedWithoutLog(_) => shared.settings.linger,
    };
    let since = *topic.idle_since.lock();
    tokio::time::sleep_until(since + linger).await;
    // What was announced at the last moment is looked at first, by the branch that waits beside this; once,
    // for the log may be out of reach.
    if topic.is_announced() {
        tokio::time::sleep(GRACE).await;
    }
    let mut topics = shared.topics.lock();
    if topic.interest.load(Ordering::Acquire) > 0 {
        return Heard::Returned;
    }
    topics.remove(&topic.job_id);
    Heard::Gone
}
