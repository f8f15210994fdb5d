//! Many jobs on one stream: states, not histories.

use std::collections::BTreeMap;

use conch_harness::conch::Plan;
use conch_harness::{Event, Stream};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_names_its_jobs_ends_with_the_last_of_them() {
    let conch = Plan::all_in_one().pace(100).start().await;
    let mare = conch.mare();
    let client_id = mare.new_client("Fabrikam Health").await;
    let one = mare.submit(&client_id).await;
    let two = mare.submit(&client_id).await;
    let unnamed = mare.submit(&client_id).await;

    let path = format!("/jobs/subscribe?job_id={one}&job_id={two}");
    let events = Stream::open(&mare.url(&path), None)
        .await
        .read_to_end()
        .await;
    let mut by_job: BTreeMap<String, Vec<&Event>> = BTreeMap::new();
    for event in &events {
        assert!(event.id.starts_with("m-"), "{event:?}");
        by_job.entry(event.text("job_id")).or_default().push(event);
    }
    assert_eq!(by_job.len(), 2, "{unnamed} was not named: {events:#?}");
    for (job_id, events) in by_job {
        assert_eq!(events[0].kind(), "job:snapshot", "{job_id}: {events:#?}");
        let status = events[events.len() - 1].text("status");
        assert_eq!(status, "completed", "{job_id}: {events:#?}");
    }

    // All of them have ended: a reconnect is told that all is over.
    let last = &events[events.len() - 1].id;
    let over = mare
        .request(reqwest::Method::GET, &path)
        .header("last-event-id", last)
        .send()
        .await
        .expect("it answers");
    assert_eq!(over.status(), 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_over_a_client_sees_jobs_that_come_later_and_no_others() {
    let conch = Plan::all_in_one().pace(20).start().await;
    let mare = conch.mare();
    let ours = mare.new_client("Fabrikam Health").await;
    let theirs = mare.new_client("Contoso Care").await;

    let url = mare.url(&format!("/jobs/subscribe?client_id={ours}"));
    let mut stream = Stream::open(&url, None).await;
    let foreign = mare.submit(&theirs).await;
    let job_id = mare.submit(&ours).await;
    let events = stream.read_until(Event::is_terminal).await;
    assert!(
        events.iter().all(|e| e.text("job_id") == job_id),
        "{foreign}: {events:#?}"
    );
    assert!(
        events.iter().any(|e| e.kind() == "job:template_completed"),
        "{events:#?}"
    );

    // A resume begins with what changed since, the end included.
    let mut resumed = Stream::open(&url, Some(&events[0].id)).await;
    let snapshot = resumed.next_event().await.expect("a snapshot");
    assert_eq!(snapshot.kind(), "job:snapshot");
    assert_eq!(snapshot.text("status"), "completed");
    assert_eq!(snapshot.text("job_id"), job_id);
}
