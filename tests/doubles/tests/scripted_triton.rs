//! The scripted job service itself: it answers, fails, hangs and counts.

use conch_conformance::build::{self, Script};
use conch_doubles::ScriptedTriton;
use conch_ports::{Document, ErrorKind, NewJob, Requested, TritonGateway};

#[tokio::test(start_paused = true)]
async fn a_scripted_triton_answers_fails_and_hangs() {
    let triton = ScriptedTriton::new();
    let script = Script::own();
    assert_eq!(triton.job(script.id()).await.unwrap(), None);
    triton.set_job(script.job().clone());
    assert_eq!(
        triton.job(script.id()).await.unwrap().as_ref(),
        Some(script.job())
    );

    let new = NewJob {
        client_id: build::client_id(),
        value_proposition_id: None,
        schedule: conch_domain::Schedule::default(),
        idempotency_key: None,
    };
    let unknown = triton.submit(new.clone()).await.unwrap();
    assert!(matches!(unknown, Requested::NotFound(_)));
    triton.set_client(new.client_id.clone(), Document::from_json("{}"));
    assert!(matches!(
        triton.submit(new.clone()).await.unwrap(),
        Requested::Accepted(_)
    ));
    assert_eq!(triton.submitted(), [new.clone(), new]);

    triton.fail(ErrorKind::BadResponse);
    let failed = triton.job(script.id()).await.expect_err("it was told to");
    assert_eq!(failed.kind(), ErrorKind::BadResponse);
    triton.hang();
    let mut hanging = triton.job(script.id());
    assert!(futures::poll!(hanging.as_mut()).is_pending());
    triton.heal();
    assert!(hanging.await.unwrap().is_some());
    assert_eq!(triton.calls("job"), 4);
    assert_eq!(triton.calls("submit"), 2);
    assert_eq!(triton.total_calls(), 6);
}
