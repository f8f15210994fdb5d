//! Retries, addresses that take turns, time limits, and the breaker.

use super::*;

#[tokio::test]
async fn reads_are_retried() {
    let count = Arc::new(AtomicUsize::new(0));
    let tries = count.clone();
    let stub = Stub::start(move |_| match tries.fetch_add(1, SeqCst) {
        0 | 1 => json(503, "{}"),
        _ => json(200, r#"{"id":"j1","status":"running"}"#),
    })
    .await;
    let job = stub.gateway().job(&j1()).await.unwrap().unwrap();
    assert_eq!((job.status, count.load(SeqCst)), (JobStatus::Running, 3));

    count.store(0, SeqCst);
    let error = stub.gateway().submit(new_job()).await.unwrap_err();
    assert_eq!(
        (error.kind(), count.load(SeqCst)),
        (ErrorKind::Unavailable, 1)
    );
    count.store(0, SeqCst);
    assert!(stub.gateway().cancel(&j1()).await.is_err());
    assert_eq!(count.load(SeqCst), 1);
}

#[tokio::test]
async fn a_full_store_is_told_from_a_service_that_is_down() {
    let full = r#"{"status":503,"code":"store-full","detail":"Redis is out of memory"}"#;
    let stub = Stub::start(move |line| match line {
        "GET /health" => json(200, "{}"),
        _ => json(503, full),
    })
    .await;
    let gateway = stub.gateway();
    // Once more than failures would take for the address to be left alone.
    for _ in 0..6 {
        let error = gateway.submit(new_job()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{error}");
        assert!(error.to_string().contains("out of memory"), "{error}");
    }
    gateway.health().await.expect("reads go on");
}

#[tokio::test]
async fn other_addresses_are_asked_in_turn() {
    let down = refused_address().await;
    let stub = Stub::start(|_| json(201, r#"{"id":"j1","status":"pending"}"#)).await;
    let both = build(settings(&format!("{down},{}", stub.address)));
    assert!(both.job(&j1()).await.unwrap().is_some());
    // Nothing was sent to the first, so a submission may go to the second.
    assert!(matches!(
        both.submit(new_job()).await.unwrap(),
        Requested::Accepted(_)
    ));

    let broken = Stub::start(|_| json(503, "{}")).await;
    let both = build(settings(&format!("{},{}", broken.address, stub.address)));
    assert!(both.job(&j1()).await.unwrap().is_some());
    let before = stub.lines().len();
    assert_eq!(
        both.submit(new_job()).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    assert_eq!(stub.lines().len(), before, "a submission was repeated");

    let error = build(settings(&down)).job(&j1()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains(&down), "{error}");
    assert!(error.to_string().contains("TRITON_BASE_URL"), "{error}");
}

#[tokio::test]
async fn ends_in_time() {
    // Accepts and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings(&format!("http://{}", listener.local_addr().unwrap()));
    settings.try_timeout = Duration::from_millis(150);
    settings.call_timeout = Duration::from_millis(400);
    let gateway = build(settings);
    let start = Instant::now();
    assert_eq!(
        gateway.job(&j1()).await.unwrap_err().kind(),
        ErrorKind::Timeout
    );
    assert_eq!(
        gateway.submit(new_job()).await.unwrap_err().kind(),
        ErrorKind::Timeout
    );
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn fails_fast_when_down() {
    let stub = Stub::start(|line| {
        if line.contains("health") {
            json(404, "{}")
        } else {
            json(503, "{}")
        }
    })
    .await;
    let mut settings = settings(&stub.address);
    settings.breaker_failures = 3;
    settings.breaker_cool_down = Duration::from_mins(1);
    let gateway = build(settings);
    for _ in 0..5 {
        assert_eq!(
            gateway.health().await.unwrap_err().kind(),
            ErrorKind::Refused
        );
    }
    assert!(gateway.job(&j1()).await.is_err());
    assert_eq!(
        stub.lines().len(),
        5 + 3,
        "4xx are no failures, three 503 are"
    );
    let error = gateway.job(&j1()).await.unwrap_err();
    assert!(error.to_string().contains("left alone"), "{error}");
    assert_eq!(stub.lines().len(), 8);
}

/// One caller's big or broken records can be asked for as often as that caller likes.
#[tokio::test]
async fn an_address_that_answers_is_never_left_alone() {
    let announced = || json(200, &" ".repeat(2048));
    let in_chunks = || {
        let chunks = [" ".repeat(800), " ".repeat(800)].map(Ok::<_, std::io::Error>);
        json(200, "").map(|_| Body::from_stream(futures::stream::iter(chunks)))
    };
    let broken_off = || {
        let begun = futures::stream::iter([Ok(" ".repeat(800))]);
        // The head is written while the rest is waited for.
        let gone = futures::stream::once(async {
            tokio::task::yield_now().await;
            Err(std::io::Error::other("gone"))
        });
        json(200, "").map(|_| Body::from_stream(futures::StreamExt::chain(begun, gone)))
    };
    let rows: Vec<(&str, Answers)> = vec![
        ("too long, as announced", Box::new(announced)),
        ("too long, in chunks", Box::new(in_chunks)),
        ("broken off", Box::new(broken_off)),
        ("500", Box::new(|| json(500, "{}"))),
        ("501", Box::new(|| json(501, "{}"))),
    ];
    for (name, answer) in rows {
        let answer = Arc::new(answer);
        let stub = Stub::start(move |line| match line {
            "GET /health" => json(200, "{}"),
            _ => answer(),
        })
        .await;
        let mut settings = settings(&stub.address);
        settings.response_limit = 1024;
        settings.breaker_failures = 3;
        settings.breaker_cool_down = Duration::from_mins(1);
        let gateway = build(settings);
        for _ in 0..4 {
            let error = gateway.job(&j1()).await.expect_err(name);
            assert_eq!(error.kind(), ErrorKind::BadResponse, "{name}: {error}");
            if name.starts_with("too long") {
                assert!(error.message().contains("smaller page_size"), "{error}");
            }
        }
        if let Err(error) = gateway.health().await {
            panic!("{name}: everybody else gets {error}");
        }
        assert_eq!(stub.lines().len(), 5, "{name}: {:?}", stub.lines());
    }
}
