//! The law of what a log says of the latest commits of many logs.

use conch_domain::{JobId, JobStatus};
use conch_ports::{Appended, Bucket, JobLog, Stamp};

use crate::StoreSubject;
use crate::build::{self, Script};
use crate::observe::{LONG, append_all, claim};

async fn latest(logs: &dyn JobLog, job_id: &JobId) -> Option<Stamp> {
    let stamps = logs.latest(&[Bucket::of(job_id)]).await.unwrap();
    assert_eq!(stamps.len(), 1, "not one answer for one bucket");
    stamps.into_iter().next().flatten()
}

/// Every kind of append, those of a lease's holder too, two jobs of one bucket in turn, and one beside them whose
/// bucket is another one.
pub async fn an_append_changes_its_buckets_stamp(subject: &dyn StoreSubject) {
    let logs = subject.log();
    assert_eq!(logs.latest(&[]).await.unwrap(), []);
    let mut own = Script::own();
    let bucket = Bucket::of(own.id());
    let scripts = || std::iter::repeat_with(Script::foreign);
    let find = |is_beside: bool| {
        let fits = |script: &Script| (Bucket::of(script.id()) == bucket) == is_beside;
        scripts().find(fits).expect("there is no end of ids")
    };
    let (mut beside, mut elsewhere) = (find(true), find(false));
    append_all(&*logs, [elsewhere.started()]).await;
    let untouched = latest(&*logs, elsewhere.id()).await;

    let submitted = subject.queue().submit(own.submission()).await;
    submitted.expect("the store answers");
    let lease = claim(subject, LONG).await.expect("it waits");
    own.hold(&lease);
    let mut commits = vec![own.started(), beside.started(), own.progress(10)];
    commits.push(build::together([own.progress(20), own.progress(30)]));
    commits.extend([beside.progress(10), own.in_new_epoch(), beside.failed()]);
    commits.push(beside.reopened(Script::started));
    commits.push(own.completed());
    let mut seen = Vec::from_iter(latest(&*logs, own.id()).await);
    for commit in commits {
        let place = commit.job.position;
        append_all(&*logs, [commit.clone()]).await;
        let stamp = latest(&*logs, own.id()).await;
        if let Some(stamp) = &stamp {
            assert!(
                !seen.contains(stamp),
                "the stamp of an earlier commit, at {place}"
            );
            seen.push(stamp.clone());
        }
        // What appends nothing changes nothing.
        let again = logs.append(commit).await.unwrap();
        assert!(matches!(again, Appended::Duplicate(_)), "{again:?}");
        assert_eq!(latest(&*logs, own.id()).await, stamp, "at {place}");
    }
    assert_eq!(own.job().status, JobStatus::Completed);
    assert_eq!(
        latest(&*logs, elsewhere.id()).await,
        untouched,
        "of another bucket"
    );
}
