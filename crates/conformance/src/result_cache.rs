//! The laws of [`ResultCache`](conch_ports::ResultCache).

use std::time::Duration;

use bytes::Bytes;
use conch_ports::MAX_RESULT_BYTES;

use crate::build::{self, Script};
use crate::observe::append_all;
use crate::{ForeignBlob, Outcome, StoreSubject};

/// `get` after `put` gives the same bytes; of another job nothing; the later `put` counts; what was
/// removed is gone.
pub async fn gives_back_what_was_put(subject: &dyn StoreSubject) {
    let cache = subject.cache();
    let (a, b) = (build::job_id(), build::job_id());
    assert_eq!(cache.get(&a).await.unwrap(), None);
    let result = Bytes::from_static("{\"id\":\"x\",\"name\":\"\u{1f41a} \\u0000\"}".as_bytes());
    cache.put(&a, result.clone()).await.unwrap();
    assert_eq!(cache.get(&a).await.unwrap(), Some(result));
    assert_eq!(cache.get(&b).await.unwrap(), None);
    let later = Bytes::from_static(b"{}");
    cache.put(&a, later.clone()).await.unwrap();
    assert_eq!(cache.get(&a).await.unwrap(), Some(later));
    for _ in 0..2 {
        cache.remove(&a).await.unwrap();
        assert_eq!(
            cache.get(&a).await.unwrap(),
            None,
            "a removed result is there"
        );
    }
}

/// A result is gone after its time, whether it was put or came with a commit, read or not.
pub async fn results_expire(subject: &dyn StoreSubject) -> Outcome {
    let (logs, cache) = (subject.log(), subject.cache());
    let put = build::job_id();
    let mut script = Script::foreign();
    append_all(&*logs, [script.queued(), script.completed()]).await;
    cache.put(&put, Bytes::from_static(b"{}")).await.unwrap();
    let committed = script.id();
    assert!(cache.get(&put).await.unwrap().is_some());
    if logs.guarantees().caches_results {
        assert!(cache.get(committed).await.unwrap().is_some());
    }
    subject
        .advance(subject.limits().result_ttl + Duration::from_millis(50))
        .await;
    assert_eq!(
        cache.get(&put).await.unwrap(),
        None,
        "a put result outlived its time"
    );
    assert_eq!(
        cache.get(committed).await.unwrap(),
        None,
        "a committed result outlived its time"
    );
    Outcome::of_a_log(logs.guarantees())
}

/// What another program wrote comes back as it is, or as nothing where it can be no result.
pub async fn foreign_blobs_are_only_bytes(subject: &dyn StoreSubject) -> Outcome {
    let cache = subject.cache();
    let job_id = build::job_id();
    let blobs = [&b"{\"job_id\":"[..], b"", b"\xff\xfe\0", b"not json at all"];
    let too_long = vec![b' '; MAX_RESULT_BYTES + 1];
    for blob in blobs
        .into_iter()
        .chain([&too_long[..MAX_RESULT_BYTES], &too_long])
    {
        let blob = Bytes::copy_from_slice(blob);
        assert!(
            subject
                .write_foreign_result(&job_id, ForeignBlob::Bytes(blob.clone()))
                .await,
            "every store takes bytes"
        );
        let found = cache.get(&job_id).await.unwrap();
        let none_will_do = blob.is_empty() || blob.len() > MAX_RESULT_BYTES;
        if !(none_will_do && found.is_none()) {
            assert_eq!(found, Some(blob));
        }
    }
    let other = build::job_id();
    if !subject
        .write_foreign_result(&other, ForeignBlob::NotAString)
        .await
    {
        return Outcome::Skipped;
    }
    assert_eq!(cache.get(&other).await.unwrap(), None);
    Outcome::Held
}

/// After a terminal commit `get` answers the encoded fold; before it, and after others, nothing.
pub async fn commit_caches_the_result(subject: &dyn StoreSubject) -> Outcome {
    let (logs, cache) = (subject.log(), subject.cache());
    if !logs.guarantees().caches_results {
        return Outcome::Skipped;
    }
    for end in [Script::completed, Script::failed, Script::cancelled] {
        let mut script = Script::foreign();
        append_all(
            &*logs,
            [script.queued(), script.started(), script.progress(50)],
        )
        .await;
        assert_eq!(
            cache.get(script.id()).await.unwrap(),
            None,
            "the job hasn't ended"
        );
        append_all(&*logs, [end(&mut script)]).await;
        let expected = conch_wire::job::encode(script.job());
        assert_eq!(cache.get(script.id()).await.unwrap(), Some(expected));
    }
    Outcome::Held
}
