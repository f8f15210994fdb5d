//! The law of the store's clock.

use std::time::Duration;

use crate::StoreSubject;
use crate::observe::{LONG, SHORT, claimed, soon};

/// Between two looks.
const TICK: Duration = Duration::from_millis(5);
/// Clocks are compared to the millisecond.
const SLACK: i64 = 1;

/// A lease is held as long as `now` says, and not longer; and `now` never goes back.
pub async fn now_is_the_lease_clock(subject: &dyn StoreSubject) {
    let (logs, queue) = (subject.log(), subject.queue());
    let now = async || logs.now().await.expect("the store tells its time");
    let short = SHORT.as_millis() as i64;
    let before = now().await;
    let (_, lease) = claimed(subject, SHORT).await;
    let (ends_after, ends_before) = (before.plus_millis(short), now().await.plus_millis(short));
    soon("the lease's end", async {
        let mut told = before;
        loop {
            let earlier = now().await;
            assert!(earlier >= told, "{told:?}, and then {earlier:?}");
            let expired = queue.expired(9).await.expect("the store answers");
            told = now().await;
            assert!(told >= earlier, "{earlier:?}, and then {told:?}");
            if expired.is_empty() {
                assert!(
                    earlier <= ends_before.plus_millis(SLACK),
                    "held at {earlier:?}, though it ended before {ends_before:?}"
                );
            } else {
                assert_eq!(expired[0].token, lease.token);
                assert!(
                    told >= ends_after.plus_millis(-SLACK),
                    "expired at {told:?}, though it ends after {ends_after:?}"
                );
                break;
            }
            subject.advance(TICK).await;
        }
    })
    .await;
    assert!(!queue.renew(&lease, LONG).await.unwrap(), "it has ended");
}
