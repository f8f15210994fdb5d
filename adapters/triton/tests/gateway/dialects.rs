//! What Triton's answers mean, in both dialects, and which of them are nonsense.

use conch_domain::{Priority, Schedule};

use super::*;

#[tokio::test]
async fn speaks_both_dialects() {
    let stub = Stub::start(|line| match line {
        "GET /jobs/j1" => json(200, r#"{"id":"j1","client_id":"c1","status":"completed",
            "created_at":"2025-12-01T08:55:49.123456","completed_at":"2025-12-01T08:57:49.123456"}"#),
        l if l.starts_with("GET /templates/?job_id=j1") => json(200, r#"[
            {"id":"t2","job_id":"j1","created_at":"2025-12-01T08:57:00"},
            {"id":"t1","job_id":"j1","created_at":"2025-12-01T08:56:00"},
            {"id":"t9","job_id":"other","created_at":"2025-12-01T08:50:00"}]"#),
        l if l.starts_with("GET /clients/?") => json(200, r#"[
            {"id":"a","industry":"x","created_at":"2025-01-01T00:00:00"},
            {"id":"b","industry":"y","created_at":"2025-01-03T00:00:00"},
            {"id":"c","industry":"x","created_at":"2025-01-02T00:00:00","more":1.50}]"#),
        l if l.starts_with("GET /jobs/?") => json(200,
            r#"{"total":41,"page":2,"page_size":20,"jobs":[{"job_id":"k","status":"running"}]}"#),
        l if l.starts_with("GET /templates/?") => json(200,
            r#"{"total":1,"page":1,"page_size":20,"templates":[{"id":"t1"}]}"#),
        "GET /clients/c1/value-propositions" => json(200, r#"[{"id":"v1","client_id":"c1"}]"#),
        "DELETE /jobs/late" => json(400, r#"{"detail":"Job already finished"}"#),
        "DELETE /jobs/ended" => json(409, "{}"),
        "DELETE /jobs/running" => Response::builder().status(204).body(Body::empty()).unwrap(),
        _ => json(404, r#"{"detail":"Not found"}"#),
    })
    .await;
    let gateway = stub.gateway();
    let job = gateway.job(&j1()).await.unwrap().unwrap();
    let ids: Vec<_> = job
        .template_ids
        .iter()
        .map(conch_domain::TemplateId::as_str)
        .collect();
    assert_eq!((ids, job.template_count), (vec!["t1", "t2"], 2));
    assert_eq!(
        conch_wire::time::format(job.created_at.unwrap()),
        "2025-12-01T08:55:49.123456Z"
    );

    let filter = ClientFilter {
        industry: Some("x".to_owned()),
    };
    let page = gateway
        .clients(
            &filter,
            Paging {
                page: 2,
                page_size: 1,
            },
        )
        .await
        .unwrap();
    assert_eq!((page.total, page.items.len()), (2, 1));
    assert!(page.items[0].as_json().starts_with(br#"{"id":"a""#));
    let page = gateway
        .clients(
            &filter,
            Paging {
                page: 1,
                page_size: 1,
            },
        )
        .await
        .unwrap();
    assert!(
        page.items[0].as_json().ends_with(br#""more":1.50}"#),
        "passed on as it came"
    );

    let since = Some(Timestamp::from_micros(0));
    let filter = JobFilter {
        client_id: None,
        status: Some(JobStatus::Running),
        updated_since: since,
    };
    let page = gateway
        .jobs(
            &filter,
            Paging {
                page: 2,
                page_size: 20,
            },
        )
        .await
        .unwrap();
    assert_eq!((page.total, page.items[0].id.as_str()), (41, "k"));
    assert_eq!(
        stub.lines().last().unwrap(),
        "GET /jobs/?status=running\
        &updated_since=1970-01-01T00%3A00%3A00.000000Z&page=2&page_size=20"
    );
    let page = gateway
        .templates(&TemplateFilter::default(), FIRST)
        .await
        .unwrap();
    assert_eq!(page.total, 1);
    let c1 = "c1".parse().unwrap();
    assert_eq!(
        gateway
            .value_propositions(&c1)
            .await
            .unwrap()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(gateway.client(&c1).await.unwrap(), None);

    for (id, expected) in [
        ("late", Cancelled::AlreadyEnded),
        ("ended", Cancelled::AlreadyEnded),
        ("running", Cancelled::Requested),
        ("nobody", Cancelled::NotFound),
    ] {
        assert_eq!(
            gateway.cancel(&id.parse().unwrap()).await.unwrap(),
            expected,
            "{id}"
        );
    }
}

/// The Python service's ids are UUIDs: it refuses any other before it looks for one.
#[tokio::test]
async fn what_no_record_can_be_called_is_absent() {
    let stub = Stub::start(|line| {
        let loc = match line {
            l if l.starts_with("POST /jobs/") => r#"["body","client_id"]"#,
            l if l.starts_with("GET /jobs/?") => r#"["query","client_id"]"#,
            l if l.starts_with("GET /templates/?") => r#"["query","job_id"]"#,
            _ => r#"["path","id"]"#,
        };
        let fault = format!(r#"{{"detail":[{{"type":"uuid_parsing","loc":{loc}}}]}}"#);
        json(422, &fault)
    })
    .await;
    let gateway = stub.gateway();
    let client = "c1".parse().unwrap();
    assert!(gateway.job(&j1()).await.unwrap().is_none());
    assert!(gateway.client(&client).await.unwrap().is_none());
    assert!(
        gateway
            .template(&"t1".parse().unwrap())
            .await
            .unwrap()
            .is_none()
    );
    assert!(gateway.value_propositions(&client).await.unwrap().is_none());
    let body = conch_ports::Document::from_json("{}");
    let added = gateway.create_value_proposition(&client, body).await;
    assert!(added.unwrap().is_none());
    assert_eq!(gateway.cancel(&j1()).await.unwrap(), Cancelled::NotFound);
    let submitted = gateway.submit(new_job()).await.unwrap();
    assert!(matches!(submitted, Requested::NotFound(_)), "{submitted:?}");
    let jobs = gateway.jobs(&JobFilter::default(), FIRST).await.unwrap();
    assert_eq!((jobs.total, jobs.items.len()), (0, 0));
    let filter = TemplateFilter::default();
    let templates = gateway.templates(&filter, FIRST).await.unwrap();
    assert_eq!((templates.total, templates.items.len()), (0, 0));
}

/// A client with its value propositions in it, as `with-value-props` answers.
#[tokio::test]
async fn value_propositions_are_read_in_every_shape() {
    for body in [
        r#"[{"id":"v1","client_id":"c1"}]"#,
        r#"{"total":1,"value_propositions":[{"id":"v1","client_id":"c1"}]}"#,
        r#"{"client":{"id":"c1"},"value_propositions":[{"id":"v1","client_id":"c1"}]}"#,
    ] {
        let stub = Stub::start(move |_| json(200, body)).await;
        let client = "c1".parse().unwrap();
        let found = stub.gateway().value_propositions(&client).await.unwrap();
        assert_eq!(found.unwrap().len(), 1, "{body}");
    }
}

#[tokio::test]
async fn a_quota_is_told_in_triton_s_words_alone() {
    // A caller gets to see them.
    for (body, told) in [
        (
            r#"{"detail":"7 jobs wait or run: raise MAX_QUEUED_JOBS"}"#,
            "7 jobs wait or run: raise MAX_QUEUED_JOBS",
        ),
        ("<html>", "Triton takes no more for now"),
    ] {
        let stub = Stub::start(move |_| json(429, body)).await;
        let error = stub.gateway().submit(new_job()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::QuotaExceeded);
        assert_eq!(error.message(), told);
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains(&stub.address), "{source}");
    }
}

#[tokio::test]
async fn an_answer_that_repeats_an_earlier_one_is_understood() {
    let stub = Stub::start(move |_| {
        let mut answer = json(201, r#"{"id":"j1","status":"pending","client_id":"c1"}"#);
        let headers = answer.headers_mut();
        headers.insert("idempotency-replayed", "true".parse().unwrap());
        answer
    })
    .await;
    let submitted = build(settings(&stub.address)).submit(new_job()).await;
    assert!(
        matches!(&submitted, Ok(Requested::Repeated(job)) if job.id == j1()),
        "{submitted:?}"
    );
}

#[tokio::test]
async fn submissions_are_understood() {
    for (status, body, expected) in [
        (
            201,
            r#"{"id":"j1","status":"pending","client_id":"c1"}"#,
            "accepted",
        ),
        (202, r#"{"job_id":"j1","status":"pending"}"#, "accepted"),
        (
            404,
            r#"{"detail":"no active value proposition"}"#,
            "no active value proposition",
        ),
        (422, r#"{"code":"idempotency-key-reused"}"#, "reused"),
        (422, r#"{"detail":[{"loc":["body"]}]}"#, "Refused loc"),
        (401, r#"{"detail":"no"}"#, "Refused TRITON_TOKEN"),
        (429, r#"{"detail":"slow down"}"#, "QuotaExceeded slow down"),
        (500, "{}", "BadResponse"),
        (
            201,
            r#"{"id":"j1","status":"pending","client_id":"c2"}"#,
            "BadResponse",
        ),
        (404, "<html>", "BadResponse"),
    ] {
        let stub = Stub::start(move |_| json(status, body)).await;
        let mut settings = settings(&stub.address);
        settings.token = Some(Token::parse("s3cret").unwrap());
        let shown = match build(settings).submit(new_job()).await {
            Ok(Requested::Accepted(job)) if job.id == j1() => "accepted".to_owned(),
            Ok(Requested::NotFound(detail)) => detail,
            Ok(Requested::KeyReused) => "reused".to_owned(),
            Ok(other) => panic!("{other:?}"),
            Err(error) => format!("{:?} {error}", error.kind()),
        };
        assert!(
            expected.split(' ').all(|word| shown.contains(word)),
            "{status} {body}: {shown}"
        );
        let asked = stub.asked.lock().unwrap();
        assert_eq!((asked.len(), asked[0].0.as_str()), (1, "POST /jobs/"));
        assert_eq!(asked[0].1["idempotency-key"], "key-1");
        assert_eq!(asked[0].1["authorization"], "Bearer s3cret");
    }
}

/// The Python service would ignore a schedule, and run the job at once: it isn't asked to.
#[tokio::test]
async fn a_schedule_that_would_be_ignored_is_refused() {
    let ours = r#"{"total":0,"page":1,"page_size":1,"clients":[]}"#;
    let at = "2026-01-01T06:00:00Z";
    let run_at = conch_wire::time::parse(at);
    let urgent = Schedule {
        priority: Priority::HIGHEST,
        run_at: None,
    };
    let later = Schedule { run_at, ..urgent };
    let too_far = r#"{"code":"invalid-field","errors":[{"path":"run_at","detail":"too\nfar"}]}"#;
    let created = r#"{"id":"j1","job_id":"j1","status":"pending","client_id":"c1"}"#;
    for (schedule, clients, answer, expected, lines) in [
        (urgent, "[]", (201, created), "priority", 1),
        (later, "[]", (201, created), "run_at", 1),
        (Schedule::default(), "[]", (201, created), "accepted", 1),
        (later, ours, (201, created), "accepted", 2),
        (later, ours, (422, too_far), "run_at too far", 2),
        (urgent, "nonsense", (201, created), "BadResponse", 1),
    ] {
        let stub = Stub::start(move |line| match line {
            "GET /clients/?page=1&page_size=1" => json(200, clients),
            "POST /jobs/" => json(answer.0, answer.1),
            _ => json(404, "{}"),
        })
        .await;
        let new = NewJob {
            schedule,
            ..new_job()
        };
        let shown = match stub.gateway().submit(new).await {
            Ok(Requested::Accepted(_)) => "accepted".to_owned(),
            Ok(Requested::Invalid { path, detail }) => format!("{path} {detail}"),
            Ok(other) => panic!("{other:?}"),
            Err(error) => format!("{:?}", error.kind()),
        };
        assert!(shown.starts_with(expected), "{clients}: {shown}");
        assert_eq!(stub.lines().len(), lines, "{clients}: {:?}", stub.lines());
    }
}

/// Errors become lines of logs as they are.
#[tokio::test]
async fn no_word_of_triton_s_begins_a_line_of_its_own() {
    for (status, body) in [
        (400, r#"{"detail":"no\n2026-01-01 INFO forged"}"#),
        (429, r#"{"detail":"no\r\nforged"}"#),
        (500, r#"{"title":"\u001b[2Jforged\u0085"}"#),
        (422, r#"{"detail":["\u0085forged"]}"#),
        (404, r#"{"detail":"no\nforged"}"#),
        (201, r#"{"id":"j1","status":"no\nforged"}"#),
        (201, r#"{"id":"no\nforged","status":"pending"}"#),
    ] {
        let stub = Stub::start(move |_| json(status, body)).await;
        let said = match stub.gateway().submit(new_job()).await {
            Ok(Requested::NotFound(detail)) => detail,
            other => other.expect_err(body).to_string(),
        };
        assert!(!said.contains(char::is_control), "{body}: {said:?}");
    }

    let long = "x".repeat(5000);
    for (status, body) in [
        (404, format!(r#"{{"detail":"{long}"}}"#)),
        (500, format!(r#"{{"detail":"{long}"}}"#)),
        (201, format!(r#"{{"id":"j1","status":"{long}"}}"#)),
        (201, format!(r#""{long}""#)),
    ] {
        let stub = Stub::start(move |_| json(status, &body)).await;
        let said = match stub.gateway().submit(new_job()).await {
            Ok(Requested::NotFound(detail)) => detail,
            other => other.expect_err("no job").to_string(),
        };
        assert!(said.len() < 450, "{status}: {} bytes", said.len());
    }
}

#[tokio::test]
async fn garbage_is_bad_response() {
    let redirect = || {
        Response::builder()
            .status(307)
            .header("location", "/x")
            .body(Body::empty())
            .unwrap()
    };
    let endless = || {
        let chunk = || Ok::<_, std::io::Error>(axum::body::Bytes::from(vec![b' '; 65536]));
        json(200, "").map(|_| Body::from_stream(futures::stream::repeat_with(chunk)))
    };
    let rows: Vec<(&str, Answers)> = vec![
        ("html", Box::new(|| json(200, "<html>hello</html>"))),
        ("cut JSON", Box::new(|| json(200, r#"{"id":"j1","sta"#))),
        ("empty", Box::new(|| json(200, ""))),
        (
            "another job",
            Box::new(|| json(200, r#"{"id":"j2","status":"running"}"#)),
        ),
        ("no status", Box::new(|| json(200, r#"{"id":"j1"}"#))),
        ("array", Box::new(|| json(200, "[]"))),
        (
            "completed without templates",
            Box::new(|| {
                json(
                    200,
                    r#"{"id":"j1","status":"completed","total":0,"templates":[]}"#,
                )
            }),
        ),
        ("500", Box::new(|| json(500, "{}"))),
        ("html 404", Box::new(|| json(404, "<html>nginx</html>"))),
        ("redirect", Box::new(redirect)),
        ("endless", Box::new(endless)),
    ];
    for (name, answer) in rows {
        let answer = Arc::new(answer);
        let stub = Stub::start(move |_| answer()).await;
        let mut settings = settings(&stub.address);
        settings.response_limit = 1024 * 1024;
        let error = build(settings).job(&j1()).await.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::BadResponse, "{name}: {error}");
        assert!(error.to_string().contains(&stub.address), "{name}: {error}");
    }
}

#[tokio::test]
async fn broken_http_is_bad_response() {
    for bytes in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"id\"",
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = [0; 4096];
                tokio::io::AsyncReadExt::read(&mut socket, &mut request)
                    .await
                    .ok();
                socket.write_all(bytes.as_bytes()).await.ok();
            }
        });
        let error = build(settings(&address)).job(&j1()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadResponse, "{bytes}: {error}");
        server.abort();
    }
}
